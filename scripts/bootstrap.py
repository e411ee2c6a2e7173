"""Bootstrap by patient: resamples, and the percentile intervals of what is measured on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scripts.errors import InputError

Floats = NDArray[np.float64]

#: Weights that a block holds at most, 64 MiB.
BLOCK = 2**23


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
    return weigh_groups(num_groups, num_resamples, seed)[1:]


def weigh_groups(num_groups: int, num_resamples: int, seed: int = 0) -> Floats:
    """Sample patient weights `(1 + num_resamples, num_groups)`: ones, then each resample's counts.

    Raises:
        InputError: where there is no resample: an interval needs them.
    """
    return np.concatenate(list(iterate_weights(num_groups, num_resamples, seed)))


def iterate_weights(num_groups: int, num_resamples: int, seed: int = 0) -> Iterator[Floats]:
    """The rows of `weigh_groups` in blocks of at most `BLOCK` weights or one row, for tables of any size.

    Raises:
        InputError: as `weigh_groups`.
    """
    if num_resamples < 1:
        raise InputError("at least one resample", str(num_resamples), "leave num_resamples out for 1000")
    rng = np.random.default_rng(seed)
    yield np.ones((1, num_groups))
    size = max(1, BLOCK // max(1, num_groups))
    for start in range(0, num_resamples, size):
        weights = np.empty((min(size, num_resamples - start), num_groups))
        for row in weights:
            row[:] = np.bincount(rng.integers(num_groups, size=num_groups), minlength=num_groups)
        yield weights


def summarise_values(values: Floats, level: float = 0.95) -> Interval:
    """Value and percentile interval of one score `(1 + R,)`: on all patients, then on each resample."""
    defined = values[1:][np.isfinite(values[1:])]
    if not len(defined):
        return Interval(float(values[0]), float("nan"), float("nan"))
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values[0]), float(low), float(high))


def average_by_weights(values: ArrayLike, counts: Floats) -> Floats:
    """Mean `(R,)` of values `(N,)` under each row of counts `(R, N)`; NaN where the counts leave none."""
    total = counts.sum(axis=1)
    return np.divide(counts @ np.asarray(values), total, out=np.full(len(counts), np.nan), where=total > 0)
