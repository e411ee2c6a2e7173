"""Near hashes among very many: those of all pairs, found without comparing all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scripts.preparation.duplicates import propose_pairs
from scripts.preparation.duplicates.neighbours import find_near, keep_nearest


def draw_copies(num_images: int, num_copies: int, fraction: float, num_bits: int = 575) -> NDArray[np.bool_]:
    """Hashes of images, and behind them those of copies of the first ones with a fraction of their bits changed."""
    rng = np.random.default_rng(0)
    hashes = rng.random((num_images, num_bits)) < 0.5
    changes = rng.random((num_copies, num_bits)).argsort(axis=1) < fraction * num_bits
    return np.concatenate([hashes, hashes[:num_copies] ^ changes])


def test_search_and_all_pairs_propose_the_same() -> None:
    hashes = draw_copies(1500, 300, 0.25)
    searched = propose_pairs(hashes, max_exact=0)
    assert searched.tolist() == propose_pairs(hashes).tolist()
    assert len(searched) == 300


@pytest.mark.parametrize(("fraction", "recall"), [(0.1, 1.0), (0.21, 0.99), (0.25, 0.9)])
def test_a_fraction_of_the_orders_finds_near_copies(fraction: float, recall: float) -> None:
    hashes = draw_copies(4_000, 500, fraction)
    found = {tuple(pair) for pair in find_near(hashes, 0.33, 5, num_orders=64, num_neighbours=16)[:, :2].tolist()}
    assert len(found & {(index, 4_000 + index) for index in range(500)}) >= recall * 500


def test_distances_are_the_fractions_of_differing_bits() -> None:
    hashes = draw_copies(50, 50, 0.3, num_bits=130)
    first, second, distance = find_near(hashes, 0.45, 100).T
    expected = (hashes[first.astype(int)] != hashes[second.astype(int)]).mean(axis=1)
    np.testing.assert_allclose(distance, expected)
    assert (first < second).all() and distance.max() <= 0.45


def test_one_seed_gives_equal_pairs() -> None:
    hashes = draw_copies(2000, 200, 0.33)
    assert find_near(hashes, 0.33, 5, 16).tolist() == find_near(hashes.copy(), 0.33, 5, 16).tolist()


def test_images_that_are_all_alike_keep_no_more_than_their_nearest() -> None:
    hashes = np.zeros((400, 64), dtype=bool)
    found = find_near(hashes, 0.33, 3, num_orders=16)
    assert 0 < len(found) <= 3 * 400


@pytest.mark.parametrize("num_images", [0, 1, 2])
def test_few_images_are_searched_too(num_images: int) -> None:
    hashes = np.zeros((num_images, 575), dtype=bool)
    assert len(find_near(hashes, 0.33, 5)) == num_images // 2


def test_the_nearest_of_either_image_are_kept() -> None:
    found = np.array([[0, 1, 0.1], [0, 2, 0.2], [0, 3, 0.3], [2, 3, 0.05]])
    assert keep_nearest(found, 1).tolist() == [found[0].tolist(), found[3].tolist()]
    assert keep_nearest(found, 2).tolist() == found.tolist()
