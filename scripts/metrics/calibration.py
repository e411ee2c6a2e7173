"""Calibration error and temperature scaling of the study probabilities.

Sources: temperature scaling, Guo et al. 2017, arXiv:1706.04599; bins of equal mass and the error of every class, Nixon
et al. 2019, arXiv:1904.01685; Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from scripts.metrics.average_precision import Floats, Ints
from scripts.predictions import average_images
from sklearn.model_selection import GroupKFold

#: The usual number (Guo et al.); of equal mass, so that no bin is evaluated by a handful of studies.
NUM_BINS = 15

#: Figures of `measure_calibration`: errors, the lower the better.
ECE, CLASS_ECE, BRIER, NLL = "ece", "class_ece", "brier", "nll"

#: Temperatures that are searched; a network further off than twentyfold has another fault.
_BOUNDS = (0.05, 20.0)

#: What inference takes for the smallest probability, so that its logarithm is finite.
_SMALLEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class TemperatureFit:
    """A temperature, and the study probabilities that it gives on patients that it was not fitted on.

    Args:
        temperature: fitted on all studies: the one to use on new images.
        part_temperatures: each fitted without one part of the patients.
        probabilities: `(S, 4)`, each study by the temperature that was fitted without its part.
    """

    temperature: float
    part_temperatures: tuple[float, ...]
    probabilities: Floats

    @property
    def at_limit(self) -> bool:
        """The search ended at one of its bounds: such a temperature is no measurement, and not one to use."""
        return not _BOUNDS[0] * 1.01 < self.temperature < _BOUNDS[1] / 1.01


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: of each bin (B of them) the mean confidence, how many were right, and an interval of that.

    Args:
        confidences, accuracies, low, high: `(B,)`.
        sizes: `(B,)`, studies.
    """

    confidences: Floats
    accuracies: Floats
    low: Floats
    high: Floats
    sizes: Ints


def temper(probabilities: ArrayLike, temperature: float) -> Floats:
    """Probabilities `(..., C)` as the softmax of their logits divided by a temperature; the ranking in a row stays.

    Raises:
        ValueError: where the temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"expected a temperature above 0, got {temperature}")
    logits = np.log(np.clip(np.asarray(probabilities, dtype=np.float64), _SMALLEST, None))
    return softmax(logits / temperature, axis=-1)


def fit_temperature(probabilities: ArrayLike, studies: ArrayLike, labels: ArrayLike) -> float:
    """The temperature of maximum likelihood: images are tempered as inference does it, then averaged in their studies.

    Args:
        probabilities: `(F, 4)`, of each image.
        studies: `(F,)`, number of each image's study, from 0 on.
        labels: `(S,)`, of each study.
    """
    rows, study_indices, wanted = np.asarray(probabilities), np.asarray(studies), np.asarray(labels)

    def measure_loss(logarithm: float) -> float:
        predicted = average_images(temper(rows, np.exp(logarithm)), study_indices)
        return float(_measure_surprise(predicted, wanted).mean())

    return float(np.exp(minimize_scalar(measure_loss, bounds=np.log(_BOUNDS), method="bounded").x))


def cross_fit_temperature(
    probabilities: ArrayLike,
    studies: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    num_parts: int = 5,
    seed: int = 0,
) -> TemperatureFit:
    """Fit the temperature on all studies, and cross-fit it: each part by the temperature of the other parts.

    Args:
        probabilities, studies, labels: as in `fit_temperature`.
        groups: `(S,)`, patient numbers; a patient stands in one part.
        num_parts, seed: of the split.

    Raises:
        ValueError: where there are fewer patients than parts.
    """
    rows, study_indices, wanted = np.asarray(probabilities), np.asarray(studies), np.asarray(labels)
    tempered, part_temperatures = np.zeros((len(wanted), rows.shape[1])), []
    for others, part in GroupKFold(num_parts, shuffle=True, random_state=seed).split(wanted, groups=groups):
        images = np.isin(study_indices, others)
        renumbered = np.searchsorted(others, study_indices[images])
        part_temperatures.append(fit_temperature(rows[images], renumbered, wanted[others]))
        tempered[part] = average_images(temper(rows, part_temperatures[-1]), study_indices)[part]
    return TemperatureFit(fit_temperature(rows, study_indices, wanted), tuple(part_temperatures), tempered)


def measure_calibration(
    probabilities: ArrayLike, labels: ArrayLike, counts: ArrayLike | None = None, num_bins: int = NUM_BINS
) -> dict[str, Floats]:
    """Four errors `(R,)` under each row of counts.

    Args:
        probabilities: `(S, C)`.
        labels: `(S,)`, indices of the classes.
        counts: `(R, S)`, how often each study counts; by default once, so that R is 1.
        num_bins: of equal mass, found once on all studies.

    Returns:
        `ece`, of the most probable class; `class_ece`, mean over the classes; `brier`, squared distance to the label,
        summed over the classes, 0 to 2; `nll`, mean negative log likelihood in nats.
    """
    predicted, wanted = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    weights = np.ones((1, len(wanted))) if counts is None else np.asarray(counts, dtype=np.float64)
    ground_truth = wanted[:, None] == np.arange(predicted.shape[1])
    of_classes = [
        _measure_error(predicted[:, c], ground_truth[:, c], weights, num_bins) for c in range(predicted.shape[1])
    ]
    total = weights.sum(axis=1)
    return {
        ECE: _measure_error(predicted.max(axis=1), predicted.argmax(axis=1) == wanted, weights, num_bins),
        CLASS_ECE: np.mean(of_classes, axis=0),
        BRIER: weights @ ((predicted - ground_truth) ** 2).sum(axis=1) / total,
        NLL: weights @ _measure_surprise(predicted, wanted) / total,
    }


def expect_error_by_chance(confidences: ArrayLike, num_bins: int = NUM_BINS, draws: int = 200, seed: int = 0) -> float:
    """The calibration error that as few studies show where every confidence `(S,)` is exactly right.

    The error is a sum of absolute values, so it is never 0: what stands above this number is the fault of the network.
    """
    sure = np.asarray(confidences, dtype=np.float64)
    hits = np.random.default_rng(seed).random((draws, len(sure))) < sure
    return float(np.abs((sure - hits) @ _mark_bins(sure, num_bins)).sum(axis=1).mean() / len(sure))


def trace_reliability(
    confidences: ArrayLike, hits: ArrayLike, counts: ArrayLike, num_bins: int = NUM_BINS, level: float = 0.95
) -> Reliability:
    """The reliability diagram of confidences `(S,)` that were right or not `(S,)`.

    Args:
        counts: `(1 + R, S)`, how often each study counts: once, then as in each resample, for the intervals.
    """
    sure, weights = np.asarray(confidences, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    bins = _mark_bins(sure, num_bins)
    resampled, found = weights @ bins, weights @ (bins * np.asarray(hits)[:, None])
    right = np.divide(found, resampled, out=np.full_like(resampled, np.nan), where=resampled > 0)
    low, high = np.nanquantile(right[1:] if len(right) > 1 else right, [(1 - level) / 2, (1 + level) / 2], axis=0)
    sizes = bins.sum(axis=0).astype(np.int64)
    return Reliability(sure @ bins / sizes, right[0], low, high, sizes)


def _measure_surprise(probabilities: Floats, labels: Ints) -> Floats:
    """Negative log likelihood `(S,)` of each label."""
    return -np.log(np.clip(probabilities[np.arange(len(labels)), labels], _SMALLEST, None))


def _measure_error(confidences: Floats, hits: NDArray[np.bool_], counts: Floats, num_bins: int) -> Floats:
    """Expected calibration error `(R,)`: in each bin the confidence and the hits are summed, then compared."""
    gaps = (counts * (confidences - hits)) @ _mark_bins(confidences, num_bins)
    return np.abs(gaps).sum(axis=1) / counts.sum(axis=1)


def _mark_bins(confidences: Floats, num_bins: int) -> Floats:
    """Mark the bin of each confidence, `(S, B)` of zeros and ones; equal ones share a bin, and no bin is empty."""
    parts = np.array_split(np.sort(confidences), num_bins)
    starts = np.unique([part[0] for part in parts if len(part)])
    return (np.searchsorted(starts, confidences, side="right")[:, None] == np.arange(1, len(starts) + 1)).astype(float)
