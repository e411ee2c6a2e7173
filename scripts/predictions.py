"""Predictions of a run: findings of each image, predictions.json that holds them, and done.json once it is whole."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scripts.errors import InputError
from scripts.files import write_text
from scripts.labels import STUDY_CLASSES

PREDICTIONS_FILE = "predictions.json"

#: Flags of an image by those that were read before it: it counts in no mean, shares its SOP Instance UID with other
#: pixels, its study's name with another study, or its Study Instance UID with another patient.
DUPLICATE, SAME_UID, OTHER_STUDY, TWO_PATIENTS = "duplicate", "same_uid", "other_study", "two_patients"
RELATIONS = {
    DUPLICATE: "found twice, counted once",
    SAME_UID: "with another image's SOP Instance UID",
    OTHER_STUDY: "of another study than those it is named with, scored apart",
    TWO_PATIENTS: "with another patient's Study Instance UID, scored apart",
}

#: Written last: where it stands, all other outputs of the run stand too.
DONE_FILE = "done.json"

#: A person is shown the boxes from this score on: on fold 0 they find 53 % of the opacities, 1.1 wrong ones an image.
#: Tables, JSON and submission keep all: an average precision counts the faint ones too.
MIN_SHOWN_SCORE = 0.5


class NonFinitePrediction(InputError):
    """A network's output with NaN or infinity: it is never published, and the run ends.

    Args:
        found: what of it, and of which network.
        images: ids of the images that it was asked about, as far as they are known.
    """

    def __init__(self, found: str, images: Sequence[str] = ()) -> None:
        where = f" on {', '.join(images)}" if images else ""
        advice = "use weights of a training that did not diverge, or full precision; nothing is published"
        super().__init__("finite predictions", f"{found}{where}", advice)
        self.output = found


@dataclass(frozen=True)
class ImageFindings:
    """Findings of one image.

    Args:
        image_id, study_id: ids of the datalist, never a patient's.
        probabilities: class -> probability of this image alone.
        boxes: `[xmin, ymin, xmax, ymax]` in image pixels, best first.
        scores: a confidence for each box.
        none: confidence that the image shows no opacity, by this image alone.
        crop_box: what the network saw, image pixels.
        flags: what a reader should know, such as "whole_image".
        none_weight: weight of the probability of negative in `none`; the rest is 1 - the best score.
    """

    image_id: str
    study_id: str
    probabilities: Mapping[str, float]
    boxes: tuple[tuple[float, ...], ...]
    scores: tuple[float, ...]
    none: float
    crop_box: tuple[float, ...]
    flags: tuple[str, ...] = ()
    none_weight: float = 1.0

    def keep_shown(self) -> ImageFindings:
        """The findings as a person is shown them: without the boxes that are less sure than `MIN_SHOWN_SCORE`."""
        kept = [index for index, score in enumerate(self.scores) if score >= MIN_SHOWN_SCORE]
        boxes = tuple(self.boxes[index] for index in kept)
        return replace(self, boxes=boxes, scores=tuple(self.scores[index] for index in kept))

    @classmethod
    def from_result(cls, image_id: str, study_id: str, result: Mapping[str, Any]) -> ImageFindings:
        """Build from the `result` that `scripts.transforms.LogitsToFindingsd` leaves."""
        return cls(
            image_id=image_id,
            study_id=study_id,
            probabilities={name: float(value) for name, value in result["probabilities"].items()},
            boxes=tuple(tuple(float(edge) for edge in box) for box in result["boxes"]),
            scores=tuple(float(score) for score in result["scores"]),
            none=float(result["none"]),
            crop_box=tuple(float(edge) for edge in result["crop_box"]),
            flags=tuple(result["flags"]),
            none_weight=float(result.get("none_weight", 1.0)),
        )


def average_images(probabilities: ArrayLike, studies: ArrayLike) -> NDArray[np.float64]:
    """Average probabilities over the images of each study: `(S, 4)`.

    Args:
        probabilities: `(F, 4)`, of each image.
        studies: `(F,)`, number of each image's study; each of the S numbers from 0 on has an image.
    """
    rows, study_indices = np.asarray(probabilities, dtype=np.float64), np.asarray(studies)
    sums = np.zeros((int(study_indices.max()) + 1, rows.shape[1]))
    np.add.at(sums, study_indices, rows)
    return sums / np.bincount(study_indices)[:, None]


def average_studies(images: Sequence[ImageFindings]) -> dict[str, dict[str, float]]:
    """Study id -> class -> probability: the mean over the images of the study, in order of first appearance.

    An image that is flagged as a duplicate counts in no mean; the one that it repeats does.
    """
    images = [image for image in images if DUPLICATE not in image.flags]
    if not images:
        return {}
    indices = {study: index for index, study in enumerate(dict.fromkeys(image.study_id for image in images))}
    rows = [[image.probabilities[name] for name in STUDY_CLASSES] for image in images]
    means = average_images(rows, [indices[image.study_id] for image in images]).tolist()
    return {study: dict(zip(STUDY_CLASSES, means[index], strict=True)) for study, index in indices.items()}


def find_non_finite(image: ImageFindings) -> str:
    """Name what is not a finite number in an image's findings; "" where all are."""
    parts = {
        "probabilities": image.probabilities.values(),
        "boxes": [edge for box in image.boxes for edge in box],
        "scores": image.scores,
        "none": [image.none],
        "crop box": image.crop_box,
    }
    found = (f"{value} in {name}" for name, values in parts.items() for value in values if not math.isfinite(value))
    return next(found, "")


def write_predictions(images: Sequence[ImageFindings], path: str | Path) -> None:
    """Write a predictions.json: the classes, the studies' means, and all of every image."""
    content = {
        "classes": list(STUDY_CLASSES),
        "studies": average_studies(images),
        "images": [asdict(image) for image in images],
    }
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_predictions(path: str | Path, advice: str = "write it again by inference") -> list[ImageFindings]:
    """Read the images of a predictions.json.

    Args:
        path: the file.
        advice: what to do where it is not right.

    Raises:
        InputError: where it is absent or something else, or holds an image twice.
    """
    path = Path(path)
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["images"]
        images = [_read_image(row) for row in rows]
    except OSError as error:
        raise InputError(
            f"a {PREDICTIONS_FILE}", f"none at {path} ({error.strerror})", f"check the path, or {advice}"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        expected = "images with image_id, probabilities and scores between 0 and 1"
        raise InputError(expected, f"another content in {path.name}", advice) from None
    num_images = len({image.image_id for image in images})
    if num_images < len(images) or not images:
        raise InputError("images, each once", f"{len(images)} rows of {num_images} images in {path.name}", advice)
    return images


def write_done(folder: str | Path, content: Mapping[str, Any]) -> None:
    """Write the record that a run's outputs are whole: numbers of images, and "weights_sha256", one hash or several."""
    write_text(Path(folder) / DONE_FILE, json.dumps(content, indent=1) + "\n")


def read_done(folder: str | Path) -> dict[str, Any]:
    """Read the record of a run's outputs.

    Raises:
        InputError: where there is none that names weights: the run was cut short, or is another version's.
    """
    path = Path(folder) / DONE_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if "weights_sha256" in content:
            return dict(content)
    except (OSError, ValueError, TypeError):
        pass
    raise InputError(f"a {DONE_FILE} in {folder}", "none that names weights", "predict again")


def _read_image(row: Mapping[str, Any]) -> ImageFindings:
    image = ImageFindings.from_result(str(row["image_id"]), str(row["study_id"]), row)
    confidences = [*(image.probabilities[name] for name in STUDY_CLASSES), *image.scores]
    if not all(0 <= value <= 1 for value in confidences):
        raise ValueError(f"expected confidences between 0 and 1, got {confidences}")
    return image
