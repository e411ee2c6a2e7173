"""Interactive figures of a report, as Plotly's JSON; colours of text and grid are the page's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from scripts.bootstrap import Interval
from scripts.metrics import SCORES
from scripts.reports.evaluation import Curve, EvaluatedRun
from scripts.reports.runs import TrainedRun

#: Told apart by the colour-blind, and from white and near-black alike; beyond them they come again.
COLOURS = ("#2f7fd1", "#d1661d", "#1f9d72", "#b25aa6", "#a8860a", "#4aa3bf")
GREY = "#8a949e"

#: Panels beside each other, at most; more stand in rows of three.
MOST_IN_A_ROW = 4

#: Titles of scores in tables and figures.
TITLES = {"study_map": "study mAP", "map": "challenge mAP"}


def colour_run(index: int) -> str:
    """Colour of a run by its position in the report."""
    return COLOURS[index % len(COLOURS)]


def plot_scores(runs: Sequence[EvaluatedRun]) -> str:
    """Scores of all runs with their intervals, a row a score."""
    figure = go.Figure()
    for index, run in enumerate(runs):
        shift = index - (len(runs) - 1) / 2
        _add_intervals(figure, run.name, {name: run.scores[name] for name in SCORES}, index, shift)
    figure.update_xaxes(title="average precision", range=[0, 1.02])
    return _write(_name_rows(figure))


def plot_differences(differences: Mapping[str, Mapping[str, Interval]]) -> str:
    """Differences of runs to the first one with their paired intervals, a row a score."""
    figure = go.Figure()
    for index, (name, scores) in enumerate(differences.items(), start=1):
        _add_intervals(figure, name, scores, index, index - (len(differences) + 1) / 2)
    figure.add_vline(0, line_color=GREY, line_width=1)
    figure.update_xaxes(title="difference, paired by patient")
    figure.update_layout(showlegend=True)
    return _write(_name_rows(figure))


def plot_curves(
    runs: Sequence[Mapping[str, Curve]], names: Sequence[str], x: str, y: str, shape: str = "linear"
) -> str:
    """A panel for each class with a line for each run.

    Args:
        runs: curves by class, of each run.
        names: of the runs.
        x, y: titles of the axes.
        shape: of the line between points, as Plotly names it.
    """
    classes = list(dict.fromkeys(name for curves in runs for name in curves))
    columns = len(classes) if len(classes) <= MOST_IN_A_ROW else 3
    rows = -(-len(classes) // columns)
    figure = make_subplots(
        rows, columns, subplot_titles=classes, shared_xaxes=True, shared_yaxes=True, horizontal_spacing=0.05,
        vertical_spacing=0.16 if rows > 1 else 0,
    )  # fmt: skip
    for index, (name, curves) in enumerate(zip(names, runs, strict=True)):
        for panel, label in enumerate(classes):
            if label in curves:
                row, column = panel // columns + 1, panel % columns + 1
                line = _draw_line(name, curves[label], index, shape, first=panel == 0)
                figure.add_trace(line, row=row, col=column)
    figure.update_xaxes(range=[-0.02, 1.02])
    figure.update_yaxes(range=[-0.02, 1.04])
    figure.update_xaxes(title=x, row=rows)
    figure.update_yaxes(title=y, col=1)
    figure.update_layout(height=100 + 260 * rows)
    return _write(figure)


def plot_calibration(runs: Sequence[EvaluatedRun]) -> str:
    """Reliability diagrams before and after the temperature, a panel for each run."""
    shown = [(index, run) for index, run in enumerate(runs) if run.calibration is not None]
    figure = make_subplots(
        1, len(shown), subplot_titles=[run.name for _, run in shown], shared_yaxes=True, horizontal_spacing=0.05
    )
    for column, (index, run) in enumerate(shown, start=1):
        figure.add_scatter(
            x=[0, 1], y=[0, 1], mode="lines", line={"color": GREY, "dash": "dot"}, showlegend=False, hoverinfo="skip",
            row=1, col=column,
        )  # fmt: skip
        for name, diagram in run.calibration.diagrams.items() if run.calibration else ():
            plain = name == "before"
            figure.add_scatter(
                x=diagram.confidences, y=diagram.accuracies, name=f"{name} the temperature", legendgroup=name,
                showlegend=column == 1, mode="lines+markers",
                line={"color": GREY if plain else colour_run(index), "width": 1.5 if plain else 2},
                error_y=_reach(diagram.accuracies, diagram.low, diagram.high) if not plain else None,
                customdata=diagram.sizes, hovertemplate="confidence %{x:.2f}, right %{y:.2f}, %{customdata} studies",
                row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(title="highest probability", range=[0, 1.02])
    figure.update_yaxes(range=[0, 1.04])
    figure.update_yaxes(title="fraction that was right", col=1)
    figure.update_layout(height=420)
    return _write(figure)


def plot_learning(runs: Sequence[TrainedRun]) -> str:
    """Loss and study mAP over the epochs, a colour for each training."""
    figure = make_subplots(1, 2, subplot_titles=["loss", "study mAP of the validation"], horizontal_spacing=0.09)
    lines = (("train_loss", "dot", 1), ("validation_loss", "solid", 1), ("study_map", "solid", 2))
    for index, run in enumerate(runs):
        for name, dash, column in lines:
            rows = [row for row in run.history if row.get(name) is not None]
            figure.add_scatter(
                x=[row["epoch"] for row in rows], y=[row[name] for row in rows], name=run.name, legendgroup=run.name,
                showlegend=name == "validation_loss", mode="lines", line={"color": colour_run(index), "dash": dash},
                hovertemplate=f"{name.replace('_', ' ')} %{{y:.4g}}, epoch %{{x}}", row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(title="epoch")
    figure.update_layout(height=380)
    return _write(figure)


def _draw_line(name: str, curve: Curve, index: int, shape: str, first: bool) -> go.Scatter:
    return go.Scatter(
        x=np.round(curve.x, 4), y=np.round(curve.y, 4), name=name, legendgroup=name, showlegend=first, mode="lines",
        line={"color": colour_run(index), "shape": shape},
        hovertemplate=f"%{{x:.3f}}, %{{y:.3f}}, area {curve.area:.3f}",
    )  # fmt: skip


def _add_intervals(
    figure: go.Figure, name: str, scores: Mapping[str, Interval], index: int, shift: float = 0.0
) -> None:
    """A row for each score; `shift` parts the runs of a row."""
    values, low, high = (
        np.array([getattr(each, bound) for each in scores.values()]) for bound in ("value", "low", "high")
    )
    figure.add_scatter(
        x=values, y=np.arange(len(scores)) + 0.2 * shift, name=name, mode="markers",
        marker={"color": colour_run(index), "size": 9}, error_x=_reach(values, low, high),
        hovertemplate="%{x:.4f}",
    )  # fmt: skip


def _name_rows(figure: go.Figure) -> go.Figure:
    """Write the scores' names at the rows, the first on top."""
    names = [TITLES.get(name, name) for name in SCORES]
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.5, -0.5])
    figure.update_layout(height=120 + 46 * len(names))
    return figure


def _reach(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> dict[str, object]:
    """Error bars to an interval's bounds; none where it is not defined."""
    above, below = (np.nan_to_num(distance).clip(0) for distance in (high - values, values - low))
    return {"type": "data", "array": above, "arrayminus": below, "thickness": 1.5, "width": 4}


def _write(figure: go.Figure) -> str:
    """JSON of a figure without Plotly's own look; a script's end cannot stand in it."""
    figure.update_layout(template="none", legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"})
    return str(figure.to_json()).replace("<", "\\u003c")
