"""Bootstrap intervals from resamples of patients, for a score and for the difference between two predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scripts.errors import InputError
from scripts.metrics.average_precision import Floats
from scripts.metrics.ground_truth import GroundTruth
from scripts.metrics.scores import measure_scores, rank_predictions
from scripts.metrics.submission import Predictions


@dataclass(frozen=True)
class Interval:
    """A value on all patients, with the percentile interval of its bootstrap; NaN where it is not defined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ResampledScores:
    """Scores by name, each `(1 + R,)`: first on all patients, then on each of the R resamples."""

    values: Mapping[str, Floats]

    def __sub__(self, other: ResampledScores) -> ResampledScores:
        return ResampledScores({name: values - other.values[name] for name, values in self.values.items()})

    def summarise(self, level: float = 0.95) -> dict[str, Interval]:
        """Value and percentile interval of every score; resamples where a score is undefined are left out."""
        return {name: summarise_values(values, level) for name, values in self.values.items()}


def sample_weights(num_groups: int, num_resamples: int, seed: int = 0) -> Floats:
    """Sample the number of times that each of `num_groups` patients is in each resample, `(num_resamples, num_groups)`.

    Source: Efron 1979, doi:10.1214/aos/1176344552. Patients are sampled, not images: the images of one patient are
        alike.
    """
    rng = np.random.default_rng(seed)
    weights = np.empty((num_resamples, num_groups))
    for row in weights:
        row[:] = np.bincount(rng.integers(num_groups, size=num_groups), minlength=num_groups)
    return weights


def weigh_groups(num_groups: int, num_resamples: int, seed: int = 0) -> Floats:
    """Sample patient weights `(1 + num_resamples, num_groups)`: ones, then each resample's counts.

    Raises:
        InputError: where there is no resample: an interval needs them.
    """
    if num_resamples < 1:
        raise InputError("at least one resample", str(num_resamples), "leave num_resamples out for 1000")
    return np.concatenate([np.ones((1, num_groups)), sample_weights(num_groups, num_resamples, seed)])


def bootstrap_scores(
    predictions: Predictions, ground_truth: GroundTruth, num_resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[str, Interval]:
    """Every score of `score_predictions` with its interval; patients are sampled, or studies where they are not known.

    Args:
        num_resamples: resamples; 1000 settle the bounds to about a tenth of the interval's width.
        seed: of the resamples; two calls with one seed and one ground truth draw the same patients.
        level: fraction of the resamples inside the interval.

    Raises:
        InputError: as `score_predictions`.
    """
    return resample_scores(predictions, ground_truth, num_resamples, seed).summarise(level)


def compare_predictions(
    predictions: Predictions,
    other: Predictions,
    ground_truth: GroundTruth,
    num_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Every score of `predictions` minus that of `other`, with the interval of the paired bootstrap.

    Both are measured on the same sampled patients, so what makes a resample easy or hard for both cancels.

    Raises:
        InputError: as `score_predictions`.
    """
    ours, theirs = (resample_scores(each, ground_truth, num_resamples, seed) for each in (predictions, other))
    return (ours - theirs).summarise(level)


def resample_scores(
    predictions: Predictions, ground_truth: GroundTruth, num_resamples: int = 1000, seed: int = 0
) -> ResampledScores:
    """Every score on all patients and on each resample; what `bootstrap_scores` and `compare_predictions` summarise.

    Raises:
        InputError: as `score_predictions`.
    """
    weights = weigh_groups(len(ground_truth.groups), num_resamples, seed)
    return ResampledScores(measure_scores(rank_predictions(predictions, ground_truth), weights))


def summarise_values(values: Floats, level: float = 0.95) -> Interval:
    """Value and percentile interval of one score `(1 + R,)`: on all patients, then on each resample."""
    defined = values[1:][np.isfinite(values[1:])]
    if not len(defined):
        return Interval(float(values[0]), float("nan"), float("nan"))
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values[0]), float(low), float(high))
