from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from scripts.preparation import duplicates
from scripts.radiographs import hash_pixels

Picture = NDArray[np.float32]


def draw_image(seed: int, size: int = 160) -> Picture:
    """A smooth picture with structure of several sizes, in [0, 1]."""
    rng = np.random.default_rng(seed)
    image = sum(
        sigma * ndimage.gaussian_filter(rng.normal(size=(size, size)), sigma, mode="wrap") for sigma in (2, 4, 12)
    )
    return ((image - image.min()) / np.ptp(image)).astype(np.float32)


def cut(image: Picture, top: int, left: int, height: int, width: int) -> Picture:
    return image[top : top + height, left : left + width]


def find(*images: Picture, studies: list[str] | None = None) -> set[tuple[int, int, bool]]:
    digests = [hash_pixels(image) for image in images]
    thumbnails = np.stack([duplicates.make_thumbnail(image) for image in images])
    found = duplicates.find_duplicates(digests, thumbnails, studies or [str(place) for place in range(len(images))])
    return {(pair.first, pair.second, pair.exact) for pair in found.pairs}


def test_equal_pixels_have_one_digest_and_a_changed_pixel_or_shape_another() -> None:
    image = draw_image(0)
    changed = image.copy()
    changed[3, 5] += 1e-3
    assert hash_pixels(image) == hash_pixels(image[None].copy())
    assert hash_pixels(image) != hash_pixels(changed)
    assert hash_pixels(np.zeros((64, 128))) != hash_pixels(np.zeros((128, 64)))


def fraction_rows(height: int) -> NDArray[np.float64]:
    """`(128, height)`: how much of each thumbnail row every image row fills, by the overlap of their intervals."""
    edges = np.linspace(0, height, 129)
    overlaps = [
        [min(row + 1, high) - max(row, low) for row in range(height)]
        for low, high in zip(edges[:-1], edges[1:], strict=True)
    ]
    return np.clip(overlaps, 0, None) * 128 / height


@pytest.mark.parametrize("shape", [(128, 128), (64, 64), (100, 130), (257, 96), (300, 129)])
def test_a_thumbnail_is_the_mean_of_each_area(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    means = fraction_rows(shape[0]) @ image @ fraction_rows(shape[1]).T
    np.testing.assert_allclose(duplicates.make_thumbnail(image[None]), 255 * means, atol=0.51)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(0, 0.6), st.integers(1, 50))
@settings(max_examples=30, deadline=None)
def test_proposals_are_those_of_a_plain_double_loop(seed: int, number: int, fraction: float, block: int) -> None:
    hashes = np.random.default_rng(seed).random((number, 16)) < 0.5
    expected = {
        (first, second)
        for first in range(number)
        for second in range(first + 1, number)
        if np.mean(hashes[first] != hashes[second]) <= fraction
    }
    proposed = duplicates.propose_pairs(hashes, max_distance=fraction, num_nearest=number, block=block)
    assert {(int(first), int(second)) for first, second in proposed} == expected


def test_images_that_are_all_alike_propose_no_more_than_their_nearest() -> None:
    hashes = np.random.default_rng(0).random((200, 64)) < 0.02
    proposed = duplicates.propose_pairs(hashes, max_distance=0.5, num_nearest=3)
    assert len(proposed) <= 600
    assert set(range(200)) == set(proposed.ravel().tolist())


def test_an_image_found_three_times_is_one_group() -> None:
    groups = duplicates.group_items(6, [(0, 4), (4, 2), (3, 5)]).tolist()
    assert groups[0] == groups[2] == groups[4] and groups[3] == groups[5]
    assert len(set(groups)) == 3
    assert len(set(duplicates.group_items(3, []).tolist())) == 3


SAME = {
    "equal": lambda image: image,
    "brighter": lambda image: np.clip(1.3 * image - 0.1, 0, 1),
    "gamma": lambda image: image**0.6,
    "edges enhanced": lambda image: np.clip(image + 2 * (image - ndimage.gaussian_filter(image, 5)), 0, 1),
    "half the size": lambda image: image[::2, ::2],
    "another shape": lambda image: ndimage.zoom(image, (1, 0.7), order=1),
    "shifted": lambda image: cut(image, 2, 3, 147, 147),
    "a burnt-in letter": lambda image: np.where(np.indices(image.shape).max(axis=0) < 12, np.float32(1), image),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_one_exposure_is_recognised_whatever_was_done_to_it(change) -> None:  # type: ignore[no-untyped-def]
    image = draw_image(1)
    assert {
        pair[:2] for pair in find(cut(image, 0, 0, 150, 150), change(cut(image, 0, 0, 150, 150)), draw_image(2))
    } == {(0, 1)}


@pytest.mark.parametrize(("top", "left", "height", "width"), [(20, 0, 140, 160), (6, 8, 145, 147), (6, 6, 148, 150)])
def test_another_cut_out_in_one_study_is_recognised_after_alignment(
    top: int, left: int, height: int, width: int
) -> None:
    image = draw_image(3)
    assert find(image, cut(image, top, left, height, width), studies=["s", "s"]) == {(0, 1, False)}


def test_other_images_are_not_the_same_even_in_one_study() -> None:
    assert find(*(draw_image(seed) for seed in range(10, 18)), studies=["s"] * 8) == set()


def test_an_image_that_moved_between_two_exposures_is_not_the_same() -> None:
    image = draw_image(4)
    rows, columns = np.indices(image.shape)
    breath = 5 * np.sin(rows / 25) + 4 * np.cos(columns / 20)
    moved = ndimage.map_coordinates(image, [rows + breath, columns - breath], order=1, mode="reflect")
    assert find(image, moved, studies=["s", "s"]) == set()


def test_copies_with_equal_pixels_hang_on_the_first_one() -> None:
    image = draw_image(5)
    assert find(image, draw_image(6), image, image) == {(0, 2, True), (0, 3, True)}


def test_a_flat_image_resembles_nothing() -> None:
    assert (
        duplicates.correlate_aligned(np.full((128, 128), 7, np.uint8), duplicates.make_thumbnail(draw_image(7))) < 0.1
    )


def test_several_processes_find_the_same() -> None:
    images = [draw_image(seed, 64) for seed in range(15)]
    thumbnails = np.stack([duplicates.make_thumbnail(image) for image in [*images, *(image**0.7 for image in images)]])
    digests, studies = [str(place) for place in range(30)], ["one"] * 30
    alone = duplicates.find_duplicates(digests, thumbnails, studies, workers=1)
    assert alone == duplicates.find_duplicates(digests, thumbnails, studies, workers=2)
    assert len(alone.pairs) == 15 and alone.num_proposed == 435


def test_thumbnails_are_hashed_in_blocks_as_at_once() -> None:
    thumbnails = np.random.default_rng(0).integers(0, 256, (1030, 128, 128), dtype=np.uint8)
    hashes = duplicates.hash_thumbnails(list(thumbnails))
    assert hashes.shape == (1030, 575)
    np.testing.assert_array_equal(hashes[1020:], duplicates.hash_thumbnails(thumbnails[1020:]))
