"""Scores of predictions with their bootstrap intervals, and the paired difference between two predictions."""

from __future__ import annotations

import numpy as np
from scripts.bootstrap import Interval, ResampledScores, iterate_weights
from scripts.metrics.ground_truth import GroundTruth
from scripts.metrics.scores import measure_scores, rank_predictions
from scripts.submission import Predictions


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
    ranking = rank_predictions(predictions, ground_truth)
    blocks = [measure_scores(ranking, each) for each in iterate_weights(len(ground_truth.groups), num_resamples, seed)]
    return ResampledScores({name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]})
