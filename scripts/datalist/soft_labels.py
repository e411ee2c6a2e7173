"""Soft labels for self-distillation: what trained networks predict of training images that they never saw.

A file `soft_labels.json`, schema `chest_xray_covid19/soft_labels`:

    held_out       folds that no model behind these labels has seen; a student of these folds may be trained on them
    datalist_hash  of the labelled images
    models         each with "name", "held_out" (the folds that it never saw) and "weights_sha256"
    images         image id -> "probabilities" (4), the mean of its "models" (positions in the list above)

A label leaks where its model has seen the image's own patient, for then it repeats the annotation, or the patients that
the student is scored on, for then it carries their labels into the training. Both are checked whenever a file is read,
whoever wrote it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scripts.datalist.schema import compute_labelled_hash
from scripts.datalist.selection import (
    Folds,
    Image,
    list_folds,
    locate_images,
    read_with_fold,
    training_images,
    validation_images,
)
from scripts.errors import InputError
from scripts.files import write_text
from scripts.labels import STUDY_CLASSES, UNKNOWN_CLASS

SCHEMA = "chest_xray_covid19/soft_labels"
_AGAIN = "make the soft labels again with python -m scripts make-weights"


@dataclass(frozen=True)
class Prediction:
    """Prediction of one network for images that it was not trained on.

    Args:
        name: of its training.
        held_out: the folds that it never saw.
        weights_sha256: of its weights.
        datalist_hash: of the labelled images that it was trained on.
        probabilities: image id -> probability of each class.
    """

    name: str
    held_out: tuple[int, ...]
    weights_sha256: str
    datalist_hash: str
    probabilities: Mapping[str, Sequence[float]]


def held_out_images(
    datalist_file: str | Path, dataset_dir: str | Path, fold: Folds, external_dir: str | Path | None = None
) -> list[Image]:
    """All images that a network with these folds held out may predict honestly.

    Args:
        datalist_file: made by `prepare`.
        dataset_dir: the tree of its paths.
        fold: the folds held out; None: no labelled image is.
        external_dir: the tree of the external images; None: without them.

    Returns:
        Images as `training_images` gives them; an external image has the label `UNKNOWN_CLASS`.
    """
    labelled = validation_images(datalist_file, dataset_dir, fold) if list_folds(fold) else []
    return labelled + (external_images(datalist_file, external_dir) if external_dir else [])


def soft_labelled_images(
    datalist_file: str | Path, dataset_dir: str | Path, fold: Folds, external_dir: str | Path | None = None
) -> list[Image]:
    """Training images of a student: those of `training_images` and, where their tree is named, the external ones.

    Args and raises as `held_out_images`.
    """
    external = external_images(datalist_file, external_dir) if external_dir else []
    return training_images(datalist_file, dataset_dir, fold) + external


def external_images(datalist_file: str | Path, external_dir: str | Path) -> list[Image]:
    """The external images of a datalist, whose own labels are not used: each has the label `UNKNOWN_CLASS`.

    Raises:
        InputError: where the datalist has none, or an image is not in the tree.
    """
    datalist = read_with_fold(datalist_file, None)
    entries = datalist.get("external", {}).get("images", [])
    located = locate_images(entries, external_dir, "external images", datalist_file)
    return [{**image, "label": UNKNOWN_CLASS} for image in located]


def write_soft_labels(
    path: str | Path, datalist: Mapping[str, Any], held_out: Folds, predictions: Sequence[Prediction]
) -> int:
    """Write the mean of what honest networks predict of each image, for students of the folds held out.

    Of the networks given, an image takes those that saw neither its own fold nor the folds held out.

    Returns:
        How many images have a soft label.
    """
    folds, own_fold = list_folds(held_out), {image["image_id"]: image["fold"] for image in datalist["training"]}
    images: dict[str, dict[str, Any]] = {}
    for image_id in sorted({image_id for each in predictions for image_id in each.probabilities}):
        needed = {*folds, *([own_fold[image_id]] if image_id in own_fold else [])}
        if own_fold.get(image_id) in folds:
            continue
        used = [
            number
            for number, each in enumerate(predictions)
            if needed <= set(each.held_out) and image_id in each.probabilities
        ]
        if used:
            mean = np.mean([predictions[number].probabilities[image_id] for number in used], axis=0)
            images[image_id] = {"probabilities": mean.tolist(), "models": used}
    content = {
        "schema": SCHEMA,
        "held_out": list(folds),
        "datalist_hash": compute_labelled_hash(datalist),
        "models": [
            {"name": each.name, "held_out": list(each.held_out), "weights_sha256": each.weights_sha256}
            for each in predictions
        ],
        "images": images,
    }
    write_text(path, json.dumps(content) + "\n")
    return len(images)


def read_soft_labels(path: str | Path, datalist_file: str | Path, fold: Folds) -> dict[str, Sequence[float]]:
    """Read soft labels for a student of a fold, once every model behind them has been found not to leak.

    Returns:
        Image id -> probability of each class.

    Raises:
        InputError: where the file is absent or something else, was made for another datalist, or where a model has seen
            an image's own fold or a fold that is held out, naming model and image.
    """
    datalist, folds = read_with_fold(datalist_file, fold), set(list_folds(fold))
    content = _read_content(Path(path))
    if content["datalist_hash"] != compute_labelled_hash(datalist):
        raise InputError("soft labels of this datalist", f"those of another one in {path}", _AGAIN)
    own_fold = {image["image_id"]: image["fold"] for image in datalist["training"]}
    labels: dict[str, Sequence[float]] = {}
    for image_id, entry in content["images"].items():
        needed = folds | ({own_fold[image_id]} if image_id in own_fold else set())
        for number in entry["models"]:
            model = content["models"][number]
            if not needed <= set(model["held_out"]):
                raise InputError(
                    f"soft labels from models that never saw folds {sorted(needed)}",
                    f"for image {image_id} one of {model['name']}, trained with {model['held_out']} held out",
                    _AGAIN,
                )
        labels[image_id] = entry["probabilities"]
    return labels


def _read_content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        whole = content["schema"] == SCHEMA and all(
            len(entry["probabilities"]) == len(STUDY_CLASSES) and entry["models"]
            for entry in content["images"].values()
        )
    except OSError as error:
        raise InputError("a file of soft labels", f"none at {path} ({error.strerror})", _AGAIN) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise InputError(f"a file of schema {SCHEMA}", f"another content at {path}", _AGAIN)
    return content
