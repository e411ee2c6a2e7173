"""Runs of a report: folders with predictions, trainings and explanations, told apart by the files in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.errors import InputError
from scripts.experiments import find_records
from scripts.predictions import PREDICTIONS_FILE
from scripts.run_records import Record, read_history
from scripts.submission import Predictions, read_submission

#: The file that stands for a folder's kind.
SUBMISSION, EXPLANATIONS = "submission.csv", "explanations.csv"


@dataclass(frozen=True)
class PredictedRun:
    """Predictions of a run: its name, its folder, and its submission."""

    name: str
    folder: Path
    predictions: Predictions


@dataclass(frozen=True)
class TrainedRun:
    """A training: its name in the report, its record, and the rows of its history."""

    name: str
    record: Record
    history: Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Runs:
    """All runs of a report, in the order in which they were named; explanations are folders."""

    predicted: tuple[PredictedRun, ...]
    trained: tuple[TrainedRun, ...]
    explanations: tuple[Path, ...]


def read_runs(folders: Sequence[str | Path]) -> Runs:
    """Read the runs in some folders; trainings are found below them too.

    Raises:
        InputError: where there is no folder, or one that holds nothing of a run.
    """
    if not folders:
        raise InputError("one folder of a run or more", "none", "name them: python -m scripts report RUN --out FILE")
    paths = [Path(folder) for folder in folders]
    names = _name_apart(paths)
    predicted: list[PredictedRun] = []
    trained: list[TrainedRun] = []
    explained: list[Path] = []
    for path in paths:
        found = len(predicted) + len(trained) + len(explained)
        if (path / PREDICTIONS_FILE).is_file() and (path / SUBMISSION).is_file():
            predicted.append(PredictedRun(names[path], path, read_submission(path / SUBMISSION)))
        if (path / EXPLANATIONS).is_file():
            explained.append(path)
        trained += _find_trainings(path, names[path])
        if len(predicted) + len(trained) + len(explained) == found:
            expected = f"{PREDICTIONS_FILE} with {SUBMISSION}, a record.json, or {EXPLANATIONS} in a run's folder"
            raise InputError(expected, f"none of them at {path}", "name the --output_dir of a run that ended")
    return Runs(tuple(predicted), tuple(trained), tuple(explained))


def _find_trainings(path: Path, name: str) -> list[TrainedRun]:
    try:
        records = find_records(path)
    except InputError:  # no training: the caller counts what else is there
        return []
    return [
        TrainedRun(name if folder == path else f"{name}/{folder.relative_to(path)}", record, read_history(folder))
        for folder, record in records.items()
    ]


def _name_apart(paths: Sequence[Path]) -> dict[Path, str]:
    """The last part of each path, or as many parts as tell them apart."""
    parts = {path: path.resolve().parts for path in paths}
    if len(set(parts.values())) < len(paths):
        raise InputError("each run once", "one twice", "name it once")
    count = 1
    while len({each[-count:] for each in parts.values()}) < len(paths):
        count += 1
    return {path: "/".join(each[-count:]) for path, each in parts.items()}
