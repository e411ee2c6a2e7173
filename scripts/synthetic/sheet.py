"""A contact sheet of a tree: images in rows by study class, with their opacity boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from PIL import Image, ImageDraw, ImageFont
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from scripts.boxes import Boxes, as_boxes
from scripts.files import write_png
from scripts.labels import STUDY_CLASSES
from scripts.tables import read_tables

_MARGIN, _TITLE = 3, 18
_BOX_COLOUR = (255, 110, 40)
# So few greys that a sheet of two dozen images stays well below a megabyte.
_GREYS = 48


def draw_contact_sheet(tree: str | Path, out_png: str | Path, columns: int = 6, size: int = 200) -> None:
    """Draw one row of images for each study class, one image of each study, with class names and boxes.

    Args:
        tree: a folder in the challenge's layout.
        out_png: the PNG to write.
        columns: images in a row.
        size: longer side of an image on the sheet, in pixels.

    Raises:
        InputError: where the tree lacks a table or has no images.
    """
    images = _choose_images(Path(tree), columns)
    step = size + _MARGIN
    sheet = Image.new("RGB", (columns * step + _MARGIN, len(STUDY_CLASSES) * (step + _TITLE) + _MARGIN))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for row, name in enumerate(STUDY_CLASSES):
        top = row * (step + _TITLE) + _MARGIN
        pen.text((_MARGIN + 2, top), name, fill=(235, 235, 235), font=font)
        for column, (path, boxes) in enumerate(images[name]):
            sheet.paste(_render_image(path, boxes, size), (_MARGIN + column * step, top + _TITLE))
    write_png(out_png, sheet.quantize(palette=_make_palette(), dither=Image.Dither.NONE), optimize=True)


def _make_palette() -> Image.Image:
    """The greys of the images and the colour of the boxes."""
    greys = [round(255 * number / (_GREYS - 1)) for number in range(_GREYS) for _ in range(3)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*greys, *_BOX_COLOUR])
    return palette


def _choose_images(tree: Path, number: int) -> dict[str, list[tuple[Path, Boxes]]]:
    """For each class the first studies' images with their boxes; of several images of a study, the one with boxes."""
    tables = read_tables(tree)
    images: dict[str, list[tuple[str, Boxes]]] = {}
    for row in tables.images.values():
        images.setdefault(row.study_id, []).append((row.image_id, as_boxes(row.boxes)))
    chosen: dict[str, list[tuple[Path, Boxes]]] = {name: [] for name in STUDY_CLASSES}
    for study, name in tables.study_labels.items():
        image_id, boxes = max(images[study], key=lambda image: len(image[1]))
        found = sorted(tree.glob(f"train/{study}/*/{image_id}.dcm"))
        if found and len(chosen[name]) < number:
            chosen[name].append((found[0], boxes))
    return chosen


def _render_image(path: Path, boxes: Boxes, size: int) -> Image.Image:
    """One image as it is meant to be shown, at its true shape, `size` pixels on the longer side.

    The images are the project's own drawings, so that pydicom may show them; an image from outside has to go through
    the reader's gates.
    """
    image = pydicom.dcmread(path)
    stored = image.pixel_array
    # No synthetic image has a lookup table behind a rescale that changes anything.
    values = stored if "VOILUTSequence" in image else apply_modality_lut(stored, image)
    shown = apply_voi_lut(values, image).astype(np.float64)
    shown = (shown - shown.min()) / max(float(np.ptp(shown)), 1e-9)
    if image.PhotometricInterpretation == "MONOCHROME1":
        shown = 1 - shown
    down, across = (float(part) for part in image.get("PixelAspectRatio") or image.get("ImagerPixelSpacing") or (1, 1))
    height, width = shown.shape[0] * down / across, float(shown.shape[1])
    zoom = size / max(height, width)
    picture = Image.fromarray(np.round(255 * shown).astype(np.uint8)).convert("RGB")
    picture = picture.resize((round(width * zoom), round(height * zoom)), Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(picture)
    for box in boxes * np.tile([picture.width / shown.shape[1], picture.height / shown.shape[0]], 2):
        pen.rectangle(box.tolist(), outline=_BOX_COLOUR)
    return picture
