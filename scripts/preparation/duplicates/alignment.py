"""Correlation of two images after the best shift, scale and shear between them."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage
from scripts.preparation.duplicates.hashes import Picture, flatten_contrast, halve

Affine = NDArray[np.float64]  # (2, 3): row and column in the moving picture from row, column and 1 of the fixed one

_SCALES = (1.0, 0.96, 1.04, 0.92, 1.08)
#: Below this the coarse search has found nothing to refine: the same images reach 0.5 there.
_MIN_COARSE = 0.3
_GOOD_COARSE = 0.9
_NUM_STEPS = 12
_MIN_GAIN = 0.002


def correlate_aligned(first: ArrayLike, second: ArrayLike) -> float:
    """Correlation in [-1, 1] of the fine structure of two thumbnails `(128, 128)`, after the best affine alignment.

    At half size, phase correlation at five scales finds the shift (Kuglin and Hines 1975); at full size, Gauss-Newton
    steps find the affine rest (Lucas and Kanade 1981). Less than half a picture of overlap counts as 0.
    """
    return correlate_flat(flatten_contrast(first), flatten_contrast(second))


def correlate_flat(fixed: Picture, moving: Picture) -> float:
    """The same for thumbnails whose contrast is flattened already."""
    correlation, affine = _align_coarsely(halve(fixed), halve(moving))
    if correlation < _MIN_COARSE:
        return correlation
    return _refine(fixed, moving, _double_frame(affine))


@cache
def _make_grid(size: int) -> tuple[Picture, Picture, Picture]:
    """Rows, columns and the Hann window, `(size, size)` each."""
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    hann = np.hanning(size)
    return rows, columns, np.outer(hann, hann).astype(np.float32)


def _align_coarsely(fixed: Picture, moving: Picture) -> tuple[float, Affine]:
    """Best correlation and its affine among the scales, each with the shift of the phase correlation."""
    hann = _make_grid(len(fixed))[2]
    spectrum = fft.rfft2(fixed * hann)
    best, best_affine = 0.0, np.eye(2, 3)
    for scale in _SCALES:
        affine = _scale_about_centre(scale, len(fixed))
        scaled = moving if scale == 1 else _warp(moving, affine)[0]
        affine[:, 2] -= _find_shift(spectrum, scaled * hann) / scale
        correlation = _correlate_overlap(fixed, *_warp(moving, affine))
        if correlation > best:
            best, best_affine = correlation, affine
        if best > _GOOD_COARSE:
            break
    return best, best_affine


def _scale_about_centre(scale: float, size: int) -> Affine:
    offset = (size - 1) / 2 * (1 - 1 / scale)
    return np.array([[1 / scale, 0, offset], [0, 1 / scale, offset]])


def _double_frame(affine: Affine) -> Affine:
    """An affine of halved pictures in the pixels of the whole ones: pixel r of the half covers 2 r and 2 r + 1."""
    linear = affine[:, :2]
    return np.concatenate([linear, 2 * affine[:, 2:] + 0.5 - linear.sum(axis=1, keepdims=True) / 2], axis=1)


def _find_shift(spectrum: NDArray[np.complex64], moving: Picture) -> NDArray[np.float64]:
    """Rows and columns by which `moving` must be shifted to lie on the picture of that spectrum."""
    cross = spectrum * np.conj(fft.rfft2(moving))
    surface = fft.irfft2(cross / (np.sqrt(np.abs(cross)) + 1e-6))  # half whitened: full whitening amplifies noise
    peak = np.array(np.unravel_index(int(surface.argmax()), surface.shape), dtype=np.float64)
    size = len(moving)
    return (peak + size / 2) % size - size / 2


def _warp(moving: Picture, affine: Affine) -> tuple[Picture, NDArray[np.bool_]]:
    """`moving` in the frame of the fixed picture, and where it has pixels there."""
    y, x, _ = _make_grid(len(moving))
    rows, columns = (line[0] * y + line[1] * x + line[2] for line in affine.astype(np.float32))
    last = len(moving) - 1
    inside = (rows >= 0) & (rows <= last) & (columns >= 0) & (columns <= last)
    return ndimage.map_coordinates(moving, [rows, columns], order=1, mode="nearest"), inside


def _correlate_overlap(fixed: Picture, warped: Picture, inside: NDArray[np.bool_]) -> float:
    if np.count_nonzero(inside) < inside.size / 2:
        return 0.0
    a, b = fixed[inside], warped[inside]
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / np.sqrt((a @ a) * (b @ b) + 1e-9))


def _refine(fixed: Picture, moving: Picture, affine: Affine) -> float:
    """Best correlation of Gauss-Newton steps from `affine`; stops where a step gains nothing."""
    warped, inside = _warp(moving, affine)
    correlation = _correlate_overlap(fixed, warped, inside)
    for _ in range(_NUM_STEPS):
        if np.count_nonzero(inside) < inside.size / 2:
            break
        step = _solve_step(fixed, warped, inside)
        linear = affine[:, :2]
        affine = np.concatenate([linear + linear @ step[:, :2], affine[:, 2:] + linear @ step[:, 2:]], axis=1)
        warped, inside = _warp(moving, affine)
        refined = _correlate_overlap(fixed, warped, inside)
        gain, correlation = refined - correlation, max(correlation, refined)
        if gain < _MIN_GAIN:
            break
    return correlation


def _solve_step(fixed: Picture, warped: Picture, inside: NDArray[np.bool_]) -> Affine:
    """Affine displacement `(2, 3)` that brings `warped` nearer to `fixed`, by damped least squares."""
    y, x, _ = _make_grid(len(fixed))
    half, centre = len(fixed) / 2, (len(fixed) - 1) / 2
    rows, columns = (y[inside] - centre) / half, (x[inside] - centre) / half
    a, b = fixed[inside], warped[inside]
    spread = b.std() + 1e-6
    down, across = (ndimage.sobel(warped, axis)[inside] / (8 * spread) for axis in (0, 1))
    slopes = np.stack([down * rows, down * columns, down, across * rows, across * columns, across], axis=1)
    residual = (a - a.mean()) / (a.std() + 1e-6) - (b - b.mean()) / spread
    normal = slopes.T @ slopes
    damping = np.eye(6) * (1e-3 * np.trace(normal) / 6 + 1e-9)
    step = np.linalg.solve(normal + damping, slopes.T @ residual).reshape(2, 3)
    step[:, 2] -= centre * step[:, :2].sum(axis=1) / half
    step[:, :2] /= half
    return np.asarray(step, dtype=np.float64)
