"""Plain-text tables of figures, for the reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scripts.bootstrap import Interval


def tabulate_intervals(title: str, intervals: Mapping[str, Interval]) -> str:
    """One row for each figure: its name, its value, its interval."""
    rows = [(name, format_number(each.value), format_interval(each)) for name, each in intervals.items()]
    return align_columns((title, "value", "95 % interval"), rows)


def format_number(value: float, style: str = ".4f") -> str:
    """A number, or "undefined" for NaN."""
    return "undefined" if np.isnan(value) else f"{value:{style}}"


def format_interval(interval: Interval, style: str = ".4f") -> str:
    """The bounds of an interval, or nothing where it is not defined."""
    return "" if np.isnan(interval.low) else f"{interval.low:{style}} to {interval.high:{style}}"


def evaluate_difference(difference: Interval) -> str:
    """Evaluate a difference: on which side of its interval zero lies, if outside."""
    if difference.low > 0:
        return "better"
    return "worse" if difference.high < 0 else "not resolved"


def align_columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their widest cell: the first flush left, the others flush right."""
    table = [header, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    cells = [
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in table
    ]
    return "\n".join("  ".join(row).rstrip() for row in cells)
