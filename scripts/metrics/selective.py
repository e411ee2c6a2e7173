"""Uncertainty of a prediction, and selective prediction: the most uncertain studies handed to a person.

Sources: predictive entropy and mutual information, Lakshminarayanan et al. 2017, arXiv:1612.01474, and Gal et al. 2017,
arXiv:1703.02910 (active learning); the risk-coverage curve and its area, Geifman and El-Yaniv 2017, arXiv:1705.08500.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import entr
from scripts.metrics.average_precision import Floats

#: Measures of `score_uncertainty`.
ENTROPY, MUTUAL_INFORMATION, LEAST_CONFIDENCE = "entropy", "mutual_information", "least_confidence"


def score_uncertainty(probabilities: ArrayLike) -> dict[str, Floats]:
    """Three measures of how unsure M members (seeds, folds' models, TTA flips) are; of one image or of many.

    Args:
        probabilities: `(M, ..., C)`, what each member says: `(M, C)` of one image, `(M, N, C)` of N.

    Returns:
        `entropy` of the members' mean and `mutual_information`, how much of it is their disagreement (0 with one
        member), both in nats; `least_confidence`, 1 - the mean's highest probability. Each `(...)`: a number for one
        image, `(N,)` for N.

    Raises:
        ValueError: where there is no member, or a row does not sum to 1.
    """
    predicted = np.asarray(probabilities, dtype=np.float64)
    if predicted.ndim < 2 or not len(predicted):
        raise ValueError(f"expected probabilities (M, ..., C) of at least one member, got {predicted.shape}")
    # Half precision rounds each of the four by up to 2 ** -9; NaN is no row of probabilities either.
    if not (predicted >= 0).all() or not (np.abs(predicted.sum(axis=-1) - 1) < 2e-2).all():
        raise ValueError("expected probabilities that sum to 1, got others; apply the softmax first")
    mean = predicted.mean(axis=0)
    entropy = entr(mean).sum(axis=-1)
    # Rounding may leave a disagreement just below zero.
    disagreement = (
        np.clip(entropy - entr(predicted).sum(axis=-1).mean(axis=0), 0, None) if len(predicted) > 1 else 0 * entropy
    )
    return {ENTROPY: entropy, MUTUAL_INFORMATION: disagreement, LEAST_CONFIDENCE: 1 - mean.max(axis=-1)}


def trace_risk_coverage(uncertainty: ArrayLike, wrong: ArrayLike) -> Floats:
    """Fraction of wrong predictions `(S,)` among the 1, 2 ... S surest studies; equal ones as in a random order.

    Args:
        uncertainty: `(S,)`, high where a study would be handed to a person first.
        wrong: `(S,)`, True for a wrong prediction.
    """
    order = np.argsort(uncertainty, kind="stable")
    unsure, errors = np.asarray(uncertainty)[order], np.cumsum(np.asarray(wrong, dtype=np.float64)[order])
    last_of_step = np.flatnonzero(np.append(np.diff(unsure) != 0, True))
    kept = np.arange(1, len(order) + 1)
    return np.interp(kept, np.append(0, last_of_step + 1), np.append(0, errors[last_of_step])) / kept


def measure_risk_area(uncertainty: ArrayLike, wrong: ArrayLike, counts: ArrayLike | None = None) -> Floats:
    """Area `(R,)` under the risk-coverage curve, the mean of its S values: the lower, the better the order.

    Args:
        uncertainty, wrong: as in `trace_risk_coverage`.
        counts: `(R, S)`, how often each study counts in each resample; by default once, so that R is 1.
    """
    unsure, errors = np.asarray(uncertainty), np.asarray(wrong)
    rows = np.ones((1, len(errors))) if counts is None else np.asarray(counts)
    resampled = (np.repeat(np.arange(len(errors)), row.astype(np.int64)) for row in rows)
    return np.array([trace_risk_coverage(unsure[studies], errors[studies]).mean() for studies in resampled])


def keep_surest(uncertainty: ArrayLike, coverage: float) -> NDArray[np.bool_]:
    """The surest fraction of the studies, at least one, as a mask `(S,)`; of equal ones the first are kept.

    Raises:
        ValueError: where the fraction is not in (0, 1].
    """
    if not 0 < coverage <= 1:
        raise ValueError(f"expected a coverage above 0, and 1 at most, got {coverage}")
    unsure = np.asarray(uncertainty)
    kept = np.zeros(len(unsure), dtype=bool)
    kept[np.argsort(unsure, kind="stable")[: max(1, round(coverage * len(unsure)))]] = True
    return kept
