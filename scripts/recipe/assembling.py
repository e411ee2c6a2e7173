"""Out-of-fold predictions of a family: its tables of all folds as one set of predictions and one submission."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scripts.ensembles import blend_none
from scripts.errors import InputError
from scripts.labels import STUDY_CLASSES
from scripts.outputs import read_prediction_table, write_tables
from scripts.predictions import ImageFindings
from scripts.submission import write_submission


def assemble_predictions(
    classified: Iterable[str | Path], boxed: Iterable[str | Path], image_ids: set[str], none_weight: float = 1.0
) -> list[ImageFindings]:
    """Join tables of classifiers and of opacity detectors, each image once.

    Scores of boxes are multiplied by the probability that the image is not negative, as inference does it.

    Args:
        classified: tables with "probabilities".
        boxed: tables with "boxes"; none: images have no boxes.
        image_ids: the images to take; tables may hold more, such as external ones.
        none_weight: weight of the probability of negative in `none`.

    Raises:
        InputError: where an image stands in no table of the classifiers, or in two.
    """
    rows = _pool(classified, image_ids)
    boxes = _pool(boxed, image_ids)
    if missing := sorted(image_ids - rows.keys()):
        raise InputError(f"predictions of {len(image_ids)} images", f"none of {missing[0]}", "predict all folds")
    return [_describe(image_id, rows[image_id], boxes.get(image_id, {}), none_weight) for image_id in sorted(rows)]


def write_out_of_fold(images: list[ImageFindings], folder: str | Path) -> Path:
    """Write predictions.json, the tables and submission.csv into a folder; the submission's path."""
    folder = Path(folder)
    write_tables(images, folder)
    write_submission(images, folder / "submission.csv")
    return folder / "submission.csv"


def _pool(paths: Iterable[str | Path], image_ids: set[str]) -> dict[str, Mapping[str, Any]]:
    pooled: dict[str, Mapping[str, Any]] = {}
    for path in paths:
        images = read_prediction_table(path)["images"]
        own = {image_id: row for image_id, row in images.items() if image_id in image_ids}
        if twice := sorted(own.keys() & pooled.keys()):
            raise InputError("each image in one fold's table", f"{twice[0]} in two", "name the table of each fold once")
        pooled.update(own)
    return pooled


def _describe(image_id: str, row: Mapping[str, Any], boxes: Mapping[str, Any], none_weight: float) -> ImageFindings:
    probabilities = dict(zip(STUDY_CLASSES, row["probabilities"], strict=True))
    scores = tuple(score * (1 - probabilities["negative"]) for score in boxes.get("scores", ()))
    negative, best = probabilities["negative"], max(scores, default=0.0)
    return ImageFindings(
        image_id=image_id,
        study_id=row["study_id"],
        probabilities=probabilities,
        boxes=tuple(tuple(box) for box in boxes.get("boxes", ())),
        scores=scores,
        crop_box=(0.0, 0.0, 0.0, 0.0),
        none_weight=none_weight,
        none=float(blend_none(negative, best, none_weight)),
    )
