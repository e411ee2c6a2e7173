"""Differences between two combinations, with both of their noises: the sample of patients, and the training seeds.

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
from scripts.experiments.combinations import Combination
from scripts.metrics import Interval
from scripts.metrics.average_precision import Floats
from scripts.metrics.bootstrap import summarise_values
from scripts.metrics.tabulation import evaluate_difference


@dataclass(frozen=True)
class Measured:
    """A combination's study mAP.

    Args:
        combination: its overrides.
        values: `(S, 1 + R)`, of each seed, on all patients and on each resample.
        loss_ratios: validation / training loss of each run.
    """

    combination: Combination
    values: Floats
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
    """A combination minus another one: by patients alone, and with the noise between seeds."""

    combination: str
    other: str
    patients: Interval
    total: Interval

    @property
    def resolved(self) -> str:
        return evaluate_difference(self.total)


def list_differences(measured: Sequence[Measured], level: float = 0.95) -> list[Difference]:
    """Every combination minus each combination that has some of its overrides only."""
    noise, freedom = pool_noise(measured)
    return [
        _subtract(one, other, noise, freedom, level)
        for one in measured
        for other in measured
        if set(other.combination.overrides) < set(one.combination.overrides)
    ]


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
    below, above = (math.hypot(abs(bound - patients.value), more) for bound in (patients.low, patients.high))
    return Interval(patients.value, patients.value - below, patients.value + above)


def _subtract(one: Measured, other: Measured, noise: float, freedom: int, level: float) -> Difference:
    each = one.values - other.values
    patients = summarise_values(each.mean(axis=0), level)
    if (
        one.combination.trained == other.combination.trained
    ):  # the same weights, evaluated otherwise: only that difference varies
        freedom = len(each) - 1
        error = float(np.std(each[:, 0], ddof=1)) / math.sqrt(len(each)) if freedom else math.nan
    else:
        error = noise * math.sqrt(2 / len(each))
    return Difference(
        one.combination.name, other.combination.name, patients, widen_interval(patients, error, freedom, level)
    )
