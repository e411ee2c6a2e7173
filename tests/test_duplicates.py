from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from scripts import duplicates

Picture = NDArray[np.float32]


def draw_film(seed: int, size: int = 160) -> Picture:
    """A smooth picture with structure of several sizes, in [0, 1]."""
    rng = np.random.default_rng(seed)
    film = sum(
        sigma * ndimage.gaussian_filter(rng.normal(size=(size, size)), sigma, mode="wrap") for sigma in (2, 4, 12)
    )
    return ((film - film.min()) / np.ptp(film)).astype(np.float32)


def cut(film: Picture, top: int, left: int, height: int, width: int) -> Picture:
    return film[top : top + height, left : left + width]


def find(*films: Picture, studies: list[str] | None = None) -> set[tuple[int, int, bool]]:
    digests = [duplicates.hash_pixels(film) for film in films]
    thumbnails = np.stack([duplicates.make_thumbnail(film) for film in films])
    found = duplicates.find_same_films(digests, thumbnails, studies or [str(place) for place in range(len(films))])
    return {(pair.first, pair.second, pair.exact) for pair in found.pairs}


def test_equal_pixels_have_one_digest_and_a_changed_pixel_or_shape_another() -> None:
    film = draw_film(0)
    changed = film.copy()
    changed[3, 5] += 1e-3
    assert duplicates.hash_pixels(film) == duplicates.hash_pixels(film[None].copy())
    assert duplicates.hash_pixels(film) != duplicates.hash_pixels(changed)
    assert duplicates.hash_pixels(np.zeros((64, 128))) != duplicates.hash_pixels(np.zeros((128, 64)))


def share_rows(height: int) -> NDArray[np.float64]:
    """`(128, height)`: how much of each thumbnail row every film row fills, by the overlap of their intervals."""
    edges = np.linspace(0, height, 129)
    overlaps = [
        [min(row + 1, high) - max(row, low) for row in range(height)]
        for low, high in zip(edges[:-1], edges[1:], strict=True)
    ]
    return np.clip(overlaps, 0, None) * 128 / height


@pytest.mark.parametrize("shape", [(128, 128), (64, 64), (100, 130), (257, 96), (300, 129)])
def test_a_thumbnail_is_the_mean_of_each_area(shape: tuple[int, int]) -> None:
    film = np.random.default_rng(0).random(shape, dtype=np.float32)
    means = share_rows(shape[0]) @ film @ share_rows(shape[1]).T
    np.testing.assert_allclose(duplicates.make_thumbnail(film[None]), 255 * means, atol=0.51)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(0, 0.6), st.integers(1, 50))
@settings(max_examples=30, deadline=None)
def test_proposals_are_those_of_a_plain_double_loop(seed: int, number: int, share: float, block: int) -> None:
    hashes = np.random.default_rng(seed).random((number, 16)) < 0.5
    expected = {
        (first, second)
        for first in range(number)
        for second in range(first + 1, number)
        if np.mean(hashes[first] != hashes[second]) <= share
    }
    proposed = duplicates.propose_pairs(hashes, max_distance=share, num_nearest=number, block=block)
    assert {(int(first), int(second)) for first, second in proposed} == expected


def test_films_that_are_all_alike_propose_no_more_than_their_nearest() -> None:
    hashes = np.random.default_rng(0).random((200, 64)) < 0.02
    proposed = duplicates.propose_pairs(hashes, max_distance=0.5, num_nearest=3)
    assert len(proposed) <= 600
    assert set(range(200)) == set(proposed.ravel().tolist())


def test_a_film_found_three_times_is_one_group() -> None:
    groups = duplicates.group_items(6, [(0, 4), (4, 2), (3, 5)]).tolist()
    assert groups[0] == groups[2] == groups[4] and groups[3] == groups[5]
    assert len(set(groups)) == 3
    assert len(set(duplicates.group_items(3, []).tolist())) == 3


SAME = {
    "equal": lambda film: film,
    "brighter": lambda film: np.clip(1.3 * film - 0.1, 0, 1),
    "gamma": lambda film: film**0.6,
    "edges enhanced": lambda film: np.clip(film + 2 * (film - ndimage.gaussian_filter(film, 5)), 0, 1),
    "half the size": lambda film: film[::2, ::2],
    "another shape": lambda film: ndimage.zoom(film, (1, 0.7), order=1),
    "shifted": lambda film: cut(film, 2, 3, 147, 147),
    "a burnt-in letter": lambda film: np.where(np.indices(film.shape).max(axis=0) < 12, np.float32(1), film),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_one_exposure_is_recognised_whatever_was_done_to_it(change) -> None:  # type: ignore[no-untyped-def]
    film = draw_film(1)
    assert {pair[:2] for pair in find(cut(film, 0, 0, 150, 150), change(cut(film, 0, 0, 150, 150)), draw_film(2))} == {
        (0, 1)
    }


@pytest.mark.parametrize(("top", "left", "height", "width"), [(20, 0, 140, 160), (6, 8, 145, 147), (6, 6, 148, 150)])
def test_another_cut_out_in_one_study_is_recognised_after_alignment(
    top: int, left: int, height: int, width: int
) -> None:
    film = draw_film(3)
    assert find(film, cut(film, top, left, height, width), studies=["s", "s"]) == {(0, 1, False)}


def test_other_films_are_not_the_same_even_in_one_study() -> None:
    assert find(*(draw_film(seed) for seed in range(10, 18)), studies=["s"] * 8) == set()


def test_a_film_that_moved_between_two_exposures_is_not_the_same() -> None:
    film = draw_film(4)
    rows, columns = np.indices(film.shape)
    breath = 5 * np.sin(rows / 25) + 4 * np.cos(columns / 20)
    moved = ndimage.map_coordinates(film, [rows + breath, columns - breath], order=1, mode="reflect")
    assert find(film, moved, studies=["s", "s"]) == set()


def test_copies_with_equal_pixels_hang_on_the_first_one() -> None:
    film = draw_film(5)
    assert find(film, draw_film(6), film, film) == {(0, 2, True), (0, 3, True)}


def test_a_flat_film_resembles_nothing() -> None:
    assert duplicates.correlate_aligned(np.full((128, 128), 7, np.uint8), duplicates.make_thumbnail(draw_film(7))) < 0.1


def test_several_processes_find_the_same() -> None:
    films = [draw_film(seed, 64) for seed in range(15)]
    thumbnails = np.stack([duplicates.make_thumbnail(film) for film in [*films, *(film**0.7 for film in films)]])
    digests, studies = [str(place) for place in range(30)], ["one"] * 30
    alone = duplicates.find_same_films(digests, thumbnails, studies, workers=1)
    assert alone == duplicates.find_same_films(digests, thumbnails, studies, workers=2)
    assert len(alone.pairs) == 15 and alone.num_proposed == 435
