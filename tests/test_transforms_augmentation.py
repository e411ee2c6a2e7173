"""Augmentation with boxes: a box stays on its picture through every warp; pictures without lungs say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import Compose
from scripts.transforms import RandAffineWithBoxesd, RandHideLungsd, RandInvertd
from scripts.transforms.augmentation import cut_beside, shuffle_tiles, warp_boxes, warp_picture
from torch.nn import functional

HEIGHT, WIDTH = 96, 160
BOX = (90.0, 22.0, 130.0, 42.0)  # off the middle, and by no symmetry its own image
SQUARE_BOX = (56.0, 20.0, 80.0, 34.0)
STILL = {"prob": 0.0, "flip_prob": 0.0, "quarter_rotation_prob": 0.0}
RIGID = {"prob": 1.0, "flip_prob": 0.0, "rotate": 0.0, "scale": (1.0, 1.0), "stretch": 1.0, "shift": 0.0}


def draw_picture(box: Sequence[float], height: int, width: int, shape: str = "ellipse") -> torch.Tensor:
    """A black picture `(1, H, W)` with a white rectangle or ellipse that fills a box."""
    xmin, ymin, xmax, ymax = box
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    across, along = (2 * x - xmin - xmax) / (xmax - xmin), (2 * y - ymin - ymax) / (ymax - ymin)
    inside = across**2 + along**2 <= 1 if shape == "ellipse" else torch.maximum(across.abs(), along.abs()) <= 1
    return inside.float()[None]


def box_of_bright_pixels(picture: torch.Tensor) -> list[int]:
    rows, columns = (picture[0] > 0.5).nonzero().T
    return [columns.min().item(), rows.min().item(), columns.max().item() + 1, rows.max().item() + 1]


def describe(picture: torch.Tensor, *boxes: Sequence[float]) -> dict[str, Any]:
    return {"image": picture, "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), "image_id": "a"}


# A picture and its box stay together


@pytest.mark.parametrize(
    ("shape", "height", "width", "arguments"),
    [
        ("rectangle", HEIGHT, WIDTH, STILL | {"flip_prob": 1.0}),
        ("rectangle", HEIGHT, WIDTH, STILL | {"quarter_rotation_prob": 1.0}),
        ("rectangle", HEIGHT, WIDTH, STILL | {"quarter_rotation_prob": 1.0, "flip_prob": 1.0}),
        ("rectangle", HEIGHT, WIDTH, RIGID | {"scale": (0.6, 1.3)}),
        ("rectangle", HEIGHT, WIDTH, RIGID | {"stretch": 1.4}),
        ("rectangle", HEIGHT, WIDTH, RIGID | {"shift": 0.15}),
        ("rectangle", HEIGHT, WIDTH, {"rotate": 0.0, "quarter_rotation_prob": 0.5}),
        ("ellipse", 96, 96, RIGID | {"rotate": 25.0}),
        ("ellipse", 96, 96, RIGID | {"rotate": 25.0, "quarter_rotation_prob": 1.0, "flip_prob": 0.5}),
        ("ellipse", 96, 96, {"quarter_rotation_prob": 0.5}),
        ("ellipse", HEIGHT, WIDTH, {"quarter_rotation_prob": 0.5}),
    ],
    ids=[
        *("flip", "rotation", "flip and turn", "scale", "stretch", "shift", "all but rotation"),
        *("angles", "rotation, turn and flip", "all, square", "all, not square"),
    ],
)
def test_a_box_stays_round_what_it_marks(shape: str, height: int, width: int, arguments: dict[str, Any]):
    box = BOX if width == WIDTH else SQUARE_BOX
    warp = RandAffineWithBoxesd("image", **arguments).set_random_state(0)
    for _ in range(25):
        found = warp(describe(draw_picture(box, height, width, shape), box))
        assert found["image"].shape == (1, height, width)
        # an ellipse ends between pixels, and a turn makes pixels of a picture that is not square 1.7 times as long
        np.testing.assert_allclose(found["boxes"][0], box_of_bright_pixels(found["image"]), atol=1.6)


def test_a_flip_is_one_of_columns():
    image = describe(draw_picture(BOX, HEIGHT, WIDTH), BOX)
    found = RandAffineWithBoxesd("image", **STILL | {"flip_prob": 1.0})(image)
    torch.testing.assert_close(found["image"], image["image"].flip(2), atol=1e-4, rtol=0)
    np.testing.assert_allclose(found["boxes"], [[WIDTH - 130, 22, WIDTH - 90, 42]], atol=1e-4)


@pytest.mark.parametrize("flip_prob", [0.0, 1.0])
def test_quarter_turns_are_exact_and_counter_clockwise_after_the_flip(flip_prob: float):
    generator = torch.Generator().manual_seed(0)
    picture, mask = torch.rand(1, 64, 64, generator=generator), draw_picture((40, 8, 60, 20), 64, 64, "rectangle")
    warp, rotations = (
        RandAffineWithBoxesd(
            "image", **STILL | {"quarter_rotation_prob": 1.0, "flip_prob": flip_prob}
        ).set_random_state(0),
        set(),
    )
    for _ in range(12):
        found = warp(describe(picture, (40, 8, 60, 20)))
        flipped, shown = (each.flip(2) if flip_prob else each for each in (picture, mask))
        np.testing.assert_allclose(found["image"][0], np.rot90(flipped[0], found["rotation"]), atol=1e-5)
        expected = box_of_bright_pixels(torch.rot90(shown, found["rotation"], (1, 2)))
        np.testing.assert_allclose(found["boxes"], [expected], atol=1e-4)
        rotations.add(found["rotation"])
    assert rotations == {1, 2, 3}


def test_a_picture_that_nothing_happens_to_keeps_its_pixels_and_box():
    image = describe(torch.rand(1, HEIGHT, WIDTH), BOX)
    found = RandAffineWithBoxesd("image", **STILL)(image)
    torch.testing.assert_close(found["image"], image["image"], atol=1e-4, rtol=0)
    torch.testing.assert_close(found["boxes"], image["boxes"])
    assert found["rotation"] == 0 and found["image_id"] == "a"


def test_a_round_box_does_not_grow_when_it_is_rotated():
    """The reason for ellipses: the box of the rotated corners would be 1.4 times as large."""
    image = describe(torch.zeros(1, 100, 100), (30, 30, 70, 70))
    warp = RandAffineWithBoxesd("image", **RIGID | {"rotate": 45.0}).set_random_state(0)
    for _ in range(5):
        torch.testing.assert_close(warp(image)["boxes"], image["boxes"])


def test_what_comes_from_outside_is_black():
    found = RandAffineWithBoxesd("image", **RIGID | {"scale": (0.5, 0.5)})(describe(torch.ones(1, 64, 64)))
    assert found["image"].sum() == pytest.approx(32 * 32)
    assert not found["image"][:, :15].any() and found["image"][:, 17:47, 17:47].min() > 0.999


@pytest.mark.parametrize("boxes", [torch.zeros(0, 4), np.zeros((0, 4), np.float32)])
def test_a_picture_without_boxes_has_none_afterwards(boxes: Any):
    found = RandAffineWithBoxesd("image", prob=1.0, quarter_rotation_prob=1.0)(
        {"image": torch.rand(1, 64, 96), "boxes": boxes}
    )
    assert found["boxes"].shape == (0, 4) and found["boxes"].dtype == torch.float32


def shift_to_the_right(pixels: float, width: int = 100) -> torch.Tensor:
    return torch.tensor([[1.0, 0.0, 2 * pixels / width], [0.0, 1.0, 0.0]])


@pytest.mark.parametrize(
    ("pixels", "min_visible", "expected"),
    [
        (0, 0.3, [[70, 10, 90, 40], [5, 5, 15, 15]]),
        (20, 0.3, [[90, 10, 100, 40], [25, 5, 35, 15]]),  # half of it stays, clipped
        (25, 0.3, [[30, 5, 40, 15]]),  # a quarter stays: too little to learn from
        (25, 0.2, [[95, 10, 100, 40], [30, 5, 40, 15]]),
        (30, 0.0, [[35, 5, 45, 15]]),  # nothing stays
        (-200, 0.0, []),
    ],
)
def test_a_box_that_leaves_the_picture_is_clipped_and_then_left_out(pixels: float, min_visible: float, expected: Any):
    boxes = torch.tensor([[70.0, 10.0, 90.0, 40.0], [5.0, 5.0, 15.0, 15.0]])
    found = warp_boxes(boxes, shift_to_the_right(pixels), 60, 100, min_visible)
    np.testing.assert_allclose(found, np.reshape(expected, (-1, 4)), atol=1e-4)


def bound_ellipse_slowly(box: Sequence[float], matrix: np.ndarray, height: int, width: int) -> np.ndarray:
    """The box round 2,000 points of the ellipse, each sent through the matrix by itself."""
    xmin, ymin, xmax, ymax = box
    points = []
    for angle in np.linspace(0, 2 * np.pi, 2000):
        x = (xmin + xmax) / 2 + (xmax - xmin) / 2 * np.cos(angle)
        y = (ymin + ymax) / 2 + (ymax - ymin) / 2 * np.sin(angle)
        moved = matrix @ [2 * x / width - 1, 2 * y / height - 1, 1]
        points.append((moved + 1) / 2 * [width, height])
    return np.concatenate([np.min(points, axis=0), np.max(points, axis=0)])


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(*[st.floats(-1.2, 1.2) for _ in range(4)]).filter(
        lambda each: abs(np.linalg.det([each[:2], each[2:]])) > 0.1
    ),
    st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
)
def test_a_warped_box_bounds_the_warped_ellipse_under_any_matrix(rotation: tuple, shift: tuple):
    matrix = np.array([[rotation[0], rotation[1], shift[0]], [rotation[2], rotation[3], shift[1]]])
    found = warp_boxes(torch.tensor([BOX]), torch.tensor(matrix, dtype=torch.float32), HEIGHT, WIDTH)
    expected = bound_ellipse_slowly(BOX, matrix, HEIGHT, WIDTH).clip(0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
    if (expected[2:] - expected[:2]).min() > 0.01:
        np.testing.assert_allclose(found, [expected], atol=0.01)
    else:
        assert len(found) == 0 or (found[:, 2:] - found[:, :2]).min() <= 0.02, "it left the picture"


def test_a_picture_goes_where_its_matrix_says():
    picture = draw_picture((10, 20, 30, 30), 60, 100, "rectangle")
    assert box_of_bright_pixels(warp_picture(picture, shift_to_the_right(15))) == [25, 20, 45, 30]


def test_one_seed_gives_one_result_and_others_give_others():
    image, warp = (
        describe(draw_picture(BOX, HEIGHT, WIDTH), BOX),
        RandAffineWithBoxesd("image", quarter_rotation_prob=0.5),
    )
    first, second, other = (warp.set_random_state(seed)(image) for seed in (3, 3, 4))
    assert torch.equal(first["image"], second["image"]) and torch.equal(first["boxes"], second["boxes"])
    assert not torch.equal(first["boxes"], other["boxes"])


def test_a_warp_takes_its_seed_from_the_chain_that_it_stands_in():
    image, chain = (
        describe(draw_picture(BOX, HEIGHT, WIDTH), BOX),
        Compose([RandAffineWithBoxesd("image"), RandInvertd("image")]),
    )
    first, second = (chain.set_random_state(1)(image) for _ in range(2))
    assert torch.equal(first["image"], second["image"]) and torch.equal(first["boxes"], second["boxes"])


@pytest.mark.parametrize(
    "transform",
    [
        RandAffineWithBoxesd("image", prob=1.0, quarter_rotation_prob=1.0),
        RandInvertd("image", prob=1.0),
        RandHideLungsd("image", prob=1.0),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_the_given_image_is_not_changed(transform: Any):
    image = describe(draw_picture(BOX, HEIGHT, WIDTH), BOX)
    for _ in range(8):
        transform(image)
    assert torch.equal(image["image"], draw_picture(BOX, HEIGHT, WIDTH)) and image["boxes"].tolist() == [list(BOX)]
    assert set(image) == {"image", "boxes", "image_id"}


def test_two_pictures_of_an_image_are_warped_alike_and_its_boxes_once():
    picture = draw_picture(BOX, HEIGHT, WIDTH)
    found = RandAffineWithBoxesd(["image", "other"], prob=1.0).set_random_state(0)(
        {**describe(picture, BOX), "other": picture}
    )
    alone = RandAffineWithBoxesd("image", prob=1.0).set_random_state(0)(describe(picture, BOX))
    assert torch.equal(found["image"], found["other"]) and torch.equal(found["image"], alone["image"])
    assert torch.equal(found["boxes"], alone["boxes"])


def test_what_is_drawn_stays_within_its_limits_and_fills_them():
    warp = RandAffineWithBoxesd(
        "image", prob=0.8, flip_prob=0.3, scale=(0.5, 1.25), stretch=1.3, shift=0.1
    ).set_random_state(0)
    matrices = []
    for _ in range(400):
        warp.randomize()
        matrices.append(warp.matrix)
    sizes = torch.stack([matrix[:, :2].det() for matrix in matrices])
    shifts = torch.stack([matrix[:, 2] for matrix in matrices])
    ratios = torch.stack([torch.linalg.svdvals(matrix[:, :2]) for matrix in matrices])
    assert 0.2 < (sizes < 0).float().mean() < 0.4, "mirrored"
    assert 0.1 < (sizes.abs() == 1).float().mean() < 0.3, "left as they are"
    assert 0.5 <= sizes.abs().min().sqrt() < 0.6 and 1.15 < sizes.abs().max().sqrt() <= 1.2501
    assert 1.2 < (ratios[:, 0] / ratios[:, 1]).max() < 1.3001
    assert 0.15 < shifts.abs().max() <= 0.2, "2 in [-1, 1] are the whole picture"


# Images stored inverted


def test_inverting_twice_gives_the_image_back():
    image, invert = describe(torch.rand(1, 8, 12), (1, 2, 5, 6)), RandInvertd("image", prob=1.0)
    once = invert(image)
    torch.testing.assert_close(once["image"], 1 - image["image"])
    torch.testing.assert_close(invert(once)["image"], image["image"])
    assert once["boxes"] is image["boxes"]


@pytest.mark.parametrize(("prob", "least", "most"), [(0.0, 0, 0), (0.3, 20, 40), (1.0, 100, 100)])
def test_images_are_inverted_as_often_as_asked(prob: float, least: int, most: int):
    invert = RandInvertd("image", prob=prob).set_random_state(0)
    inverted = sum(invert({"image": torch.zeros(1, 2, 2)})["image"].any().item() for _ in range(100))
    assert least <= inverted <= most


# Images without lungs

LUNGS = (30.0, 50.0, 130.0, 90.0)


def hide(kind: int, picture: torch.Tensor, *boxes: Sequence[float]) -> tuple[dict[str, Any], RandHideLungsd]:
    """The first draw of a kind."""
    for seed in range(50):
        transform = RandHideLungsd("image", prob=1.0).set_random_state(seed)
        found = transform(describe(picture, *(boxes or [LUNGS])))
        if transform.kind == kind:
            return found, transform
    raise AssertionError(f"kind {kind} is never drawn")


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_an_image_whose_lungs_are_hidden_has_no_box_and_stays_an_image(kind: int):
    picture = torch.rand(1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    found, _ = hide(kind, picture)
    assert found["boxes"].shape == (0, 4) and found["boxes"].dtype == torch.float32
    assert found["image"].shape == picture.shape and found["image"].dtype == torch.float32
    assert found["image"].min() >= 0 and found["image"].max() <= 1 and found["image"].std() > 0
    assert not torch.equal(found["image"], picture) and found["image_id"] == "a"


def test_one_way_to_hide_lungs_is_to_put_the_images_tiles_in_another_order():
    picture = torch.rand(1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    found, _ = hide(0, picture)
    assert torch.equal(found["image"].flatten().sort()[0], picture.flatten().sort()[0])


def test_one_way_to_hide_lungs_is_to_show_what_lies_beside_them():
    picture = torch.rand(1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    found, _ = hide(1, picture)
    assert torch.equal(found["image"], cut_beside(picture, LUNGS))


def test_one_way_to_hide_lungs_is_a_smooth_field_that_reports_nothing_of_the_image():
    (found, transform), (other, _) = hide(2, torch.rand(1, HEIGHT, WIDTH)), hide(2, torch.zeros(1, HEIGHT, WIDTH))
    assert torch.equal(found["image"], other["image"])
    steps = [found["image"].diff(dim=axis).abs().max().item() * found["image"].shape[axis] for axis in (1, 2)]
    assert max(steps) < 3 * transform.tiles, "no step is steeper than from black to white within a third of a tile"


def test_the_three_ways_are_equally_often_and_lungs_are_hidden_as_often_as_asked():
    transform, kinds = RandHideLungsd("image", prob=0.4).set_random_state(0), Counter()
    for _ in range(500):
        found = transform(describe(torch.zeros(1, 16, 16), (4, 4, 8, 8)))
        assert transform._do_transform == (len(found["boxes"]) == 0)
        kinds.update([transform.kind] if transform._do_transform else [])
    assert 160 < kinds.total() < 240 and all(45 < kinds[kind] < 90 for kind in range(3))


def test_an_image_that_shows_no_lungs_anyway_is_left_as_it_is():
    picture = torch.rand(1, 16, 16)
    found = RandHideLungsd("image", prob=1.0)(describe(picture))
    assert found["image"] is picture and found["boxes"].shape == (0, 4)


def test_hiding_lungs_is_repeated_by_its_seed():
    picture, transform = torch.rand(1, 64, 64), RandHideLungsd("image", prob=1.0)
    for seed in range(6):
        first, second = (transform.set_random_state(seed)(describe(picture, LUNGS))["image"] for _ in range(2))
        assert torch.equal(first, second)


@pytest.mark.parametrize("tiles", [2, 4, 8])
def test_tiles_keep_their_inside_and_each_comes_once(tiles: int):
    rows, columns = 6, 10
    numbers = torch.arange(tiles**2).reshape(tiles, 1, tiles, 1).expand(tiles, rows, tiles, columns)
    inside = torch.rand(1, rows, 1, columns).expand(tiles, rows, tiles, columns)
    picture = torch.stack([numbers.float(), inside]).reshape(2, tiles * rows, tiles * columns)
    found = shuffle_tiles(picture, tiles, torch.Generator().manual_seed(0))
    assert found.shape == picture.shape
    assert torch.equal(found[1], picture[1]), "every tile has the same inside, and it is nowhere moved"
    parts = found[0].reshape(tiles, rows, tiles, columns)
    assert torch.equal(parts, parts[:, :1, :, :1].expand_as(parts)), "no tile is torn"
    order = parts[:, 0, :, 0].flatten()
    assert sorted(order.tolist()) == list(range(tiles**2)) and order.tolist() != sorted(order.tolist())


@pytest.mark.parametrize(("height", "width"), [(50, 70), (33, 32), (9, 15)])
def test_tiles_of_a_picture_that_they_do_not_divide_give_a_picture_of_its_size(height: int, width: int):
    picture = torch.rand(1, height, width)
    found = shuffle_tiles(picture, 8, torch.Generator().manual_seed(0))
    assert found.shape == picture.shape and found.min() >= picture.min() and found.max() <= picture.max() + 1e-6


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((10, 40, 90, 55), slice(0, 40), slice(None)),  # neck and shoulders
        ((10, 5, 90, 20), slice(20, None), slice(None)),  # abdomen
        ((60, 5, 95, 55), slice(None), slice(0, 60)),  # a side
        ((2, 5, 30, 58), slice(None), slice(30, None)),
        ((10.4, 39.6, 90.2, 55.1), slice(0, 40), slice(None)),  # to the nearest pixel
        ((0, 0, 100, 58), slice(58, None), slice(None)),  # two rows are left
    ],
)
def test_the_widest_strip_beside_the_lungs_is_shown(box: Any, rows: slice, columns: slice):
    picture = torch.rand(1, 60, 100, generator=torch.Generator().manual_seed(0))
    expected = functional.interpolate(picture[None, :, rows, columns], size=(60, 100), mode="bilinear")[0]
    torch.testing.assert_close(cut_beside(picture, box), expected)


@pytest.mark.parametrize("box", [(0, 0, 100, 60), (0, 0, 100, 59), (1, 1, 99, 59), (0.3, 0.2, 99.8, 59.9)])
def test_where_lungs_fill_the_image_nothing_is_shown(box: Any):
    found = cut_beside(torch.ones(1, 60, 100), box)
    assert found.shape == (1, 60, 100) and not found.any()
