"""Reliability report: text to read, reliability.json, two figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scripts.charts import COLOURS, GREY, save_figure
from scripts.errors import InputError
from scripts.files import replace_undefined, write_text
from scripts.metrics.average_precision import Floats
from scripts.metrics.calibration import Reliability
from scripts.metrics.reliability.assessment import (
    KEPT_BY,
    ORACLE,
    RANDOM,
    Calibration,
    Intervals,
    Selection,
    evaluate_calibration,
    evaluate_selection,
)
from scripts.metrics.reliability.gathering import EvaluatedImages, gather_images
from scripts.metrics.reliability.tables import (
    describe_task,
    name_order,
    tabulate_calibration,
    tabulate_selection,
    tabulate_subgroups,
)
from scripts.metrics.studies import EvaluatedStudies
from scripts.metrics.subgroups import Subgroup, collect_traits, measure_subgroups, read_metadata_table

#: Lines of the orders that no uncertainty makes.
_PLAIN = {RANDOM: ":", ORACLE: "--"}

#: Points an inch: readable in a browser, small in a folder.
RESOLUTION = 110


def report_reliability(
    predictions: str | Path | Sequence[str | Path],
    ground_truth: str | Path,
    out: str | Path,
    members: str | Sequence[str | Path] = (),
    metadata: str | Path | None = None,
    num_parts: int = 5,
    num_resamples: int = 1000,
    seed: int = 0,
) -> str:
    """Report in plain text how far study probabilities may be trusted; also reliability.json and two PNGs in `out`.

    Args:
        predictions: predictions.json, one of each fold, of images that their network was not trained on.
        ground_truth: a datalist.json.
        out: folder for reliability.json, reliability.png and selective.png.
        members: predictions.json of the same images by each member (seeds, TTA flips, networks); as one text, divided
            by commas. From them comes what the members disagree about.
        metadata: a table of metadata by image id, for more subgroups; `python -m scripts extract-metadata` writes one.
        num_parts: parts of the patients in the cross-fit of the temperature.
        num_resamples: resamples of patients behind each interval.
        seed: of the parts and of the resamples.

    Raises:
        InputError: where a file is not there or not valid, ids do not fit together, or there are too few patients.
    """
    images = gather_images(_split_paths(predictions), ground_truth, _split_paths(members))
    table = None if metadata is None else read_metadata_table(metadata)
    studies = images.evaluate_studies()
    _reject_too_few(studies, num_parts)
    weights = studies.sample_weights(num_resamples, seed)
    calibration = evaluate_calibration(images, studies, weights, num_parts, seed)
    selection = evaluate_selection(images, studies, weights)
    traits = collect_traits(images.images_of_study, images.flags, images.copied, table)
    subgroups = measure_subgroups(studies, traits, weights)
    out = Path(out)
    draw_reliability(calibration.diagrams, out / "reliability.png")
    draw_risk_coverage(selection.curves, out / "selective.png")
    content = _as_json(images, calibration, selection, subgroups, num_resamples)
    write_text(out / "reliability.json", json.dumps(content, indent=1) + "\n")
    blocks = [
        describe_task(images, studies, Path(ground_truth).name, num_resamples),
        tabulate_calibration(calibration),
        tabulate_selection(selection),
        tabulate_subgroups(subgroups),
    ]
    return "\n\n".join(blocks)


def _reject_too_few(studies: EvaluatedStudies, num_parts: int) -> None:
    if num_parts < 2 or studies.num_groups < num_parts:
        found = f"{studies.num_groups} patients for {num_parts} parts"
        raise InputError("2 parts or more, and as many patients", found, "take more images or fewer parts")


def _split_paths(paths: str | Path | Sequence[str | Path]) -> list[str | Path]:
    if isinstance(paths, Path):
        return [paths]
    return [path for path in paths.split(",") if path] if isinstance(paths, str) else list(paths)


def _as_json(
    images: EvaluatedImages,
    calibration: Calibration,
    selection: Selection,
    subgroups: Sequence[Subgroup],
    num_resamples: int,
) -> Any:
    """Everything that the report reports, and the curves; what is not defined is null."""
    fit = calibration.fit
    return replace_undefined(
        {
            "studies": len(images.ground_truth.study_labels),
            "images": len(images.ground_truth.image_boxes),
            "folds": images.folds,
            "members": len(images.members),
            "resamples": num_resamples,
            "calibration": {
                "temperature": None if fit.at_limit else fit.temperature,
                "part_temperatures": fit.part_temperatures,
                "by_chance": calibration.by_chance,
                **{name: _plain(getattr(calibration, name)) for name in ("before", "after", "improvement")},
                "diagrams": {
                    name: {key: value.tolist() for key, value in asdict(each).items()}
                    for name, each in calibration.diagrams.items()
                },
            },
            "selection": {
                "areas": _plain(selection.areas),
                "gains": _plain(selection.gains),
                "risks": {name: curve.tolist() for name, curve in selection.curves.items()},
                "kept_by": KEPT_BY,
                "kept": {
                    f"{coverage:g}": {**_plain(kept), "num_of_class": selection.num_of_class[coverage]}
                    for coverage, kept in selection.kept.items()
                },
            },
            "subgroups": [asdict(each) for each in subgroups],
        }
    )


def _plain(intervals: Intervals) -> dict[str, dict[str, float]]:
    return {name: asdict(each) for name, each in intervals.items()}


def draw_reliability(diagrams: Mapping[str, Reliability], path: str | Path) -> None:
    """Write reliability diagrams side by side as a PNG; bars are the intervals of `trace_reliability`."""
    figure = Figure(figsize=(4.6 * len(diagrams), 5.1), dpi=RESOLUTION, layout="constrained")
    axes = figure.subplots(1, len(diagrams), sharey=True, squeeze=False)[0]
    for ax, (name, diagram), colour in zip(axes, diagrams.items(), COLOURS, strict=False):
        _draw_diagram(ax, diagram, colour)
        ax.set_title(f"{name} the temperature")
    axes[0].set_ylabel("fraction of studies that were right")
    save_figure(figure, path)


def draw_risk_coverage(curves: Mapping[str, Floats], path: str | Path) -> None:
    """Write risk-coverage curves, each `(S,)`, as a PNG: the mistakes among the studies that are not handed over."""
    figure = Figure(figsize=(9.5, 4.6), dpi=RESOLUTION, layout="constrained")
    ax = figure.subplots()
    colours = iter(COLOURS)
    for name, risks in curves.items():
        colour = GREY if name in _PLAIN else next(colours)
        shown = np.arange(len(risks) // 50, len(risks))  # the risk of a handful of studies is a zigzag
        coverage = (shown + 1) / len(risks)
        ax.plot(coverage, risks[shown], _PLAIN.get(name, "-"), color=colour, linewidth=1.5, label=name_order(name))
    ax.set(xlabel="coverage: fraction of studies kept", ylabel="risk: fraction of wrong predictions")
    ax.set(xlim=(0, 1), ylim=(0, None))
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))  # beside the curves
    save_figure(figure, path)


def _draw_diagram(ax: Axes, diagram: Reliability, colour: str) -> None:
    ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    around = np.nan_to_num([diagram.accuracies - diagram.low, diagram.high - diagram.accuracies]).clip(0)
    points = diagram.confidences, diagram.accuracies
    ax.errorbar(*points, around, fmt="o-", color=colour, elinewidth=1, markersize=4)
    ax.set(xlabel="highest probability, mean of a bin", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.grid(alpha=0.3)
