"""Calibration and selective prediction of pooled images, with intervals by patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scripts.bootstrap import Interval, ResampledScores
from scripts.metrics.average_precision import Floats
from scripts.metrics.calibration import (
    CLASS_ECE,
    ECE,
    Reliability,
    TemperatureFit,
    cross_fit_temperature,
    expect_error_by_chance,
    measure_calibration,
    trace_reliability,
)
from scripts.metrics.reliability.gathering import EvaluatedImages
from scripts.metrics.scores import STUDY_MAP
from scripts.metrics.selective import (
    ENTROPY,
    LEAST_CONFIDENCE,
    MUTUAL_INFORMATION,
    keep_surest,
    measure_risk_area,
    score_uncertainty,
    trace_risk_coverage,
)
from scripts.metrics.studies import ACCURACY, AUROC, EvaluatedStudies

Intervals = Mapping[str, Interval]

#: Coverages: fractions of the studies that are not handed to a person.
COVERAGES: tuple[float, ...] = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)

#: Orders that no uncertainty makes: what it must beat, and what it cannot.
RANDOM, ORACLE = "random", "oracle"

#: By this the studies are handed over in the table of what is kept: fixed beforehand, not the best of those measured.
KEPT_BY = LEAST_CONFIDENCE

#: Figures that are the better the higher; the others are errors.
SCORES: tuple[str, ...] = (STUDY_MAP, AUROC)


@dataclass(frozen=True)
class Calibration:
    """Figures before and after the cross-fitted temperature, and how much better they are (above 0: better)."""

    before: Intervals
    after: Intervals
    improvement: Intervals
    by_chance: Mapping[str, float]
    fit: TemperatureFit
    diagrams: Mapping[str, Reliability]


@dataclass(frozen=True)
class Selection:
    """Risk-coverage areas and curves `(S,)` by order, gains over a random order, and what is kept at each coverage.

    The rarest and hardest class is the first to be handed over, so `num_of_class` reports what the scores are made of.
    """

    areas: Intervals
    gains: Intervals
    curves: Mapping[str, Floats]
    kept: Mapping[float, Intervals]
    num_of_class: Mapping[float, tuple[int, ...]]


def evaluate_calibration(
    images: EvaluatedImages, studies: EvaluatedStudies, weights: Floats, num_parts: int = 5, seed: int = 0
) -> Calibration:
    """Calibration, study mAP and AUROC before and after; the temperatures stay as fitted in all resamples."""
    fit = cross_fit_temperature(
        images.probabilities, images.study_indices, studies.labels, studies.groups, num_parts, seed
    )
    tempered, counts = images.evaluate_studies(fit.probabilities), weights[:, studies.groups]
    before, after = (
        centre_errors(measure_calibration(each.probabilities, each.labels, counts))
        | {name: values for name, values in each.measure(weights).items() if name in SCORES}
        for each in (studies, tempered)
    )
    improvement = {
        name: after[name] - before[name] if name in SCORES else before[name] - after[name] for name in before
    }
    predicted = fit.probabilities
    chance = {
        ECE: expect_error_by_chance(predicted.max(axis=1), seed=seed),
        CLASS_ECE: float(np.mean([expect_error_by_chance(column, seed=seed) for column in predicted.T])),
    }
    diagrams = {
        name: trace_reliability(each.probabilities.max(axis=1), each.right, counts)
        for name, each in (("before", studies), ("after", tempered))
    }
    reported = [ResampledScores(values).summarise() for values in (before, after, improvement)]
    return Calibration(reported[0], reported[1], reported[2], chance, fit, diagrams)


def centre_errors(figures: Mapping[str, Floats]) -> dict[str, Floats]:
    """Figures `(1 + R,)` with the calibration errors of the resamples shifted, so that their mean is the first value.

    An error is a sum of absolute values: the noise that resampling adds makes each one larger, and an interval of them
    as they are may lie above the value itself (Efron 1979 estimates a bias by just this excess).
    """
    return {
        name: np.append(values[0], values[1:] - (values[1:].mean() - values[0])) if name in (ECE, CLASS_ECE) else values
        for name, values in figures.items()
    }


def evaluate_selection(images: EvaluatedImages, studies: EvaluatedStudies, weights: Floats) -> Selection:
    """Evaluate how each measure of uncertainty orders the mistakes."""
    orders = _list_orders(images, studies)
    wrong, counts = ~studies.right, weights[:, studies.groups]
    areas = {name: measure_risk_area(values, wrong, counts) for name, values in orders.items()}
    gains = {name: areas[RANDOM] - values for name, values in areas.items() if name != RANDOM}
    kept = {coverage: studies.keep(keep_surest(orders[KEPT_BY], coverage)) for coverage in COVERAGES}
    curves = {name: trace_risk_coverage(values, wrong) for name, values in orders.items()}
    return Selection(
        ResampledScores(areas).summarise(),
        ResampledScores(gains).summarise(),
        curves,
        {coverage: _measure_kept(each, weights) for coverage, each in kept.items()},
        {coverage: tuple(each.num_of_class.tolist()) for coverage, each in kept.items()},
    )


def _list_orders(images: EvaluatedImages, studies: EvaluatedStudies) -> dict[str, Floats]:
    """Uncertainty `(S,)` of each measure, of the predictions and, where there are several, of their members."""
    alone = score_uncertainty(studies.probabilities[None])
    orders = {RANDOM: np.zeros(len(studies)), **{name: alone[name] for name in (LEAST_CONFIDENCE, ENTROPY)}}
    if len(images.members) > 1:
        together = score_uncertainty(images.average_members())
        orders |= {f"{name} of members": together[name] for name in (LEAST_CONFIDENCE, ENTROPY, MUTUAL_INFORMATION)}
    return orders | {ORACLE: (~studies.right).astype(float)}


def _measure_kept(kept: EvaluatedStudies, weights: Floats) -> dict[str, Interval]:
    """Accuracy and study mAP of the studies that are kept; which ones stays the same in all resamples."""
    scores = kept.measure(weights)
    return ResampledScores({name: scores[name] for name in (ACCURACY, STUDY_MAP)}).summarise()
