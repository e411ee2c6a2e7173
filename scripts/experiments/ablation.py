"""What each idea is worth: rows of overlays, several seeds, paired differences, and which stand out of the noise.

A row is named by its overlays ("whole_film+no_auxiliary"), and compared with every row that has some of them only. Its
seeds are scored on the same drawn patients, and their scores averaged. The interval of a difference holds two noises:
which patients there happen to be (paired bootstrap), and which seed a training happens to have (Student's t, on the
spread between seeds that all rows share), added as independent errors are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from scripts.errors import InputError
from scripts.experiments.recording import BASELINE, read_record
from scripts.experiments.running import Plan
from scripts.files import write_text
from scripts.metrics import Interval, Truth, read_submission, read_truth
from scripts.metrics.average_precision import Floats
from scripts.metrics.bootstrap import ResampledScores, resample_scores
from scripts.metrics.scores import STUDY_MAP
from scripts.metrics.submission import Predictions
from scripts.metrics.tabulation import align_columns, format_interval, format_number, judge_difference

#: The table of the issue: region x auxiliary loss, label smoothing, and views at test time.
ROWS: tuple[str, ...] = (
    BASELINE,
    "auxiliary_1",
    "no_auxiliary",
    "whole_film",
    "whole_film+auxiliary_1",
    "whole_film+no_auxiliary",
    "label_smoothing_off",
    "views_1",
    "views_4",
)

#: What an overlay may change of an evaluation alone: a row with such overlays uses the weights of the row without them.
_SEEN_ONLY = {"_desc_", "output_dir", "views"}


@dataclass(frozen=True)
class Row:
    """One combination of overlays; `trained` change the training, `seen` only how its network is asked."""

    trained: tuple[str, ...]
    seen: tuple[str, ...]

    @property
    def name(self) -> str:
        return "+".join(self.overlays) or BASELINE

    @property
    def overlays(self) -> tuple[str, ...]:
        return (*self.trained, *self.seen)

    def list_files(self, configs: Path, evaluating: bool = False) -> list[str]:
        """Configuration files, one over the other."""
        stems = self.overlays if evaluating else self.trained
        return [str(configs / "train.json"), *(str(configs / "experiments" / f"{stem}.json") for stem in stems)]


@dataclass(frozen=True)
class Measured:
    """A row's study mAP.

    Args:
        row: its overlays.
        values: `(S, 1 + R)`, of each seed, on all patients and on each resample.
        loss_ratios: validation / training loss of each run.
    """

    row: Row
    values: Floats
    loss_ratios: tuple[float, ...]

    @property
    def mean(self) -> Interval:
        return ResampledScores({STUDY_MAP: self.values.mean(axis=0)}).summarise()[STUDY_MAP]

    @property
    def deviation(self) -> float:
        """Between seeds; NaN with one."""
        return float(np.std(self.values[:, 0], ddof=1)) if len(self.values) > 1 else math.nan

    @property
    def loss_ratio(self) -> float:
        return float(np.mean(self.loss_ratios)) if self.loss_ratios else math.nan


@dataclass(frozen=True)
class Difference:
    """A row minus another one: by patients alone, and with the noise between seeds."""

    row: str
    other: str
    patients: Interval
    total: Interval

    @property
    def resolved(self) -> str:
        return judge_difference(self.total)


def ablate(
    plan: Plan,
    out: Path,
    rows: Sequence[str] = ROWS,
    folds: Sequence[int] = (0,),
    seeds: Sequence[int] = (0, 1, 2),
    configs: Path = Path("bundle/configs"),
    num_resamples: int = 1000,
) -> str:
    """Run what is missing, then tell every row and every difference; also as ablation.json and ablation.txt in `out`.

    Args:
        plan: data and options of the runs.
        out: folder of the runs, `<row>/seed<k>`, with more than one fold `<row>/seed<k>/fold<n>`.
        rows: names of overlays in experiments/, joined by "+"; "baseline" is train.json alone.
        folds: held out one after the other; their films are scored together.
        seeds: of the trainings; with one alone nothing is known of the noise between seeds, and the table says so.
        configs: the folder of train.json.
        num_resamples: resamples of patients.

    Raises:
        InputError: where a row or an overlay is not known, or a run fails.
    """
    planned = [parse_row(name, configs) for name in rows]
    runs = {key: _predict(plan, out, configs, *key, folds) for key in product(seeds, planned)}
    truth = read_truth(plan.datalist_file, tuple(folds))
    measured = [
        _measure_row(row, [runs[seed, row] for seed in seeds], truth, _list_runs(out, row, seeds, folds), num_resamples)
        for row in planned
    ]
    differences = list_differences(measured)
    report = tell_ablation(measured, differences, truth, folds, seeds, num_resamples)
    write_text(out / "ablation.txt", report + "\n")
    write_text(out / "ablation.json", json.dumps(_as_json(measured, differences), indent=1) + "\n")
    return report


def parse_row(name: str, configs: Path) -> Row:
    """A row from its name.

    Raises:
        InputError: where an overlay is not in experiments/.
    """
    stems = [] if name == BASELINE else name.split("+")
    seen = []
    for stem in stems:
        path = configs / "experiments" / f"{stem}.json"
        if not path.is_file():
            known = ", ".join(sorted(each.stem for each in path.parent.glob("*.json")))
            raise InputError(f"an overlay among {known}", repr(stem)[:80], "correct the row")
        if set(json.loads(path.read_text(encoding="utf-8"))) <= _SEEN_ONLY:
            seen.append(stem)
    return Row(tuple(stem for stem in stems if stem not in seen), tuple(seen))


def list_differences(measured: Sequence[Measured], level: float = 0.95) -> list[Difference]:
    """Every row minus each row that has some of its overlays only."""
    noise, freedom = pool_noise(measured)
    return [
        _subtract(one, other, noise, freedom, level)
        for one in measured
        for other in measured
        if set(other.row.overlays) < set(one.row.overlays)
    ]


def pool_noise(measured: Sequence[Measured]) -> tuple[float, int]:
    """Standard deviation between seeds that all trained rows share, and its degrees of freedom; NaN with one seed."""
    deviations = [each.deviation for each in measured if not each.row.seen and len(each.values) > 1]
    freedom = sum(len(each.values) - 1 for each in measured if not each.row.seen)
    return (math.sqrt(np.mean(np.square(deviations))), freedom) if deviations else (math.nan, 0)


def widen_interval(patients: Interval, error: float, freedom: int, level: float = 0.95) -> Interval:
    """An interval with a further, independent standard error of so many degrees of freedom; NaN adds nothing."""
    if math.isnan(error) or not freedom:
        return patients
    more = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    below, above = (math.hypot(abs(bound - patients.value), more) for bound in (patients.low, patients.high))
    return Interval(patients.value, patients.value - below, patients.value + above)


def tell_ablation(
    measured: Sequence[Measured],
    differences: Sequence[Difference],
    truth: Truth,
    folds: Sequence[int],
    seeds: Sequence[int],
    num_resamples: int,
) -> str:
    """Both tables in plain text."""
    noise, freedom = pool_noise(measured)
    where = f"fold {', '.join(map(str, folds))}: {len(truth.study_labels)} studies, {len(truth.groups)} patients"
    spread = f"{noise:.4f} ({freedom} degrees of freedom)" if freedom else "not measured: one seed"
    lines = [
        f"study mAP, mean of {len(seeds)} seeds, {where}; 95 % intervals from {num_resamples} resamples of patients",
        f"standard deviation between seeds, all rows together: {spread}",
        "",
        align_columns(
            ("row", "study mAP", "95 % interval", "between seeds", "validation / training loss"),
            [_tell_row(each) for each in measured],
        ),
        "",
        align_columns(
            ("a row minus another", "difference", "patients alone", "patients and seeds", ""),
            [_tell_difference(each) for each in differences],
        ),
    ]
    return "\n".join(lines)


def _predict(plan: Plan, out: Path, configs: Path, seed: int, row: Row, folds: Sequence[int]) -> list[Path]:
    """Submissions of the folds of one row and seed."""
    submissions = []
    for fold, folder in zip(folds, _list_runs(out, row, [seed], folds), strict=True):
        weights = plan.train(row.list_files(configs), folder, fold, seed)
        name = "+".join(["evaluation", *row.seen])
        predictions = plan.evaluate_fold(row.list_files(configs, evaluating=True), weights, folder / name, fold)
        submissions.append(predictions.with_name("submission.csv"))
    return submissions


def _list_runs(out: Path, row: Row, seeds: Sequence[int], folds: Sequence[int]) -> list[Path]:
    trained = out / ("+".join(row.trained) or BASELINE)
    single = len(folds) == 1
    return [trained / f"seed{seed}" / ("" if single else f"fold{fold}") for seed in seeds for fold in folds]


def _measure_row(
    row: Row, seeds: Sequence[Sequence[Path]], truth: Truth, runs: Sequence[Path], num_resamples: int
) -> Measured:
    values = [resample_scores(_join(paths), truth, num_resamples).values[STUDY_MAP] for paths in seeds]
    ratios = (read_record(run).loss_ratio for run in runs)
    return Measured(row, np.stack(values), tuple(ratio for ratio in ratios if ratio is not None))


def _join(submissions: Sequence[Path]) -> Predictions:
    parts = [read_submission(path) for path in submissions]
    study = {name: each for part in parts for name, each in part.study.items()}
    return Predictions(study, {name: each for part in parts for name, each in part.image.items()})


def _subtract(one: Measured, other: Measured, noise: float, freedom: int, level: float) -> Difference:
    each = one.values - other.values
    patients = ResampledScores({STUDY_MAP: each.mean(axis=0)}).summarise(level)[STUDY_MAP]
    if one.row.trained == other.row.trained:  # the same weights, asked otherwise: only that difference varies
        freedom = len(each) - 1
        error = float(np.std(each[:, 0], ddof=1)) / math.sqrt(len(each)) if freedom else math.nan
    else:
        error = noise * math.sqrt(2 / len(each))
    return Difference(one.row.name, other.row.name, patients, widen_interval(patients, error, freedom, level))


def _tell_row(measured: Measured) -> tuple[str, ...]:
    mean = measured.mean
    figures = (measured.deviation, measured.loss_ratio)
    spread, ratio = ("" if math.isnan(figure) else f"{figure:.4f}" for figure in figures)
    return measured.row.name, format_number(mean.value), format_interval(mean), spread, ratio[:-2]


def _tell_difference(difference: Difference) -> tuple[str, ...]:
    return (
        f"{difference.row} minus {difference.other}",
        format_number(difference.patients.value, "+.4f"),
        format_interval(difference.patients, "+.4f"),
        format_interval(difference.total, "+.4f"),
        difference.resolved,
    )


def _as_json(measured: Sequence[Measured], differences: Sequence[Difference]) -> Mapping[str, Any]:
    rows = [
        {
            "row": each.row.name,
            "study_map": asdict(each.mean),
            "seeds": each.values[:, 0].tolist(),
            "loss_ratios": each.loss_ratios,
        }
        for each in measured
    ]
    return {"rows": rows, "differences": [{**asdict(each), "resolved": each.resolved} for each in differences]}
