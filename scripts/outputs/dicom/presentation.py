"""Grayscale Softcopy Presentation State (PS3.3 A.33.1): the image as it wants to be shown, with boxes drawn on it."""

from __future__ import annotations

import highdicom as hd
from highdicom.color import CIELabColor
from highdicom.pr import (
    AnnotationUnitsValues,
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GraphicTypeValues,
    TextObject,
)
from pydicom.dataset import Dataset
from scripts.outputs.dicom.derivation import Derivation
from scripts.outputs.dicom.outlines import Outline, outline_boxes
from scripts.outputs.dicom.shades import add_shades
from scripts.outputs.pictures import OPACITY_COLOUR, REMARK_COLOUR, RESEARCH_USE
from scripts.predictions import ImageFindings

PIXEL, DISPLAY = AnnotationUnitsValues.PIXEL, AnnotationUnitsValues.DISPLAY
#: Left, top, right, bottom of the research line, as fractions of what is displayed (PS3.3 C.10.5, units DISPLAY).
_RESEARCH_LINE = (0.02, 0.94, 0.98, 0.98)
#: Size of a confidence, as a fraction of the image's rows and columns.
_TEXT_HEIGHT, _TEXT_WIDTH = 0.03, 0.12


def build_presentation(derivation: Derivation, image: ImageFindings) -> Dataset:
    """The presentation state; without boxes it still says what it is for.

    Args:
        derivation: the image.
        image: its findings; boxes in the pixels of its matrix as stored.
    """
    stand_in = derivation.source.stand_in
    research = GraphicLayer("RESEARCH USE", 2, RESEARCH_USE, _mix(REMARK_COLOUR))
    line = TextObject(RESEARCH_USE, DISPLAY, _RESEARCH_LINE, text_justification="LEFT")
    layers, annotations = [research], [GraphicAnnotation([stand_in], research, text_objects=[line])]
    if image.boxes:
        suspected = GraphicLayer("OPACITIES", 1, "Suspected opacities with their confidence", _mix(OPACITY_COLOUR))
        layers.append(suspected)
        annotations.append(_annotate_boxes(derivation, suspected, image))
    state = hd.pr.GrayscaleSoftcopyPresentationState(
        [stand_in],
        **derivation.identify("presentation"),
        content_label="AI OPACITIES",
        content_description=RESEARCH_USE,
        graphic_layers=layers,
        graphic_annotations=annotations,
    )
    add_shades(state, derivation.source)
    _fit_pixels(state, derivation)
    return derivation.finish(state)


def _annotate_boxes(derivation: Derivation, layer: GraphicLayer, image: ImageFindings) -> GraphicAnnotation:
    metadata = derivation.source.metadata
    outlines = outline_boxes(image, metadata.rows, metadata.columns)
    lines = [
        GraphicObject(
            GraphicTypeValues.POLYLINE,
            outline,
            PIXEL,
            tracking_id=f"opacity {number}",
            tracking_uid=derivation.make_uid("opacity", number),
        )
        for number, outline in enumerate(outlines, start=1)
    ]
    texts = [
        TextObject(
            f"{score:.2f}", PIXEL, _place_text(outline, metadata.rows, metadata.columns), text_justification="LEFT"
        )
        for outline, score in zip(outlines, image.scores, strict=True)
    ]
    return GraphicAnnotation([derivation.source.stand_in], layer, graphic_objects=lines, text_objects=texts)


def _mix(colour: tuple[int, int, int]) -> CIELabColor:
    """The overlays' colours, for viewers that have colours."""
    return CIELabColor.from_rgb(*colour)


def _place_text(outline: Outline, rows: int, columns: int) -> tuple[float, float, float, float]:
    """Left, top, right, bottom above the box's left end; below its upper edge where there is no room."""
    height, width = _TEXT_HEIGHT * rows, _TEXT_WIDTH * columns
    xmin, ymin = (float(edge) for edge in outline[0])
    left = min(xmin, columns - width)
    top = min(ymin - height if ymin >= height else ymin, rows - height)
    return left, top, left + width, top + height


def _fit_pixels(state: Dataset, derivation: Derivation) -> None:
    """Displayed Area module (PS3.3 C.10.4): the whole image, pixels as high and wide as they are."""
    area = state.DisplayedAreaSelectionSequence[0]
    area.PresentationPixelAspectRatio = [round(1000 * derivation.source.metadata.pixel_aspect_ratio), 1000]
