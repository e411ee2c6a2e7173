"""Predictions of several folds or members, joined with the datalist that knows their labels and patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scripts.datalist import list_folds, read_datalist
from scripts.errors import InputError
from scripts.labels import STUDY_CLASSES
from scripts.metrics.average_precision import Floats, Ints
from scripts.metrics.ground_truth import GroundTruth, read_ground_truth
from scripts.metrics.scores import check_ids
from scripts.metrics.studies import EvaluatedStudies
from scripts.metrics.subgroups import Image
from scripts.predictions import ImageFindings, average_images, read_predictions


@dataclass(frozen=True)
class EvaluatedImages:
    """F images of S studies, with their predictions and their ground truth.

    Args:
        ground_truth: of these studies.
        folds: of the datalist that the images are in; None for images of no fold.
        probabilities: `(F, 4)`, in the order of `ground_truth.image_boxes`.
        members: `(M, F, 4)`, what each member says of the same images.
        flags: of each image, by image id.
        images_of_study: of each study its images as the datalist has them.
        copied: images of which the datalist has a copy.
    """

    ground_truth: GroundTruth
    folds: tuple[int | None, ...]
    probabilities: Floats
    members: Floats
    flags: Mapping[str, tuple[str, ...]]
    images_of_study: tuple[tuple[Image, ...], ...]
    copied: frozenset[str]

    @property
    def study_indices(self) -> Ints:
        """Number of each image's study, `(F,)`."""
        numbers = {study: number for number, study in enumerate(self.ground_truth.study_labels)}
        return np.array([numbers[study] for study in self.ground_truth.image_studies.values()], dtype=np.int64)

    def evaluate_studies(self, probabilities: Floats | None = None) -> EvaluatedStudies:
        """The studies, by the mean over their images, or by other probabilities `(S, 4)`."""
        return EvaluatedStudies(
            average_images(self.probabilities, self.study_indices) if probabilities is None else probabilities,
            np.array([STUDY_CLASSES.index(label) for label in self.ground_truth.study_labels.values()]),
            np.array([self.ground_truth.study_group[study] for study in self.ground_truth.study_labels]),
            len(self.ground_truth.groups),
        )

    def average_members(self) -> Floats:
        """Average each member's probabilities over the images of each study, `(M, S, 4)`."""
        return np.stack([average_images(member, self.study_indices) for member in self.members])


def gather_images(
    predictions: Sequence[str | Path],
    datalist: str | Path,
    members: Sequence[str | Path] = (),
    fold: int | Sequence[int] | None = None,
) -> EvaluatedImages:
    """The images of some predictions.json, which their networks were not trained on, with their ground truth.

    Images without a label are left out.

    Args:
        predictions: one file a fold; no study is in two of them.
        datalist: datalist.json.
        members: files with the same images again, by other seeds or networks; each image is in as many of them.
            By default the predictions are their own, single, member.
        fold: leave out the predictions of other folds.

    Raises:
        InputError: where a file is not valid, a study is in two files, or images are missing.
    """
    predicted = _pool_folds(predictions)
    listed = read_datalist(datalist)
    known = {image["image_id"]: image for image in [*listed["training"], *listed["test"]]}
    if fold is not None:
        kept = {image_id for image_id, image in known.items() if image["fold"] in list_folds(fold)}
        predicted = {image_id: image for image_id, image in predicted.items() if image_id in kept}
    ground_truth, folds = _find_ground_truth(predicted, known, datalist)
    check_ids("image", predicted, ground_truth.image_boxes, ground_truth.unscored_images)
    images_of_study: dict[str, list[Image]] = {study: [] for study in ground_truth.study_labels}
    for image_id, study in ground_truth.image_studies.items():
        images_of_study[study].append(known[image_id])
    wanted = tuple(ground_truth.image_boxes)
    return EvaluatedImages(
        ground_truth,
        folds,
        np.array([_list_probabilities(predicted[image_id]) for image_id in wanted]),
        _pool_members(members or predictions, wanted),
        {image_id: predicted[image_id].flags for image_id in wanted},
        tuple(map(tuple, images_of_study.values())),
        frozenset(image["duplicate_of"] for image in known.values() if image["duplicate_of"]),
    )


def _pool_folds(paths: Sequence[str | Path]) -> dict[str, ImageFindings]:
    if not paths:
        raise InputError("one predictions.json or more", "none", "name them")
    predicted: dict[str, ImageFindings] = {}
    source: dict[str, str] = {}
    for path in map(str, paths):
        images = read_predictions(path)
        for image in images:
            if source.setdefault(image.study_id, path) != path or image.image_id in predicted:
                found = f"{image.study_id} in {source[image.study_id]} and {path}"
                raise InputError("each study in one of the predictions", found, "give other networks as --members")
        predicted.update({image.image_id: image for image in images})
    return predicted


def _find_ground_truth(
    predicted: Mapping[str, object], known: Mapping[str, Image], datalist: str | Path
) -> tuple[GroundTruth, tuple[int | None, ...]]:
    """The ground truth of all folds that the predictions have images of."""
    labelled = [known[image_id] for image_id in predicted if image_id in known and known[image_id]["label"] is not None]
    if not labelled:
        raise InputError(
            "predictions of images with a label", f"none of {Path(datalist).name}", "check the ground truth"
        )
    folds = {image["fold"] for image in labelled}
    chosen = None if None in folds else sorted(folds)
    return read_ground_truth(datalist, chosen), tuple(chosen or (None,))


def _pool_members(paths: Sequence[str | Path], wanted: Sequence[str]) -> Floats:
    """Pool the members' probabilities of every image `(M, F, 4)`, in the order of the files."""
    predicted: dict[str, list[list[float]]] = {image_id: [] for image_id in wanted}
    for path in paths:
        for image in read_predictions(path):
            if image.image_id in predicted:
                predicted[image.image_id].append(_list_probabilities(image))
    numbers = {len(rows) for rows in predicted.values()}
    if len(numbers) > 1 or not min(numbers):
        found = f"images in {' or '.join(map(str, sorted(numbers)))} of {len(paths)}"
        raise InputError("each image in equally many of the members", found, "give the same folds of every member")
    return np.array([predicted[image_id] for image_id in wanted]).transpose(1, 0, 2)


def _list_probabilities(image: ImageFindings) -> list[float]:
    return [image.probabilities[name] for name in STUDY_CLASSES]
