"""Pairs of duplicate images: proposed by hash and study, confirmed by alignment, joined into groups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scripts.preparation.duplicates.alignment import correlate_aligned, correlate_flat
from scripts.preparation.duplicates.hashes import Thumbnails, flatten_contrast, hash_thumbnails
from scripts.preparation.duplicates.neighbours import find_near, keep_nearest

#: Pairs are proposed whose hashes differ in at most this fraction of their bits. On real images unrelated ones differ
#: in 0.5 +- 0.05, the same ones in 0.21 at most; of copies cut by up to 4 % on each side it proposes 9 in 10.
MAX_DISTANCE = 0.33
#: At most so many proposals of the hash for each image, the nearest: images that are all alike would propose every
#: pair.
NUM_NEAREST = 5
#: Pairs that correlate this well after alignment are one image. Inspected on real images: up to 0.872 are mostly
#: repeated exposures (two breaths of one session), from 0.874 on nearly all are one exposure, processed or cut
#: otherwise.
MIN_CORRELATION = 0.873
#: Up to so many images all pairs of hashes are compared: 0.7 s of a core for 6,334, four times that for twice as many.
MAX_EXACT = 30_000

_MIN_SHARED_WORK = 100  # fewer pairs are aligned sooner than processes start
_NUM_KEPT = 2000  # pictures, or pairs of thumbnails, that are held for alignment: 128 MB
Proposals = NDArray[np.int64]


@dataclass(frozen=True)
class DuplicatePair:
    """Two images, by their indices in a list, that are one.

    Args:
        first, second: indices, first < second.
        exact: whether the decoded pixels are equal.
        correlation: after alignment, 1 where exact.
    """

    first: int
    second: int
    exact: bool
    correlation: float


@dataclass(frozen=True)
class Findings:
    """The same images, and how many pairs of unequal images were aligned to find them."""

    pairs: tuple[DuplicatePair, ...]
    num_proposed: int


def find_duplicates(
    digests: Sequence[str],
    thumbnails: Thumbnails,
    studies: Sequence[str],
    workers: int = 1,
    min_correlation: float = MIN_CORRELATION,
) -> Findings:
    """Pairs of the same image among N images.

    Proposed are near hashes, and all pairs within a study, where other processing hides an image from the hash.
    Of images with equal pixels the first alone is aligned with others: group the pairs to get all of an image.

    Args:
        digests: N results of `hash_pixels`.
        thumbnails: N of `(128, 128)`, of `make_thumbnail`; as a list they need not be copied.
        studies: N study ids.
        workers: processes that align.
        min_correlation: of a confirmed pair.
    """
    exact = _pair_equal(digests)
    repeated = {pair.second for pair in exact}
    single = np.array([index for index in range(len(digests)) if index not in repeated], dtype=np.int64)
    near = single[propose_pairs(hash_thumbnails([thumbnails[index] for index in single.tolist()]))].tolist()
    candidates = sorted(
        {(a, b) for a, b in near} | _pair_within([(index, studies[index]) for index in single.tolist()])
    )
    correlations = _correlate_all(thumbnails, candidates, workers)
    confirmed = [
        DuplicatePair(first, second, False, correlation)
        for (first, second), correlation in zip(candidates, correlations, strict=True)
        if correlation >= min_correlation
    ]
    return Findings(tuple(sorted(exact + confirmed, key=lambda pair: (pair.first, pair.second))), len(candidates))


def propose_pairs(
    hashes: NDArray[np.bool_],
    max_distance: float = MAX_DISTANCE,
    num_nearest: int = NUM_NEAREST,
    block: int = 2048,
    max_exact: int = MAX_EXACT,
) -> Proposals:
    """Places `(M, 2)`, first < second, of images with near hashes `(N, bits)`.

    Args:
        hashes: of `hash_thumbnails`.
        max_distance: fraction of differing bits.
        num_nearest: a pair is kept when it is among so many nearest of either image.
        block: rows compared at once, which bounds the memory.
        max_exact: up to so many images all pairs are compared; among more, near ones are searched.
    """
    if len(hashes) > max_exact:
        return find_near(hashes, max_distance, num_nearest)[:, :2].astype(np.int64)
    signs = np.where(hashes, 1.0, -1.0).astype(np.float32)
    found = [np.zeros((0, 3))]
    for start in range(0, len(signs), block):
        distances = (1 - signs[start : start + block] @ signs[start:].T / signs.shape[1]) / 2
        first, second = np.nonzero(distances <= max_distance)
        keep = first < second  # the block begins at its own diagonal
        first, second = first[keep], second[keep]
        found.append(np.stack([first + start, second + start, distances[first, second]], axis=1))
    return keep_nearest(np.concatenate(found), num_nearest)[:, :2].astype(np.int64)


def group_items(num_items: int, pairs: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    """Group number `(num_items,)` of each item where the items of a pair, and so of a chain, belong together."""
    links = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(num_items, num_items))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _pair_equal(digests: Sequence[str]) -> list[DuplicatePair]:
    """Every image with the first one of its pixels."""
    seen: dict[str, int] = {}
    firsts = [seen.setdefault(digest, index) for index, digest in enumerate(digests)]
    return [DuplicatePair(first, index, True, 1.0) for index, first in enumerate(firsts) if first != index]


def _pair_within(images: Sequence[tuple[int, str]]) -> set[tuple[int, int]]:
    """All pairs of indices that share a study."""
    indices: dict[str, list[int]] = {}
    for index, study in images:
        indices.setdefault(study, []).append(index)
    return {pair for members in indices.values() for pair in combinations(members, 2)}


def _correlate_all(thumbnails: Thumbnails, pairs: Sequence[tuple[int, int]], workers: int) -> list[float]:
    if workers < 2 or len(pairs) < _MIN_SHARED_WORK:
        flatten = lru_cache(_NUM_KEPT)(lambda index: flatten_contrast(thumbnails[index]))
        return [correlate_flat(flatten(first), flatten(second)) for first, second in pairs]
    correlations: list[float] = []
    with ProcessPoolExecutor(workers) as pool:
        for start in range(0, len(pairs), _NUM_KEPT):  # what waits for the processes is held in memory
            firsts, seconds = zip(*pairs[start : start + _NUM_KEPT], strict=True)
            pictures = ([thumbnails[index] for index in indices] for indices in (firsts, seconds))
            correlations += pool.map(correlate_aligned, *pictures, chunksize=25)
    return correlations
