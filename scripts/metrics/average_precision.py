"""Average precision as PASCAL VOC 2010 defines it, with tied confidences as one step; plain numpy, no loop over images.

Source: Everingham et al. 2010, doi:10.1007/s11263-009-0275-4, section 4.2, with the area under all recall points of the
2010 development kit (not 11, not 101 points).

Average precision is computed for weighted groups of ids, because a bootstrap by patient is nothing else: a
patient sampled twice counts every one of its detections and references twice. Weights of 1 give the plain value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scripts.boxes import as_boxes, compute_paired_iou

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: A detection is right when its overlap is greater than this, strictly: the challenge's rule.
IOU_THRESHOLD = 0.5

#: Resamples are worked on in blocks of so many numbers (32 MB), to stay within caches and memory.
_BLOCK_SIZE = 4_000_000


@dataclass(frozen=True)
class RankedDetections:
    """The detections of one class, pooled over all ids and sorted by falling confidence.

    Args:
        hits: `(D,)`, 1 for a true positive and 0 for a false one.
        groups: `(D,)`, number of the group (the patient) that a detection belongs to.
        last_of_step: `(S,)`, place of the last detection of each step; detections of one confidence are one step.
        num_references: `(G,)`, references of each group.
    """

    hits: Floats
    groups: Ints
    last_of_step: Ints
    num_references: Floats


def average_precision(confidences: ArrayLike, hits: ArrayLike, num_references: int) -> float:
    """Average precision of one class; NaN where there is no ground truth, because nothing can be found then.

    Args:
        confidences: `(D,)`, in any order.
        hits: `(D,)`, whether each detection is a true positive.
        num_references: references of the class, found or not.
    """
    confidences = np.asarray(confidences, dtype=np.float64)
    ranked = rank_detections(confidences, hits, np.zeros(len(confidences), dtype=np.int64), np.array([num_references]))
    return float(average_precision_by_weights(ranked, np.ones((1, 1)))[0])


def rank_detections(
    confidences: ArrayLike, hits: ArrayLike, groups: ArrayLike, num_references: ArrayLike
) -> RankedDetections:
    """Sort the detections of one class and find its steps; the arguments are those of `RankedDetections`, unsorted.

    Raises:
        ValueError: where a confidence is not finite.
    """
    confidences = np.asarray(confidences, dtype=np.float64)
    if not np.isfinite(confidences).all():
        raise ValueError("expected finite confidences, got NaN or infinity")
    order = np.argsort(-confidences, kind="stable")
    confidences = confidences[order]
    last_of_step = np.flatnonzero(np.append(confidences[1:] != confidences[:-1], True)[: len(confidences)])
    return RankedDetections(
        hits=np.asarray(hits, dtype=np.float64)[order],
        groups=np.asarray(groups, dtype=np.int64)[order],
        last_of_step=last_of_step.astype(np.int64),
        num_references=np.asarray(num_references, dtype=np.float64),
    )


def average_precision_by_weights(ranked: RankedDetections, weights: ArrayLike) -> Floats:
    """Average precision `(R,)` under each row of weights `(R, G)`; NaN where the weights leave no ground truth."""
    weights = np.asarray(weights, dtype=np.float64)
    blocks = [_measure_block(ranked, block) for block in _split_rows(weights, len(ranked.hits))]
    return np.concatenate(blocks) if blocks else np.zeros(0)


def match_detections(
    confidences: ArrayLike,
    boxes: ArrayLike,
    owners: ArrayLike,
    reference_boxes: ArrayLike,
    reference_owners: ArrayLike,
    iou_threshold: float = IOU_THRESHOLD,
) -> NDArray[np.bool_]:
    """Match the detections of one class with references: true positives as a mask `(D,)`.

    A detection belongs to the ground truth of its id that it overlaps best (the first of two equal ones), when their
    overlap is greater than the threshold. Of the detections of one ground truth the most confident is right, the others
    are false positives. Where two of them are equally confident one is right and one is false, whichever: they stand in
    one step.

    Args:
        confidences: `(D,)`.
        boxes: `(D, 4)`, image pixels.
        owners: `(D,)`, number of the id that a detection was made for.
        reference_boxes: `(T, 4)`.
        reference_owners: `(T,)`.
        iou_threshold: overlap that a true positive must exceed.
    """
    owners, reference_owners = np.asarray(owners, dtype=np.int64), np.asarray(reference_owners, dtype=np.int64)
    best_reference = _find_best_references(
        as_boxes(boxes), owners, as_boxes(reference_boxes), reference_owners, iou_threshold
    )
    order = np.argsort(-np.asarray(confidences, dtype=np.float64), kind="stable")
    order = order[best_reference[order] >= 0]
    _, first = np.unique(best_reference[order], return_index=True)
    hits = np.zeros(len(best_reference), dtype=bool)
    hits[order[first]] = True
    return hits


def _find_best_references(
    boxes: Floats, owners: Ints, reference_boxes: Floats, reference_owners: Ints, iou_threshold: float
) -> Ints:
    """Find the number of the ground truth that each detection belongs to, `(D,)`, or -1."""
    detection, ground_truth = _pair_by_owner(owners, reference_owners)
    iou = compute_paired_iou(boxes[detection], reference_boxes[ground_truth])
    order = np.lexsort((ground_truth, -iou, detection))
    found, first = np.unique(detection[order], return_index=True)
    best = order[first]
    result = np.full(len(boxes), -1, dtype=np.int64)
    result[found] = np.where(iou[best] > iou_threshold, ground_truth[best], -1)
    return result


def _pair_by_owner(owners: Ints, reference_owners: Ints) -> tuple[Ints, Ints]:
    """Every pair of a detection and a reference of one id, as two arrays of indices."""
    by_owner = np.argsort(reference_owners, kind="stable")
    start = np.searchsorted(reference_owners, owners, side="left", sorter=by_owner)
    count = np.searchsorted(reference_owners, owners, side="right", sorter=by_owner) - start
    detection = np.repeat(np.arange(len(owners)), count)
    within = np.arange(len(detection)) - np.repeat(np.cumsum(count) - count, count)
    return detection, by_owner[np.repeat(start, count) + within]


def _split_rows(weights: Floats, width: int) -> Iterator[Floats]:
    rows = max(1, _BLOCK_SIZE // max(1, width))
    for start in range(0, len(weights), rows):
        yield weights[start : start + rows]


def _measure_block(ranked: RankedDetections, weights: Floats) -> Floats:
    counts = weights[:, ranked.groups]
    found = np.cumsum(counts * ranked.hits, axis=1)[:, ranked.last_of_step]
    claimed = np.cumsum(counts, axis=1)[:, ranked.last_of_step]
    precision = np.divide(found, claimed, out=np.zeros_like(found), where=claimed > 0)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    area = (np.diff(found, axis=1, prepend=0) * envelope).sum(axis=1)
    references = weights @ ranked.num_references
    return np.divide(area, references, out=np.full_like(area, np.nan), where=references > 0)
