"""Soft labels and sample weights of images, put back after the preparation, which drops both.

The preparation is cached by what it reads and does; what a training thinks of an image is no part of that, so that one
cache serves trainings with and without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Transform
from scripts.errors import InputError
from scripts.labels import STUDY_CLASSES, UNKNOWN_CLASS
from scripts.predictions import read_predictions

#: Fraction of each study class (C,), and how much an image counts (scalar); an image without them is sure, and counts
#: once.
SOFT_LABEL, WEIGHT = "soft_label", "weight"


class AttachTargets(Transform):
    """Give each prepared image `soft_label` (C,) and `weight` (scalar), both float32, by its `image_id`.

    All images get both, so that sure and unsure ones can stand in one batch.

    Args:
        images: the images that were prepared, as a datalist's source gives them. "soft_label", C probabilities that sum
            to 1, and "weight", not negative, are optional: without them it is the class index "label" alone, and 1.

    Raises:
        InputError: where a soft label or a weight is none.
    """

    def __init__(self, images: Sequence[Mapping[str, Any]]) -> None:
        self.targets = {
            image["image_id"]: {SOFT_LABEL: _read_probabilities(image), WEIGHT: _read_weight(image)} for image in images
        }

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        return {**data, **self.targets[data["image_id"]]}


class AttachSoftLabels(Transform):
    """Give each prepared image `soft_label` (C,), float32: its annotated class blended with a prediction.

    Args:
        soft_labels: image id -> probability of each class, as `scripts.datalist.read_soft_labels` gives them. An image
            without one keeps its annotated class.
        fraction: of the prediction; the rest is the annotated class. An image without a class has the prediction alone.
    """

    def __init__(self, soft_labels: Mapping[str, Sequence[float]], fraction: float = 0.5) -> None:
        self.soft_labels, self.fraction = soft_labels, fraction

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        predicted = self.soft_labels.get(data["image_id"])
        if int(data["label"]) == UNKNOWN_CLASS:
            if predicted is None:
                raise InputError(
                    "a soft label", f"none for image {data['image_id']}", "predict the external images too"
                )
            return {**data, SOFT_LABEL: torch.tensor(predicted, dtype=torch.float32)}
        annotated = torch.eye(len(STUDY_CLASSES))[int(data["label"])]
        if predicted is None:
            return {**data, SOFT_LABEL: annotated}
        return {**data, SOFT_LABEL: torch.lerp(annotated, torch.tensor(predicted, dtype=torch.float32), self.fraction)}


class WeighByStudy(AttachTargets):
    """Each image counts 1 / images of its study: a study counts once, however many images it has.

    Args:
        images: as for `AttachTargets`; a weight that an image brings is divided.
    """

    def __init__(self, images: Sequence[Mapping[str, Any]]) -> None:
        counts = Counter(image["study_id"] for image in images)
        super().__init__([{**image, WEIGHT: image.get(WEIGHT, 1.0) / counts[image["study_id"]]} for image in images])


class WeighMistakes(AttachTargets):
    """Images that a first, short training gets wrong count `factor` times: Just Train Twice.

    Args:
        images: as for `AttachTargets`; a weight that an image brings is multiplied.
        predictions_file: predictions.json of the first training, evaluated on the images that it was trained on.
        factor: the paper tries 2 to 100 and chooses on a validation set.

    Raises:
        InputError: where the file is absent, is none of predictions, or lacks an image.

    Source: Liu et al. 2021, arXiv:2107.09044.
    """

    def __init__(self, images: Sequence[Mapping[str, Any]], predictions_file: str | Path, factor: float = 5.0) -> None:
        guesses = _read_guesses(Path(predictions_file))
        missing = [image["image_id"] for image in images if image["image_id"] not in guesses]
        if missing:
            found = f"{len(images) - len(missing)} in {predictions_file}, without {missing[0]}"
            raise InputError(f"predictions of all {len(images)} training images", found, _ADVICE)
        wrong = {image["image_id"] for image in images if guesses[image["image_id"]] != int(image["label"])}
        factors = {image_id: factor if image_id in wrong else 1.0 for image_id in guesses}
        super().__init__([{**image, WEIGHT: image.get(WEIGHT, 1.0) * factors[image["image_id"]]} for image in images])


_ADVICE = "train the first run and evaluate it on its training images, as just_train_twice.json says"


def _read_guesses(path: Path) -> dict[str, int]:
    """The likeliest class of each image."""
    images = read_predictions(path, _ADVICE)
    rows = {image.image_id: [image.probabilities[name] for name in STUDY_CLASSES] for image in images}
    return {image_id: row.index(max(row)) for image_id, row in rows.items()}


def _read_probabilities(image: Mapping[str, Any]) -> torch.Tensor:
    if image.get(SOFT_LABEL) is None:
        return torch.eye(len(STUDY_CLASSES))[int(image["label"])]
    probabilities = torch.as_tensor(image[SOFT_LABEL], dtype=torch.float32)
    if (
        probabilities.shape != (len(STUDY_CLASSES),)
        or not (probabilities >= 0).all()
        or abs(probabilities.sum().item() - 1) > 1e-3
    ):
        expected = f"{len(STUDY_CLASSES)} probabilities that sum to 1 as soft_label"
        raise InputError(expected, f"{probabilities.tolist()} of image {image['image_id']}", "correct it")
    return probabilities


def _read_weight(image: Mapping[str, Any]) -> torch.Tensor:
    weight = torch.tensor(float(image.get(WEIGHT, 1.0)))
    if not torch.isfinite(weight) or weight < 0:
        raise InputError("a weight from 0 on", f"{weight.item()} of image {image['image_id']}", "correct it")
    return weight
