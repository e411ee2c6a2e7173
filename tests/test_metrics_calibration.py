"""Calibration: errors against slow twins, a temperature that is found again, and no patient who vouches for himself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scripts.labels import STUDY_CLASSES
from scripts.metrics import calibration, score_studies
from scripts.metrics.studies import EvaluatedStudies
from scripts.predictions import average_images
from scripts.transforms import LogitsToFindingsd

Images = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def write_images(number: int = 400, temperature: float = 1.0, seed: int = 0) -> Images:
    """Images (F, 4), study of each, label and patient of each study: right at `temperature`, two studies a patient.

    Every third study has two images that say the same, so that its mean is right too.
    """
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (number, 4))
    labels = np.array([rng.choice(4, p=row) for row in softmax(logits, axis=1)])
    studies = np.sort(np.concatenate([np.arange(number), np.arange(0, number, 3)]))
    return softmax(temperature * logits, axis=1)[studies], studies, labels, np.arange(number) // 2


def measure_slowly(confidences: list[float], hits: list[bool], weights: list[float], num_bins: int) -> float:
    """The error bin by bin and study by study; bins from the sorted confidences, equal ones in one bin."""
    ordered = sorted(confidences)
    sizes = [len(ordered) // num_bins + (place < len(ordered) % num_bins) for place in range(num_bins)]
    starts = sorted({ordered[sum(sizes[:place])] for place in range(num_bins) if sizes[place]})
    total = 0.0
    for place, start in enumerate(starts):
        end = starts[place + 1] if place + 1 < len(starts) else math.inf
        inside = [n for n, confidence in enumerate(confidences) if start <= confidence < end]
        weight = sum(weights[n] for n in inside)
        if weight:
            sure = sum(weights[n] * confidences[n] for n in inside) / weight
            right = sum(weights[n] for n in inside if hits[n]) / weight
            total += weight / sum(weights) * abs(sure - right)
    return total


# Temperature


@pytest.mark.parametrize("row", [[0.1, 0.6, 0.2, 0.1], [1.0, 0.0, 0.0, 0.0]])
def test_a_temperature_of_one_changes_nothing(row: list[float]):
    np.testing.assert_allclose(calibration.temper(row, 1.0), row, atol=1e-12)


def test_tempering_is_a_softmax_of_divided_logits():
    logits = np.array([[2.0, -1.0, 0.5, 0.0], [0.0, 3.0, 1.0, -2.0]])
    np.testing.assert_allclose(
        calibration.temper(softmax(logits, axis=1), 2.5), torch.from_numpy(logits / 2.5).softmax(dim=1).numpy()
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 100), min_size=4, max_size=4, unique=True), st.floats(0.2, 5))
def test_the_ranking_of_the_classes_within_an_image_stays(weights: list[int], temperature: float):
    row = np.array(weights) / sum(weights)
    assert calibration.temper(row, temperature).argsort().tolist() == row.argsort().tolist()


def test_the_ranking_of_images_within_a_class_does_not_and_with_it_the_precision():
    """The temperature moves one further of a sure and an unsure image with the same probability of a class."""
    images = np.array([[0.44, 0.40, 0.08, 0.08], [0.43, 0.19, 0.19, 0.19]])
    assert images[:, 0].argmax() == 0 and calibration.temper(images, 0.5)[:, 0].argmax() == 1
    before, after = (score_studies(rows, [1, 0])["negative"] for rows in (images, calibration.temper(images, 0.5)))
    assert (before, after) == (0.5, 1.0)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_is_positive(temperature: float):
    with pytest.raises(ValueError, match="above 0"):
        calibration.temper([0.5, 0.5], temperature)
    with pytest.raises(ValueError, match="above 0"):
        LogitsToFindingsd(temperature=temperature)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_temperature_that_made_the_probabilities_wrong_is_found(temperature: float):
    images, studies, labels, _ = write_images(4000, temperature)
    assert calibration.fit_temperature(images, studies, labels) == pytest.approx(temperature, rel=0.08)


def test_no_temperature_of_a_grid_is_likelier_than_the_fitted_one():
    """Images are tempered, then averaged: two that contradict each other count as inference counts them."""
    rng = np.random.default_rng(1)
    images, studies = rng.dirichlet((0.4, 0.4, 0.4, 0.4), 120), np.arange(120) // 2
    labels = rng.integers(0, 4, 60)
    labels[:40] = average_images(images, studies)[:40].argmax(axis=1)

    def measure_loss(temperature: float) -> float:
        powers = images ** (1 / temperature)
        predicted = average_images(powers / powers.sum(axis=1, keepdims=True), studies)
        return -np.log(predicted[np.arange(60), labels]).mean()

    fitted = calibration.fit_temperature(images, studies, labels)
    assert measure_loss(fitted) <= min(map(measure_loss, np.geomspace(0.1, 10, 300))) + 1e-6


def test_inference_divides_by_the_fitted_temperature():
    logits = {"study": torch.tensor([0.3, 2.0, -1.0, 0.4])}
    item = {"pred": logits, "crop_box": [0, 0, 8, 8], "original_size": [8, 8]}
    plain, same, tempered = (
        list(LogitsToFindingsd(**options)(dict(item))["result"]["probabilities"].values())
        for options in ({}, {"temperature": 1.0}, {"temperature": 1.7})
    )
    assert plain == same == logits["study"].softmax(dim=0).tolist()
    assert tempered == pytest.approx(calibration.temper(plain, 1.7).tolist(), rel=1e-5)


# Cross-fit


def test_each_part_is_tempered_by_the_others_and_a_patient_stands_in_one():
    images, studies, labels, groups = write_images(200, 2.0)
    fit = calibration.cross_fit_temperature(images, studies, labels, groups, num_parts=4, seed=3)
    options = np.stack([average_images(calibration.temper(images, t), studies) for t in fit.part_temperatures])
    part = np.abs(options - fit.probabilities).max(axis=2).argmin(axis=0)
    np.testing.assert_allclose(fit.probabilities, options[part, np.arange(200)], atol=1e-12)
    assert set(part.tolist()) == {0, 1, 2, 3}
    assert (part[::2] == part[1::2]).all(), "two studies a patient"
    assert fit.temperature == calibration.fit_temperature(images, studies, labels)
    for number, temperature in enumerate(fit.part_temperatures):
        kept = part != number
        rows = kept[studies]
        renumbered = np.unique(studies[rows], return_inverse=True)[1]
        assert temperature == pytest.approx(calibration.fit_temperature(images[rows], renumbered, labels[kept]))


def test_the_label_of_a_patient_has_no_say_in_his_own_temperature():
    images, studies, labels, groups = write_images(60, 2.0)
    whole = calibration.cross_fit_temperature(images, studies, labels, groups)
    for patient in range(3):
        changed = np.where(groups == patient, (labels + 1) % 4, labels)
        other = calibration.cross_fit_temperature(images, studies, changed, groups)
        mine = groups == patient
        np.testing.assert_array_equal(other.probabilities[mine], whole.probabilities[mine])
        assert not np.array_equal(other.probabilities[~mine], whole.probabilities[~mine])


def test_an_overconfident_network_is_better_calibrated_afterwards():
    images, studies, labels, groups = write_images(1000, 3.0)
    before = calibration.measure_calibration(average_images(images, studies), labels)
    after = calibration.measure_calibration(
        calibration.cross_fit_temperature(images, studies, labels, groups).probabilities, labels
    )
    assert all(after[name] < before[name] for name in before)
    assert before["ece"] > 0.1 > 0.05 > after["ece"]


@pytest.mark.parametrize(("shift", "at_limit"), [(0, False), (1, True)], ids=["informative", "always wrong"])
def test_a_temperature_at_the_limit_of_the_search_is_told_as_none(shift: int, at_limit: bool):
    images, studies, labels, groups = write_images(400, 2.0)
    wrong = average_images(images, studies).argmax(axis=1)
    fit = calibration.cross_fit_temperature(images, studies, (wrong + 1) % 4 if shift else labels, groups)
    assert fit.at_limit == at_limit


def test_fewer_patients_than_parts_are_rejected():
    with pytest.raises(ValueError, match="number of groups"):
        calibration.cross_fit_temperature(*write_images(8), num_parts=5)


# Errors


def test_errors_counted_by_hand():
    predicted = [[0.8, 0.1, 0.1, 0.0], [0.8, 0.1, 0.1, 0.0], [0.2, 0.5, 0.2, 0.1], [0.2, 0.5, 0.2, 0.1]]
    measured = calibration.measure_calibration(predicted, [0, 1, 1, 1], num_bins=2)
    assert {name: values.shape for name, values in measured.items()} == dict.fromkeys(measured, (1,))
    assert measured["ece"][0] == pytest.approx((2 * abs(0.8 - 0.5) + 2 * abs(0.5 - 1)) / 4)
    # negative: 0.8 against 1/2, 0.2 against 0; typical: 0.1 against 1/2, 0.5 against 1; the others never occur
    classes = [(0.3 + 0.2) / 2, (0.4 + 0.5) / 2, (0.1 + 0.2) / 2, (0.0 + 0.1) / 2]
    assert measured["class_ece"][0] == pytest.approx(np.mean(classes))
    brier = [0.04 + 0.01 + 0.01, 0.64 + 0.81 + 0.01, *[0.04 + 0.25 + 0.04 + 0.01] * 2]
    assert measured["brier"][0] == pytest.approx(np.mean(brier))
    assert measured["nll"][0] == pytest.approx(-np.mean(np.log([0.8, 0.1, 0.5, 0.5])))


def test_a_label_that_was_held_for_impossible_costs_much_and_not_everything():
    assert 80 < calibration.measure_calibration([[1.0, 0.0, 0.0, 0.0]], [1])["nll"][0] < 100


CONFIDENCE = st.sampled_from([0.25, 0.3, 0.5, 0.75, 0.9, 1.0])  # few, so that ties are many


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(CONFIDENCE, st.booleans(), st.integers(0, 3)), min_size=1, max_size=14), st.integers(1, 5))
def test_the_error_equals_that_of_a_slow_twin_under_any_weights(studies: list[tuple], num_bins: int):
    confidences, hits, weights = (list(column) for column in zip(*studies, strict=True))
    if not sum(weights):
        return
    predicted = [
        [confidence, 1 - confidence] if confidence >= 0.5 else [confidence, 0.5 - confidence, 0.5]
        for confidence in confidences
    ]
    rows = np.zeros((len(predicted), 3))
    for row, values in zip(rows, predicted, strict=True):
        row[: len(values)] = values
    labels = np.where(hits, rows.argmax(axis=1), (rows.argmax(axis=1) + 1) % 3)
    measured = calibration.measure_calibration(rows, labels, [weights], num_bins)
    assert measured["ece"][0] == pytest.approx(measure_slowly(rows.max(axis=1).tolist(), hits, weights, num_bins))
    columns = [
        measure_slowly(rows[:, c].tolist(), (labels == c).tolist(), weights, num_bins) for c in range(rows.shape[1])
    ]
    assert measured["class_ece"][0] == pytest.approx(np.mean(columns))


def test_a_weight_of_two_is_the_study_twice_and_of_none_its_absence():
    images, studies, labels, _ = write_images(90)
    predicted = average_images(images, studies)
    weighted = calibration.measure_calibration(predicted, labels, [np.arange(90) % 3], num_bins=1)
    repeated = np.repeat(np.arange(90), np.arange(90) % 3)
    expected = calibration.measure_calibration(predicted[repeated], labels[repeated], num_bins=1)
    assert {name: float(v[0]) for name, v in weighted.items()} == pytest.approx(
        {name: float(v[0]) for name, v in expected.items()}
    )


def test_the_error_by_chance_is_that_of_probabilities_which_are_right():
    images, studies, _, _ = write_images(300)
    predicted = average_images(images, studies)
    errors = []
    for seed in range(60):
        rng = np.random.default_rng(100 + seed)
        labels = np.array([rng.choice(4, p=row / row.sum()) for row in predicted])
        errors.append(calibration.measure_calibration(predicted, labels)["ece"][0])
    assert calibration.expect_error_by_chance(predicted.max(axis=1)) == pytest.approx(np.mean(errors), rel=0.1)
    assert calibration.expect_error_by_chance(np.tile(predicted.max(axis=1), 20)) < np.mean(errors) / 3, "it is noise"


# The diagram


def test_the_diagram_reports_each_bin_and_its_interval():
    confidences, hits = np.repeat([0.3, 0.6, 0.9], 20), np.arange(60) % 4 > 0
    weights = np.ones((3, 60))
    weights[1, hits], weights[2, ~hits] = 0, 0  # one resample without the right ones, one without the wrong ones
    traced = calibration.trace_reliability(confidences, hits, weights, num_bins=3)
    np.testing.assert_allclose(traced.confidences, [0.3, 0.6, 0.9])
    np.testing.assert_allclose(traced.accuracies, [0.75] * 3)
    np.testing.assert_allclose([traced.low, traced.high], [[0.025] * 3, [0.975] * 3])
    assert traced.sizes.tolist() == [20] * 3


def test_bins_are_of_equal_mass_and_every_study_is_in_one():
    confidences = np.random.default_rng(0).random(1004)
    traced = calibration.trace_reliability(confidences, confidences > 2, np.ones((1, 1004)))
    assert sorted(set(traced.sizes.tolist())) == [66, 67] and traced.sizes.sum() == 1004
    assert (np.diff(traced.confidences) > 0).all()


# Studies as arrays


def test_the_scores_of_arrays_are_those_of_the_judge():
    images, studies, labels, groups = write_images(120, seed=5)
    evaluated = EvaluatedStudies(average_images(images, studies), labels, groups, 60)
    weights = evaluated.sample_weights(20, seed=1)
    scores = evaluated.measure(weights)
    assert weights.shape == (21, 60) and (weights[0] == 1).all()
    for row, weight in enumerate(weights[:5]):
        synthetic = np.repeat(np.arange(120), weight[groups].astype(int))
        predicted = evaluated.probabilities[synthetic]
        assert scores["study_map"][row] == pytest.approx(score_studies(predicted, labels[synthetic])["study_map"])
        assert scores["accuracy"][row] == pytest.approx((predicted.argmax(axis=1) == labels[synthetic]).mean())
        negative, others = predicted[labels[synthetic] == 0, 0], predicted[labels[synthetic] != 0, 0]
        pairs = (negative[:, None] > others) + (negative[:, None] == others) / 2
        assert scores["auroc"][row] == pytest.approx(pairs.mean())


def test_kept_studies_keep_their_patients():
    images, studies, labels, groups = write_images(40)
    evaluated = EvaluatedStudies(average_images(images, studies), labels, groups, 20)
    kept = evaluated.keep(np.arange(40) >= 30)
    assert len(kept) == 10 and kept.groups.tolist() == groups[30:].tolist() and kept.num_groups == 20
    assert kept.num_of_class.tolist() == [list(labels[30:]).count(place) for place in range(len(STUDY_CLASSES))]
