"""Stored values of a synthetic image, by the inverse of the display pipeline."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scripts.synthetic.dicom import ImageStyle

#: The ways in which stored values become the picture; "rescale" is for CR only (PS3.3 C.8.11.3 fixes it for DX).
DISPLAYS: tuple[str, ...] = ("full", "linear", "sigmoid", "lut", "rescale", "padded")

# Gamma of the synthetic VOI LUT: far enough from 1 that a reader that forgets the table is found out.
_GAMMA = 1.6


def store_picture(
    picture: NDArray[np.float32], style: ImageStyle, display: str
) -> tuple[NDArray[np.uint16], ImageStyle]:
    """Stored values `(H, W)` and the style with what shows them as the picture again.

    Args:
        picture: `(H, W)` in [0, 1], dense is bright.
        style: its photometric interpretation and bits are kept.
        display: one of `DISPLAYS`: the values fill their bits; a linear or sigmoid window; a VOI LUT; a rescale with
            two windows, of which the first counts; a linear window, with black corners as padding value.

    Raises:
        ValueError: for another display.
    """
    shown = 1 - picture if style.photometric == "MONOCHROME1" else picture
    top = (1 << style.bits_stored) - 1
    # A window uses the middle of the scale, so that a reader that forgets it sees a pale picture.
    low, high = round(0.15 * top), round(0.85 * top)
    if display == "full":
        return _round(shown * top), style
    if display == "sigmoid":
        return _invert_sigmoid(shown, low, high, style)
    if display == "lut":
        table = 65535 * np.linspace(0, 1, high - low + 1) ** _GAMMA
        style = replace(style, voi_lut=(low, np.round(table).astype(np.uint16)))
        return _round(low + shown ** (1 / _GAMMA) * (high - low)), style
    if display not in DISPLAYS:
        raise ValueError(f"expected one of {', '.join(DISPLAYS)}, got {display}")
    values = _round(low + shown * (high - low))
    # PS3.3 C.11.2.1.2.1: the window's lower edge is centre - 0.5 - (width - 1) / 2.
    centre, width = (low + high) / 2 + 0.5, float(high - low + 1)
    if display == "rescale":
        slope, intercept = 2.0, -500.0
        windows = ((slope * (low + high) / 2 + intercept + 0.5, slope * (high - low) + 1), (1000.0, 200.0))
        return values, replace(style, rescale=(slope, intercept), window=windows)
    if display == "padded":
        padding = top if style.photometric == "MONOCHROME1" else 0
        values[picture <= 0] = padding
        style = replace(style, padding=padding)
    return values, replace(style, window=(centre, width))


def _invert_sigmoid(
    shown: NDArray[np.float32], low: int, high: int, style: ImageStyle
) -> tuple[NDArray[np.uint16], ImageStyle]:
    """PS3.3 C.11.2.1.3.1: 1 / (1 + exp(-4 (x - centre) / width)), solved for x; its ends would lie at infinity."""
    centre, end = (low + high) / 2, 0.98
    width = 2 * (high - low) / float(np.log(end / (1 - end)))
    fraction = 1 - end + (2 * end - 1) * shown
    values = centre + width / 4 * np.log(fraction / (1 - fraction))
    return _round(values), replace(style, window=(centre, width), window_function="SIGMOID")


def _round(values: NDArray[np.floating]) -> NDArray[np.uint16]:
    return np.round(values).astype(np.uint16)
