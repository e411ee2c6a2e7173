"""Figures of many runs: loss curves side by side, and the gain of each experiment beside the noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scripts.charts import COLOURS, GREY, save_figure
from scripts.experiments.differences import Difference
from scripts.experiments.registry import Entry, find_baselines, measure_gain, measure_noise
from scripts.run_records import BASELINE

History = Sequence[Mapping[str, float]]

#: Lines of a history by their name in the legend: their key in history.json and their style.
LINES: dict[str, tuple[str, dict[str, Any]]] = {
    "training": ("train_loss", {"linewidth": 1.2}),
    "validation": ("validation_loss", {"linewidth": 2.2, "linestyle": "--", "marker": "o", "markersize": 4}),
}


def draw_losses(groups: Mapping[str, Sequence[History]], path: str | Path) -> None:
    """Training (thin) and validation loss (dashed, a point where measured) of several runs, a panel for each group.

    Args:
        groups: rows of history.json of each run (fold or seed), by the title of their panel.
        path: of the PNG.

    The losses of two panels may have other terms: compare what lies between the lines, not their heights.
    """
    figure = Figure(figsize=(4.6 * len(groups), 3.6), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for panel, (title, runs) in zip(panels, groups.items(), strict=True):
        for number, history in enumerate(runs):
            colour = COLOURS[number % len(COLOURS)]
            for key, style in LINES.values():
                panel.plot(*_take(history, key), color=colour, **style)
        ratios = [ratio for history in runs if (ratio := _take_ratio(history))]
        mean = f"validation / training {sum(ratios) / len(ratios):.2f}" if ratios else "never validated"
        panel.set_title(f"{title}\n{mean} at the end", fontsize=10)
        panel.set_xlabel("epoch")
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("loss")
    keys = list_legend(max(map(len, groups.values())))
    figure.legend(
        handles=keys, loc="outside lower center", ncols=5 * len(groups), fontsize=8, frameon=False, handlelength=3
    )
    save_figure(figure, path)


def draw_gains(entries: Sequence[Entry], path: str | Path) -> None:
    """Draw each experiment's gain over the baseline of its settings, with the band of the noise between seeds.

    Args:
        entries: of `group_runs`; where several settings are among them, those with the most experiments are drawn.
        path: of the PNG.
    """
    settings = max({entry.settings for entry in entries}, key=lambda each: _count_experiments(entries, each))
    same = [entry for entry in entries if entry.settings == settings]
    baseline = find_baselines(entries).get(settings)
    noise = measure_noise(entries)[settings]
    others = [entry for entry in same if entry is not baseline]
    gains = {cut_overrides(entry.name, baseline): measure_gain(entry, baseline, noise) for entry in others}
    label = f"study mAP minus {baseline.name if baseline else BASELINE}\nbars: noise between seeds, 95 %"
    draw_differences(gains, label, path)


def draw_differences(gains: Mapping[str, Difference], label: str, path: str | Path) -> None:
    """Draw differences with their intervals, the largest on top, and what is resolved of them.

    Args:
        gains: by their name.
        label: of the axis.
        path: of the PNG.
    """
    gains = dict(sorted(gains.items(), key=lambda item: (math.isnan(item[1].value), item[1].value)))
    figure = Figure(figsize=(7, 0.8 + 0.36 * max(1, len(gains))), dpi=150, layout="constrained")
    panel = figure.subplots()
    for index, gain in enumerate(gains.values()):
        resolved = gain.resolved in ("better", "worse")
        colour = (COLOURS[2] if gain.value > 0 else COLOURS[1]) if resolved else GREY
        bars = [[gain.value - gain.total.low], [gain.total.high - gain.value]]
        panel.errorbar(gain.value, index, xerr=bars, fmt="o", color=colour, capsize=3)
        panel.annotate(
            gain.resolved, (1.01, index), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=colour
        )
    panel.axvline(0, color=GREY, linewidth=0.8)
    panel.set_yticks(range(len(gains)), list(gains), fontsize=8)
    panel.set_ylim(-0.6, len(gains) - 0.4)
    panel.set_xlabel(label, fontsize=8)
    panel.tick_params(axis="x", labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def list_legend(num_runs: int) -> list[Line2D]:
    """Keys of a legend: both kinds of lines, and the colour of each run where there are several."""
    keys = [Line2D([], [], color=GREY, label=name, **style) for name, (_, style) in LINES.items()]
    runs = range(num_runs) if num_runs > 1 else ()
    return keys + [Line2D([], [], color=COLOURS[run % len(COLOURS)], label=f"run {run + 1}") for run in runs]


def cut_overrides(name: str, baseline: Entry | None) -> str:
    """An experiment's name without the overrides that its baseline has too."""
    common = baseline.overrides if baseline else frozenset()
    return "+".join(part for part in name.split("+") if part not in common) or name


def _count_experiments(entries: Sequence[Entry], settings: object) -> int:
    return sum(entry.settings == settings for entry in entries)


def _take(history: History, name: str) -> tuple[list[float], list[float]]:
    rows = [row for row in history if name in row]
    return [row["epoch"] for row in rows], [row[name] for row in rows]


def _take_ratio(history: History) -> float | None:
    rows = [row for row in history if "validation_loss" in row]
    return rows[-1]["validation_loss"] / rows[-1]["train_loss"] if rows else None
