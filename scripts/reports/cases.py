"""Best and worst studies of a run, each image with lung box, ground truth, mask, boxes and Grad-CAM side by side."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scripts.boxes import Boxes
from scripts.explanations import crop_map
from scripts.labels import STUDY_CLASSES
from scripts.outputs import CROP_COLOUR, OPACITY_COLOUR, describe_flags
from scripts.predictions import PREDICTIONS_FILE, ImageFindings, read_predictions
from scripts.radiographs import READER_OPTIONS, read_isolated
from scripts.reports.evaluation import EvaluatedRun

#: Height of a picture in pixels, and what JPEG keeps of it: many of them stand in one file.
HEIGHT, QUALITY = 320, 88
GROUND_TRUTH_COLOUR = (60, 220, 140)


@dataclass(frozen=True)
class Picture:
    """A picture as it stands in the page: its title, a text in its place, a data URI, and its size."""

    title: str
    alternative: str
    source: str
    width: int
    height: int


@dataclass(frozen=True)
class Case:
    """A study with its label and prediction.

    Args:
        study_id: of the datalist.
        label, predicted: classes.
        of_label, of_predicted: their probabilities.
        suspicion: 1 - probability of negative.
        flags: titles of the flags of its images.
        images: image id -> pictures; empty where none were asked for.
    """

    study_id: str
    label: str
    predicted: str
    of_label: float
    of_predicted: float
    suspicion: float
    flags: tuple[str, ...]
    images: Mapping[str, tuple[Picture, ...]]

    @property
    def right(self) -> bool:
        return self.label == self.predicted


def list_cases(run: EvaluatedRun) -> list[Case]:
    """List all studies of a run without pictures, the least probable label first."""
    cases = []
    for study, images, probabilities in zip(
        run.images.ground_truth.study_labels, run.images.images_of_study, run.studies.probabilities, strict=True
    ):
        label = run.images.ground_truth.study_labels[study]
        best = int(probabilities.argmax())
        flags = {flag.title for image in images for flag in describe_flags(run.images.flags[image["image_id"]])}
        cases.append(
            Case(
                study, label, STUDY_CLASSES[best], float(probabilities[STUDY_CLASSES.index(label)]),
                float(probabilities[best]), float(1 - probabilities[0]), tuple(sorted(flags)), {},
            )
        )  # fmt: skip
    return sorted(cases, key=lambda case: (case.of_label, case.study_id))


def picture_cases(
    cases: Sequence[Case], run: EvaluatedRun, tree: str | Path, explanations: Sequence[Path]
) -> list[Case]:
    """Add the pictures of all images to some cases; no picture, title or text names a patient.

    Args:
        cases: of the run.
        run: whose masks and boxes are shown.
        tree: folder that the datalist's paths are relative to.
        explanations: folders of `ExplanationsWriter`; the first that has a picture of an image gives it.

    Raises:
        RejectedImage: where an image cannot be read.
    """
    found = {image.image_id: image for image in read_predictions(run.folder / PREDICTIONS_FILE)}
    studies = dict(zip(run.images.ground_truth.study_labels, run.images.images_of_study, strict=True))
    return [
        Case(**{
            **vars(case),
            "images": {
                image["image_id"]: tuple(_paint_image(image, found[image["image_id"]], run.folder, tree, explanations))
                for image in studies[case.study_id]
            },
        })
        for case in cases
    ]  # fmt: skip


def _paint_image(
    image: Mapping[str, Any], findings: ImageFindings, folder: Path, tree: str | Path, explanations: Sequence[Path]
) -> Iterator[Picture]:
    accepted = dict.fromkeys(READER_OPTIONS, True)  # it was read before, with the options of its datalist
    pixels = read_isolated(Path(tree) / image["image"], **accepted).pixels[0]
    scale = HEIGHT / pixels.shape[0]
    size = (max(1, round(pixels.shape[1] * scale)), HEIGHT)
    grey = Image.fromarray((np.clip(pixels, 0, 1) * 255).astype(np.uint8)).resize(size).convert("RGB")
    name, shown = image["image_id"], findings.keep_shown()
    lungs = [image["lung_box"]] if image["lung_box"] else []
    plain = _outline(_outline(grey, lungs, scale, GROUND_TRUTH_COLOUR), [findings.crop_box], scale, CROP_COLOUR)
    truth = _outline(grey, image["boxes"], scale, GROUND_TRUTH_COLOUR)
    boxes = _outline(grey, shown.boxes, scale, OPACITY_COLOUR, shown.scores)
    yield _embed("image and lungs", f"Radiograph {name} with its lung box", plain)
    yield _embed("ground truth", f"{len(image['boxes'])} annotated boxes on {name}", truth)
    if (mask_file := folder / "masks" / f"{name}.png").is_file():
        yield _embed("mask", f"Predicted mask on {name}", _tint(grey, mask_file))
    yield _embed("boxes", f"{len(shown.boxes)} predicted boxes on {name}", boxes)
    for each in explanations:
        if (picture_file := each / "overlays" / f"{name}.png").is_file():
            with Image.open(picture_file) as picture:
                panel = crop_map(picture.convert("RGB"))
            width = round(panel.width * HEIGHT / panel.height)
            yield _embed("Grad-CAM", f"Map of the explained class on {name}", panel.resize((width, HEIGHT)))
            break


def _outline(
    picture: Image.Image,
    boxes: Boxes | Sequence[Sequence[float]],
    scale: float,
    colour: tuple[int, int, int],
    scores: Sequence[float] = (),
) -> Image.Image:
    picture = picture.copy()
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for box in boxes:
        draw.rectangle([edge * scale for edge in box], outline=colour, width=2)
    for box, score in zip(boxes, scores, strict=False):
        corner = (box[0] * scale + 4, box[1] * scale + 2)
        draw.text(corner, f"{score:.2f}", fill=colour, font=font, stroke_width=2, stroke_fill=0)
    return picture


def _tint(picture: Image.Image, mask_file: Path) -> Image.Image:
    with Image.open(mask_file) as mask:
        covered = mask.convert("L").resize(picture.size).point(lambda value: 110 if value >= 128 else 0)
    return Image.composite(Image.new("RGB", picture.size, OPACITY_COLOUR), picture, covered)


def _embed(title: str, alternative: str, picture: Image.Image) -> Picture:
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=QUALITY, subsampling=0)  # thin coloured lines stay lines
    source = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
    return Picture(title, alternative, source, *picture.size)
