"""The challenge's class "none" blended from the negative probability and the best box, with its gain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scripts.metrics import average_precision
from sklearn.model_selection import GroupKFold

Floats = NDArray[np.float64]

#: Weights of p(negative) that are tried. Finer steps differ by less than the score can tell apart.
WEIGHTS: tuple[float, ...] = tuple(step / 20 for step in range(21))

#: Average precisions nearer than this are one: sums of the same terms in another order.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class CrossFit:
    """A blend, and what it gains on images it was not fitted on.

    Args:
        weight: of p(negative), fitted on all images: the one to use on new images.
        confidences: `(N,)`, each image's "none" by the weight that was fitted without its part.
        part_weights: the weight by which each part was blended.
        ap_before: average precision of p(negative) alone.
        ap_cross_fitted: of `confidences`: what to expect on new images.
        ap_in_sample: with `weight`, on the images it was fitted on: flattered.
    """

    weight: float
    confidences: Floats
    part_weights: tuple[float, ...]
    ap_before: float
    ap_cross_fitted: float
    ap_in_sample: float


def blend_none(negative: ArrayLike, best: ArrayLike, weight: float) -> Floats:
    """Confidence `(N,)` that an image shows no opacity: weight x p(negative) + (1 - weight) x (1 - best score).

    Args:
        negative: `(N,)`, probability of the class negative.
        best: `(N,)`, score of the best opacity box, 0 without one.
        weight: in [0, 1].
    """
    return weight * np.asarray(negative, dtype=np.float64) + (1 - weight) * (1 - np.asarray(best, dtype=np.float64))


def fit_none_weight(
    negative: ArrayLike, best: ArrayLike, is_none: ArrayLike, weights_grid: Sequence[float] = WEIGHTS
) -> float:
    """The weight of `blend_none` with the highest average precision of "none"; of equal ones the largest.

    Where no image is "none" all weights are equal.

    Args:
        negative, best: as in `blend_none`.
        is_none: `(N,)`, whether the ground truth of an image is "none".
        weights_grid: what is tried.
    """
    if not np.any(is_none):
        return max(weights_grid)
    values = {weight: _measure_precision(blend_none(negative, best, weight), is_none) for weight in weights_grid}
    return max(weight for weight, value in values.items() if value >= max(values.values()) - _ROUNDING)


def cross_fit_none(
    negative: ArrayLike, best: ArrayLike, is_none: ArrayLike, groups: ArrayLike, num_parts: int = 5, seed: int = 0
) -> CrossFit:
    """Fit the weight on all images, and cross-fit it: each part is blended by the weight fitted on the other parts.

    Args:
        negative, best, is_none: as in `fit_none_weight`.
        groups: `(N,)`, patient numbers; a patient stands in one part.
        num_parts, seed: of the split.

    Raises:
        ValueError: where there are fewer patients than parts.
    """
    negative, best, is_none = np.asarray(negative), np.asarray(best), np.asarray(is_none, dtype=bool)
    confidences, part_weights = np.zeros(len(negative)), []
    splitter = GroupKFold(num_parts, shuffle=True, random_state=seed)
    for others, part in splitter.split(negative, groups=groups):
        part_weights.append(fit_none_weight(negative[others], best[others], is_none[others]))
        confidences[part] = blend_none(negative[part], best[part], part_weights[-1])
    weight = fit_none_weight(negative, best, is_none)
    return CrossFit(
        weight,
        confidences,
        tuple(part_weights),
        ap_before=_measure_precision(negative, is_none),
        ap_cross_fitted=_measure_precision(confidences, is_none),
        ap_in_sample=_measure_precision(blend_none(negative, best, weight), is_none),
    )


def _measure_precision(confidences: ArrayLike, is_none: ArrayLike) -> float:
    return average_precision(confidences, is_none, int(np.sum(is_none)))
