"""Geometry on boxes: `(N, 4)` float arrays of xmin, ymin, xmax, ymax; x runs along columns, y along rows, in pixels.

Coordinates are continuous: the pixel in row r and column c covers [c, c + 1] x [r, r + 1], so an area is
`(xmax - xmin) * (ymax - ymin)`, without "+ 1".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

Boxes = NDArray[np.float64]


def as_boxes(boxes: ArrayLike | Sequence[ArrayLike]) -> Boxes:
    """Boxes as an `(N, 4)` float64 array; an empty list becomes `(0, 4)`.

    Raises:
        ValueError: where the input has another shape.
    """
    array = np.asarray(boxes, dtype=np.float64)
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"expected boxes of shape (N, 4), got {array.shape}")
    return array


def compute_areas(boxes: ArrayLike) -> NDArray[np.float64]:
    """Areas `(N,)` in square pixels; an inverted box has area 0."""
    boxes = as_boxes(boxes)
    return np.clip(boxes[:, 2] - boxes[:, 0], 0, None) * np.clip(boxes[:, 3] - boxes[:, 1], 0, None)


def compute_iou(boxes: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of every pair, `(N, M)`; 0 where both boxes are empty."""
    boxes, others = as_boxes(boxes), as_boxes(others)
    rows, columns = np.indices((len(boxes), len(others))).reshape(2, -1)
    return compute_paired_iou(boxes[rows], others[columns]).reshape(len(boxes), len(others))


def compute_paired_iou(boxes: ArrayLike, others: ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of each box with the other of its row, `(N,)`; 0 where both boxes are empty."""
    boxes, others = as_boxes(boxes), as_boxes(others)
    low = np.maximum(boxes[:, :2], others[:, :2])
    high = np.minimum(boxes[:, 2:], others[:, 2:])
    intersection = np.clip(high - low, 0, None).prod(axis=1)
    union = compute_areas(boxes) + compute_areas(others) - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def clip_boxes(boxes: ArrayLike, height: float, width: float) -> Boxes:
    """Boxes clipped to a picture of `height` x `width` pixels; what lies outside becomes empty and keeps its row."""
    return np.clip(as_boxes(boxes), 0, [width, height, width, height])


def scale_boxes(boxes: ArrayLike, scale_y: float, scale_x: float) -> Boxes:
    """Boxes of a picture that was resized by `scale_y` (rows) and `scale_x` (columns)."""
    return as_boxes(boxes) * [scale_x, scale_y, scale_x, scale_y]


def move_into_crop(boxes_in_image: ArrayLike, crop_box: ArrayLike, height: int, width: int) -> Boxes:
    """Image boxes -> boxes in a crop that was resized to `height` x `width`, clipped to the crop's own size.

    Args:
        boxes_in_image: `(N, 4)`, image pixels.
        crop_box: `(4,)`, image pixels: what was cut out.
        height, width: the size in pixels that the crop was resized to.
    """
    xmin, ymin, xmax, ymax = as_boxes([crop_box])[0]
    shifted = as_boxes(boxes_in_image) - [xmin, ymin, xmin, ymin]
    # Published solutions clipped with the absolute xmax, ymax here: the crop's own size is what bounds its boxes.
    clipped = clip_boxes(shifted, ymax - ymin, xmax - xmin)
    return scale_boxes(clipped, height / (ymax - ymin), width / (xmax - xmin))


def move_out_of_crop(boxes_in_crop: ArrayLike, crop_box: ArrayLike, height: int, width: int) -> Boxes:
    """Boxes in a crop resized to `height` x `width` -> image boxes: the way back of `move_into_crop`."""
    xmin, ymin, xmax, ymax = as_boxes([crop_box])[0]
    scaled = scale_boxes(boxes_in_crop, (ymax - ymin) / height, (xmax - xmin) / width)
    return scaled + [xmin, ymin, xmin, ymin]


def flip_boxes(boxes: ArrayLike, size: float, axis: int) -> Boxes:
    """Boxes of a picture that was mirrored: `axis` 0 swaps rows (`size` is the height), 1 columns (the width)."""
    boxes, flipped = as_boxes(boxes), as_boxes(boxes).copy()
    low, high = (1, 3) if axis == 0 else (0, 2)
    flipped[:, low], flipped[:, high] = size - boxes[:, high], size - boxes[:, low]
    return flipped


def fill_mask(boxes: ArrayLike, height: int, width: int) -> NDArray[np.float32]:
    """Mask `(height, width)` of ones where a pixel's centre lies in a box, zeros elsewhere."""
    mask = np.zeros((height, width), dtype=np.float32)
    for xmin, ymin, xmax, ymax in np.ceil(clip_boxes(boxes, height, width) - 0.5).astype(int):
        mask[ymin:ymax, xmin:xmax] = 1
    return mask


def find_regions(probabilities: ArrayLike, threshold: float, min_area: int = 1) -> tuple[Boxes, NDArray[np.float64]]:
    """Boxes round the connected regions of a probability map that reach a threshold.

    Args:
        probabilities: `(height, width)`.
        threshold: a pixel belongs to a region from here on; regions touch through edges and corners.
        min_area: smaller regions, in pixels, are left out.

    Returns:
        Boxes `(N, 4)` and the mean probability `(N,)` inside each region.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    regions, count = ndimage.label(values >= threshold, structure=np.ones((3, 3)))
    numbers = np.arange(1, count + 1)
    keep = numbers[ndimage.sum_labels(np.ones_like(values), regions, numbers) >= min_area] if count else numbers
    slices = ndimage.find_objects(regions)
    found = [(s[1].start, s[0].start, s[1].stop, s[0].stop) for s in (slices[number - 1] for number in keep)]
    return as_boxes(found), np.atleast_1d(ndimage.mean(values, regions, keep)) if len(keep) else np.zeros(0)


def fuse_boxes(
    boxes: ArrayLike, scores: ArrayLike, num_sources: int, iou_threshold: float = 0.55
) -> tuple[Boxes, NDArray[np.float64]]:
    """Weighted boxes fusion of one class: boxes of several flips or models of one image become one box a finding.

    By falling score, a box joins the cluster whose fused box it overlaps best, or founds one. The fused box is the
    score-weighted mean of the corners. The fused score is the mean score, lowered where fewer boxes than sources agree:
    times min(members, num_sources) / num_sources.

    Source: Solovyev et al. 2021, arXiv:1910.13302.

    Args:
        boxes: `(N, 4)`, pooled over the sources, all in one frame.
        scores: `(N,)`, positive. Equal ones are taken in the order given.
        num_sources: the flips or models that predicted, also those without a box.
        iou_threshold: overlap that a box must exceed to join.

    Returns:
        Boxes `(M, 4)` and scores `(M,)`, best first.

    Raises:
        ValueError: where a score is not positive and finite, their number differs, or there is no source.
    """
    boxes, scores = as_boxes(boxes), np.asarray(scores, dtype=np.float64)
    if scores.shape != (len(boxes),) or not (np.isfinite(scores) & (scores > 0)).all():
        raise ValueError(f"expected {len(boxes)} positive finite scores, got {scores}")
    if num_sources < 1:
        raise ValueError(f"expected at least one source, got {num_sources}")
    fused, totals, members = np.zeros_like(boxes), np.zeros(len(boxes)), np.zeros(len(boxes), dtype=np.int64)
    count = 0
    for index in np.argsort(-scores, kind="stable"):
        cluster = _find_cluster(boxes[index], fused[:count], iou_threshold)
        count = max(count, cluster + 1)
        totals[cluster] += scores[index]
        members[cluster] += 1
        # A running mean: the first box of a cluster is kept as it is, to the last bit.
        fused[cluster] += (boxes[index] - fused[cluster]) * (scores[index] / totals[cluster])
    means = totals[:count] / members[:count]
    lowered = means * np.minimum(members[:count], num_sources) / num_sources
    order = np.argsort(-lowered, kind="stable")
    return fused[order], lowered[order]


def _find_cluster(box: NDArray[np.float64], fused: Boxes, iou_threshold: float) -> int:
    """Index of the fused box that a box overlaps best (the first of equal ones); the next free index where none is."""
    if not len(fused):
        return 0
    iou = compute_paired_iou(np.broadcast_to(box, fused.shape), fused)
    best = int(iou.argmax())
    return best if iou[best] > iou_threshold else len(fused)
