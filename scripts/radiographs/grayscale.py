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

    The window is left out, with the flag "window", where it shows nothing of the image (it lies beside its values) or
    where its numbers are invalid.

    Raises:
        Rejection: bad_lookup where the rescale gives no finite values, bad_values where the image is constant or
            padding.
    """
    low, high = int(stored.min()), int(stored.max())
    possible = np.arange(low, high + 1)
    index = stored - stored.dtype.type(low)
    padded = _find_padding(possible, display.padding)
    shown = _find_present(index, possible.size) & ~padded
    if not shown.any():
        raise Rejection("bad_values", "every pixel is padding")
    brightness, flags = _apply_display(possible.astype(np.float64), shown, display)
    darkest, brightest = brightness[shown].min(), brightness[shown].max()
    if not brightest > darkest:
        raise Rejection("bad_values", "every pixel has the same brightness")
    table = np.clip((brightness - darkest) / (brightest - darkest), 0, 1)
    table[padded] = 0
    return table.astype(np.float32)[index], flags


def _find_present(index: NDArray[np.integer], size: int) -> NDArray[np.bool_]:
    present = np.zeros(size, dtype=bool)
    for row in index:  # by rows: a whole image of 64-bit indices would be four times its size
        present[row] = True
    return present


def _find_padding(possible: NDArray[np.integer], padding: tuple[int, int] | None) -> NDArray[np.bool_]:
    if padding is None:
        return np.zeros(possible.shape, dtype=bool)
    return (possible >= padding[0]) & (possible <= padding[1])


def _apply_display(values: Values, shown: NDArray[np.bool_], display: Display) -> tuple[Values, list[str]]:
    with np.errstate(over="ignore", invalid="ignore"):
        modality = display.modality.apply(values) if display.modality else values * display.slope + display.intercept
    if not np.isfinite(modality).all():
        raise Rejection("bad_lookup", "the rescale gives values that are not finite")
    brightness, flags = _apply_voi(modality, shown, display)
    return (-brightness if display.inverted else brightness), flags


def _apply_voi(values: Values, shown: NDArray[np.bool_], display: Display) -> tuple[Values, list[str]]:
    if display.voi is not None:
        return display.voi.apply(values), []
    if display.window is None:
        return values, []
    if display.window.is_valid():
        windowed = display.window.apply(values)
        if np.ptp(windowed[shown]) > 0 or np.ptp(values[shown]) == 0:
            return windowed, []
    return values, ["window"]
