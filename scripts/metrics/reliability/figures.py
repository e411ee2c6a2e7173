"""Reliability diagrams before and after temperature scaling, and risk-coverage curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scripts.charts import COLOURS, GREY, save_figure
from scripts.metrics.average_precision import Floats
from scripts.metrics.calibration import Reliability
from scripts.metrics.reliability.assessment import ORACLE, RANDOM
from scripts.metrics.reliability.tables import name_order

#: Lines of the orders that no uncertainty makes.
_PLAIN = {RANDOM: ":", ORACLE: "--"}

#: Points an inch: readable in a browser, small in a folder.
RESOLUTION = 110


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
