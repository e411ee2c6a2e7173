"""How well boxes lie: the opacities of a submission, and the one box round both lungs that films are cropped to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scripts.boxes import as_boxes, compute_iou, compute_paired_iou
from scripts.errors import InputError
from scripts.labels import OPACITY
from scripts.metrics.average_precision import IOU_THRESHOLD, Floats, RankedDetections
from scripts.metrics.bootstrap import Interval, ResampledScores
from scripts.metrics.pooling import PooledBoxes, average_by_weights, measure_precisions, split_rows
from scripts.metrics.scores import check_ids
from scripts.metrics.submission import Predictions
from scripts.metrics.truth import Truth

#: Where recall is told: a reader looks at a few wrong boxes a film, not at all that a detector has to offer.
FALSE_POSITIVES_PER_FILM = 2.0

#: Box in film pixels (None where no lungs were found) and its confidence, by image id.
LungBoxes = Mapping[str, tuple[Sequence[float] | None, float]]


@dataclass(frozen=True)
class LocalisationFigures:
    """How well opacity boxes lie; intervals by patient.

    Args:
        ap50: average precision at IoU > .5: the challenge's "opacity".
        ap50_95: mean of the average precisions at `IOU_THRESHOLDS`.
        mean_iou: mean overlap of the truths that are found at IoU > .5, at any confidence, with the detection that
            found them.
        recall: share of truths found at IoU > .5 by the lowest confidence that leaves at most
            `FALSE_POSITIVES_PER_FILM` on average; a point of the FROC curve.
    """

    ap50: Interval
    ap50_95: Interval
    mean_iou: Interval
    recall: Interval


@dataclass(frozen=True)
class LungFigures:
    """How well lung boxes lie; intervals by patient.

    Args:
        ap50, ap50_95: as in `LocalisationFigures`, with one detection and one truth a film.
        mean_iou: mean over all films that have a truth; one without a box counts 0.
        num_films, num_without_box: films with a truth, and those of them in which no lungs were found.
    """

    ap50: Interval
    ap50_95: Interval
    mean_iou: Interval
    num_films: int
    num_without_box: int


def measure_opacity_boxes(
    predictions: Predictions, truth: Truth, num_resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> LocalisationFigures:
    """How well the opacity boxes of all films lie.

    A resample chooses its own operating point for the recall, as it would have been chosen on those patients.

    Args:
        num_resamples, seed, level: as in `bootstrap_scores`.

    Returns:
        NaN for what is not defined: all without a truth, the mean overlap where nothing is found.

    Raises:
        InputError: where there are no predictions of images, or of other images than the truth's.
    """
    if not predictions.image:
        raise InputError("predictions of images", "none", "predict boxes first")
    check_ids("image", predictions.image, truth.image_boxes, truth.unscored_images)
    pooled = _pool_opacities(predictions, truth)
    weights = pooled.draw_weights(num_resamples, seed)
    values = {
        **measure_precisions(pooled, weights),
        "mean_iou": _average_found(pooled, weights),
        "recall": _measure_recall(pooled, weights),
    }
    return LocalisationFigures(**ResampledScores(values).summarise(level))


def measure_lung_boxes(
    lung_boxes: LungBoxes,
    truth_boxes: Mapping[str, Sequence[float]],
    groups: Mapping[str, str],
    num_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> LungFigures:
    """How well the lung boxes of the films with a truth lie; what was found on other films is left out.

    Args:
        lung_boxes: what was found, by image id.
        truth_boxes: the right box, by image id.
        groups: patient, by image id.
        num_resamples, seed, level: as in `bootstrap_scores`.

    Raises:
        ValueError: where no film has a truth.
        KeyError: where a film of `truth_boxes` is not in `lung_boxes` or `groups`.
    """
    if not truth_boxes:
        raise ValueError("expected at least one film with a lung box, got none")
    pooled = _pool_lungs(lung_boxes, truth_boxes, groups)
    weights = pooled.draw_weights(num_resamples, seed)
    overlaps = list(measure_lung_overlaps(lung_boxes, truth_boxes).values())
    values = {
        **measure_precisions(pooled, weights),
        "mean_iou": average_by_weights(overlaps, weights[:, pooled.groups]),
    }
    figures = ResampledScores(values).summarise(level)
    num_films = len(truth_boxes)
    return LungFigures(**figures, num_films=num_films, num_without_box=num_films - len(pooled.boxes))


def measure_lung_overlaps(lung_boxes: LungBoxes, truth_boxes: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """IoU of the lung box with the right one, for each film that has one; 0 where no lungs were found."""
    found = [lung_boxes[image][0] for image in truth_boxes]
    boxes = [(0.0, 0.0, 0.0, 0.0) if box is None else box for box in found]
    overlaps = compute_paired_iou(boxes, list(truth_boxes.values()))
    return dict(zip(truth_boxes, overlaps.tolist(), strict=True))


def _pool_opacities(predictions: Predictions, truth: Truth) -> PooledBoxes:
    owners, confidences, boxes = split_rows(
        [
            (owner, confidence, *box)
            for owner, image in enumerate(truth.image_boxes)
            for name, confidence, box in predictions.image[image]
            if name == OPACITY
        ]
    )
    counts = [len(rows) for rows in truth.image_boxes.values()]
    truth_boxes = np.concatenate([np.zeros((0, 4)), *truth.image_boxes.values()])
    groups = np.array([truth.image_group[image] for image in truth.image_boxes], dtype=np.int64)
    truth_owners = np.repeat(np.arange(len(counts)), counts)
    return PooledBoxes(confidences, boxes, owners, truth_boxes, truth_owners, groups, len(truth.groups))


def _pool_lungs(
    lung_boxes: LungBoxes,
    truth_boxes: Mapping[str, Sequence[float]],
    groups: Mapping[str, str],
) -> PooledBoxes:
    found = [(owner, *lung_boxes[image]) for owner, image in enumerate(truth_boxes)]
    rows = [(owner, confidence, *box) for owner, box, confidence in found if box is not None]
    owners, confidences, boxes = split_rows(rows)
    patients, numbers = np.unique([groups[image] for image in truth_boxes], return_inverse=True)
    right = as_boxes(list(truth_boxes.values()))
    return PooledBoxes(confidences, boxes, owners, right, np.arange(len(right)), numbers, len(patients))


def _average_found(pooled: PooledBoxes, weights: Floats) -> Floats:
    """Mean overlap `(R,)` of the truths that are found; a right detection belongs to what it overlaps best."""
    hits = np.flatnonzero(pooled.match(IOU_THRESHOLD))
    owners, overlaps = pooled.owners[hits], np.zeros(len(hits))
    for owner in np.unique(owners):
        mine = owners == owner
        truths = pooled.truth_boxes[pooled.truth_owners == owner]
        overlaps[mine] = compute_iou(pooled.boxes[hits[mine]], truths).max(axis=1)
    return average_by_weights(overlaps, weights[:, pooled.groups[owners]])


def _measure_recall(pooled: PooledBoxes, weights: Floats) -> Floats:
    """Recall `(R,)` at `FALSE_POSITIVES_PER_FILM`, row by row: a table of all resamples would be large."""
    ranked = pooled.rank(IOU_THRESHOLD)
    return np.array([_find_recall(ranked, row, float(row @ pooled.num_films)) for row in weights])


def _find_recall(ranked: RankedDetections, weights: Floats, num_films: float) -> float:
    counts, truths = weights[ranked.groups], float(weights @ ranked.num_truths)
    found = np.cumsum(counts * ranked.hits)[ranked.last_of_step]
    false = np.cumsum(counts * (1 - ranked.hits))[ranked.last_of_step]
    steps = int(np.sum(false <= FALSE_POSITIVES_PER_FILM * num_films))  # false positives only grow
    if not truths:
        return float("nan")
    return float(found[steps - 1] / truths) if steps else 0.0
