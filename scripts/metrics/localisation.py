"""Localisation figures of boxes: the opacities of a submission, and the lung box that images are cropped to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scripts.bootstrap import Interval, ResampledScores, average_by_weights
from scripts.boxes import as_boxes, compute_iou, compute_paired_iou
from scripts.errors import InputError
from scripts.labels import OPACITY
from scripts.metrics.average_precision import IOU_THRESHOLD, Floats, RankedDetections
from scripts.metrics.ground_truth import GroundTruth
from scripts.metrics.pooling import PooledBoxes, measure_precisions, split_rows
from scripts.metrics.scores import check_ids
from scripts.submission import Predictions

#: False positives at which recall is reported: a reader checks a few wrong boxes an image, not at all that a detector
#: has to offer.
FALSE_POSITIVES_PER_IMAGE = 2.0

#: Box in image pixels (None where no lungs were found) and its confidence, by image id.
LungBoxes = Mapping[str, tuple[Sequence[float] | None, float]]


@dataclass(frozen=True)
class LocalisationFigures:
    """Localisation figures of opacity boxes; intervals by patient.

    Args:
        ap50: average precision at IoU > 0.5: the challenge's "opacity".
        ap50_95: mean of the average precisions at `IOU_THRESHOLDS`.
        mean_iou: mean overlap of the references that are found at IoU > 0.5, at any confidence, with the detection that
            found them.
        recall: fraction of references found at IoU > 0.5 by the lowest confidence that leaves at most
            `FALSE_POSITIVES_PER_IMAGE` on average; a point of the FROC curve.
    """

    ap50: Interval
    ap50_95: Interval
    mean_iou: Interval
    recall: Interval


@dataclass(frozen=True)
class LungFigures:
    """Localisation figures of lung boxes; intervals by patient.

    Args:
        ap50, ap50_95: as in `LocalisationFigures`, with one detection and one ground truth an image.
        mean_iou: mean over all images that have a reference; one without a box counts 0.
        num_images, num_without_box: images with a reference, and those of them in which no lungs were found.
    """

    ap50: Interval
    ap50_95: Interval
    mean_iou: Interval
    num_images: int
    num_without_box: int


def measure_opacity_boxes(
    predictions: Predictions, ground_truth: GroundTruth, num_resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> LocalisationFigures:
    """Measure the localisation of the opacity boxes of all images.

    A resample chooses its own operating point for the recall, as it would have been chosen on those patients.

    Args:
        num_resamples, seed, level: as in `bootstrap_scores`.

    Returns:
        NaN for what is not defined: all without a reference, the mean overlap where nothing is found.

    Raises:
        InputError: where there are no predictions of images, or of other images than the ground truth's.
    """
    if not predictions.image:
        raise InputError("predictions of images", "none", "predict boxes first")
    check_ids("image", predictions.image, ground_truth.image_boxes, ground_truth.unscored_images)
    pooled = _pool_opacities(predictions, ground_truth)
    weights = pooled.sample_weights(num_resamples, seed)
    values = {
        **measure_precisions(pooled, weights),
        "mean_iou": _average_found(pooled, weights),
        "recall": _measure_recall(pooled, weights),
    }
    return LocalisationFigures(**ResampledScores(values).summarise(level))


def measure_lung_boxes(
    lung_boxes: LungBoxes,
    reference_boxes: Mapping[str, Sequence[float]],
    groups: Mapping[str, str],
    num_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> LungFigures:
    """Measure the localisation of lung boxes on the images with a reference; detections on others are left out.

    Args:
        lung_boxes: what was found, by image id.
        reference_boxes: the right box, by image id.
        groups: patient, by image id.
        num_resamples, seed, level: as in `bootstrap_scores`.

    Raises:
        ValueError: where no image has a reference.
        KeyError: where an image of `reference_boxes` is not in `lung_boxes` or `groups`.
    """
    if not reference_boxes:
        raise ValueError("expected at least one image with a lung box, got none")
    pooled = _pool_lungs(lung_boxes, reference_boxes, groups)
    weights = pooled.sample_weights(num_resamples, seed)
    overlaps = list(measure_lung_overlaps(lung_boxes, reference_boxes).values())
    values = {
        **measure_precisions(pooled, weights),
        "mean_iou": average_by_weights(overlaps, weights[:, pooled.groups]),
    }
    figures = ResampledScores(values).summarise(level)
    num_images = len(reference_boxes)
    return LungFigures(**figures, num_images=num_images, num_without_box=num_images - len(pooled.boxes))


def measure_lung_overlaps(lung_boxes: LungBoxes, reference_boxes: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """IoU of the lung box with the right one, for each image that has one; 0 where no lungs were found."""
    found = [lung_boxes[image][0] for image in reference_boxes]
    boxes = [(0.0, 0.0, 0.0, 0.0) if box is None else box for box in found]
    overlaps = compute_paired_iou(boxes, list(reference_boxes.values()))
    return dict(zip(reference_boxes, overlaps.tolist(), strict=True))


def _pool_opacities(predictions: Predictions, ground_truth: GroundTruth) -> PooledBoxes:
    owners, confidences, boxes = split_rows(
        [
            (owner, confidence, *box)
            for owner, image in enumerate(ground_truth.image_boxes)
            for name, confidence, box in predictions.image[image]
            if name == OPACITY
        ]
    )
    counts = [len(rows) for rows in ground_truth.image_boxes.values()]
    reference_boxes = np.concatenate([np.zeros((0, 4)), *ground_truth.image_boxes.values()])
    groups = np.array([ground_truth.image_group[image] for image in ground_truth.image_boxes], dtype=np.int64)
    reference_owners = np.repeat(np.arange(len(counts)), counts)
    return PooledBoxes(confidences, boxes, owners, reference_boxes, reference_owners, groups, len(ground_truth.groups))


def _pool_lungs(
    lung_boxes: LungBoxes, reference_boxes: Mapping[str, Sequence[float]], groups: Mapping[str, str]
) -> PooledBoxes:
    found = [(owner, *lung_boxes[image]) for owner, image in enumerate(reference_boxes)]
    rows = [(owner, confidence, *box) for owner, box, confidence in found if box is not None]
    owners, confidences, boxes = split_rows(rows)
    patients, numbers = np.unique([groups[image] for image in reference_boxes], return_inverse=True)
    right = as_boxes(list(reference_boxes.values()))
    return PooledBoxes(confidences, boxes, owners, right, np.arange(len(right)), numbers, len(patients))


def _average_found(pooled: PooledBoxes, weights: Floats) -> Floats:
    """Mean overlap `(R,)` of the references that are found; a right detection belongs to what it overlaps best."""
    hits = np.flatnonzero(pooled.match(IOU_THRESHOLD))
    owners, overlaps = pooled.owners[hits], np.zeros(len(hits))
    for owner in np.unique(owners):
        mine = owners == owner
        references = pooled.reference_boxes[pooled.reference_owners == owner]
        overlaps[mine] = compute_iou(pooled.boxes[hits[mine]], references).max(axis=1)
    return average_by_weights(overlaps, weights[:, pooled.groups[owners]])


def _measure_recall(pooled: PooledBoxes, weights: Floats) -> Floats:
    """Recall `(R,)` at `FALSE_POSITIVES_PER_IMAGE`, row by row: a table of all resamples would be large."""
    ranked = pooled.rank(IOU_THRESHOLD)
    return np.array([_find_recall(ranked, row, float(row @ pooled.num_images)) for row in weights])


def _find_recall(ranked: RankedDetections, weights: Floats, num_images: float) -> float:
    counts, references = weights[ranked.groups], float(weights @ ranked.num_references)
    found = np.cumsum(counts * ranked.hits)[ranked.last_of_step]
    false = np.cumsum(counts * (1 - ranked.hits))[ranked.last_of_step]
    steps = int(np.sum(false <= FALSE_POSITIVES_PER_IMAGE * num_images))  # false positives only grow
    if not references:
        return float("nan")
    return float(found[steps - 1] / references) if steps else 0.0
