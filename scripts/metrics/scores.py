"""The challenge's score: the plain mean of six average precisions, four of studies and two of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scripts.errors import InputError
from scripts.labels import IMAGE_CLASSES, OPACITY, SCORED_CLASSES, STUDY_CLASSES, UNIT_BOX
from scripts.metrics.average_precision import (
    Floats,
    Ints,
    RankedDetections,
    average_precision_by_weights,
    match_detections,
    rank_detections,
)
from scripts.metrics.ground_truth import GroundTruth
from scripts.submission import Detection, Predictions
from tqdm import tqdm

#: Mean over the four study classes, and over all six: the challenge's score.
STUDY_MAP, CHALLENGE_MAP = "study_map", "map"

#: Every score in the order in which it is reported.
SCORES: tuple[str, ...] = (*SCORED_CLASSES, STUDY_MAP, CHALLENGE_MAP)

Ranking = Mapping[str, RankedDetections | None]


def score_predictions(predictions: Predictions, ground_truth: GroundTruth) -> dict[str, float]:
    """The six average precisions, `study_map` (mean of the four study classes) and `map` (mean of all six).

    A class without any ground truth has no average precision (NaN) and is left out of the means. Predictions without
    any image (or without any study) are not scored on them: those classes and the mean over them are NaN.

    Raises:
        InputError: where an id of the ground truth has no prediction, or a predicted id is not known.
    """
    scores = measure_scores(rank_predictions(predictions, ground_truth), np.ones((1, len(ground_truth.groups))))
    return {name: float(values[0]) for name, values in scores.items()}


def score_studies(probabilities: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """The four study average precisions and `study_map`, from arrays: for blending and for validation.

    Args:
        probabilities: `(S, 4)`, one row for each study, classes in the order of `STUDY_CLASSES`.
        labels: `(S,)`, indices in `STUDY_CLASSES`.

    Returns:
        NaN for a class without studies (it is left out of the mean), and for all where a probability is not finite.

    Raises:
        ValueError: where the shapes or labels are others.
    """
    probabilities, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if probabilities.ndim != 2 or probabilities.shape != (len(labels), len(STUDY_CLASSES)):
        raise ValueError(f"expected probabilities ({len(labels)}, {len(STUDY_CLASSES)}), got {probabilities.shape}")
    if not np.isin(labels, range(len(STUDY_CLASSES))).all():
        raise ValueError(f"expected labels 0 to {len(STUDY_CLASSES) - 1}, got {sorted(set(labels.tolist()))}")
    if not np.isfinite(probabilities).all():
        return dict.fromkeys((*STUDY_CLASSES, STUDY_MAP), float("nan"))
    groups, one = np.zeros(len(labels), dtype=np.int64), np.ones((1, 1))
    ranking = {
        name: rank_detections(probabilities[:, index], labels == index, groups, np.array([np.sum(labels == index)]))
        for index, name in enumerate(STUDY_CLASSES)
    }
    scores = {name: average_precision_by_weights(ranked, one) for name, ranked in ranking.items()}
    scores[STUDY_MAP] = _average_classes(scores, ranking, one, STUDY_CLASSES)
    return {name: float(values[0]) for name, values in scores.items()}


def rank_predictions(predictions: Predictions, ground_truth: GroundTruth) -> Ranking:
    """Rank the detections of each class, grouped by `ground_truth.groups`; None for classes without any prediction.

    This is all that the score and its bootstrap need: what follows is arithmetic on arrays.

    Raises:
        InputError: as `score_predictions`.
    """
    check_ids("study", predictions.study, ground_truth.study_labels, ground_truth.unscored_studies)
    check_ids("image", predictions.image, ground_truth.image_boxes, ground_truth.unscored_images)
    ranking: dict[str, RankedDetections | None] = dict.fromkeys(SCORED_CLASSES)
    if predictions.study:
        ranking.update({name: _rank_study_class(name, predictions.study, ground_truth) for name in STUDY_CLASSES})
    if predictions.image:
        ranking.update({name: _rank_image_class(name, predictions.image, ground_truth) for name in IMAGE_CLASSES})
    return ranking


def measure_scores(ranking: Ranking, weights: Floats) -> dict[str, Floats]:
    """Every score `(R,)` under each row of weights `(R, G)`, in the order of `SCORES`."""
    absent = np.full(len(weights), np.nan)
    scores = {
        name: absent if ranked is None else average_precision_by_weights(ranked, weights)
        # delay: a bar only where there are many resamples
        for name, ranked in tqdm(ranking.items(), "bootstrap", unit="score", disable=None, leave=False, delay=2)
    }
    scores[STUDY_MAP] = _average_classes(scores, ranking, weights, STUDY_CLASSES)
    scores[CHALLENGE_MAP] = _average_classes(scores, ranking, weights, SCORED_CLASSES)
    return scores


def check_ids(
    kind: str, predicted: Mapping[str, object], expected: Mapping[str, object], unscored: frozenset[str]
) -> None:
    """Every id of the ground truth is predicted, and nothing else is, but for ids that are known and not scored here.

    Predictions of nothing at all pass: then that half of the score is not measured.

    Raises:
        InputError: naming the first id.
    """
    missing = sorted(expected.keys() - predicted.keys()) if predicted else []
    if missing:
        expectation = f"a prediction for every one of {len(expected)} {kind} ids"
        _reject_ids(expectation, "no prediction", missing, "predict them too")
    unknown = sorted(predicted.keys() - expected.keys() - unscored)
    if unknown:
        _reject_ids(
            f"only {kind} ids of the ground truth",
            "predictions",
            unknown,
            "check that the ground truth is of these images",
        )


def _reject_ids(expected: str, found: str, ids: Sequence[str], advice: str) -> None:
    raise InputError(expected, f"{found} for {len(ids)}, first {ids[0][:80]}", advice)


def _average_classes(scores: Mapping[str, Floats], ranking: Ranking, weights: Floats, names: Sequence[str]) -> Floats:
    """Mean over the classes that have a reference; NaN where one of them was not predicted, or none has a reference."""
    values = np.stack([scores[name] for name in names])
    counted = np.stack([_has_references(ranking[name], weights) for name in names])
    total = np.where(counted, values, 0).sum(axis=0)
    number = counted.sum(axis=0)
    return np.divide(total, number, out=np.full(len(weights), np.nan), where=number > 0)


def _has_references(ranked: RankedDetections | None, weights: Floats) -> NDArray[np.bool_]:
    """Under which weights a class is counted; what was not predicted is, so that its NaN is seen in the mean."""
    return np.ones(len(weights), dtype=bool) if ranked is None else weights @ ranked.num_references > 0


def _rank_study_class(
    name: str, study: Mapping[str, Mapping[str, float]], ground_truth: GroundTruth
) -> RankedDetections:
    """A study holds a class once and its box is always the unit box: a detection is right when its label is."""
    claims = [
        (study[key][name], label == name, ground_truth.study_group[key])
        for key, label in ground_truth.study_labels.items()
        if name in study[key]
    ]
    confidences, hits, groups = np.array(claims, dtype=np.float64).reshape(-1, 3).T
    labelled = [ground_truth.study_group[key] for key, label in ground_truth.study_labels.items() if label == name]
    return rank_detections(confidences, hits, groups, _count_by_group(labelled, ground_truth))


def _rank_image_class(
    name: str, image: Mapping[str, Sequence[Detection]], ground_truth: GroundTruth
) -> RankedDetections:
    owners, confidences, boxes = _collect_detections(name, image, ground_truth)
    reference_owners, reference_boxes = _collect_references(name, ground_truth)
    hits = match_detections(confidences, boxes, owners, reference_boxes, reference_owners)
    groups = np.array([ground_truth.image_group[key] for key in ground_truth.image_boxes], dtype=np.int64)
    return rank_detections(confidences, hits, groups[owners], _count_by_group(groups[reference_owners], ground_truth))


def _collect_detections(
    name: str, image: Mapping[str, Sequence[Detection]], ground_truth: GroundTruth
) -> tuple[Ints, Floats, Floats]:
    """Owners `(D,)`, confidences `(D,)` and boxes `(D, 4)` of one class; owners index `ground_truth.image_boxes`."""
    rows = [
        (owner, confidence, *box)
        for owner, key in enumerate(ground_truth.image_boxes)
        for kind, confidence, box in image[key]
        if kind == name
    ]
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    return table[:, 0].astype(np.int64), table[:, 1], table[:, 2:]


def _collect_references(name: str, ground_truth: GroundTruth) -> tuple[Ints, Floats]:
    """Owners `(T,)` and boxes `(T, 4)`: the opacity boxes, or the unit box of every image without one."""
    counts = np.array([len(boxes) for boxes in ground_truth.image_boxes.values()], dtype=np.int64)
    if name == OPACITY:
        boxes = np.concatenate([np.zeros((0, 4)), *ground_truth.image_boxes.values()])
        return np.repeat(np.arange(len(counts)), counts), boxes
    empty = np.flatnonzero(counts == 0)
    return empty, np.tile(np.array(UNIT_BOX), (len(empty), 1))


def _count_by_group(groups: ArrayLike, ground_truth: GroundTruth) -> NDArray[np.int64]:
    return np.bincount(np.asarray(groups, dtype=np.int64), minlength=len(ground_truth.groups))
