"""Geometry of boxes: tables of cases, a slow twin for the overlap, and round trips on drawn numbers."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripts import boxes as geometry

#: Off the diagonal and on an image that is not square: a swap of x and y cannot hide.
IMAGE_HEIGHT, IMAGE_WIDTH = 90, 140
OFF_DIAGONAL = [[100.0, 10.0, 130.0, 25.0]]


@st.composite
def draw_boxes(draw: st.DrawFn, height: float, width: float, least: float = 0.5, number: int = 3) -> np.ndarray:
    """Boxes `(N, 4)` inside a picture, each at least `least` pixels wide and high."""
    rows = []
    for _ in range(draw(st.integers(1, number))):
        xmin, ymin = draw(st.floats(0, width - least)), draw(st.floats(0, height - least))
        rows.append([xmin, ymin, draw(st.floats(xmin + least, width)), draw(st.floats(ymin + least, height))])
    return np.array(rows)


@st.composite
def draw_image(draw: st.DrawFn) -> tuple[int, int, np.ndarray, np.ndarray]:
    """Height, width, a crop box `(4,)` and opacity boxes `(N, 4)` of an image, which is not square as a rule."""
    height, width = draw(st.integers(16, 400)), draw(st.integers(16, 400))
    crop = draw(draw_boxes(height, width, least=4.0, number=1))[0]
    return height, width, crop, draw(draw_boxes(height, width))


@pytest.mark.parametrize(
    ("given_boxes", "shape"),
    [([], (0, 4)), (np.zeros((0, 4)), (0, 4)), ([[1, 2, 3, 4]], (1, 4)), (np.ones((5, 4), np.float32), (5, 4))],
)
def test_boxes_become_rows_of_four_numbers(given_boxes: Any, shape: tuple[int, int]):
    found = geometry.as_boxes(given_boxes)
    assert found.shape == shape and found.dtype == np.float64


@pytest.mark.parametrize("given_boxes", [[1, 2, 3, 4], [[1, 2, 3]], [[[1, 2, 3, 4]]]])
def test_boxes_of_another_shape_are_rejected(given_boxes: Any):
    with pytest.raises(ValueError, match=r"expected boxes of shape \(N, 4\), got"):
        geometry.as_boxes(given_boxes)


def test_an_area_has_no_extra_pixel_and_an_inverted_box_none_at_all():
    found = geometry.compute_areas([[0, 0, 10, 20], [5, 5, 5, 9], [8, 8, 2, 2], [8, 0, 2, 4]])
    assert found.tolist() == [200, 0, 0, 0]


@pytest.mark.parametrize(
    ("box", "other", "expected"),
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1),
        ([0, 0, 10, 10], [0, 0, 10, 5], 0.5),
        ([0, 0, 10, 10], [5, 5, 15, 15], 25 / 175),
        ([0, 0, 10, 10], [10, 0, 20, 10], 0),  # they touch
        ([0, 0, 10, 10], [20, 20, 30, 30], 0),
        ([3, 3, 3, 3], [3, 3, 3, 3], 0),  # nothing over nothing
    ],
)
def test_overlap_is_intersection_over_union_without_extra_pixels(box: list, other: list, expected: float):
    assert geometry.compute_iou([box], [other])[0, 0] == pytest.approx(expected)
    assert geometry.compute_paired_iou([box], [other])[0] == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(draw_boxes(60, 90), draw_boxes(60, 90))
def test_overlap_equals_a_slow_twin(boxes: np.ndarray, others: np.ndarray):
    slow = [[overlap_slowly(box, other) for other in others] for box in boxes]
    np.testing.assert_allclose(geometry.compute_iou(boxes, others), slow, atol=1e-12)


def overlap_slowly(box: np.ndarray, other: np.ndarray) -> float:
    across = min(box[2], other[2]) - max(box[0], other[0])
    along = min(box[3], other[3]) - max(box[1], other[1])
    common = across * along if across > 0 and along > 0 else 0.0
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return common / (sum(areas) - common)


def test_overlap_of_no_boxes_is_an_empty_table():
    assert geometry.compute_iou([], OFF_DIAGONAL).shape == (0, 1)
    assert geometry.compute_iou(OFF_DIAGONAL, []).shape == (1, 0)


def test_what_lies_outside_becomes_empty_and_stays_in_its_row():
    found = geometry.clip_boxes([[-5, -5, 200, 50], [150, 10, 160, 20], [1, 2, 3, 4]], IMAGE_HEIGHT, IMAGE_WIDTH)
    assert found[0].tolist() == [0, 0, IMAGE_WIDTH, 50]
    assert geometry.compute_areas(found).tolist() == [IMAGE_WIDTH * 50, 0, 4]


def test_rows_and_columns_are_scaled_apart():
    assert geometry.scale_boxes(OFF_DIAGONAL, scale_y=2, scale_x=0.5).tolist() == [[50, 20, 65, 50]]


def test_crop_clipping_uses_the_crops_own_size_not_the_lung_boxes_absolute_coordinates():
    """Published solutions clipped with the lung box's xmax and ymax after shifting: too late by xmin and ymin."""
    lung_box, opacity = [40, 30, 80, 70], [[60, 50, 110, 85]]
    found = geometry.move_into_crop(opacity, lung_box, height=40, width=40)
    assert found.tolist() == [[20, 20, 40, 40]], "the crop is 40 pixels wide, not 80"


def test_a_box_beside_the_crop_is_empty_in_it():
    found = geometry.move_into_crop([[0, 0, 30, 30], [90, 75, 99, 80]], [40, 30, 80, 70], height=40, width=40)
    assert geometry.compute_areas(found).tolist() == [0, 0]


def test_an_off_diagonal_box_of_an_image_that_is_not_square_keeps_its_axes():
    found = geometry.move_into_crop(OFF_DIAGONAL, [80, 0, 140, 30], height=300, width=120)
    assert found.tolist() == [[40, 100, 100, 250]]


@settings(max_examples=200, deadline=None)
@given(draw_image(), st.integers(8, 512), st.integers(8, 512))
def test_a_box_goes_into_the_crop_and_back_to_its_place_in_the_image(image: tuple, height: int, width: int):
    _, _, crop, boxes = image
    there = geometry.move_into_crop(boxes, crop, height, width)
    back = geometry.move_out_of_crop(there, crop, height, width)
    seen = np.clip(boxes, np.tile(crop[:2], 2), np.tile(crop[2:], 2))
    np.testing.assert_allclose(back, seen, rtol=1e-9, atol=1e-6)
    assert (there >= -1e-9).all() and (there <= np.array([width, height, width, height]) + 1e-6).all()


@settings(max_examples=100, deadline=None)
@given(draw_image(), st.sampled_from([0, 1]))
def test_a_box_that_is_mirrored_twice_is_itself(image: tuple, axis: int):
    height, width, _, boxes = image
    size = (height, width)[axis]
    flipped = geometry.flip_boxes(boxes, size, axis)
    assert (flipped[:, 2:] > flipped[:, :2]).all(), "not inverted"
    np.testing.assert_allclose(geometry.flip_boxes(flipped, size, axis), boxes, atol=1e-9)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_mirrored_box_lies_where_its_mask_lies(axis: int):
    mask = geometry.fill_mask(OFF_DIAGONAL, IMAGE_HEIGHT, IMAGE_WIDTH)
    flipped = geometry.flip_boxes(OFF_DIAGONAL, (IMAGE_HEIGHT, IMAGE_WIDTH)[axis], axis)
    np.testing.assert_array_equal(geometry.fill_mask(flipped, IMAGE_HEIGHT, IMAGE_WIDTH), np.flip(mask, axis))


def test_a_mask_has_rows_first():
    mask = geometry.fill_mask(OFF_DIAGONAL, IMAGE_HEIGHT, IMAGE_WIDTH)
    assert mask.shape == (IMAGE_HEIGHT, IMAGE_WIDTH) and mask.dtype == np.float32
    assert mask[10:25, 100:130].all() and mask.sum() == 15 * 30


@settings(max_examples=50, deadline=None)
@given(draw_boxes(40, 60))
def test_a_pixel_is_in_the_mask_where_its_centre_lies_in_a_box(boxes: np.ndarray):
    rows, columns = np.mgrid[0:40, 0:60] + 0.5
    # a centre that lies on an edge belongs to the box that begins there
    slow = np.any([(b[0] <= columns) & (columns < b[2]) & (b[1] <= rows) & (rows < b[3]) for b in boxes], axis=0)
    np.testing.assert_array_equal(geometry.fill_mask(boxes, 40, 60), slow)


def test_no_boxes_are_an_empty_mask():
    assert geometry.fill_mask([], 8, 9).shape == (8, 9)
    assert not geometry.fill_mask([], 8, 9).any()


def test_regions_of_a_map_come_back_as_the_boxes_they_were_drawn_from():
    synthetic = [[100, 10, 130, 25], [5, 40, 20, 80]]
    found, confidences = geometry.find_regions(
        0.75 * geometry.fill_mask(synthetic, IMAGE_HEIGHT, IMAGE_WIDTH), threshold=0.5
    )
    assert found.tolist() == synthetic
    assert confidences.tolist() == [0.75, 0.75]


def test_a_regions_confidence_is_its_mean_probability():
    probabilities = np.zeros((6, 10))
    probabilities[2, 3:7] = [0.5, 0.6, 0.7, 0.8]
    found, confidences = geometry.find_regions(probabilities, threshold=0.5)
    assert found.tolist() == [[3, 2, 7, 3]]
    assert confidences == pytest.approx([0.65])


def test_regions_that_touch_at_a_corner_are_one():
    probabilities = np.zeros((8, 8))
    probabilities[1:3, 1:3] = probabilities[3:5, 3:5] = 0.9
    assert geometry.find_regions(probabilities, 0.5)[0].tolist() == [[1, 1, 5, 5]]


@pytest.mark.parametrize(("min_area", "number"), [(1, 2), (4, 2), (5, 1), (100, 0)])
def test_small_regions_are_left_out(min_area: int, number: int):
    probabilities = geometry.fill_mask([[0, 0, 2, 2], [4, 4, 8, 7]], 10, 10)
    boxes, confidences = geometry.find_regions(probabilities, 0.5, min_area)
    assert boxes.shape == (number, 4) and confidences.shape == (number,)


def test_a_map_below_the_threshold_has_no_region():
    boxes, confidences = geometry.find_regions(np.full((5, 5), 0.49), 0.5)
    assert boxes.shape == (0, 4) and confidences.shape == (0,)


# Weighted boxes fusion


def fuse_slowly(boxes: np.ndarray, scores: np.ndarray, num_sources: int, threshold: float) -> list[tuple]:
    """The paper's steps in plain Python: clusters are lists, and every mean is made anew from its members."""
    clusters: list[list[tuple]] = []
    for score, box in sorted(zip(scores, boxes, strict=True), key=lambda pair: -pair[0]):
        overlaps = [overlap_slowly(box, average_slowly(cluster)) for cluster in clusters]
        if overlaps and max(overlaps) > threshold:
            clusters[overlaps.index(max(overlaps))].append((score, box))
        else:
            clusters.append([(score, box)])
    fused = [
        (
            sum(score for score, _ in cluster) / len(cluster) * min(len(cluster), num_sources) / num_sources,
            average_slowly(cluster),
        )
        for cluster in clusters
    ]
    return sorted(fused, key=lambda pair: -pair[0])


def average_slowly(cluster: list[tuple]) -> np.ndarray:
    return sum(score * box for score, box in cluster) / sum(score for score, _ in cluster)


@st.composite
def draw_scored_boxes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Up to 12 boxes `(N, 4)` about three places, and scores `(N,)`; moved at random, so that no overlaps are equal."""
    around = draw(draw_boxes(90, 140, least=20.0, number=3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    number = draw(st.integers(1, 12))
    return around[rng.integers(len(around), size=number)] + rng.uniform(-6, 6, (number, 4)), rng.uniform(
        0.01, 1, number
    )


def test_boxes_of_two_flips_are_averaged_by_their_scores_and_a_lonely_one_is_lowered():
    boxes = [[0, 0, 10, 20], [50, 0, 60, 10], [0, 4, 10, 24]]
    found, scores = geometry.fuse_boxes(boxes, [0.6, 0.5, 0.2], num_sources=2)
    np.testing.assert_allclose(found, [[0, 1, 10, 21], [50, 0, 60, 10]])
    np.testing.assert_allclose(scores, [0.4, 0.25])


@pytest.mark.parametrize(("num_sources", "expected"), [(1, 0.5), (2, 0.5), (3, 0.5), (4, 0.375), (6, 0.25)])
def test_a_fused_score_is_lowered_by_the_sources_that_did_not_see_it_and_never_raised(
    num_sources: int, expected: float
):
    _, scores = geometry.fuse_boxes([[0, 0, 10, 20]] * 3, [0.7, 0.5, 0.3], num_sources)
    assert scores == pytest.approx([expected])


def test_a_box_that_overlaps_by_exactly_the_threshold_founds_its_own_cluster():
    boxes = [[0, 0, 10, 20], [0, 0, 10, 10]]
    assert len(geometry.fuse_boxes(boxes, [0.9, 0.8], 1, iou_threshold=0.5)[0]) == 2
    assert len(geometry.fuse_boxes(boxes, [0.9, 0.8], 1, iou_threshold=0.499)[0]) == 1


def test_a_box_between_two_clusters_joins_the_one_it_overlaps_better():
    boxes = [[0, 0, 10, 10], [8, 0, 18, 10], [5, 0, 15, 10]]  # the third covers more of the second
    found, _ = geometry.fuse_boxes(boxes, [0.9, 0.8, 0.4], 1, iou_threshold=0.3)
    np.testing.assert_allclose(sorted(found.tolist()), [[0, 0, 10, 10], [7, 0, 17, 10]])


def test_a_box_joins_by_its_overlap_with_the_fused_box_not_with_the_first_one():
    boxes = [
        [0, 0, 10, 10],
        [3, 0, 13, 10],
        [4.5, 0, 14.5, 10],
    ]  # the third overlaps the first by 0.379, their mean by 0.55
    found, scores = geometry.fuse_boxes(boxes, [0.5, 0.49, 0.48], 1, iou_threshold=0.5)
    assert len(found) == 1 and scores == pytest.approx([0.49])


def test_equal_scores_are_taken_in_the_order_given():
    boxes = [[40, 0, 50, 10], [0, 0, 10, 10], [80, 0, 90, 10]]
    found, scores = geometry.fuse_boxes(boxes, [0.5, 0.5, 0.5], 1)
    assert found.tolist() == boxes and scores.tolist() == [0.5, 0.5, 0.5]


def test_no_boxes_fuse_to_none():
    found, scores = geometry.fuse_boxes([], [], 4)
    assert found.shape == (0, 4) and scores.shape == (0,)


@pytest.mark.parametrize(
    ("scores", "num_sources", "match"),
    [
        ([0.5, 0], 2, "2 positive finite scores"),
        ([0.5, -0.1], 2, "2 positive finite scores"),
        ([0.5, np.nan], 2, "2 positive finite scores"),
        ([0.5, np.inf], 2, "2 positive finite scores"),
        ([0.5], 2, "2 positive finite scores"),
        ([0.5, 0.4], 0, "at least one source"),
    ],
)
def test_scores_that_cannot_weigh_and_no_sources_are_rejected(scores: list, num_sources: int, match: str):
    with pytest.raises(ValueError, match=match):
        geometry.fuse_boxes([[0, 0, 1, 1], [2, 2, 3, 3]], scores, num_sources)


@settings(max_examples=100, deadline=None)
@given(draw_scored_boxes(), st.integers(1, 5), st.sampled_from([0.3, 0.55, 0.8]))
def test_fusion_equals_a_slow_twin(synthetic: tuple, num_sources: int, threshold: float):
    found, scores = geometry.fuse_boxes(*synthetic, num_sources, threshold)
    slow = fuse_slowly(*synthetic, num_sources, threshold)
    np.testing.assert_allclose(scores, [score for score, _ in slow], rtol=1e-9)
    np.testing.assert_allclose(found, [box for _, box in slow], rtol=1e-9, atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(draw_scored_boxes(), draw_scored_boxes(), st.integers(1, 5))
def test_a_fused_box_lies_within_the_hull_of_its_members_and_no_score_grows(
    here: tuple, there: tuple, num_sources: int
):
    groups = [here[0], there[0] + 1000]  # no box of one joins a box of the other
    scores = np.concatenate([here[1], there[1]])
    found, fused_scores = geometry.fuse_boxes(np.concatenate(groups), scores, num_sources)
    assert (np.diff(fused_scores) <= 0).all() and fused_scores.min() > 0 and fused_scores.max() <= scores.max() + 1e-12
    for members, fused in zip(groups, (found[found[:, 0] < 500], found[found[:, 0] > 500]), strict=True):
        assert 1 <= len(fused) <= len(members)
        assert (fused >= members.min(axis=0) - 1e-9).all() and (fused <= members.max(axis=0) + 1e-9).all()


@settings(max_examples=100, deadline=None)
@given(draw_scored_boxes(), st.randoms(use_true_random=False))
def test_the_order_of_boxes_with_distinct_scores_does_not_matter(synthetic: tuple, random: Any):
    boxes, scores = synthetic
    order = random.sample(range(len(scores)), len(scores))
    for one, other in zip(
        geometry.fuse_boxes(boxes, scores, 3), geometry.fuse_boxes(boxes[order], scores[order], 3), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(1, 9), st.floats(1, 9), st.floats(1e-6, 1)), min_size=1, max_size=6))
def test_boxes_of_one_source_that_do_not_overlap_are_unchanged(synthetic: list):
    boxes = np.array([[20 * n, 7, 20 * n + width, 7 + height] for n, (width, height, _) in enumerate(synthetic)])
    scores = np.array([score for _, _, score in synthetic])
    found, fused_scores = geometry.fuse_boxes(boxes, scores, num_sources=1)
    order = np.argsort(-scores, kind="stable")
    np.testing.assert_array_equal(found, boxes[order])
    np.testing.assert_array_equal(fused_scores, scores[order])


def test_boxes_of_four_flips_are_fused_in_milliseconds():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 200, (160, 2))
    boxes, scores, seconds = np.hstack([low, low + rng.uniform(20, 100, (160, 2))]), rng.uniform(0.01, 1, 160), []
    for _ in range(3):
        start = time.process_time()  # not the clock on the wall: other processes may own the cores
        geometry.fuse_boxes(boxes, scores, 4)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.05
