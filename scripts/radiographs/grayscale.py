"""Grayscale pipeline: Modality LUT or rescale, VOI LUT or window, inversion, min-max; padding is black.

Stored values have at most 16 bits, so the whole chain runs once on the list of possible values, in float64, and the
image is looked up in it. PS3.3 C.11.1 (modality), C.11.2 (VOI), C.7.6.3.1.2 (photometric interpretation), C.7.5.1.1.2
(padding).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scripts.radiographs.rejection import Rejection

Values = NDArray[np.float64]

#: Gray levels of a display: a window's first and last one are black and white.
_LEVELS = 256
#: A window hides most where it makes so large a fraction of the pixels black or white that are neither in the image.
#: Of 7,597 radiographs that were stored as shown, 1 in 1,000 has 0.48 of its pixels there, black borders included.
_HIDDEN = 0.7
#: Outliers are at most this fraction of the pixels at either end, behind a gap as wide as the range of all others. The
#: widest gap in the same 7,597 radiographs is 0.61 of it.
_FEW, _GAP = 0.02, 1.0
#: Or at most this fraction in a tail without a gap, so many times as long as the range of all others; at most 4.67.
_RARE, _TAIL = 0.005, 5.0
#: Rows that are counted at once: all of them as 64-bit indices would be four times the image.
_ROWS = 64


@dataclass(frozen=True)
class LookupTable:
    """A Modality or VOI LUT: `entries[i]`, of so many `bits`, stands for input `first + i`; beyond it its ends hold."""

    first: int
    entries: Values
    bits: int = 16

    def apply(self, values: Values) -> Values:
        """Values of any shape through the table."""
        index = np.clip(np.floor(values) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        return self.entries[index]

    def scale(self, output: Values) -> Values:
        """Its output, of any shape, from its least to its greatest entry -> [0, 1]."""
        least, greatest = self.entries.min(), self.entries.max()
        return (output - least) / max(greatest - least, 1)


@dataclass(frozen=True)
class Window:
    """A VOI window; `function` is LINEAR, LINEAR_EXACT or SIGMOID (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""

    center: float
    width: float
    function: str = "LINEAR"

    def is_valid(self) -> bool:
        """True where the standard gives these numbers a meaning."""
        lowest = 1.0 if self.function == "LINEAR" else np.finfo(float).tiny
        return math.isfinite(self.center) and math.isfinite(self.width) and self.width >= lowest

    def apply(self, values: Values) -> Values:
        """Values of any shape -> [0, 1]."""
        if self.function == "SIGMOID":
            return 1 / (1 + np.exp(np.clip(-4 * (values - self.center) / self.width, -700, 700)))
        if self.function == "LINEAR_EXACT":
            return np.clip((values - self.center) / self.width + 0.5, 0, 1)
        if self.width == 1:
            return (values > self.center - 0.5).astype(np.float64)
        return np.clip((values - (self.center - 0.5)) / (self.width - 1) + 0.5, 0, 1)


@dataclass(frozen=True)
class Display:
    """Display attributes of an image.

    Args:
        slope, intercept: the rescale, where there is no `modality`.
        modality, voi: lookup tables.
        window: used where there is no `voi`.
        inverted: MONOCHROME1.
        padding: lowest and highest stored value that mark padding.
    """

    slope: float = 1.0
    intercept: float = 0.0
    modality: LookupTable | None = None
    voi: LookupTable | None = None
    window: Window | None = None
    inverted: bool = False
    padding: tuple[int, int] | None = None


def render_brightness(stored: NDArray[np.integer], display: Display) -> tuple[NDArray[np.float32], list[str]]:
    """Stored values `(H, W)` -> brightness `(H, W)` float32 in [0, 1], and flags.

    The window is left out, with the flag "window", where it hides most of the image (it lies beside its values, or is
    far too narrow) or where its numbers are invalid; and so is a VOI LUT, with the flag "voi_lut". Where a few pixels
    are far from all others, these alone make black and white, with the flag "outliers".

    Raises:
        Rejection: bad_lookup where the rescale gives no finite values, bad_values where the image is constant or
            padding.
    """
    low, high = int(stored.min()), int(stored.max())
    possible = np.arange(low, high + 1)
    index = stored - stored.dtype.type(low)
    padded = _find_padding(possible, display.padding)
    counts = np.where(padded, 0, _count_values(index, possible.size))
    shown = counts > 0
    if not shown.any():
        raise Rejection("bad_values", "every pixel is padding")
    brightness, flags = _apply_display(possible.astype(np.float64), counts, display)
    darkest, brightest = brightness[shown].min(), brightness[shown].max()
    with np.errstate(over="ignore"):
        span = brightest - darkest
    if not np.isfinite(span):
        raise Rejection("bad_lookup", "the rescale gives values too far apart")
    if not span > 0:
        raise Rejection("bad_values", "every pixel has the same brightness")
    limits = _find_limits(brightness[shown], counts[shown])
    if limits != (darkest, brightest):
        (darkest, brightest), flags = limits, [*flags, "outliers"]
    table = np.clip((brightness - darkest) / (brightest - darkest), 0, 1)
    table[padded] = 0
    return table.astype(np.float32)[index], flags


def _count_values(index: NDArray[np.integer], size: int) -> NDArray[np.int64]:
    counts = np.zeros(size, dtype=np.int64)
    for start in range(0, len(index), _ROWS):
        counts += np.bincount(index[start : start + _ROWS].ravel(), minlength=size)
    return counts


def _find_padding(possible: NDArray[np.integer], padding: tuple[int, int] | None) -> NDArray[np.bool_]:
    if padding is None:
        return np.zeros(possible.shape, dtype=bool)
    return (possible >= padding[0]) & (possible <= padding[1])


def _find_limits(brightness: Values, counts: NDArray[np.int64]) -> tuple[float, float]:
    """Least and greatest brightness, without outliers."""
    order = np.argsort(brightness)
    ordered, counts = brightness[order], counts[order]
    return -_find_greatest(-ordered[::-1], counts[::-1]), _find_greatest(ordered, counts)


def _find_greatest(ordered: Values, counts: NDArray[np.int64]) -> float:
    """The greatest of ascending values that is no outlier."""
    fractions = np.cumsum(counts) / counts.sum()
    low, rare_low, rare_high, high = ordered[np.searchsorted(fractions, (_FEW, _RARE, 1 - _RARE, 1 - _FEW))]
    tail = ordered[ordered >= high]
    ranges = tail[:-1] - low
    behind = np.flatnonzero((np.diff(tail) >= _GAP * ranges) & (ranges > 0))
    if behind.size:
        return float(tail[behind[0]])
    width = rare_high - rare_low
    if width > 0 and ordered[-1] - rare_high > _TAIL * width:
        return float(ordered[ordered <= rare_high + width][-1])
    return float(ordered[-1])


def _apply_display(values: Values, counts: NDArray[np.int64], display: Display) -> tuple[Values, list[str]]:
    with np.errstate(over="ignore", invalid="ignore"):
        modality = display.modality.apply(values) if display.modality else values * display.slope + display.intercept
    if not np.isfinite(modality).all():
        raise Rejection("bad_lookup", "the rescale gives values that are not finite")
    brightness, flags = _apply_voi(modality, counts, display)
    return (-brightness if display.inverted else brightness), flags


def _apply_voi(values: Values, counts: NDArray[np.int64], display: Display) -> tuple[Values, list[str]]:
    flags = []
    if display.voi is not None:
        looked_up = display.voi.apply(values)
        if not _hides_most(values, display.voi.scale(looked_up), counts):
            return looked_up, []
        flags = ["voi_lut"]
    if display.window is None:
        return values, flags
    if display.window.is_valid():
        windowed = display.window.apply(values)
        if not _hides_most(values, windowed, counts):
            return windowed, flags
    return values, [*flags, "window"]


def _hides_most(values: Values, displayed: Values, counts: NDArray[np.int64]) -> bool:
    """Check whether most of the image, or all contrast, is lost to black and white; `displayed` is in [0, 1].

    Pixels of the least and the greatest value are black and white anyway: air, shutters, borders.
    """
    shown = counts > 0
    if np.ptp(values[shown]) == 0:
        return False
    if np.ptp(displayed[shown]) == 0:
        return True
    inside = (values > values[shown].min()) & (values < values[shown].max())
    clipped = (displayed < 1 / _LEVELS) | (displayed > 1 - 1 / _LEVELS)
    return bool(counts[inside & clipped].sum() > _HIDDEN * counts[inside].sum())
