"""Differences between an experiment and another one, with their noise: the sample of patients, and the training seeds.

Combinations are scored on the same resamples of patients, their seeds averaged. The patients' interval is the paired
bootstrap's; the standard deviation between seeds, pooled over all combinations, widens it by Student's t, as
independent errors add.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scripts.bootstrap import Floats, Interval, summarise_values
from scripts.experiments.combinations import Combination
from scripts.tabulation import evaluate_difference


@dataclass(frozen=True)
class Measured:
    """A combination's study mAP.

    Args:
        combination: its overrides.
        values: `(S, 1 + R)`, of each seed, on all patients and on each resample.
        seeds: of the trainings.
        loss_ratios: validation / training loss of each run.
    """

    combination: Combination
    values: Floats
    seeds: tuple[int, ...]
    loss_ratios: tuple[float, ...]

    @property
    def mean(self) -> Interval:
        return summarise_values(self.values.mean(axis=0))

    @property
    def deviation(self) -> float:
        """Between seeds; NaN with one."""
        return float(np.std(self.values[:, 0], ddof=1)) if len(self.values) > 1 else math.nan

    @property
    def loss_ratio(self) -> float:
        return float(np.mean(self.loss_ratios)) if self.loss_ratios else math.nan


@dataclass(frozen=True)
class Difference:
    """An experiment minus another one; all is NaN where there was nothing to compare with.

    Args:
        combination, other: names.
        patients: interval by patients alone; its bounds are NaN where they were not resampled.
        total: with the noise between seeds, where that was measured.
        freedom: degrees of freedom of that noise; 0 where it was not measured.
    """

    combination: str
    other: str
    patients: Interval
    total: Interval
    freedom: int

    @property
    def value(self) -> float:
        return self.total.value

    @property
    def bound(self) -> float:
        """Half of the interval: what noise alone gives in 95 of 100 cases."""
        return self.total.high - self.total.value

    @property
    def resolved(self) -> str:
        if math.isnan(self.value):
            return "nothing to compare with"
        return evaluate_difference(self.total) if self.freedom else "noise not measured"


def list_differences(measured: Sequence[Measured], level: float = 0.95) -> list[Difference]:
    """Every combination minus each combination that has some of its overrides only."""
    noise, freedom = pool_noise(measured)
    return [
        _subtract(one, other, noise, freedom, level)
        for one in measured
        for other in measured
        if set(other.combination.overrides) < set(one.combination.overrides)
    ]


def measure_difference(
    combination: str, other: str, values: Floats, error: float, freedom: int, level: float = 0.95
) -> Difference:
    """Measure a difference from its values `(S, 1 + R)`, of each pair of runs, on all patients and on each resample.

    Args:
        combination, other: names.
        values: without resamples of patients R is 0; without runs S is.
        error, freedom: standard error of the mean between seeds, and its degrees of freedom; NaN where not known.
        level: of the intervals.
    """
    if not len(values):
        nothing = Interval(math.nan, math.nan, math.nan)
        return Difference(combination, other, nothing, nothing, 0)
    patients = summarise_values(values.mean(axis=0), level)
    return Difference(combination, other, patients, widen_interval(patients, error, freedom, level), freedom)


def pool_noise(measured: Sequence[Measured]) -> tuple[float, int]:
    """Standard deviation between seeds, pooled over trained combinations, and its degrees of freedom; NaN if one."""
    return pool_deviations([each.values[:, 0].tolist() for each in measured if not each.combination.seen])


def pool_deviations(samples: Iterable[Sequence[float]]) -> tuple[float, int]:
    """Standard deviation within samples, each about its own mean, and its degrees of freedom; NaN without any."""
    repeated = [values for values in samples if len(values) > 1]
    freedom = sum(len(values) - 1 for values in repeated)
    squares = sum(float(np.var(values)) * len(values) for values in repeated)
    return (math.sqrt(squares / freedom), freedom) if freedom else (math.nan, 0)


def widen_interval(patients: Interval, error: float, freedom: int, level: float = 0.95) -> Interval:
    """An interval with a further, independent standard error of so many degrees of freedom; NaN adds nothing."""
    if math.isnan(error) or not freedom:
        return patients
    more = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    patients_alone = [0.0 if math.isnan(bound) else bound - patients.value for bound in (patients.low, patients.high)]
    below, above = (math.hypot(distance, more) for distance in patients_alone)
    return Interval(patients.value, patients.value - below, patients.value + above)


def _subtract(one: Measured, other: Measured, noise: float, freedom: int, level: float) -> Difference:
    if one.combination.trained == other.combination.trained:
        # the same weights, evaluated otherwise: only that difference varies
        each = one.values - other.values
        freedom = len(each) - 1
        error = float(np.std(each[:, 0], ddof=1)) / math.sqrt(len(each)) if freedom else math.nan
        return measure_difference(one.combination.name, other.combination.name, each, error, freedom, level)
    # trainings of a seed have no more in common than those of two: there may be more of one
    means = one.values.mean(axis=0, keepdims=True) - other.values.mean(axis=0, keepdims=True)
    error = noise * math.sqrt(1 / len(one.values) + 1 / len(other.values))
    return measure_difference(one.combination.name, other.combination.name, means, error, freedom, level)
