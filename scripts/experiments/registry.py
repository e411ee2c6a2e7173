"""Experiment registry: all runs in one table, with the expected and the measured gain of each experiment."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats
from scripts.engines import name_tag
from scripts.errors import InputError
from scripts.experiments.differences import Difference, measure_difference, pool_deviations
from scripts.files import Row, read_csv, write_csv, write_text
from scripts.run_records import BASELINE, DONE, RECORD, Record, read_held_out, read_history, read_record
from scripts.tabulation import align_columns
from torch.utils.tensorboard import SummaryWriter

METRIC = "study_map"

#: Options of a run that change what is measured, by name, and its datalist.
Settings = tuple[tuple[str, str], ...]

_COLUMNS = (
    "name", "description", "expected", "status", "overrides", "settings", "fold", "seed", METRIC, "loss_ratio",
    "seconds", "machine", "code", "datalist_hash", "weights_sha256", "started", "error",
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """The runs of one experiment at one budget.

    Args:
        name: its overrides, joined by "+"; "baseline" for none.
        settings: of all its runs; only experiments of equal settings are compared.
        values: the metric of each finished run, by fold and seed.
        loss_ratio: mean of the runs; NaN where nothing was validated.
        seconds: mean of the runs.
        expected: what was hoped for.
    """

    name: str
    settings: Settings
    values: Mapping[tuple[str, int], float]
    loss_ratio: float
    seconds: float
    expected: str

    @property
    def overrides(self) -> frozenset[str]:
        return frozenset(self.name.split("+")) - {BASELINE}

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.values.values()))) if self.values else math.nan


def find_records(*sources: str | Path) -> dict[Path, Record]:
    """Every run below folders, by its own folder, and of earlier experiments.csv, whose folders may be gone; each once.

    Raises:
        InputError: where there is none, or a table is not of this kind.
    """
    found: dict[Path, Record] = {}
    for source in map(Path, sources):
        if source.is_file():
            found |= {source / str(row): record for row, record in enumerate(read_registry(source), start=2)}
        else:
            found |= {path.parent: read_record(path) for path in sorted(source.rglob(RECORD))}
    if not found:
        where = ", ".join(map(str, sources))
        raise InputError(f"runs with a {RECORD}", f"none below {where}", "train first, or name another folder")
    last = {(record.name, record.held_out, record.seed, record.started): path for path, record in found.items()}
    return {path: found[path] for path in last.values()}


def read_registry(path: str | Path) -> list[Record]:
    """Read the runs of an experiments.csv; of their metrics the table holds the study mAP alone.

    Raises:
        InputError: naming file and line, where a cell is not what a registry holds.
    """
    return [_read_row(row) for row in read_csv(path, _COLUMNS, what="an experiments.csv")]


def group_runs(records: Sequence[Record]) -> list[Entry]:
    """One entry for each experiment and its settings, "baseline" first, in the order of the names."""
    groups: dict[tuple[str, Settings], list[Record]] = {}
    for record in records:
        groups.setdefault((record.name, _list_settings(record)), []).append(record)
    entries = [_make_entry(name, settings, runs) for (name, settings), runs in groups.items()]
    return sorted(entries, key=lambda entry: (entry.settings, entry.name != BASELINE, entry.name))


def find_baselines(entries: Sequence[Entry]) -> dict[Settings, Entry]:
    """For each settings the experiment that all others of them build on: "baseline", or whose overrides all have.

    Settings without such an experiment are left out, and so are those of a single experiment of another name.
    """
    groups: dict[Settings, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.settings, []).append(entry)
    baselines = {}
    for settings, same in groups.items():
        common = frozenset.intersection(*(entry.overrides for entry in same))
        shared = [entry for entry in same if entry.overrides == common]
        if shared and (len(same) > 1 or not common):
            baselines[settings] = shared[0]
    return baselines


def measure_noise(entries: Sequence[Entry]) -> dict[Settings, tuple[float, int]]:
    """For each settings the standard deviation between seeds of one fold, pooled, and its degrees of freedom."""
    samples: dict[Settings, list[Sequence[float]]] = {}
    for entry in entries:
        samples.setdefault(entry.settings, []).extend(_list_folds(entry).values())
    return {settings: pool_deviations(each) for settings, each in samples.items()}


def measure_gain(entry: Entry, baseline: Entry | None, noise: tuple[float, int]) -> Difference:
    """Measure an experiment minus the baseline of its settings, on the folds that both have; seeds may differ."""
    ours, theirs = _list_folds(entry), _list_folds(baseline) if baseline else {}
    common = [fold for fold in ours if fold in theirs]
    values = np.array([[np.mean(ours[fold]) - np.mean(theirs[fold])] for fold in common])
    deviation, freedom = noise
    variances = [1 / len(ours[fold]) + 1 / len(theirs[fold]) for fold in common]
    error = deviation * math.sqrt(sum(variances)) / max(1, len(common))
    return measure_difference(entry.name, baseline.name if baseline else BASELINE, values, error, freedom)


def _list_folds(entry: Entry) -> dict[str, list[float]]:
    """Values of the seeds of each fold."""
    folds: dict[str, list[float]] = {}
    for (fold, _), value in entry.values.items():
        folds.setdefault(fold, []).append(value)
    return folds


def tabulate_runs(records: Sequence[Record], leaderboard: Mapping[str, float] | None = None) -> str:
    """The experiment registry in plain text, one table for each settings.

    Args:
        records: of all runs.
        leaderboard: score of an experiment on images whose labels are withheld, where one was given.
    """
    entries, scores = group_runs(records), leaderboard or {}
    noise, baselines = measure_noise(entries), find_baselines(entries)
    lines = []
    for settings in sorted({entry.settings for entry in entries}):
        same = [entry for entry in entries if entry.settings == settings]
        baseline = baselines.get(settings)
        deviation, freedom = noise[settings]
        texts = f"{deviation:.4f} ({freedom} degrees of freedom)" if freedom else "not measured"
        gains = {each.name: measure_gain(each, baseline, noise[settings]) for each in same if each is not baseline}
        lines += [
            ", ".join(f"{name} {value}" for name, value in settings) or "settings of the configs",
            f"standard deviation between seeds, all experiments together: {texts}",
            align_columns(
                (
                    "description",
                    "runs",
                    "study mAP",
                    "gain",
                    "noise",
                    "",
                    "loss ratio",
                    "seconds",
                    "leaderboard",
                    "expected",
                ),
                [_format_entry(entry, gains.get(entry.name), scores) for entry in same],
            ),
            "",
        ]
    unfinished = [f"{record.name} ({record.status})" for record in records if record.status != DONE]
    if unfinished:
        lines.append(f"not finished, and not counted: {', '.join(unfinished)}")
    return "\n".join([*lines, _format_correlation(entries, scores)]).strip()


def read_leaderboard(path: str | Path) -> dict[str, float]:
    """Scores by name from a CSV with the columns name and score.

    Raises:
        InputError: where it is something else.
    """
    rows = list(read_csv(path, ["name", "score"], what="a leaderboard"))
    try:
        return {row.cells["name"]: float(row.cells["score"]) for row in rows}
    except ValueError as error:
        raise InputError("numbers in the column score", f"{error} in {path}", "correct it") from None


def write_registry(
    found: Mapping[Path, Record], out: str | Path, leaderboard: Mapping[str, float] | None = None
) -> str:
    """Write experiments.csv (a row for each run), experiments.txt and TensorBoard's files; what the text says.

    Args:
        found: runs by folder, of `find_records`.
        out: folder.
        leaderboard: as in `tabulate_runs`.
    """
    out = Path(out)
    records = list(found.values())
    write_csv(out / "experiments.csv", [*_COLUMNS, "leaderboard"], [_list_cells(each, leaderboard) for each in records])
    text = tabulate_runs(records, leaderboard)
    write_text(out / "experiments.txt", text + "\n")
    for folder, record in found.items():
        _write_board(record, read_history(folder), out / "tensorboard" / f"{record.name}-{_name_run(record)}")
    return text


def _read_row(row: Row) -> Record:
    cells = row.cells
    try:
        # a value may hold blanks; a name begins behind one and ends in "="
        settings = dict(pair.split("=", 1) for pair in re.split(r" (?=\w+=)", cells["settings"]) if pair)
        weights = dict(pair.split(":", 1) for pair in cells["weights_sha256"].split())
        return Record(
            overrides=tuple(cells["overrides"].split()),
            settings=settings,
            fold=read_held_out(cells["fold"]),
            seed=int(cells["seed"]),
            seconds=float(cells["seconds"]),
            metrics={METRIC: float(cells[METRIC])} if cells[METRIC] else {},
            loss_ratio=float(cells["loss_ratio"]) if cells["loss_ratio"] else None,
            weights_sha256=weights,
            name=cells["name"],
            description=cells["description"],
            expected=cells["expected"],
            status=cells["status"],
            datalist_hash=cells["datalist_hash"],
            code=cells["code"],
            machine=cells["machine"],
            started=cells["started"],
            error=cells["error"],
        )
    except ValueError as error:
        raise InputError("a row of an experiments.csv", f"{error} at {row.locate()}", "make it anew") from None


def _list_settings(record: Record) -> Settings:
    """Its options and the beginning of its datalist's hash: other images are another measurement."""
    images = {"datalist": record.datalist_hash[:8]} if record.datalist_hash else {}
    return tuple(sorted({**record.settings, **images}.items()))


def _make_entry(name: str, settings: Settings, runs: Sequence[Record]) -> Entry:
    done = [run for run in runs if run.status == DONE and METRIC in run.metrics]
    ratios = [run.loss_ratio for run in done if run.loss_ratio is not None]
    return Entry(
        name,
        settings,
        {(run.held_out, run.seed): run.metrics[METRIC] for run in done},
        float(np.mean(ratios)) if ratios else math.nan,
        float(np.mean([run.seconds for run in done])) if done else math.nan,
        runs[0].expected,
    )


def _format_entry(entry: Entry, gain: Difference | None, scores: Mapping[str, float]) -> tuple[str, ...]:
    """Cells of a row; the gain is None of what the others are compared with."""
    return (
        entry.name,
        str(len(entry.values)),
        _format(entry.mean, ".4f"),
        _format(gain.value, "+.4f") if gain else "",
        _format(gain.bound, ".4f") if gain else "",
        gain.resolved if gain else "",
        _format(entry.loss_ratio, ".2f"),
        _format(entry.seconds, ".0f"),
        _format(scores.get(entry.name, math.nan), ".4f"),
        entry.expected,
    )


def _format(value: float, style: str) -> str:
    return "" if math.isnan(value) else f"{value:{style}}"


def _format_correlation(entries: Sequence[Entry], scores: Mapping[str, float]) -> str:
    pairs = [(entry.mean, scores[entry.name]) for entry in entries if entry.name in scores and entry.values]
    if len(pairs) < 3:
        return f"correlation with the leaderboard: {len(pairs)} experiments have both scores, 3 are needed"
    ours, theirs = zip(*pairs, strict=True)
    pearson, spearman = stats.pearsonr(ours, theirs).statistic, stats.spearmanr(ours, theirs).statistic
    figures = f"Pearson {pearson:.2f}, Spearman {spearman:.2f}"
    return f"correlation with the leaderboard over {len(pairs)} experiments: {figures}"


def _list_cells(record: Record, leaderboard: Mapping[str, float] | None) -> list[object]:
    texts = {
        "overrides": " ".join(record.overrides),
        "fold": record.held_out,
        "settings": " ".join(f"{name}={value}" for name, value in record.settings.items()),
        METRIC: record.metrics.get(METRIC, ""),
        "weights_sha256": " ".join(f"{name}:{value}" for name, value in record.weights_sha256.items()),
    }
    cells = [texts.get(name, getattr(record, name, "")) for name in _COLUMNS]
    return ["" if cell is None else cell for cell in [*cells, (leaderboard or {}).get(record.name)]]


def _name_run(record: Record) -> str:
    return f"fold{record.held_out}-seed{record.seed}-{record.started.replace(':', '')}"


def _write_board(record: Record, history: Sequence[Mapping[str, float]], folder: Path) -> None:
    """One run in TensorBoard: its curves, and its settings with what came out."""
    with SummaryWriter(str(folder)) as board:
        for row in history:
            for name, value in row.items():
                board.add_scalar(name_tag(name), value, int(row["epoch"]))
        settings: dict[str, bool | str | float | int] = {"name": record.name, "seed": record.seed, **record.settings}
        outcome = {f"outcome/{name}": value for name, value in record.metrics.items()}
        board.add_hparams(settings, outcome or {f"outcome/{METRIC}": math.nan}, run_name=".")
