"""Writer of the report: the sections that its runs allow, in one file."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs
from scripts.bootstrap import Interval
from scripts.errors import InputError
from scripts.experiments import Difference, Entry, find_baselines, group_runs, measure_gain, measure_noise
from scripts.files import write_text
from scripts.labels import STUDY_CLASSES
from scripts.metrics import SCORES, GroundTruth, name_ground_truth, read_ground_truth
from scripts.metrics.reliability import count_differences
from scripts.pages import render_page
from scripts.reports import plots
from scripts.reports.cases import Case, list_cases, picture_cases
from scripts.reports.evaluation import EvaluatedRun, evaluate_run
from scripts.reports.runs import Runs, TrainedRun, read_runs
from scripts.switches import read_switch
from scripts.tabulation import evaluate_difference, format_interval, format_number

_TEMPLATE = Path(__file__).with_name("report.html")


def write_report(
    folders: Sequence[str | Path],
    out: str | Path,
    ground_truth: str | Path | None = None,
    fold: int | Sequence[int] | None = None,
    tree: str | Path | None = None,
    pictures: bool | str = True,
    threshold: float | None = None,
    metadata: str | Path | None = None,
    num_cases: int = 4,
    num_resamples: int = 1000,
) -> str:
    """Write a report of runs as one HTML file without any address in it; what it holds, in a line.

    Args:
        folders: of evaluations, inferences, trainings and explanations, in any mixture.
        out: the file.
        ground_truth: a datalist.json; without it nothing is scored.
        fold: of the datalist, or several; by default all labelled images.
        tree: folder that the datalist's paths are relative to; without it there are no pictures.
        pictures: show images of the best and worst studies.
        threshold: operating point on 1 - p(negative); chosen on these studies by default.
        metadata: a table of metadata by image id, for more subgroups.
        num_cases: best and as many worst studies of the first run.
        num_resamples: bootstrap resamples behind each interval.

    Raises:
        InputError: where a folder holds no run, predictions and ground truth do not fit together, or there is nothing
            to report.
    """
    runs, shown = read_runs(folders), read_switch(pictures, "pictures") and tree is not None
    known = None if ground_truth is None else read_ground_truth(ground_truth, fold)
    if known is None and not runs.trained:
        advice = "name it with --ground_truth datalist.json, or name a training"
        raise InputError("a ground truth to score predictions against, or a training", "neither", advice)
    evaluated = [
        evaluate_run(run, known, str(ground_truth), fold, threshold, metadata, num_resamples)
        for run in runs.predicted
        if known is not None
    ]
    content: dict[str, Any] = {
        "task": _describe_task(known, ground_truth, fold, num_resamples),
        "names": [run.name for run in evaluated],
        "made": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "plots": {},
        "classes": STUDY_CLASSES,
        "titles": plots.TITLES,
        "colours": [plots.colour_run(index) for index in range(max(len(evaluated), len(runs.trained), 1))],
        "runs": evaluated,
        "trained": runs.trained,
        "format_interval": format_interval,
        "format_number": format_number,
        "count_differences": count_differences,
        "scores": SCORES,
        "plotly": get_plotlyjs(),
        **_compare_runs(evaluated),
        **_show_cases(evaluated, runs, tree if shown else None, num_cases),
        **_list_registry(runs.trained),
    }
    content["plots"] = _plot(evaluated, runs.trained, content["differences"])
    write_text(out, render_page(_TEMPLATE, content))
    counts = f"{len(evaluated)} runs scored, {len(runs.trained)} trainings, pictures of {content['pictured']} studies"
    return f"{counts}: {out} ({Path(out).stat().st_size / 1e6:.1f} MB)"


def _describe_task(
    known: GroundTruth | None, path: str | Path | None, fold: int | Sequence[int] | None, num_resamples: int
) -> Mapping[str, Any] | None:
    if known is None or path is None:
        return None
    return {
        "name": name_ground_truth(path, fold),
        "studies": len(known.study_labels),
        "images": len(known.image_boxes),
        "patients": len(known.groups),
        "resamples": num_resamples,
        "labels": {name: list(known.study_labels.values()).count(name) for name in STUDY_CLASSES},
    }


def _compare_runs(runs: Sequence[EvaluatedRun]) -> dict[str, Any]:
    """Differences of each further run to the first, on the same resamples of patients."""
    differences: dict[str, Mapping[str, Interval]] = {
        run.name: (run.resampled - runs[0].resampled).summarise() for run in runs[1:]
    }
    return {"differences": differences, "evaluate_difference": evaluate_difference}


def _show_cases(
    runs: Sequence[EvaluatedRun], named: Runs, tree: str | Path | None, number: int
) -> dict[str, list[Case] | int]:
    """All studies of the first run, its worst and its best; with pictures where there is a tree."""
    cases = list_cases(runs[0]) if runs else []
    number = min(number, len(cases) // 2)
    worst, best = cases[:number], cases[::-1][:number]
    if tree is not None and runs:
        worst, best = (picture_cases(each, runs[0], tree, named.explanations) for each in (worst, best))
    pictured = len(worst) + len(best) if tree is not None else 0
    return {"cases": cases, "worst": worst, "best": best, "pictured": pictured}


def _list_registry(trained: Sequence[TrainedRun]) -> dict[str, Any]:
    """Experiments by settings with their gains over the baseline, as the experiment registry has them."""
    entries = group_runs([run.record for run in trained]) if trained else []
    noise, baselines = measure_noise(entries), find_baselines(entries)

    def find_gain(entry: Entry) -> Difference | None:
        baseline = baselines.get(entry.settings)
        return None if entry is baseline else measure_gain(entry, baseline, noise[entry.settings])

    gains = [find_gain(entry) for entry in entries]
    return {"registry": list(zip(entries, gains, strict=True))}


def _plot(
    runs: Sequence[EvaluatedRun], trained: Sequence[TrainedRun], differences: Mapping[str, Mapping[str, Interval]]
) -> dict[str, str]:
    """Figures by id, those that there is something for."""
    names = [run.name for run in runs]
    figures: dict[str, str] = {}
    if runs:
        figures["scores"] = plots.plot_scores(runs)
        precision_recall, roc = [run.precision_recall for run in runs], [run.roc for run in runs]
        figures["precision-recall"] = plots.plot_curves(precision_recall, names, "recall", "precision", "vh")
        figures["roc"] = plots.plot_curves(roc, names, "1 − specificity", "sensitivity")
    if any(run.calibration for run in runs):
        figures["calibration"] = plots.plot_calibration(runs)
    if differences:
        figures["differences"] = plots.plot_differences(differences)
    if any(run.history for run in trained):
        figures["learning"] = plots.plot_learning(trained)
    return figures
