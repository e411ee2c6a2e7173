"""What a blend of several networks gains, as a table to read, and the record by which they run on new films."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.ensembles.greedy import Blend, Floats, blend, cross_fit_weights
from scripts.errors import InputError
from scripts.files import write_text
from scripts.labels import STUDY_CLASSES
from scripts.metrics import Interval, Truth, read_truth
from scripts.metrics.bootstrap import ResampledScores, resample_scores
from scripts.metrics.scores import STUDY_MAP, check_ids
from scripts.metrics.submission import Predictions
from scripts.metrics.tabulation import align_columns, format_interval, format_number, judge_difference
from scripts.outputs import average_studies, read_predictions


@dataclass(frozen=True)
class _Studies:
    """S studies as arrays: members' probabilities `(M, S, 4)`, labels `(S,)`, ids, patients."""

    probabilities: Floats
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    patients: tuple[str, ...]


def report_ensemble(
    members: Mapping[str, Sequence[str | Path]],
    truth: str | Path,
    fold: int | Sequence[int] | None = None,
    out: str | Path | None = None,
    num_parts: int = 5,
    num_resamples: int = 1000,
    seed: int = 0,
) -> str:
    """Each member, their plain mean and the greedy blend, in plain text; the weights as JSON where `out` is given.

    Args:
        members: predictions.json of each member, by name; several files where each holds another fold.
        truth: a datalist.json.
        fold: only studies of this fold, or of these.
        out: JSON file for the weights of those members that were chosen.
        num_parts: parts of the cross-fit, by patient.
        num_resamples: resamples of patients behind each interval.
        seed: of the parts and the resamples.

    Raises:
        InputError: where a file is not valid, members hold other studies, or there are too few patients.
    """
    known = read_truth(truth, fold)
    if len(members) < 2 or len(known.groups) < num_parts:
        found = f"{len(members)} members, {len(known.groups)} patients"
        raise InputError(f"2 members or more, and {num_parts} patients or more", found, "name more of them")
    studies = _collect_studies({name: _read_member(paths) for name, paths in members.items()}, known)
    fitted = cross_fit_weights(studies.probabilities, studies.labels, studies.patients, num_parts, seed)
    if out is not None:
        chosen = {name: float(weight) for name, weight in zip(members, fitted.weights, strict=True) if weight}
        write_text(out, json.dumps({"weights": chosen, "cross_fitted": fitted.cross_fitted}, indent=1) + "\n")
    where = Path(truth).name if fold is None else f"{Path(truth).name}, fold {fold}"
    lines = [
        f"{len(members)} members against {where}: {len(studies.names)} studies, {len(known.groups)} patients",
        f"95 % intervals from {num_resamples} bootstrap resamples of patients, paired; weights as chosen",
        "",
        _tabulate(studies, fitted, list(members), known, num_resamples, seed),
        "",
        f"chosen on all studies (study mAP {fitted.in_sample:.4f} on them, flattered): "
        + ", ".join(f"{name} {weight:.2f}" for name, weight in zip(members, fitted.weights, strict=True) if weight),
    ]
    return "\n".join(lines)


def _read_member(paths: Sequence[str | Path]) -> dict[str, dict[str, float]]:
    films = [film for path in paths for film in read_predictions(path)]
    if len({film.image_id for film in films}) < len(films):
        raise InputError("films, each once", f"one twice in {', '.join(map(str, paths))}", "give each fold once")
    return average_studies(films)


def _collect_studies(members: Mapping[str, Mapping[str, Mapping[str, float]]], truth: Truth) -> _Studies:
    for studies in members.values():
        check_ids("study", studies, truth.study_labels, truth.unscored_studies)
    names = tuple(truth.study_labels)
    rows = [[[studies[name][each] for each in STUDY_CLASSES] for name in names] for studies in members.values()]
    labels = np.array([STUDY_CLASSES.index(truth.study_labels[name]) for name in names])
    patients = tuple(truth.groups[truth.study_group[name]] for name in names)
    return _Studies(np.array(rows, dtype=np.float64), labels, names, patients)


def _tabulate(
    studies: _Studies, fitted: Blend, members: Sequence[str], truth: Truth, num_resamples: int, seed: int
) -> str:
    even = np.full(len(members), 1 / len(members))
    candidates = dict(zip(members, studies.probabilities, strict=True))
    candidates |= {
        "plain mean of all": blend(studies.probabilities, even),
        f"greedy, cross-fitted in {len(fitted.part_weights)} parts": fitted.probabilities,
    }
    resampled = {name: _resample(each, studies, truth, num_resamples, seed) for name, each in candidates.items()}
    best = max(members, key=lambda name: resampled[name].values[STUDY_MAP][0])
    rows = []
    for name, scores in resampled.items():
        gain = _summarise(scores - resampled[best])
        compared = ("", "", "best member") if name == best else (*_tell(gain, "+.4f"), judge_difference(gain))
        rows.append((name, *_tell(_summarise(scores)), *compared))
    return align_columns(("study mAP", "value", "95 % interval", "minus best", "95 % interval", ""), rows)


def _resample(probabilities: Floats, studies: _Studies, truth: Truth, num_resamples: int, seed: int) -> ResampledScores:
    rows = {
        name: dict(zip(STUDY_CLASSES, row.tolist(), strict=True))
        for name, row in zip(studies.names, probabilities, strict=True)
    }
    return resample_scores(Predictions(rows, {}), truth, num_resamples, seed)


def _summarise(scores: ResampledScores) -> Interval:
    return scores.summarise()[STUDY_MAP]


def _tell(interval: Interval, style: str = ".4f") -> tuple[str, str]:
    return format_number(interval.value, style), format_interval(interval, style)
