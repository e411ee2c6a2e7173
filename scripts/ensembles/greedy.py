"""Greedy forward selection of ensemble weights, on images that no member was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scripts.metrics import STUDY_MAP, score_studies
from sklearn.model_selection import GroupKFold

Floats = NDArray[np.float64]

#: A member is taken (once more) only for a gain beyond this: the bound of the 17th-place solution [4].
MIN_GAIN = 1e-4
#: Steps at most; weights are counts over steps, so more could report them apart only by less than 3 %.
MAX_STEPS = 32


@dataclass(frozen=True)
class Blend:
    """A blend of M members, and what it gains on studies it was not chosen on.

    Args:
        weights: `(M,)`, sum 1, chosen on all studies: those to use on new images.
        probabilities: `(S, 4)`, each study blended by the weights that were chosen without its patient.
        part_weights: the weights of each part, `(P, M)`.
        in_sample: study mAP of `weights` on the studies they were chosen on: flattered.
        cross_fitted: study mAP of `probabilities`: what to expect on new images.
    """

    weights: Floats
    probabilities: Floats
    part_weights: Floats
    in_sample: float
    cross_fitted: float


def choose_weights(probabilities: ArrayLike, labels: ArrayLike, min_gain: float = MIN_GAIN) -> Floats:
    """Weights `(M,)` of members by greedy forward selection with replacement; the best single member comes first.

    Args:
        probabilities: `(M, S, 4)` of M members for S studies.
        labels: `(S,)`, indices in `STUDY_CLASSES`.
        min_gain: in study mAP; selection ends at the first step that gains less.

    Source: Caruana et al. 2004, doi:10.1145/1015330.1015432.
    """
    members = np.asarray(probabilities, dtype=np.float64)
    counts, best, total = np.zeros(len(members)), -np.inf, np.zeros(members.shape[1:])
    for step in range(1, MAX_STEPS + 1):
        scores = [score_studies((total + member) / step, labels)[STUDY_MAP] for member in members]
        chosen = int(np.argmax(scores))
        if scores[chosen] <= best + min_gain:
            break
        counts[chosen] += 1
        best, total = scores[chosen], total + members[chosen]
    return counts / counts.sum()


def cross_fit_weights(
    probabilities: ArrayLike, labels: ArrayLike, groups: ArrayLike, num_parts: int = 5, seed: int = 0
) -> Blend:
    """Choose weights on all studies, and cross-fit them: each part is blended by weights chosen on the other parts.

    Args:
        probabilities, labels: as in `choose_weights`.
        groups: `(S,)`, patients; a patient stands in one part.
        num_parts, seed: of the split.

    Raises:
        ValueError: where there are fewer patients than parts.
    """
    members, ground_truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    blended, part_weights = np.zeros(members.shape[1:]), []
    splitter = GroupKFold(num_parts, shuffle=True, random_state=seed)
    for others, part in splitter.split(ground_truth, groups=groups):
        part_weights.append(choose_weights(members[:, others], ground_truth[others]))
        blended[part] = blend(members[:, part], part_weights[-1])
    weights = choose_weights(members, ground_truth)
    return Blend(
        weights,
        blended,
        np.stack(part_weights),
        in_sample=score_studies(blend(members, weights), ground_truth)[STUDY_MAP],
        cross_fitted=score_studies(blended, ground_truth)[STUDY_MAP],
    )


def blend(probabilities: ArrayLike, weights: ArrayLike) -> Floats:
    """Weighted mean `(S, 4)` of the members' probabilities `(M, S, 4)`."""
    return np.einsum("m,msc->sc", np.asarray(weights, dtype=np.float64), np.asarray(probabilities, dtype=np.float64))
