"""Ablation study: combinations of config overrides, several seeds, paired differences with their noise.

A combination is named by its overrides ("whole_image+no_auxiliary"), and compared with every combination that has some
of them only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scripts.errors import InputError
from scripts.experiments.combinations import COMBINATIONS, Combination, parse_combination
from scripts.experiments.differences import Difference, Measured, list_differences, pool_noise
from scripts.experiments.running import Plan
from scripts.files import write_text
from scripts.metrics import STUDY_MAP, GroundTruth, read_ground_truth, resample_scores
from scripts.run_records import BASELINE, read_record
from scripts.submission import Predictions, read_submission
from scripts.tabulation import align_columns, format_interval, format_number


def ablate(
    plan: Plan,
    out: Path,
    rows: Sequence[str] = COMBINATIONS,
    folds: Sequence[int] = (0,),
    seeds: Sequence[int] = (0, 1, 2),
    configs: Path = Path("bundle/configs"),
    num_resamples: int = 1000,
    finished: bool = False,
) -> str:
    """Run what is missing, then report all combinations and differences, also as ablation.json and ablation.txt.

    Args:
        plan: data and options of the runs.
        out: folder of the runs, `<combination>/seed<k>`, with more than one fold `<combination>/seed<k>/fold<n>`.
        rows: names of overrides in experiments/, joined by "+"; "baseline" is train.json alone.
        folds: held out, each by a training; their images are scored together.
        seeds: of the trainings; with one alone nothing is known of the noise between seeds, and the table says so.
        configs: the folder of train.json.
        num_resamples: resamples of patients.
        finished: train nothing, and report the seeds of each combination that are done; there may be fewer of some.

    Raises:
        InputError: where a combination or an override is not known, a run fails, or nothing is finished.
    """
    planned = [parse_combination(name, configs) for name in rows]
    trainings = _list_trainings(out, planned, seeds, folds)
    if finished:
        trainings = [each for each in trainings if plan.is_done(each.list_files(configs), *each.place)]
    submissions = _predict_all(plan, configs, trainings)
    ground_truth = read_ground_truth(plan.datalist_file, tuple(folds))
    measured = []
    for combination in planned:
        whole = [seed for seed in seeds if all((combination, seed, fold) in submissions for fold in folds)]
        paths = [[submissions[combination, seed, fold] for fold in folds] for seed in whole]
        if whole:
            places = _list_runs(out, combination, whole, folds)
            measured.append(_measure_row(combination, whole, paths, ground_truth, places, num_resamples))
    if not measured:
        raise InputError("runs that are finished", f"none in {out}", "leave --finished out, and they are trained")
    differences = list_differences(measured)
    report = format_ablation(measured, differences, ground_truth, folds, num_resamples)
    write_text(out / "ablation.txt", report + "\n")
    write_text(out / "ablation.json", json.dumps(_as_json(measured, differences), indent=1) + "\n")
    return report


def format_ablation(
    measured: Sequence[Measured],
    differences: Sequence[Difference],
    ground_truth: GroundTruth,
    folds: Sequence[int],
    num_resamples: int,
) -> str:
    """Both tables in plain text."""
    noise, freedom = pool_noise(measured)
    counts = f"{len(ground_truth.study_labels)} studies, {len(ground_truth.groups)} patients"
    where = f"fold {', '.join(map(str, folds))}: {counts}"
    spread = f"{noise:.4f} ({freedom} degrees of freedom)" if freedom else "not measured: one seed"
    lines = [
        f"study mAP, mean of the seeds, {where}; 95 % intervals from {num_resamples} resamples of patients",
        f"standard deviation between seeds, all rows together: {spread}",
        "",
        align_columns(
            ("combination", "seeds", "study mAP", "95 % interval", "between seeds", "validation / training loss"),
            [_format_row(each) for each in measured],
        ),
        "",
        align_columns(
            ("a combination minus another", "difference", "patients alone", "patients and seeds", ""),
            [_format_difference(each) for each in differences],
        ),
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class _Training:
    """One training, and the combinations that it is evaluated for: what differs in evaluation only shares it."""

    folder: Path
    fold: int
    seed: int
    combinations: tuple[Combination, ...]

    @property
    def place(self) -> tuple[Path, int, int]:
        return self.folder, self.fold, self.seed

    def list_files(self, configs: Path) -> list[str]:
        return self.combinations[0].list_files(configs)


def _list_trainings(
    out: Path, planned: Sequence[Combination], seeds: Sequence[int], folds: Sequence[int]
) -> list[_Training]:
    found: dict[tuple[Path, int, int], list[Combination]] = {}
    for seed, combination in product(seeds, planned):
        for fold, folder in zip(folds, _list_runs(out, combination, [seed], folds), strict=True):
            found.setdefault((folder, fold, seed), []).append(combination)
    return [_Training(*place, tuple(together)) for place, together in found.items()]


def _predict_all(plan: Plan, configs: Path, trainings: Sequence[_Training]) -> dict[tuple[Combination, int, int], Path]:
    """Submission of each combination, seed and fold."""
    made = plan.make_all([partial(_predict, plan, configs, training) for training in trainings])
    return {
        (combination, training.seed, training.fold): path
        for training, paths in zip(trainings, made, strict=True)
        for combination, path in zip(training.combinations, paths, strict=True)
    }


def _predict(plan: Plan, configs: Path, training: _Training) -> list[Path]:
    """Train once, and evaluate it for each combination; their submissions."""
    weights = plan.train(training.list_files(configs), *training.place)
    submissions = []
    for combination in training.combinations:
        folder = training.folder / "+".join(["evaluation", *combination.seen])
        files = combination.list_files(configs, evaluating=True)
        submissions.append(plan.evaluate_fold(files, weights, folder, training.fold).with_name("submission.csv"))
    return submissions


def _list_runs(out: Path, combination: Combination, seeds: Sequence[int], folds: Sequence[int]) -> list[Path]:
    trained = out / ("+".join(combination.trained) or BASELINE)
    single = len(folds) == 1
    return [trained / f"seed{seed}" / ("" if single else f"fold{fold}") for seed in seeds for fold in folds]


def _measure_row(
    combination: Combination,
    seeds: Sequence[int],
    submissions: Sequence[Sequence[Path]],
    ground_truth: GroundTruth,
    runs: Sequence[Path],
    num_resamples: int,
) -> Measured:
    values = [resample_scores(_join(paths), ground_truth, num_resamples).values[STUDY_MAP] for paths in submissions]
    ratios = (read_record(run).loss_ratio for run in runs)
    return Measured(combination, np.stack(values), tuple(seeds), tuple(ratio for ratio in ratios if ratio is not None))


def _join(submissions: Sequence[Path]) -> Predictions:
    parts = [read_submission(path) for path in submissions]
    study = {name: each for part in parts for name, each in part.study.items()}
    return Predictions(study, {name: each for part in parts for name, each in part.image.items()})


def _format_row(measured: Measured) -> tuple[str, ...]:
    mean = measured.mean
    spread = "" if math.isnan(measured.deviation) else f"{measured.deviation:.4f}"
    ratio = "" if math.isnan(measured.loss_ratio) else f"{measured.loss_ratio:.2f}"
    count = str(len(measured.seeds))
    return measured.combination.name, count, format_number(mean.value), format_interval(mean), spread, ratio


def _format_difference(difference: Difference) -> tuple[str, ...]:
    return (
        f"{difference.combination} minus {difference.other}",
        format_number(difference.patients.value, "+.4f"),
        format_interval(difference.patients, "+.4f"),
        format_interval(difference.total, "+.4f"),
        difference.resolved,
    )


def _as_json(measured: Sequence[Measured], differences: Sequence[Difference]) -> Mapping[str, Any]:
    rows = [
        {
            "combination": each.combination.name,
            "study_map": asdict(each.mean),
            "seeds": dict(zip(each.seeds, each.values[:, 0].tolist(), strict=True)),
            "loss_ratios": each.loss_ratios,
        }
        for each in measured
    ]
    return {"rows": rows, "differences": [{**asdict(each), "resolved": each.resolved} for each in differences]}
