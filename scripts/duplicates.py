"""The same film found twice: equal pixels, or one exposure that was stored with other processing or another cut-out.

A perceptual hash proposes pairs and an aligned correlation confirms them. Repeated exposures of one patient are not the
same film: ribs and heart move between two breaths, so even after an affine alignment their fine structure differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

#: Side of the square thumbnails that are compared, in pixels.
THUMBNAIL_SIZE = 128
#: Pairs whose 255-bit hashes differ in at most so many bits are proposed (unrelated films: 127 +- 20).
MAX_DISTANCE = 56
#: Pairs that correlate this well after alignment are one film. Looked at on real films: up to .872 are mostly repeated
#: exposures (two breaths of one session), from .874 on nearly all are one exposure, processed or cut otherwise.
MIN_CORRELATION = 0.873

_HASH_SIZE = 16
_SIGMA = 4.0  # thumbnail pixels: keeps ribs, vessels, letters and lines, drops what windowing changes
_SCALES = (1.0, 0.96, 1.04, 0.92, 1.08)
_CENTRE = (THUMBNAIL_SIZE - 1) / 2
_ROWS, _COLUMNS = np.mgrid[:THUMBNAIL_SIZE, :THUMBNAIL_SIZE].astype(np.float32)
_HANN = np.outer(np.hanning(THUMBNAIL_SIZE), np.hanning(THUMBNAIL_SIZE)).astype(np.float32)

Picture = NDArray[np.float32]
Affine = NDArray[np.float64]  # (2, 3): row and column in the second picture of each row, column, 1 of the first


@dataclass(frozen=True)
class SameFilm:
    """Two films, by their places in a list, that are one.

    Args:
        first, second: places, first < second.
        exact: whether the decoded pixels are equal.
        distance: differing bits of the perceptual hashes.
        correlation: after alignment, 1 where exact.
    """

    first: int
    second: int
    exact: bool
    distance: int
    correlation: float


@dataclass(frozen=True)
class Findings:
    """What `find_same_films` found, and out of how many proposals of the hash."""

    pairs: tuple[SameFilm, ...]
    num_proposed: int


def hash_pixels(pixels: ArrayLike) -> str:
    """SHA-256 of decoded pixels `(1, H, W)` or `(H, W)`, shape included, as 64 hex digits."""
    array = np.ascontiguousarray(pixels, dtype=np.float32)
    return hashlib.sha256(repr(array.shape[-2:]).encode() + array.tobytes()).hexdigest()


def make_thumbnail(pixels: ArrayLike) -> NDArray[np.uint8]:
    """Film `(1, H, W)` or `(H, W)` in [0, 1] -> `(128, 128)` uint8, each the mean of its area; aspect is not kept."""
    film = np.asarray(pixels, dtype=np.float32).reshape(np.shape(pixels)[-2:])
    thumbnail = _average_rows(_average_rows(film).T).T
    return np.rint(255 * np.clip(thumbnail, 0, 1)).astype(np.uint8)


def hash_thumbnails(thumbnails: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Perceptual hashes `(N, 255)` of thumbnails `(N, 128, 128)`: signs of low DCT coefficients about their median.

    Reference: Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash Functions. 64 bits, as usual for
    photographs, do not tell chest films apart.
    """
    small = np.asarray(thumbnails, dtype=np.float32).reshape(-1, 64, 2, 64, 2).mean(axis=(2, 4))
    low = fft.dctn(small, axes=(1, 2), norm="ortho")[:, :_HASH_SIZE, :_HASH_SIZE].reshape(len(small), -1)[:, 1:]
    return np.asarray(low > np.median(low, axis=1, keepdims=True))


def propose_pairs(hashes: NDArray[np.bool_], max_distance: int = MAX_DISTANCE, block: int = 2048) -> NDArray[np.int64]:
    """Pairs `(M, 3)` of first, second, distance whose hashes `(N, bits)` are near; memory stays bounded."""
    signs = np.where(hashes, 1.0, -1.0).astype(np.float32)
    found = [np.zeros((0, 3), np.int64)]
    for start in range(0, len(signs), block):
        distances = (signs.shape[1] - signs[start : start + block] @ signs[start:].T) / 2
        first, second = np.nonzero(distances <= max_distance)
        keep = first < second  # the block begins at its own diagonal
        first, second = first[keep], second[keep]
        near = np.rint(distances[first, second]).astype(np.int64)
        found.append(np.stack([first + start, second + start, near], axis=1))
    return np.concatenate(found)


def find_same_films(
    digests: Sequence[str],
    thumbnails: NDArray[np.uint8],
    studies: Sequence[str],
    workers: int = 1,
    min_correlation: float = MIN_CORRELATION,
) -> Findings:
    """Pairs of the same film among N films.

    Proposed are near hashes, and all pairs within a study, where other processing hides a film from the hash.
    Of films with equal pixels the first alone is aligned with others: group the pairs to get all of a film.

    Args:
        digests: N results of `hash_pixels`.
        thumbnails: `(N, 128, 128)`, of `make_thumbnail`.
        studies: N study ids.
        workers: processes that align.
    """
    hashes = hash_thumbnails(thumbnails)
    exact = _pair_equal(digests)
    repeated = {pair.second for pair in exact}
    near = {(int(a), int(b)) for a, b, _ in propose_pairs(hashes)} | _pair_within(studies)
    candidates = sorted((a, b) for a, b in near if a not in repeated and b not in repeated)
    distances = [int(np.count_nonzero(hashes[a] != hashes[b])) for a, b in candidates]
    correlations = _correlate_all([(thumbnails[a], thumbnails[b]) for a, b in candidates], workers)
    confirmed = [
        SameFilm(a, b, False, distance, correlation)
        for (a, b), distance, correlation in zip(candidates, distances, correlations, strict=True)
        if correlation >= min_correlation
    ]
    return Findings(tuple(sorted(exact + confirmed, key=lambda pair: (pair.first, pair.second))), len(candidates))


def group_items(num_items: int, pairs: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    """Group number `(num_items,)` of each item where the items of a pair, and so of a chain, belong together."""
    links = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(num_items, num_items))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def correlate_aligned(first: ArrayLike, second: ArrayLike) -> float:
    """Correlation in [-1, 1] of the fine structure of two thumbnails `(128, 128)`, after the best affine alignment.

    Phase correlation at five scales finds the shift (Kuglin and Hines 1975), Gauss-Newton steps the affine rest
    (Lucas and Kanade 1981). Less than half a picture of overlap counts as 0.
    """
    fixed, moving = _flatten_contrast(first), _flatten_contrast(second)
    correlation, affine = _align_coarsely(fixed, moving)
    return _refine(fixed, moving, affine, correlation) if correlation > 0 else 0.0


def _average_rows(film: Picture) -> Picture:
    """`(H, W)` -> `(128, W)`, by integration, so that any height is averaged without aliasing."""
    height = len(film)
    edges = np.linspace(0, height, THUMBNAIL_SIZE + 1)
    sums = np.concatenate([np.zeros((1, film.shape[1])), np.cumsum(film, axis=0, dtype=np.float64)])
    whole = np.minimum(edges.astype(int), height - 1)
    at_edges = sums[whole] + (edges - whole)[:, None] * film[whole]
    return (np.diff(at_edges, axis=0) * (THUMBNAIL_SIZE / height)).astype(np.float32)


def _pair_equal(digests: Sequence[str]) -> list[SameFilm]:
    """Every film with the first one of its pixels."""
    seen: dict[str, int] = {}
    firsts = [seen.setdefault(digest, place) for place, digest in enumerate(digests)]
    return [SameFilm(first, place, True, 0, 1.0) for place, first in enumerate(firsts) if first != place]


def _pair_within(studies: Sequence[str]) -> set[tuple[int, int]]:
    places: dict[str, list[int]] = {}
    for place, study in enumerate(studies):
        places.setdefault(study, []).append(place)
    return {pair for films in places.values() for pair in combinations(films, 2)}


def _correlate_all(pairs: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]], workers: int) -> list[float]:
    if workers < 2 or len(pairs) < 100:
        return [correlate_aligned(*pair) for pair in pairs]
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(_correlate_pair, pairs, chunksize=25))


def _correlate_pair(pair: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> float:
    return correlate_aligned(*pair)


def _flatten_contrast(thumbnail: ArrayLike) -> Picture:
    """Local mean 0 and deviation 1: the same for every window, edge enhancement or exposure of one film."""
    blur = partial(ndimage.gaussian_filter, sigma=_SIGMA)
    picture = np.asarray(thumbnail, dtype=np.float32)
    detail = picture - blur(picture)
    flat = detail / (np.sqrt(blur(detail**2)) + 2)  # 2 grey values: noise of flat regions stays small
    return np.asarray(flat, dtype=np.float32)


def _align_coarsely(fixed: Picture, moving: Picture) -> tuple[float, Affine]:
    """Best correlation and its affine among the scales, each with the shift of the phase correlation."""
    spectrum = fft.rfft2(fixed * _HANN)
    best, best_affine = 0.0, np.eye(2, 3)
    for scale in _SCALES:
        affine = _scale_about_centre(scale)
        scaled = moving if scale == 1 else _warp(moving, affine)[0]
        affine[:, 2] -= _find_shift(spectrum, scaled) / scale
        correlation = _correlate_overlap(fixed, *_warp(moving, affine))
        if correlation > best:
            best, best_affine = correlation, affine
        if best > 0.9:
            break
    return best, best_affine


def _scale_about_centre(scale: float) -> Affine:
    return np.array([[1 / scale, 0, _CENTRE - _CENTRE / scale], [0, 1 / scale, _CENTRE - _CENTRE / scale]])


def _find_shift(spectrum: NDArray[np.complex64], moving: Picture) -> NDArray[np.float64]:
    """Rows and columns by which `moving` must be shifted to lie on the picture of that spectrum."""
    cross = spectrum * np.conj(fft.rfft2(moving * _HANN))
    surface = fft.irfft2(cross / (np.sqrt(np.abs(cross)) + 1e-6))  # half whitened: full whitening amplifies noise
    peak = np.array(np.unravel_index(int(surface.argmax()), surface.shape), dtype=np.float64)
    half = THUMBNAIL_SIZE / 2
    return (peak + half) % THUMBNAIL_SIZE - half


def _warp(moving: Picture, affine: Affine) -> tuple[Picture, NDArray[np.bool_]]:
    """`moving` in the frame of the fixed picture, and where it has pixels there."""
    rows, columns = (line[0] * _ROWS + line[1] * _COLUMNS + line[2] for line in affine.astype(np.float32))
    inside = (rows >= 0) & (rows <= THUMBNAIL_SIZE - 1) & (columns >= 0) & (columns <= THUMBNAIL_SIZE - 1)
    return ndimage.map_coordinates(moving, [rows, columns], order=1, mode="nearest"), inside


def _correlate_overlap(fixed: Picture, warped: Picture, inside: NDArray[np.bool_]) -> float:
    if np.count_nonzero(inside) < inside.size / 2:
        return 0.0
    a, b = fixed[inside], warped[inside]
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / np.sqrt((a @ a) * (b @ b) + 1e-9))


def _refine(fixed: Picture, moving: Picture, affine: Affine, correlation: float, num_steps: int = 12) -> float:
    """Best correlation of Gauss-Newton steps from `affine`; stops where a step gains nothing."""
    for _ in range(num_steps):
        warped, inside = _warp(moving, affine)
        linear = affine[:, :2]
        step = _solve_step(fixed, warped, inside)
        affine = np.concatenate([linear + linear @ step[:, :2], affine[:, 2:] + linear @ step[:, 2:]], axis=1)
        refined = _correlate_overlap(fixed, *_warp(moving, affine))
        if refined <= correlation + 1e-4:
            break
        correlation = refined
    return correlation


def _solve_step(fixed: Picture, warped: Picture, inside: NDArray[np.bool_]) -> Affine:
    """Affine displacement `(2, 3)` that brings `warped` nearer to `fixed`, by damped least squares."""
    spread = warped[inside].std() + 1e-6
    rows, columns = (_ROWS[inside] - _CENTRE) / 64, (_COLUMNS[inside] - _CENTRE) / 64
    down, across = ndimage.sobel(warped, 0)[inside] / (8 * spread), ndimage.sobel(warped, 1)[inside] / (8 * spread)
    slopes = np.stack([down * rows, down * columns, down, across * rows, across * columns, across], axis=1)
    a, b = fixed[inside], warped[inside]
    residual = (a - a.mean()) / (a.std() + 1e-6) - (b - b.mean()) / spread
    normal = slopes.T @ slopes
    step = np.linalg.solve(normal + np.eye(6) * (1e-3 * np.trace(normal) / 6 + 1e-9), slopes.T @ residual).reshape(2, 3)
    step[:, 2] -= _CENTRE * step[:, :2].sum(axis=1) / 64
    step[:, :2] /= 64
    return np.asarray(step, dtype=np.float64)
