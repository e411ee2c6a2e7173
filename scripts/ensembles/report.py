"""Gain of the blend for the class "none", as a table to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scripts.bootstrap import Interval, ResampledScores, weigh_groups
from scripts.ensembles.none import CrossFit, Floats, cross_fit_none
from scripts.errors import InputError
from scripts.labels import NONE, STUDY_CLASSES
from scripts.metrics import (
    GroundTruth,
    average_precision_by_weights,
    check_ids,
    name_ground_truth,
    rank_detections,
    read_ground_truth,
)
from scripts.predictions import read_predictions
from scripts.tabulation import align_columns, evaluate_difference, format_interval, format_number

NEGATIVE = STUDY_CLASSES[0]


@dataclass(frozen=True)
class _Images:
    """N images as arrays: p(negative), score of the best opacity box, whether the ground truth is "none", patient."""

    negative: Floats
    best: Floats
    is_none: NDArray[np.bool_]
    groups: NDArray[np.int64]


def report_none_blend(
    predictions: str | Path,
    ground_truth: str | Path,
    fold: int | None = None,
    num_parts: int = 5,
    num_resamples: int = 1000,
    seed: int = 0,
) -> str:
    """Report the gain of blending the boxes into "none", in plain text; the weights stay as fitted in all resamples.

    Args:
        predictions: predictions.json, as inference writes it.
        ground_truth: a datalist.json, or a folder with the challenge's tables.
        fold: only the images of this fold of the datalist.
        num_parts: parts of the cross-fit.
        num_resamples: resamples of patients behind each interval.
        seed: of the parts and of the resamples.

    Raises:
        InputError: where a file is not there or not valid, ids do not fit together, or there are too few images.
    """
    known = read_ground_truth(ground_truth, fold)
    images = _collect_images(_read_confidences(Path(predictions)), known)
    _reject_too_few(images, num_parts)
    fitted = cross_fit_none(images.negative, images.best, images.is_none, images.groups, num_parts, seed)
    where = name_ground_truth(ground_truth, fold)
    resampled = "studies" if known.patients is None else "patients"
    lines = [
        f"{Path(predictions).name} against {where}: {len(images.negative)} images, {images.is_none.sum()} of them none",
        "none = weight x p(negative) + (1 - weight) x (1 - best opacity score)",
        f"95 % intervals from {num_resamples} bootstrap resamples of {resampled}, paired; weights as fitted",
        "",
        _tabulate_gain(_resample_gain(images, fitted, len(known.groups), num_resamples, seed), num_parts),
        "",
        f"weight fitted on all images: {fitted.weight:.2f} (AP {fitted.ap_in_sample:.4f} on these images, flattered)",
        f"weights of the {num_parts} parts: {', '.join(f'{weight:.2f}' for weight in fitted.part_weights)}",
    ]
    return "\n".join(lines)


def _read_confidences(path: Path) -> dict[str, tuple[float, float]]:
    """p(negative) and the best opacity score of each image, by image id."""
    images = read_predictions(path)
    return {image.image_id: (image.probabilities[NEGATIVE], max(image.scores, default=0.0)) for image in images}


def _collect_images(rows: Mapping[str, tuple[float, float]], ground_truth: GroundTruth) -> _Images:
    check_ids("image", rows, ground_truth.image_boxes, ground_truth.unscored_images)
    negative, best = np.array([rows[image] for image in ground_truth.image_boxes], dtype=np.float64).reshape(-1, 2).T
    is_none = np.array([len(boxes) == 0 for boxes in ground_truth.image_boxes.values()], dtype=bool)
    groups = np.array([ground_truth.image_group[image] for image in ground_truth.image_boxes], dtype=np.int64)
    return _Images(negative, best, is_none, groups)


def _reject_too_few(images: _Images, num_parts: int) -> None:
    num_groups, num_none = len(np.unique(images.groups)), int(images.is_none.sum())
    if num_parts < 2 or num_groups < num_parts or not num_none:
        raise InputError(
            f"2 parts or more, and as many patients as the {num_parts} parts, and images that are none",
            f"{num_groups} patients, {num_none} images that are none",
            "take more images or fewer parts",
        )


def _resample_gain(
    images: _Images, fitted: CrossFit, num_groups: int, num_resamples: int, seed: int
) -> dict[str, Interval]:
    """Average precisions before and after with their intervals, and of their difference."""
    weights = weigh_groups(num_groups, num_resamples, seed)
    references = np.bincount(images.groups, images.is_none, minlength=num_groups)
    before, after = (
        average_precision_by_weights(rank_detections(each, images.is_none, images.groups, references), weights)
        for each in (images.negative, fitted.confidences)
    )
    return ResampledScores({"before": before, "after": after, "gain": after - before}).summarise()


def _tabulate_gain(intervals: Mapping[str, Interval], num_parts: int) -> str:
    before, after, gain = intervals["before"], intervals["after"], intervals["gain"]
    rows = [
        ("p(negative) alone", format_number(before.value), format_interval(before), ""),
        (f"blended, cross-fitted in {num_parts} parts", format_number(after.value), format_interval(after), ""),
        (
            "the second minus the first",
            format_number(gain.value, "+.4f"),
            format_interval(gain, "+.4f"),
            evaluate_difference(gain),
        ),
    ]
    return align_columns((f"average precision of {NONE}", "value", "95 % interval", ""), rows)
