"""Crops of an image and its mask, which stays on the image through every augmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from monai.data import list_data_collate
from monai.transforms import Compose
from scripts.transforms import BlackOutLungsd, BoxesToMaskd, CropToLungsd, KeepWholeImaged, find_crop

CONFIGS = Path(__file__).resolve().parents[1] / "bundle" / "configs"
HEIGHT, WIDTH = 60, 100


def draw_image(height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    """An image `(1, H, W)` that is nowhere black and reports each pixel's place."""
    return 0.1 + 0.9 * torch.arange(height * width).reshape(1, height, width) / (height * width)


def describe_image(
    lung_box: Any = (20.0, 10.0, 80.0, 50.0), boxes: Any = ((30.0, 20.0, 70.0, 30.0),)
) -> dict[str, Any]:
    return {
        "image": draw_image(),
        "lung_box": None if lung_box is None else np.array(lung_box, dtype=np.float32),
        "boxes": np.array(boxes, dtype=np.float32).reshape(-1, 4),
    }


def parse_train_config(**changes: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(CONFIGS / "train.json")
    parser.read_meta(CONFIGS / "metadata.json")
    parser.update({key.replace("__", "#"): value for key, value in changes.items()})
    return parser


@pytest.mark.parametrize(
    ("lung_box", "margin", "expected"),
    [
        ([20, 10, 80, 50], 0.0, [20, 10, 80, 50]),
        ([20.4, 10.6, 79.2, 49.5], 0.0, [20, 10, 80, 50]),  # outwards to whole pixels
        ([20, 10, 80, 50], 0.1, [14, 6, 86, 54]),  # rows and columns by their own size
        ([20, 10, 80, 50], 1.0, [0, 0, 100, 60]),  # never outside the image
        ([-5, -5, 200, 200], 0.0, [0, 0, 100, 60]),
        (None, 0.1, [0, 0, 100, 60]),
        ([30, 30, 30, 30], 0.0, [0, 0, 100, 60]),  # nothing is left: better the whole image
        ([150, 10, 180, 50], 0.0, [0, 0, 100, 60]),  # beside the image
    ],
)
def test_a_crop_is_the_lung_box_in_whole_pixels_of_the_image(lung_box: Any, margin: float, expected: list[int]):
    assert find_crop(lung_box, HEIGHT, WIDTH, margin).tolist() == expected


@settings(max_examples=100, deadline=None)
@given(st.tuples(*[st.floats(-50, 150) for _ in range(4)]), st.integers(8, 120), st.integers(8, 120), st.floats(0, 0.5))
def test_a_crop_always_lies_in_its_image_and_holds_at_least_two_pixels_each_way(
    lung_box: tuple[float, ...], height: int, width: int, margin: float
):
    xmin, ymin, xmax, ymax = find_crop(lung_box, height, width, margin)
    assert min(xmin, ymin) >= 0 and xmin + 2 <= xmax <= width and ymin + 2 <= ymax <= height


def test_an_image_is_cut_to_its_lungs_and_says_where_and_from_what():
    image = describe_image()
    found = CropToLungsd("image")(image)
    assert torch.equal(found["image"], image["image"][:, 10:50, 20:80])
    assert found["crop_box"].tolist() == [20, 10, 80, 50]
    assert found["original_size"].tolist() == [HEIGHT, WIDTH]
    assert image["image"].shape == (1, HEIGHT, WIDTH) and "crop_box" not in image, "the given dictionary is not changed"


def test_a_margin_widens_the_crop():
    assert CropToLungsd("image", margin=0.1)(describe_image())["image"].shape == (1, 48, 72)


def test_an_image_without_a_lung_box_stays_whole():
    image = describe_image(lung_box=None)
    found = CropToLungsd("image")(image)
    assert torch.equal(found["image"], image["image"])
    assert found["crop_box"].tolist() == [0, 0, WIDTH, HEIGHT]
    del image["lung_box"]
    assert CropToLungsd("image")(image)["crop_box"].tolist() == [0, 0, WIDTH, HEIGHT]  # nor has the key to be there


def test_the_whole_image_leaves_the_same_metadata_as_a_crop():
    image = describe_image()
    found = KeepWholeImaged("image")(image)
    assert torch.equal(found["image"], image["image"])
    assert found["crop_box"].tolist() == [0, 0, WIDTH, HEIGHT] and found["original_size"].tolist() == [HEIGHT, WIDTH]


@pytest.mark.parametrize("kind", [torch.as_tensor, np.asarray])
def test_blacking_out_leaves_nothing_of_the_lungs_and_the_rest_untouched(kind: Any):
    image = describe_image()
    image["image"] = kind(image["image"])
    found = np.asarray(BlackOutLungsd("image")(image)["image"])
    lungs = np.zeros((1, HEIGHT, WIDTH), dtype=bool)
    lungs[:, 10:50, 20:80] = True
    assert not found[lungs].any()
    np.testing.assert_array_equal(found[~lungs], draw_image().numpy()[~lungs])
    np.testing.assert_array_equal(np.asarray(image["image"]), draw_image().numpy(), "the image itself is not changed")


def test_blacking_out_covers_every_pixel_that_the_lung_box_touches():
    image = describe_image(lung_box=[20.4, 10.6, 79.2, 49.5])
    found = BlackOutLungsd("image")(image)["image"]
    assert not found[:, 10:50, 20:80].any() and found.count_nonzero() == HEIGHT * WIDTH - 40 * 60


def test_where_the_lungs_are_not_known_blacking_out_shows_nothing():
    """A negative control must not show lungs by accident."""
    assert not BlackOutLungsd("image")(describe_image(lung_box=None))["image"].any()


@pytest.mark.parametrize("crop", [CropToLungsd, KeepWholeImaged, BlackOutLungsd])
def test_regions_leave_the_same_keys(crop: type):
    assert set(crop("image")(describe_image())) == {"image", "lung_box", "boxes", "crop_box", "original_size"}


@pytest.mark.parametrize("crop", [CropToLungsd, KeepWholeImaged, BlackOutLungsd])
def test_a_missing_image_is_rejected_unless_it_may_be_missing(crop: type):
    with pytest.raises(KeyError, match="image"):
        crop("image")({"lung_box": None})
    assert crop("image", allow_missing_keys=True)({"lung_box": None}) == {"lung_box": None}


def test_boxes_are_drawn_in_the_frame_of_the_crop():
    found = Compose([CropToLungsd("image"), BoxesToMaskd("image")])(describe_image())
    assert found["mask"].shape == (1, 40, 60) and found["mask"].dtype == torch.float32
    assert found["mask"][0, 10:20, 10:50].all() and found["mask"].sum() == 10 * 40


def test_boxes_follow_the_resizing_of_a_crop_that_is_not_square():
    image = CropToLungsd("image")(describe_image())
    image["image"] = torch.zeros(1, 80, 30)  # 40 rows become 80, 60 columns become 30
    mask = BoxesToMaskd("image")(image)["mask"]
    assert mask[0, 20:40, 5:25].all() and mask.sum() == 20 * 20


def test_what_lies_outside_of_the_crop_is_not_in_its_mask():
    image = describe_image(boxes=[[0, 0, 15, 8], [70, 40, 100, 60]])
    mask = Compose([CropToLungsd("image"), BoxesToMaskd("image")])(image)["mask"]
    assert mask[0, 30:40, 50:60].all() and mask.sum() == 10 * 10


def test_an_image_without_boxes_has_an_empty_mask():
    mask = BoxesToMaskd("image")(KeepWholeImaged("image")(describe_image(boxes=[])))["mask"]
    assert mask.shape == (1, HEIGHT, WIDTH) and not mask.any()


def overlap(mask: torch.Tensor, other: torch.Tensor) -> float:
    return ((mask & other).sum() / (mask | other).sum()).item()


@pytest.mark.parametrize("seed", range(20))
def test_a_mask_follows_every_flip_and_affine_map_of_its_image(seed: int):
    """A square is drawn off the middle, into the image and into its mask: the real augmentation must not part them."""
    augmentation = parse_train_config().get_parsed_content("augmentation")
    augmentation.set_random_state(seed)
    square = torch.zeros(1, 96, 96)
    square[:, 15:45, 12:36] = 1
    found = augmentation({"image": 0.2 + 0.6 * square, "mask": square.clone()})
    assert set(found["mask"].unique().tolist()) == {0, 1}, "a mask stays a mask"
    assert found["image"].shape == found["mask"].shape == (1, 96, 96)
    # resampling and contrast move the square's edge in the image by less than a pixel
    shown = found["image"] > (found["image"].min() + found["image"].max()) / 2
    assert overlap(shown, found["mask"] > 0) > 0.85


def test_the_augmentation_does_flip_and_move_images():
    augmentation = parse_train_config().get_parsed_content("augmentation").set_random_state(0)
    square = torch.zeros(1, 96, 96)
    square[:, 15:45, 12:36] = 1
    overlaps = [
        overlap(augmentation({"image": square.clone(), "mask": square.clone()})["mask"] > 0, square > 0)
        for _ in range(40)
    ]
    assert min(overlaps) == 0, "flipped"
    assert len({round(each, 3) for each in overlaps}) > 10, "moved"


def test_training_images_are_kept_as_they_are_before_augmentation(images: Path, datalist_file: Path):
    """CacheDataset keeps what comes before the first random transform, and a nested Compose counts as one."""
    parser = parse_train_config(
        dataset_dir=str(images), datalist_file=str(datalist_file), image_size=64, cache_rate=0.1
    )
    dataset = parser.get_parsed_content("train#dataset")
    kept = dataset._cache[0]
    assert isinstance(kept["image"], torch.Tensor) and kept["image"].shape == kept["mask"].shape == (1, 64, 64)
    sums = []
    for epoch in range(8):
        dataset.set_epoch(epoch)
        sums.append(dataset[0]["image"].sum().item())
    assert len(set(sums)) > 4, "augmented anew in each epoch"


def test_images_of_any_size_become_one_batch(images: Path, datalist_file: Path):
    parser = parse_train_config(
        dataset_dir=str(images), datalist_file=str(datalist_file), image_size=64, cache_rate=0.0
    )
    dataset = parser.get_parsed_content("validate#dataset")
    batch = list_data_collate([dataset[number] for number in range(4)])
    assert batch["image"].shape == batch["mask"].shape == (4, 1, 64, 64)
    assert batch["image"].min() >= 0 and batch["image"].max() <= 1
    assert batch["crop_box"].shape == (4, 4) and batch["original_size"].shape == (4, 2)
    assert batch["label"].dtype == torch.int64 and batch["boxes_known"].dtype == torch.bool
