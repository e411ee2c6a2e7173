"""Gain of an ensemble over its members, as a table to read, and the record by which it runs on new images."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scripts.bootstrap import Interval, summarise_values
from scripts.ensembles.greedy import Blend, Floats, cross_fit_weights
from scripts.errors import InputError
from scripts.files import write_text
from scripts.labels import STUDY_CLASSES
from scripts.metrics import EvaluatedStudies, GroundTruth, check_ids, name_ground_truth, read_ground_truth
from scripts.predictions import average_studies, read_predictions
from scripts.tabulation import align_columns, evaluate_difference, format_interval, format_number


def report_ensemble(
    members: Mapping[str, Sequence[str | Path]],
    ground_truth: str | Path,
    fold: int | Sequence[int] | None = None,
    out: str | Path | None = None,
    num_parts: int = 5,
    num_resamples: int = 1000,
    seed: int = 0,
) -> str:
    """Each member, their plain mean and the greedy blend, in plain text; the weights as JSON where `out` is given.

    Args:
        members: predictions.json of each member, by name; several files where each holds another fold.
        ground_truth: a datalist.json.
        fold: only studies of this fold, or of these.
        out: JSON file for the weights of those members that were chosen.
        num_parts: parts of the cross-fit, by patient.
        num_resamples: resamples of patients behind each interval.
        seed: of the parts and the resamples.

    Raises:
        InputError: where a file is not valid, members hold other studies, or there are too few patients.
    """
    known = read_ground_truth(ground_truth, fold)
    if len(members) < 2 or len(known.groups) < num_parts:
        found = f"{len(members)} members, {len(known.groups)} patients"
        raise InputError(f"2 members or more, and {num_parts} patients or more", found, "name more of them")
    probabilities = _collect_probabilities({name: _read_member(paths) for name, paths in members.items()}, known)
    labels = np.array([STUDY_CLASSES.index(label) for label in known.study_labels.values()])
    patients = np.array([known.study_group[study] for study in known.study_labels])
    fitted = cross_fit_weights(probabilities, labels, patients, num_parts, seed)
    studies = EvaluatedStudies(fitted.probabilities, labels, patients, len(known.groups))
    weights = studies.sample_weights(num_resamples, seed)
    if out is not None:
        chosen = {name: float(weight) for name, weight in zip(members, fitted.weights, strict=True) if weight}
        write_text(out, json.dumps({"weights": chosen, "cross_fitted": fitted.cross_fitted}, indent=1) + "\n")
    where = name_ground_truth(ground_truth, fold)
    lines = [
        f"{len(members)} members against {where}: {len(studies)} studies, {len(known.groups)} patients",
        f"95 % intervals from {num_resamples} bootstrap resamples of patients, paired; weights as chosen",
        "",
        _tabulate(dict(zip(members, probabilities, strict=True)), fitted, studies, weights),
        "",
        f"chosen on all studies (study mAP {fitted.in_sample:.4f} on them, flattered): "
        + ", ".join(f"{name} {weight:.2f}" for name, weight in zip(members, fitted.weights, strict=True) if weight),
    ]
    return "\n".join(lines)


def _read_member(paths: Sequence[str | Path]) -> dict[str, dict[str, float]]:
    images = [image for path in paths for image in read_predictions(path)]
    if len({image.image_id for image in images}) < len(images):
        raise InputError("images, each once", f"one twice in {', '.join(map(str, paths))}", "give each fold once")
    return average_studies(images)


def _collect_probabilities(
    members: Mapping[str, Mapping[str, Mapping[str, float]]], ground_truth: GroundTruth
) -> Floats:
    """Collect each member's probabilities of each study, `(M, S, 4)`."""
    for studies in members.values():
        check_ids("study", studies, ground_truth.study_labels, ground_truth.unscored_studies)
    return np.array(
        [
            [[studies[name][each] for each in STUDY_CLASSES] for name in ground_truth.study_labels]
            for studies in members.values()
        ],
        dtype=np.float64,
    )


def _tabulate(members: Mapping[str, Floats], fitted: Blend, studies: EvaluatedStudies, weights: Floats) -> str:
    candidates = {
        **members,
        "plain mean of all": np.mean(list(members.values()), axis=0),
        f"greedy, cross-fitted in {len(fitted.part_weights)} parts": fitted.probabilities,
    }
    scores = {name: replace(studies, probabilities=each).measure_map(weights) for name, each in candidates.items()}
    best = max(members, key=lambda name: scores[name][0])
    rows = []
    for name, values in scores.items():
        gain = summarise_values(values - scores[best])
        compared = ("", "", "best member") if name == best else (*_format(gain, "+.4f"), evaluate_difference(gain))
        rows.append((name, *_format(summarise_values(values)), *compared))
    return align_columns(("study mAP", "value", "95 % interval", "minus best", "95 % interval", ""), rows)


def _format(interval: Interval, style: str = ".4f") -> tuple[str, str]:
    return format_number(interval.value, style), format_interval(interval, style)
