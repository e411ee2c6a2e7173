"""Uncertainty and selective prediction: values counted by hand, and a twin that tries every order of equal studies."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripts.metrics import selective

SURE, UNSURE = [1.0, 0.0, 0.0, 0.0], [0.25] * 4


# Uncertainty


@pytest.mark.parametrize(
    ("members", "entropy", "mutual_information", "least_confidence"),
    [
        ([SURE], 0, 0, 0),
        ([UNSURE], math.log(4), 0, 0.75),
        ([UNSURE, UNSURE], math.log(4), 0, 0.75),  # unsure, and at one
        ([SURE, SURE[::-1]], math.log(2), math.log(2), 0.5),  # sure, and at odds
        (
            [[0.7, 0.3, 0, 0], [0.3, 0.7, 0, 0]],
            math.log(2),
            math.log(2) + 0.7 * math.log(0.7) + 0.3 * math.log(0.3),
            0.5,
        ),
    ],
)
def test_uncertainty_of_one_image(members, entropy: float, mutual_information: float, least_confidence: float):
    scores = selective.score_uncertainty(members)
    expected = {"entropy": entropy, "mutual_information": mutual_information, "least_confidence": least_confidence}
    assert {name: float(value) for name, value in scores.items()} == pytest.approx(expected)
    assert all(value.shape == () for value in scores.values())


def test_images_do_not_mix():
    members = np.random.default_rng(0).dirichlet((1, 1, 1, 1), (3, 5))
    together = selective.score_uncertainty(members)
    for image in range(5):
        alone = selective.score_uncertainty(members[:, image])
        for name, values in together.items():
            assert values.shape == (5,) and values[image] == pytest.approx(float(alone[name]))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_disagreement_is_never_negative_nor_more_than_the_entropy(seed: int, num_members: int):
    members = np.random.default_rng(seed).dirichlet((0.3,) * 4, num_members)
    scores = selective.score_uncertainty(members)
    assert 0 <= scores["mutual_information"] <= scores["entropy"] + 1e-12 <= math.log(4) + 1e-9
    again = selective.score_uncertainty(np.tile(members[:1], (num_members, 1)))
    assert again["mutual_information"] == pytest.approx(0, abs=1e-12), "members that say the same do not disagree"


@pytest.mark.parametrize(
    ("members", "predicted"),
    [
        ([0.25] * 4, "at least one member"),
        (np.zeros((0, 3, 4)), "at least one member"),
        ([[2.0, -1.0, 0.0, 0.0]], "sum to 1"),
        ([[1.0, 2.0, 0.5, 0.0]], "softmax"),
        ([[math.nan, 1.0, 0.0, 0.0]], "sum to 1"),
    ],
)
def test_what_is_no_probability_is_rejected(members, predicted: str):
    with pytest.raises(ValueError, match=predicted):
        selective.score_uncertainty(members)


# Risk and coverage


def test_a_curve_counted_by_hand():
    curve = selective.trace_risk_coverage([0.4, 0.1, 0.3, 0.2], [True, False, False, True])
    np.testing.assert_allclose(curve, [0, 1 / 2, 1 / 3, 2 / 4])
    assert selective.measure_risk_area([0.4, 0.1, 0.3, 0.2], [True, False, False, True])[0] == pytest.approx(
        curve.mean()
    )


STUDIES = st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(STUDIES)
def test_equal_studies_are_taken_as_in_a_random_order(studies: list[tuple]):
    uncertainty, wrong = (list(column) for column in zip(*studies, strict=True))
    curves = [
        [sum(wrong[n] for n in order[:kept]) / kept for kept in range(1, len(order) + 1)]
        for order in permutations(range(len(studies)))
        if all(uncertainty[a] <= uncertainty[b] for a, b in zip(order, order[1:], strict=False))
    ]
    np.testing.assert_allclose(selective.trace_risk_coverage(uncertainty, wrong), np.mean(curves, axis=0), atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30))
def test_no_order_beats_the_oracle_and_no_uncertainty_is_random(studies: list[tuple]):
    uncertainty, wrong = (np.array(column) for column in zip(*studies, strict=True))
    oracle = selective.measure_risk_area(wrong.astype(float), wrong)[0]
    assert oracle <= selective.measure_risk_area(uncertainty, wrong)[0] + 1e-12
    assert selective.measure_risk_area(np.zeros(len(wrong)), wrong)[0] == pytest.approx(wrong.mean())
    assert selective.trace_risk_coverage(uncertainty, wrong)[-1] == pytest.approx(wrong.mean()), "nobody is handed over"


def test_a_study_that_is_drawn_twice_counts_twice():
    rng = np.random.default_rng(0)
    uncertainty, wrong = rng.random(30), rng.random(30) < 0.4
    counts = rng.integers(0, 3, (4, 30))
    areas = selective.measure_risk_area(uncertainty, wrong, counts)
    for area, row in zip(areas, counts, strict=True):
        synthetic = rng.permutation(np.repeat(np.arange(30), row))
        assert area == pytest.approx(selective.trace_risk_coverage(uncertainty[synthetic], wrong[synthetic]).mean())


@pytest.mark.parametrize(
    ("coverage", "kept"), [(1.0, [0, 1, 2, 3]), (0.5, [1, 3]), (0.75, [0, 1, 3]), (0.1, [1]), (0.3, [1])]
)
def test_the_surest_are_kept(coverage: float, kept: list[int]):
    assert np.flatnonzero(selective.keep_surest([0.5, 0.1, 0.9, 0.2], coverage)).tolist() == kept


@pytest.mark.parametrize("coverage", [0, -0.1, 1.1, math.nan])
def test_a_coverage_is_a_fraction(coverage: float):
    with pytest.raises(ValueError, match="coverage"):
        selective.keep_surest([0.5, 0.1], coverage)
