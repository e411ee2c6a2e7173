"""Boxes in the frame of what a network sees: moved into its region with the picture, and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import Compose
from scripts.boxes import fill_mask, move_out_of_crop
from scripts.transforms import BoxesToCropd, BoxesToMaskd, CropToLungsd, KeepWholeImaged

HEIGHT, WIDTH = 60, 100
LUNGS = (20.0, 10.0, 80.0, 50.0)


def describe_image(boxes: Any = ((30.0, 20.0, 70.0, 30.0),), lung_box: Any = LUNGS) -> dict[str, Any]:
    return {
        "image": torch.ones(1, HEIGHT, WIDTH),
        "lung_box": None if lung_box is None else np.array(lung_box, dtype=np.float32),
        "boxes": np.array(boxes, dtype=np.float32).reshape(-1, 4),
    }


def crop_and_resize(image: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    return {**CropToLungsd("image")(image), "image": torch.ones(1, height, width)}


def test_boxes_follow_a_crop():
    found = Compose([CropToLungsd("image"), BoxesToCropd("image")])(describe_image())
    assert found["boxes"].tolist() == [[10, 10, 50, 20]]


def test_boxes_follow_the_resizing_of_a_crop_that_is_not_square():
    image = crop_and_resize(describe_image(), 80, 30)  # 40 rows become 80, 60 columns become 30
    assert BoxesToCropd("image")(image)["boxes"].tolist() == [[5, 20, 25, 40]]


def test_boxes_of_a_whole_image_stay_where_they_are():
    found = Compose([KeepWholeImaged("image"), BoxesToCropd("image")])(describe_image())
    assert found["boxes"].tolist() == [[30, 20, 70, 30]]


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([], []),
        ([[0, 0, 15, 8]], []),  # beside the lungs
        ([[0, 0, 20, 60]], []),  # it touches their edge only
        ([[70, 40, 100, 60]], [[50, 30, 60, 40]]),  # the rest is clipped
        ([[0, 0, 100, 60]], [[0, 0, 60, 40]]),
        ([[30, 20, 30, 40]], []),  # no width, nothing to find
        ([[60, 20, 70, 30], [0, 0, 9, 9], [30, 20, 40, 30]], [[40, 10, 50, 20], [10, 10, 20, 20]]),  # their order stays
    ],
)
def test_what_lies_outside_of_the_region_is_left_out(boxes: Any, expected: Any):
    found = Compose([CropToLungsd("image"), BoxesToCropd("image")])(describe_image(boxes))
    assert found["boxes"].tolist() == expected
    assert found["boxes"].shape == (len(expected), 4) and found["boxes"].dtype == torch.float32


@pytest.mark.parametrize("kind", [tuple, list, np.array, torch.tensor])
def test_one_box_such_as_the_lungs_becomes_the_only_target(kind: Any):
    image = {**describe_image(), "lung_box": kind(LUNGS)}
    found = Compose([KeepWholeImaged("image"), BoxesToCropd("image", box_key="lung_box")])(image)
    assert found["boxes"].tolist() == [list(LUNGS)] and found["boxes"].dtype == torch.float32


def test_an_image_without_a_lung_box_has_no_target():
    move = Compose([KeepWholeImaged("image"), BoxesToCropd("image", box_key="lung_box")])
    image = describe_image(lung_box=None)
    assert move(image)["boxes"].shape == (0, 4)
    del image["lung_box"]
    found = move(image)["boxes"]  # nor has the key to be there
    assert found.shape == (0, 4) and found.dtype == torch.float32


def test_the_given_image_is_not_changed():
    image = KeepWholeImaged("image")(describe_image())
    BoxesToCropd("image", box_key="lung_box")(image)
    assert image["boxes"].tolist() == [[30, 20, 70, 30]] and image["lung_box"].tolist() == list(LUNGS)


def test_boxes_of_two_pictures_of_an_image_are_moved_once():
    image = CropToLungsd(["image", "other"])({**describe_image(), "other": torch.ones(1, HEIGHT, WIDTH)})
    assert BoxesToCropd(["image", "other"])(image)["boxes"].tolist() == [[10, 10, 50, 20]]


def test_a_missing_picture_is_rejected_unless_it_may_be_missing():
    with pytest.raises(KeyError, match="image"):
        BoxesToCropd("image")({"boxes": []})
    assert BoxesToCropd("image", allow_missing_keys=True)({"boxes": []}) == {"boxes": []}


whole_boxes = st.tuples(st.integers(0, 90), st.integers(0, 50), st.integers(1, 40), st.integers(1, 40)).map(
    lambda box: (box[0], box[1], min(WIDTH, box[0] + box[2]), min(HEIGHT, box[1] + box[3]))
)


@settings(max_examples=30, deadline=None)
@given(st.lists(whole_boxes, max_size=3), whole_boxes.filter(lambda box: box[2] - box[0] > 1 and box[3] - box[1] > 1))
def test_moved_boxes_cover_what_the_mask_shows(boxes: list, lungs: tuple):
    image = CropToLungsd("image")(describe_image(boxes, lungs))
    found = BoxesToCropd("image")(image)["boxes"]
    expected = BoxesToMaskd("image")(image)["mask"][0]
    np.testing.assert_array_equal(fill_mask(found.numpy(), *expected.shape), expected.numpy())


@settings(max_examples=30, deadline=None)
@given(st.integers(8, 200), st.integers(8, 200))
def test_boxes_inside_of_the_region_come_back_to_the_image_whatever_its_size(height: int, width: int):
    inside = [[30.0, 20.0, 70.0, 30.0], [20.0, 12.0, 33.0, 50.0]]
    image = crop_and_resize(describe_image(inside), height, width)
    found = BoxesToCropd("image")(image)["boxes"].numpy()
    np.testing.assert_allclose(move_out_of_crop(found, image["crop_box"], height, width), inside, atol=1e-4)
