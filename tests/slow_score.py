"""The challenge's score, slow and obvious: plain loops over the thresholds, each counted from nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scripts.labels import SCORED_CLASSES, STUDY_CLASSES, UNIT_BOX
from scripts.metrics import GroundTruth
from scripts.submission import Predictions


def compute_slow_iou(box: Sequence[float], other: Sequence[float]) -> float:
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(xmax - xmin) * (ymax - ymin) for xmin, ymin, xmax, ymax in (box, other)]
    return width * height / (sum(areas) - width * height)


def find_slow_ground_truth(owner: str, box: Sequence[float], references: list) -> int | None:
    best, overlap = None, 0.5
    for number, (reference_owner, reference_box) in enumerate(references):
        if reference_owner == owner and compute_slow_iou(box, reference_box) > overlap:
            best, overlap = number, compute_slow_iou(box, reference_box)
    return best


def average_slowly(detections: list, references: list) -> float:
    """Go through the thresholds; at each, count from nothing what is claimed and which references are found."""
    claims = [(confidence, find_slow_ground_truth(owner, box, references)) for owner, confidence, box in detections]
    points = []
    for threshold in sorted({confidence for confidence, _ in claims}, reverse=True):
        kept = [reference for confidence, reference in claims if confidence >= threshold]
        found = set(kept) - {None}
        points.append((len(found) / len(references), len(found) / len(kept)))
    area, reached = 0.0, 0.0
    for recall, _ in points:
        area += (recall - reached) * max(precision for other, precision in points if other >= recall)
        reached = recall
    return area


def score_slowly(predictions: Predictions, ground_truth: GroundTruth) -> dict[str, float]:
    scores = {}
    for name in SCORED_CLASSES:
        if name in STUDY_CLASSES:
            detections = [(s, rows[name], UNIT_BOX) for s, rows in predictions.study.items() if name in rows]
            references = [(s, UNIT_BOX) for s, label in ground_truth.study_labels.items() if label == name]
        else:
            detections = [(i, c, box) for i, rows in predictions.image.items() for kind, c, box in rows if kind == name]
            boxes = {i: [UNIT_BOX] * (not len(b)) if name == "none" else b for i, b in ground_truth.image_boxes.items()}
            references = [(image, box) for image, rows in boxes.items() for box in rows]
        scores[name] = average_slowly(detections, references) if references else math.nan
    for mean, names in (("study_map", STUDY_CLASSES), ("map", SCORED_CLASSES)):
        values = [scores[name] for name in names if not math.isnan(scores[name])]
        scores[mean] = sum(values) / len(values)
    return scores
