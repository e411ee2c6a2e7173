"""The challenge's submission: `id,PredictionString`, a row for each study and each image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from scripts.files import write_csv
from scripts.labels import IMAGE_SUFFIX, NONE, OPACITY, STUDY_SUFFIX, UNIT_BOX
from scripts.outputs.records import ImageFindings
from scripts.outputs.tables import average_studies

Detection = tuple[str, float, Sequence[float]]


def format_prediction_string(detections: Iterable[Detection]) -> str:
    """`class confidence xmin ymin xmax ymax` for each detection, separated by blanks."""
    return " ".join(_format_detection(*detection) for detection in detections)


def write_submission(images: Sequence[ImageFindings], path: str | Path) -> None:
    """Write the submission: every study with all four classes, every image with its boxes and `none`.

    An image's `none` is the probability that its whole study is negative, blended with 1 - its own best box by the
    image's `none_weight`.
    """
    studies = average_studies(images)
    rows = [(f"{study}{STUDY_SUFFIX}", _describe_study(probabilities)) for study, probabilities in studies.items()]
    rows += [(f"{image.image_id}{IMAGE_SUFFIX}", _describe_image(image, studies[image.study_id])) for image in images]
    write_csv(path, ["id", "PredictionString"], rows)


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
