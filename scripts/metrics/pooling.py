"""Detections and references of one class pooled over images, with their average precision at one overlap or ten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scripts.bootstrap import weigh_groups
from scripts.boxes import Boxes
from scripts.metrics.average_precision import (
    IOU_THRESHOLD,
    Floats,
    Ints,
    RankedDetections,
    average_precision_by_weights,
    match_detections,
    rank_detections,
)

#: IoU > 0.50, 0.55 ... 0.95: the ten overlaps of COCO (Lin et al. 2014, arXiv:1405.0312). The area is VOC's.
IOU_THRESHOLDS: tuple[float, ...] = tuple((50 + 5 * step) / 100 for step in range(10))


@dataclass(frozen=True)
class PooledBoxes:
    """Detections and references of F images, pooled; owners are indices of the images.

    Args:
        confidences, boxes, owners: `(D,)`, `(D, 4)`, `(D,)`.
        reference_boxes, reference_owners: `(T, 4)`, `(T,)`.
        groups: `(F,)`, number of each image's patient.
        num_groups: patients, also those without an image.
    """

    confidences: Floats
    boxes: Boxes
    owners: Ints
    reference_boxes: Boxes
    reference_owners: Ints
    groups: Ints
    num_groups: int

    def rank(self, iou_threshold: float) -> RankedDetections:
        """The detections with hits at an overlap."""
        hits = self.match(iou_threshold)
        references = np.bincount(self.groups[self.reference_owners], minlength=self.num_groups)
        return rank_detections(self.confidences, hits, self.groups[self.owners], references)

    def match(self, iou_threshold: float) -> NDArray[np.bool_]:
        """Match detections with references at an overlap: a mask `(D,)`."""
        return match_detections(
            self.confidences, self.boxes, self.owners, self.reference_boxes, self.reference_owners, iou_threshold
        )

    @cached_property
    def num_images(self) -> Ints:
        """Images of each patient, `(G,)`."""
        return np.bincount(self.groups, minlength=self.num_groups)

    def sample_weights(self, num_resamples: int, seed: int) -> Floats:
        """Weights `(1 + R, G)`: all patients once, then each resample."""
        return weigh_groups(self.num_groups, num_resamples, seed)


def split_rows(rows: Sequence[Sequence[float]]) -> tuple[Ints, Floats, Boxes]:
    """Owners `(D,)`, confidences `(D,)` and boxes `(D, 4)` from rows of six numbers."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    return table[:, 0].astype(np.int64), table[:, 1], table[:, 2:]


def measure_precisions(pooled: PooledBoxes, weights: Floats) -> dict[str, Floats]:
    """Both average precisions `(R,)` under each row of weights `(R, G)`."""
    precisions = [average_precision_by_weights(pooled.rank(threshold), weights) for threshold in IOU_THRESHOLDS]
    return {"ap50": precisions[IOU_THRESHOLDS.index(IOU_THRESHOLD)], "ap50_95": np.mean(precisions, axis=0)}
