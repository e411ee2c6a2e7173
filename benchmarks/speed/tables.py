"""Score of a full submission of the challenge's size, 6,054 studies and 6,334 images with 6 or 7 boxes each.

The slow twin is the one that the tests compare with: plain loops over the thresholds. It is quadratic in the number of
detections, so both sides do a quarter of the studies. pycocotools gets the same opacity boxes at IoU 0.5, its results
as the list of dictionaries that it takes, and its ground truth indexed beforehand; ours gets the predictions as `score`
has them in memory. pycocotools takes 101 points of recall and ours all, so the values differ a little.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scripts.labels import OPACITY
from scripts.metrics import GroundTruth, score_predictions
from scripts.submission import Predictions

from benchmarks.speed.comparison import Comparison, time_in_turn
from benchmarks.speed.score_cases import NUM_IMAGES, NUM_STUDIES, draw_submission
from tests.slow_score import score_slowly

SLOW_PART = 4


def measure(folder: Path) -> list[Comparison]:
    """Compare the score with its slow twin and with COCOeval."""
    del folder  # nothing is written
    return [_compare_with_twin(), _compare_with_coco()]


def _compare_with_twin() -> Comparison:
    case = draw_submission(NUM_STUDIES // SLOW_PART, NUM_IMAGES // SLOW_PART)
    results: list[dict[str, float]] = [{}, {}]
    ours, theirs = time_in_turn(
        [lambda: results[0].update(score_predictions(*case)), lambda: results[1].update(score_slowly(*case))],
        repeats=3,
        warm_up=0,
    )
    difference = abs(results[0]["map"] - results[1]["map"])
    return Comparison(
        f"score of a quarter of a full submission, {NUM_STUDIES // SLOW_PART:,} studies",
        "the slow twin",
        ours,
        theirs,
        goal="at least 50",
        note=f"both mAP {results[0]['map']:.4f}, {difference:.0e} apart",
    )


def _compare_with_coco() -> Comparison:
    predictions, truth = draw_submission(NUM_STUDIES, NUM_IMAGES)
    opacities = Predictions(
        {}, {image: [row for row in rows if row[0] == OPACITY] for image, rows in predictions.image.items()}
    )
    coco, rows = _as_coco(opacities, truth)
    results: dict[str, float] = {}
    ours, theirs = time_in_turn(
        [
            lambda: results.update(ours=score_predictions(opacities, truth)[OPACITY]),
            lambda: results.update(theirs=_score_by_coco(coco, rows)),
        ],
        repeats=5,
    )
    return Comparison(
        f"average precision of {len(rows):,} opacity boxes of a full submission",
        "COCOeval of pycocotools at IoU 0.5",
        ours,
        theirs,
        goal="above 1",
        note=f"ours {results['ours']:.4f}, theirs {results['theirs']:.4f}",
    )


def _as_coco(predictions: Predictions, truth: GroundTruth) -> tuple[COCO, list[dict[str, Any]]]:
    """Ground truth with its index, and results as a list of dictionaries; boxes as x, y, width, height."""
    numbers = {image: number for number, image in enumerate(truth.image_boxes, 1)}
    annotations: list[dict[str, Any]] = []
    for image, boxes in truth.image_boxes.items():
        for xmin, ymin, xmax, ymax in boxes.tolist():
            size = (xmax - xmin, ymax - ymin)
            place = {"id": len(annotations) + 1, "image_id": numbers[image], "category_id": 1, "iscrowd": 0}
            annotations.append({**place, "bbox": [xmin, ymin, *size], "area": size[0] * size[1]})
    coco = COCO()
    images = [{"id": number} for number in numbers.values()]
    coco.dataset = {"images": images, "annotations": annotations, "categories": [{"id": 1}]}
    with redirect_stdout(io.StringIO()):
        coco.createIndex()
    rows = [
        {
            "image_id": numbers[image],
            "category_id": 1,
            "score": score,
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
        }
        for image, found in predictions.image.items()
        for _, score, box in found
    ]
    return coco, rows


def _score_by_coco(coco: COCO, rows: list[dict[str, Any]]) -> float:
    with redirect_stdout(io.StringIO()):
        evaluation = COCOeval(coco, coco.loadRes([dict(row) for row in rows]), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
        evaluation.accumulate()
    return float(evaluation.eval["precision"].mean())
