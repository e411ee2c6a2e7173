"""Tables for people and programs: one row an image, one row a study, and both as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from scripts.errors import InputError
from scripts.files import write_csv, write_text
from scripts.labels import STUDY_CLASSES
from scripts.outputs.records import ImageFindings


def average_studies(images: Sequence[ImageFindings]) -> dict[str, dict[str, float]]:
    """Study id -> class -> probability: the mean over the images of the study, in order of first appearance."""
    rows = pd.DataFrame([{"study_id": image.study_id, **image.probabilities} for image in images])
    if rows.empty:
        return {}
    means = rows.groupby("study_id", sort=False)[list(STUDY_CLASSES)].mean()
    return {str(study): {str(name): float(value) for name, value in row.items()} for study, row in means.iterrows()}


def write_tables(images: Sequence[ImageFindings], folder: str | Path) -> None:
    """Write `images.csv`, `studies.csv` and `predictions.json` into a folder; `num_boxes` counts the shown ones."""
    folder, studies = Path(folder), average_studies(images)
    counts = pd.Series([image.study_id for image in images]).value_counts()
    write_csv(
        folder / "images.csv",
        ["image_id", "study_id", *STUDY_CLASSES, "none", "num_boxes", "flags"],
        [_list_image(image) for image in images],
    )
    write_csv(
        folder / "studies.csv",
        ["study_id", *STUDY_CLASSES, "num_images"],
        [[study, *_pick(row), int(counts[study])] for study, row in studies.items()],
    )
    content = {"classes": list(STUDY_CLASSES), "studies": studies, "images": [asdict(image) for image in images]}
    write_text(folder / "predictions.json", json.dumps(content, indent=1) + "\n")


def read_predictions(path: str | Path) -> list[ImageFindings]:
    """The images of a predictions.json that `write_tables` wrote.

    Raises:
        InputError: where it is absent or something else, or holds an image twice.
    """
    path = Path(path)
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["images"]
        images = [_read_image(row) for row in rows]
    except OSError as error:
        raise InputError("a predictions.json", f"none at {path} ({error.strerror})", "check the path") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        expected = "images with image_id, probabilities and scores between 0 and 1"
        raise InputError(expected, f"another content in {path.name}", "write it again by inference") from None
    num_images = len({image.image_id for image in images})
    if num_images < len(images) or not images:
        found = f"{len(images)} rows of {num_images} images in {path.name}"
        raise InputError("images, each once", found, "write it again by inference")
    return images


def _read_image(row: Mapping[str, Any]) -> ImageFindings:
    image = ImageFindings.from_result(str(row["image_id"]), str(row["study_id"]), row)
    confidences = [*(image.probabilities[name] for name in STUDY_CLASSES), *image.scores]
    if not all(0 <= value <= 1 for value in confidences):
        raise ValueError(f"expected confidences between 0 and 1, got {confidences}")
    return image


def _list_image(image: ImageFindings) -> list[object]:
    figures = [*_pick(image.probabilities), _round(image.none), len(image.keep_shown().boxes)]
    return [image.image_id, image.study_id, *figures, " ".join(image.flags)]


def _pick(probabilities: Mapping[str, float]) -> list[float]:
    return [_round(probabilities[name]) for name in STUDY_CLASSES]


def _round(value: float) -> float:
    return round(float(value), 6)
