"""Localisation figures of a map: fractions of its energy in a region, beside those of a map that is even everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scripts.boxes import as_boxes, fill_mask


@dataclass(frozen=True)
class Fraction:
    """Fraction of a map inside a region; NaN where there is no region or nothing in the map.

    Args:
        energy: fraction of the map's sum.
        area: fraction of the image's area: what a map has that is even over the image.
        seen: fraction of what the network saw: what a map has that is even there. A network that sees the lungs alone
            has all its energy in them whatever it thinks.
    """

    energy: float
    area: float
    seen: float


def measure_fractions(heat: ArrayLike, boxes: ArrayLike, crop_box: ArrayLike) -> Fraction:
    """Fraction of a map inside of boxes, their overlap counted once.

    Args:
        heat: the map `(H, W)` in image pixels, at least 0, and 0 outside of the crop.
        boxes: `(N, 4)` in image pixels.
        crop_box: `(4,)`, what the network saw, in image pixels.

    Source: Wang et al. 2020, arXiv:1910.01279, energy-based pointing game.
    """
    heat = np.asarray(heat, dtype=np.float64)
    region, seen = fill_mask(as_boxes(boxes), *heat.shape) > 0, fill_mask(as_boxes([crop_box]), *heat.shape) > 0
    if not region.any() or not heat.any():
        return Fraction(float("nan"), float("nan"), float("nan"))
    return Fraction(float(heat[region].sum() / heat.sum()), float(region.mean()), float(region[seen].mean()))


def measure_pointing(heat: ArrayLike, boxes: ArrayLike) -> float:
    """1 where the map's maximum lies in a box, 0 where not; of equal maxima the fraction that does; NaN as above.

    Source: Zhang et al. 2018, doi:10.1007/s11263-017-1059-x, without their tolerance of 15 pixels.
    """
    heat = np.asarray(heat)
    region: NDArray[np.bool_] = fill_mask(as_boxes(boxes), *heat.shape) > 0
    if not region.any() or not heat.any():
        return float("nan")
    return float(region[heat == heat.max()].mean())
