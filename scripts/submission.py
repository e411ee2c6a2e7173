"""Submission in the challenge's format: `id,PredictionString`, a row for each study and each image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.errors import InputError
from scripts.files import read_csv, write_csv
from scripts.labels import IMAGE_CLASSES, IMAGE_SUFFIX, NONE, OPACITY, STUDY_CLASSES, STUDY_SUFFIX, UNIT_BOX
from scripts.predictions import ImageFindings, average_studies

HEADER: tuple[str, str] = ("id", "PredictionString")

Box = tuple[float, float, float, float]

#: Class, confidence, box (xmin, ymin, xmax, ymax in image pixels; the unit box for "none").
Detection = tuple[str, float, Box]


@dataclass(frozen=True)
class Predictions:
    """Predictions for studies and images.

    Args:
        study: for each study id the confidence of each class (of any of the four).
        image: for each image id its detections, of "opacity" and "none".
    """

    study: Mapping[str, Mapping[str, float]]
    image: Mapping[str, Sequence[Detection]]


def write_submission(images: Sequence[ImageFindings], path: str | Path) -> None:
    """Write the submission: every study with all four classes, every image with its boxes and `none`.

    An image's `none` is the probability that its whole study is negative, blended with 1 - its own best box by the
    image's `none_weight`.
    """
    studies = average_studies(images)
    rows = [(f"{study}{STUDY_SUFFIX}", _describe_study(probabilities)) for study, probabilities in studies.items()]
    rows += [(f"{image.image_id}{IMAGE_SUFFIX}", _describe_image(image, studies[image.study_id])) for image in images]
    write_csv(path, HEADER, rows)


def format_prediction_string(detections: Iterable[tuple[str, float, Sequence[float]]]) -> str:
    """`class confidence xmin ymin xmax ymax` for each detection, separated by blanks."""
    return " ".join(_format_detection(*detection) for detection in detections)


def read_submission(path: str | Path) -> Predictions:
    """A submission in the challenge's format, every row checked; compare its ids with a reference by scoring it.

    Rows: `<study>_study` with `class confidence 0 0 1 1` for one to four study classes, and `<image>_image` with any
    number of `opacity confidence xmin ymin xmax ymax` and at most one `none confidence 0 0 1 1`.

    Raises:
        InputError: naming file, line and id, where a row is malformed, repeated or of an unknown kind.
    """
    path = Path(path)
    study: dict[str, dict[str, float]] = {}
    image: dict[str, list[Detection]] = {}
    for row in read_csv(path, HEADER, exact=True, what="a submission"):
        name, text = row.cells.values()
        where = row.locate(name or "empty")
        if name in study or name in image:
            raise InputError("each id once", f"a second row at {where}", "remove one of them")
        if name.endswith(STUDY_SUFFIX):
            study[name] = _read_study(text, where)
        elif name.endswith(IMAGE_SUFFIX):
            image[name] = _read_image(text, where)
        else:
            expected = f"an id ending in {STUDY_SUFFIX} or {IMAGE_SUFFIX}"
            raise InputError(expected, f"another one at {where}", "correct it")
    _reject_half(path, study, image)
    return Predictions(
        {name.removesuffix(STUDY_SUFFIX): confidences for name, confidences in study.items()},
        {name.removesuffix(IMAGE_SUFFIX): detections for name, detections in image.items()},
    )


def _describe_study(probabilities: Mapping[str, float]) -> str:
    return format_prediction_string((name, value, UNIT_BOX) for name, value in probabilities.items())


def _describe_image(image: ImageFindings, study: Mapping[str, float]) -> str:
    boxes = [(OPACITY, score, box) for box, score in zip(image.boxes, image.scores, strict=True)]
    without_boxes = 1 - max(image.scores, default=0.0)
    none = image.none_weight * study["negative"] + (1 - image.none_weight) * without_boxes
    return format_prediction_string([*boxes, (NONE, none, UNIT_BOX)])


def _format_detection(name: str, confidence: float, box: Sequence[float]) -> str:
    edges = "0 0 1 1" if tuple(box) == UNIT_BOX else " ".join(f"{edge:.3f}" for edge in box)
    return f"{name} {confidence:.6f} {edges}"


def _read_study(text: str, where: str) -> dict[str, float]:
    detections = _parse_prediction_string(text, STUDY_CLASSES, where)
    confidences = {name: confidence for name, confidence, _ in detections}
    if not detections or len(confidences) < len(detections):
        found = f"{len(detections)} entries for {len(confidences)} classes at {where}"
        raise InputError("one to four study classes, each once", found, "correct the row")
    return confidences


def _read_image(text: str, where: str) -> list[Detection]:
    detections = _parse_prediction_string(text, IMAGE_CLASSES, where)
    if sum(name != OPACITY for name, _, _ in detections) > 1:
        raise InputError("none at most once", f"it more often at {where}", "correct the row")
    return detections


def _parse_prediction_string(text: str, classes: Sequence[str], where: str) -> list[Detection]:
    words = text.split()
    if len(words) % 6:
        expected = "groups of six words: class confidence xmin ymin xmax ymax"
        raise InputError(expected, f"{len(words)} words at {where}", "correct the row")
    return [_parse_detection(words[start : start + 6], classes, where) for start in range(0, len(words), 6)]


def _parse_detection(words: Sequence[str], classes: Sequence[str], where: str) -> Detection:
    name, found = words[0], f"{' '.join(words)[:80]!r} at {where}"
    if name not in classes:
        raise InputError(f"one of {', '.join(classes)}", found, "correct the class")
    try:
        confidence, xmin, ymin, xmax, ymax = map(float, words[1:])
    except ValueError:
        raise InputError("five numbers after the class", found, "correct the row") from None
    if not math.isfinite(confidence):
        raise InputError("a finite confidence", found, "look for what made it so, a diverged training perhaps")
    box = (xmin, ymin, xmax, ymax)
    if name != OPACITY and box != UNIT_BOX:
        raise InputError(f"the box 0 0 1 1 after {name}", found, "correct the box")
    if not all(map(math.isfinite, box)) or xmax < xmin or ymax < ymin:
        raise InputError("xmin <= xmax and ymin <= ymax", found, "correct the box")
    return name, confidence, box


def _reject_half(path: Path, study: Mapping[str, object], image: Mapping[str, object]) -> None:
    for kind, rows in (("study", study), ("image", image)):
        if not rows:
            found = f"no {kind} row in {path.name}"
            raise InputError("rows of studies and of images", found, "write a whole submission")
