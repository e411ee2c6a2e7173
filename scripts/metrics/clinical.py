"""Clinical figures of the study predictions: AUROC, sensitivity and specificity of negative against any pneumonia."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scripts.bootstrap import Interval, ResampledScores, weigh_groups
from scripts.labels import STUDY_CLASSES
from scripts.metrics.average_precision import Floats, Ints
from scripts.metrics.ground_truth import GroundTruth
from scripts.submission import Predictions

NEGATIVE = STUDY_CLASSES[0]

#: Sensitivity that the operating point is chosen for where none is given: what one would ask of a first reading.
TARGET_SENSITIVITY = 0.95


@dataclass(frozen=True)
class ClinicalFigures:
    """Negative against any of the three pneumonia appearances; the score of a study is 1 - p(negative).

    Args:
        auroc: area under the receiver operating characteristic.
        sensitivity, specificity: at `threshold`, which is the same in all resamples.
        threshold: a study is called positive when its score is at least this.
        chosen_for: the sensitivity that the threshold was chosen for on these same studies, which flatters it a little;
            None where the threshold was given.
        num_positive, num_negative: studies.
    """

    auroc: Interval
    sensitivity: Interval
    specificity: Interval
    threshold: float
    chosen_for: float | None
    num_positive: int
    num_negative: int


@dataclass(frozen=True)
class _Studies:
    """Score, whether positive, and patient of each study: three arrays `(S,)`."""

    scores: Floats
    positive: NDArray[np.bool_]
    groups: Ints


def measure_clinical_figures(
    predictions: Predictions,
    ground_truth: GroundTruth,
    threshold: float | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> ClinicalFigures:
    """AUROC, sensitivity and specificity of negative against any, with bootstrap intervals by patient.

    Args:
        predictions: every study of the ground truth; one that does not name "negative" has p(negative) = 0.
        threshold: the operating point on 1 - p(negative); by default the highest that reaches
            `TARGET_SENSITIVITY` on these studies.
        num_resamples, seed, level: as in `bootstrap_scores`.

    Returns:
        NaN for what needs both kinds of study where there is one kind only.
    """
    studies = _collect_studies(predictions, ground_truth)
    chosen_for = TARGET_SENSITIVITY if threshold is None else None
    if threshold is None:
        threshold = _choose_threshold(studies, TARGET_SENSITIVITY)
    weights = weigh_groups(len(ground_truth.groups), num_resamples, seed)
    figures = ResampledScores(_measure(studies, weights, threshold)).summarise(level)
    num_positive = int(studies.positive.sum())
    return ClinicalFigures(
        figures["auroc"],
        figures["sensitivity"],
        figures["specificity"],
        threshold,
        chosen_for,
        num_positive,
        len(studies.positive) - num_positive,
    )


def _collect_studies(predictions: Predictions, ground_truth: GroundTruth) -> _Studies:
    scores = [1 - predictions.study[study].get(NEGATIVE, 0.0) for study in ground_truth.study_labels]
    positive = [label != NEGATIVE for label in ground_truth.study_labels.values()]
    groups = [ground_truth.study_group[study] for study in ground_truth.study_labels]
    return _Studies(np.array(scores), np.array(positive), np.array(groups))


def _choose_threshold(studies: _Studies, sensitivity: float) -> float:
    """Choose the highest threshold that reaches the sensitivity; NaN without positive studies."""
    scores = np.sort(studies.scores[studies.positive])[::-1]
    if not len(scores):
        return float("nan")
    return float(scores[math.ceil(sensitivity * len(scores) - 1e-9) - 1])


def _measure(studies: _Studies, weights: Floats, threshold: float) -> dict[str, Floats]:
    """Measure the three figures `(R,)` under each row of weights `(R, G)`."""
    counts, called = weights[:, studies.groups], studies.scores >= threshold
    return {
        "auroc": measure_auroc(studies.scores, studies.positive, counts),
        "sensitivity": _fraction(counts, studies.positive, called),
        "specificity": _fraction(counts, ~studies.positive, ~called),
    }


def _fraction(counts: Floats, among: NDArray[np.bool_], which: NDArray[np.bool_]) -> Floats:
    total = counts[:, among].sum(axis=1)
    return np.divide(counts[:, among & which].sum(axis=1), total, out=np.full(len(counts), np.nan), where=total > 0)


def measure_auroc(scores: Floats, positive: NDArray[np.bool_], counts: Floats) -> Floats:
    """Area `(R,)` under the curve with a step for each score: scikit-learn's value, a thousand rows at once.

    Args:
        scores: `(S,)`, high where a study is held for positive.
        positive: `(S,)`, whether it is.
        counts: `(R, S)`, how often each study counts.
    """
    order = np.argsort(-scores, kind="stable")
    last_of_step = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    ordered, is_positive = counts[:, order], positive[order]
    found = np.cumsum(ordered * is_positive, axis=1)[:, last_of_step]
    false = np.cumsum(ordered * ~is_positive, axis=1)[:, last_of_step]
    area = (np.diff(false, prepend=0) * (found + np.pad(found, ((0, 0), (1, 0)))[:, :-1]) / 2).sum(axis=1)
    pairs = found[:, -1] * false[:, -1]
    return np.divide(area, pairs, out=np.full(len(counts), np.nan), where=pairs > 0)
