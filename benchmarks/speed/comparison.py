"""A comparison: two ways to do one thing, timed in turn, so that what else a machine does slows both alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

HEADER = ("what", "ours", "against", "theirs", "ratio", "goal")


@dataclass(frozen=True)
class Comparison:
    """Times of two ways to do the same.

    Args:
        what: what is done, with its size.
        against: the other way.
        ours, theirs: seconds of each run; none where it was not measured.
        goal: of the ratio, in words.
        unit: what `amount` counts; the times are then given as so many in a second.
        amount: of the units that a run does.
        note: why it was not measured, or what a reader must know.
    """

    what: str
    against: str
    ours: Sequence[float] = ()
    theirs: Sequence[float] = ()
    goal: str = ""
    unit: str = ""
    amount: float = 1.0
    note: str = ""

    @property
    def ratio(self) -> float:
        """The other way's time over ours, by medians; NaN where one was not measured."""
        return median(self.theirs) / median(self.ours) if self.ours and self.theirs else float("nan")

    def format_row(self) -> tuple[str, ...]:
        ratio = f"{self.ratio:.2f}" if self.ours and self.theirs else "not measured"
        what = f"{self.what} ({self.note})" if self.note else self.what
        return what, self._format_times(self.ours), self.against, self._format_times(self.theirs), ratio, self.goal

    def _format_times(self, seconds: Sequence[float]) -> str:
        if not seconds:
            return ""
        if self.unit:
            low, middle, high = sorted(self.amount / each for each in (max(seconds), median(seconds), min(seconds)))
            return f"{_round(middle)} {self.unit}/s ({_round(low)} to {_round(high)})"
        low, middle, high = min(seconds), median(seconds), max(seconds)
        scale, name = (1000.0, "ms") if middle < 1 else (1.0, "s")
        return f"{_round(scale * middle)} {name} ({_round(scale * low)} to {_round(scale * high)})"


def time_in_turn(ways: Sequence[Callable[[], object]], repeats: int = 5, warm_up: int = 1) -> list[list[float]]:
    """Seconds of each run of each way, one after the other and again from the first."""
    for _ in range(warm_up):
        for way in ways:
            way()
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(repeats):
        for taken, way in zip(seconds, ways, strict=True):
            start = time.perf_counter()
            way()
            taken.append(time.perf_counter() - start)
    return seconds


def tabulate_comparisons(comparisons: Sequence[Comparison]) -> str:
    """A Markdown table, a row for each comparison: median (smallest to largest) of each side, and their ratio."""
    rows = [HEADER, ("---",) * len(HEADER), *(each.format_row() for each in comparisons)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _round(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
