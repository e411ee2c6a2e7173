"""Near hashes among very many, without comparing all pairs: sorted by sampled bits, and compared with neighbours.

Source: Charikar 2002, doi:10.1145/509907.509965, section 3 (hashes in the order of permuted bits); Indyk and Motwani
    1998, doi:10.1145/276698.276876. Time is n log n, where all pairs are n^2; the price is that a pair may be missed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Found = NDArray[np.float64]  # (M, 3): first and second index, and the fraction of bits that differ

#: Orders, each by other bits, and neighbours behind an image in each. An order brings two of N hashes together that
#: differ in the fraction d of their bits with a probability of about (1 - d)^log2(N / 80). Measured: all 345 pairs of
#: the challenge's 6,334 images; among 633,400 hashes all copies up to d = 0.2, 0.997 of them at 0.25, 0.89 at 0.3,
#: 0.70 at 0.33.
NUM_ORDERS, NUM_NEIGHBOURS = 256, 40
_KEY_BITS = 32  # an order's: 2**32 images are told apart
_NUM_SAMPLED_WORDS = 5  # of 64 bits; they decide for 998 in 1,000 pairs, the rest is compared in all bits
_BLOCK = 2**14  # images whose words stay in the cache
_MERGED_ORDERS = 16  # pairs found in several orders are joined so often, which bounds the memory


def find_near(
    hashes: NDArray[np.bool_],
    max_distance: float,
    num_nearest: int,
    num_orders: int = NUM_ORDERS,
    num_neighbours: int = NUM_NEIGHBOURS,
    seed: int = 0,
) -> Found:
    """Pairs `(M, 3)` of near hashes `(N, bits)`, and how far they are; a pair once, sorted by its indices.

    Args:
        hashes: as `propose_pairs` takes them.
        max_distance: fraction of differing bits.
        num_nearest: a pair is kept when it is among so many nearest of either image.
        num_orders, num_neighbours: more of them find more of the far pairs, in as much more time.
        seed: of the sampled bits; the same hashes and seed give the same pairs.
    """
    rng = np.random.default_rng(seed)
    num_bits = hashes.shape[1]
    words = _pack(hashes, rng.permutation(num_bits))
    found = np.zeros((0, 3))
    fresh: list[Found] = []
    for number in range(1, num_orders + 1):
        order = _sort_images(words, rng.permutation(num_bits)[:_KEY_BITS])
        fresh += _compare_neighbours(words, order, num_bits, max_distance, num_neighbours)
        if number % _MERGED_ORDERS == 0 or number == num_orders:
            found, fresh = keep_nearest(np.unique(np.concatenate([found, *fresh]), axis=0), num_nearest), []
    return found


def keep_nearest(found: Found, num_nearest: int) -> Found:
    """Keep the pairs that are among the nearest of either image."""
    number = np.tile(np.arange(len(found)), 2)
    image, distance = np.concatenate([found[:, 0], found[:, 1]]), np.tile(found[:, 2], 2)
    order = np.lexsort((number, distance, image))
    starts = np.searchsorted(image[order], image[order])
    return found[np.unique(number[order][np.arange(len(order)) - starts < num_nearest])]


def _pack(hashes: NDArray[np.bool_], positions: NDArray[np.int64]) -> Words:
    """Words `(W, N)` of 64 bits: mixed, so that a few words are a sample of all bits."""
    num_words = -(-len(positions) // 64)
    packed = np.zeros((len(hashes), 8 * num_words), dtype=np.uint8)
    for start in range(0, len(hashes), _BLOCK):
        bits = np.packbits(hashes[start : start + _BLOCK, positions], axis=1)
        packed[start : start + _BLOCK, : bits.shape[1]] = bits
    return np.ascontiguousarray(packed.view(">u8").astype(np.uint64).T)


def _sort_images(words: Words, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices `(N,)` of the images in the order of these bits; images of equal bits stand in their own order."""
    key = np.zeros(words.shape[1], dtype=np.uint64)
    for position in positions.tolist():
        key = (key << np.uint64(1)) | (words[position // 64] >> np.uint64(63 - position % 64) & np.uint64(1))
    key = (key << np.uint64(32)) | np.arange(len(key), dtype=np.uint64)
    key.sort()
    return (key & np.uint64(2**32 - 1)).astype(np.int64)


def _compare_neighbours(
    words: Words, order: NDArray[np.int64], num_bits: int, max_distance: float, num_neighbours: int
) -> Iterator[Found]:
    sampled = words[:_NUM_SAMPLED_WORDS, order]
    num_sampled = min(num_bits, 64 * len(sampled))
    deviation = np.sqrt(num_sampled * max_distance * (1 - max_distance))
    most = num_sampled * max_distance + 2.5 * deviation  # 6 in 1,000 of the farthest pairs that count differ in more
    for start in range(0, len(order), _BLOCK):
        block = sampled[:, start : start + _BLOCK + num_neighbours]
        for offset in range(1, min(num_neighbours, block.shape[1] - 1) + 1):
            first = start + np.flatnonzero(_count_sampled(block[:, :-offset][:, :_BLOCK], block[:, offset:]) <= most)
            yield _compare_whole(words, order[first], order[first + offset], num_bits, max_distance)


def _count_sampled(some: Words, others: Words) -> NDArray[np.uint8]:
    """Number of differing bits `(N,)` of the columns of `(W, N)`; those that `others` has more are left out.

    Modulo 256, which is twice as fast: a pair that differs in more bits only seems near, and is compared in all bits.
    """
    counts = np.zeros(some.shape[1], dtype=np.uint8)
    for row, other in zip(some, others, strict=True):
        counts += np.bitwise_count(row ^ other[: len(row)])
    return counts


def _compare_whole(
    words: Words, some: NDArray[np.int64], others: NDArray[np.int64], num_bits: int, max_distance: float
) -> Found:
    distances = np.bitwise_count(words[:, some] ^ words[:, others]).sum(axis=0, dtype=np.uint16) / num_bits
    pairs = np.stack([np.minimum(some, others), np.maximum(some, others), distances], axis=1)
    return pairs[distances <= max_distance]
