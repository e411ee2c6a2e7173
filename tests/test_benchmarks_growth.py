"""Benchmarks of growing work: what they draw is what they say, and the peers do the same work."""

from __future__ import annotations

import numpy as np
import pytest
from scripts.labels import OPACITY
from scripts.metrics import score_predictions
from scripts.submission import Predictions

from benchmarks.speed.growth import FRACTIONS, MAX_GROWTH, TASKS, Cost, _compare, draw_hashes, run_task
from benchmarks.speed.score_cases import draw_submission
from tests.slow_score import score_slowly


def test_planted_copies_differ_in_their_fractions_of_the_bits():
    hashes, planted = draw_hashes(2000)
    assert hashes.shape == (2000, 575) and list(planted) == list(FRACTIONS)
    for fraction, pairs in planted.items():
        first, second = np.array(pairs).T
        assert len(pairs) == 20 and (first < second).all()
        np.testing.assert_array_equal((hashes[first] != hashes[second]).sum(axis=1), int(fraction * 575))


def test_growth_is_compared_with_150_times_the_first_size():
    row = _compare("score", [Cost(0.1, 10**9), Cost(1, 2 * 10**9), Cost(10, 3 * 10**9)])
    assert row.ratio == pytest.approx(MAX_GROWTH * 0.1 / 10)
    assert "1x 0.1 s, 1 GB; 10x 1 s, 2 GB; 100x 10 s, 3 GB; exponent 1.00" in row.note


def test_every_task_runs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("benchmarks.speed.growth.NUM_STUDIES", 190)
    monkeypatch.setattr("benchmarks.speed.growth.NUM_IMAGES", 200)
    costs = {name: run_task(name, 1) for name in TASKS}
    assert all(cost.seconds > 0 and cost.peak_bytes > 10**7 for cost in costs.values())
    assert "100.0% at 0.25" in costs["duplicates"].note


def test_the_twin_and_pycocotools_score_the_same_submission():
    tables = pytest.importorskip("benchmarks.speed.tables", exc_type=ImportError)
    predictions, truth = draw_submission(95, 100)
    scores = score_predictions(predictions, truth)
    assert scores == pytest.approx(score_slowly(predictions, truth))
    boxes = {image: [row for row in rows if row[0] == OPACITY] for image, rows in predictions.image.items()}
    coco = tables._score_by_coco(*tables._as_coco(Predictions({}, boxes), truth))
    assert coco == pytest.approx(scores[OPACITY], abs=0.02)  # 101 points of recall in place of all
