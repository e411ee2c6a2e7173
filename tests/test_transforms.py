"""Which part of a film the network sees, and its mask, which stays on the film through every augmentation."""

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

from scripts.transforms import BlackOutLungsd, BoxesToMaskd, CropToLungsd, KeepWholeFilmd, find_crop

CONFIGS = Path(__file__).resolve().parents[1] / "bundle" / "configs"
HEIGHT, WIDTH = 60, 100


def draw_film(height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    """A film `(1, H, W)` that is nowhere black and tells each pixel's place."""
    return 0.1 + 0.9 * torch.arange(height * width).reshape(1, height, width) / (height * width)


def describe_film(lung_box: Any = (20.0, 10.0, 80.0, 50.0), boxes: Any = ((30.0, 20.0, 70.0, 30.0),)) -> dict[str, Any]:
    return {
        "image": draw_film(),
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
        ([20, 10, 80, 50], 1.0, [0, 0, 100, 60]),  # never outside the film
        ([-5, -5, 200, 200], 0.0, [0, 0, 100, 60]),
        (None, 0.1, [0, 0, 100, 60]),
        ([30, 30, 30, 30], 0.0, [0, 0, 100, 60]),  # nothing is left: better the whole film
        ([150, 10, 180, 50], 0.0, [0, 0, 100, 60]),  # beside the film
    ],
)
def test_a_crop_is_the_lung_box_in_whole_pixels_of_the_film(lung_box: Any, margin: float, expected: list[int]):
    assert find_crop(lung_box, HEIGHT, WIDTH, margin).tolist() == expected


@settings(max_examples=100, deadline=None)
@given(st.tuples(*[st.floats(-50, 150) for _ in range(4)]), st.integers(8, 120), st.integers(8, 120), st.floats(0, 0.5))
def test_a_crop_always_lies_in_its_film_and_holds_at_least_two_pixels_each_way(
    lung_box: tuple[float, ...], height: int, width: int, margin: float
):
    xmin, ymin, xmax, ymax = find_crop(lung_box, height, width, margin)
    assert min(xmin, ymin) >= 0 and xmin + 2 <= xmax <= width and ymin + 2 <= ymax <= height


def test_a_film_is_cut_to_its_lungs_and_says_where_and_from_what():
    film = describe_film()
    found = CropToLungsd("image")(film)
    assert torch.equal(found["image"], film["image"][:, 10:50, 20:80])
    assert found["crop_box"].tolist() == [20, 10, 80, 50]
    assert found["film_size"].tolist() == [HEIGHT, WIDTH]
    assert film["image"].shape == (1, HEIGHT, WIDTH) and "crop_box" not in film, "the given dictionary is not changed"


def test_a_margin_widens_the_crop():
    assert CropToLungsd("image", margin=0.1)(describe_film())["image"].shape == (1, 48, 72)


def test_a_film_without_a_lung_box_stays_whole():
    film = describe_film(lung_box=None)
    found = CropToLungsd("image")(film)
    assert torch.equal(found["image"], film["image"])
    assert found["crop_box"].tolist() == [0, 0, WIDTH, HEIGHT]
    del film["lung_box"]
    assert CropToLungsd("image")(film)["crop_box"].tolist() == [0, 0, WIDTH, HEIGHT]  # nor has the key to be there


def test_the_whole_film_leaves_the_same_facts_as_a_crop():
    film = describe_film()
    found = KeepWholeFilmd("image")(film)
    assert torch.equal(found["image"], film["image"])
    assert found["crop_box"].tolist() == [0, 0, WIDTH, HEIGHT] and found["film_size"].tolist() == [HEIGHT, WIDTH]


@pytest.mark.parametrize("kind", [torch.as_tensor, np.asarray])
def test_blacking_out_leaves_nothing_of_the_lungs_and_the_rest_untouched(kind: Any):
    film = describe_film()
    film["image"] = kind(film["image"])
    found = np.asarray(BlackOutLungsd("image")(film)["image"])
    lungs = np.zeros((1, HEIGHT, WIDTH), dtype=bool)
    lungs[:, 10:50, 20:80] = True
    assert not found[lungs].any()
    np.testing.assert_array_equal(found[~lungs], draw_film().numpy()[~lungs])
    np.testing.assert_array_equal(np.asarray(film["image"]), draw_film().numpy(), "the film itself is not changed")


def test_blacking_out_covers_every_pixel_that_the_lung_box_touches():
    film = describe_film(lung_box=[20.4, 10.6, 79.2, 49.5])
    found = BlackOutLungsd("image")(film)["image"]
    assert not found[:, 10:50, 20:80].any() and found.count_nonzero() == HEIGHT * WIDTH - 40 * 60


def test_where_the_lungs_are_not_known_blacking_out_shows_nothing():
    """A negative control must not show lungs by accident."""
    assert not BlackOutLungsd("image")(describe_film(lung_box=None))["image"].any()


@pytest.mark.parametrize("region", [CropToLungsd, KeepWholeFilmd, BlackOutLungsd])
def test_regions_leave_the_same_keys(region: type):
    assert set(region("image")(describe_film())) == {"image", "lung_box", "boxes", "crop_box", "film_size"}


@pytest.mark.parametrize("region", [CropToLungsd, KeepWholeFilmd, BlackOutLungsd])
def test_a_missing_film_is_refused_unless_it_may_be_missing(region: type):
    with pytest.raises(KeyError, match="image"):
        region("image")({"lung_box": None})
    assert region("image", allow_missing_keys=True)({"lung_box": None}) == {"lung_box": None}


def test_boxes_are_drawn_in_the_frame_of_the_crop():
    found = Compose([CropToLungsd("image"), BoxesToMaskd("image")])(describe_film())
    assert found["mask"].shape == (1, 40, 60) and found["mask"].dtype == torch.float32
    assert found["mask"][0, 10:20, 10:50].all() and found["mask"].sum() == 10 * 40


def test_boxes_follow_the_resizing_of_a_crop_that_is_not_square():
    film = CropToLungsd("image")(describe_film())
    film["image"] = torch.zeros(1, 80, 30)  # 40 rows become 80, 60 columns become 30
    mask = BoxesToMaskd("image")(film)["mask"]
    assert mask[0, 20:40, 5:25].all() and mask.sum() == 20 * 20


def test_what_lies_outside_of_the_crop_is_not_in_its_mask():
    film = describe_film(boxes=[[0, 0, 15, 8], [70, 40, 100, 60]])
    mask = Compose([CropToLungsd("image"), BoxesToMaskd("image")])(film)["mask"]
    assert mask[0, 30:40, 50:60].all() and mask.sum() == 10 * 10


def test_a_film_without_boxes_has_an_empty_mask():
    mask = BoxesToMaskd("image")(KeepWholeFilmd("image")(describe_film(boxes=[])))["mask"]
    assert mask.shape == (1, HEIGHT, WIDTH) and not mask.any()


def overlap(mask: torch.Tensor, other: torch.Tensor) -> float:
    return ((mask & other).sum() / (mask | other).sum()).item()


@pytest.mark.parametrize("seed", range(20))
def test_a_mask_follows_every_flip_and_affine_map_of_its_film(seed: int):
    """A square is drawn off the middle, into the film and into its mask: the real augmentation must not part them."""
    augmentation = parse_train_config().get_parsed_content("augmentation")
    augmentation.set_random_state(seed)
    square = torch.zeros(1, 96, 96)
    square[:, 15:45, 12:36] = 1
    found = augmentation({"image": 0.2 + 0.6 * square, "mask": square.clone()})
    assert set(found["mask"].unique().tolist()) == {0, 1}, "a mask stays a mask"
    assert found["image"].shape == found["mask"].shape == (1, 96, 96)
    # resampling and contrast move the square's edge in the film by less than a pixel
    shown = found["image"] > (found["image"].min() + found["image"].max()) / 2
    assert overlap(shown, found["mask"] > 0) > 0.85


def test_the_augmentation_does_flip_and_move_films():
    augmentation = parse_train_config().get_parsed_content("augmentation").set_random_state(0)
    square = torch.zeros(1, 96, 96)
    square[:, 15:45, 12:36] = 1
    overlaps = [
        overlap(augmentation({"image": square.clone(), "mask": square.clone()})["mask"] > 0, square > 0)
        for _ in range(40)
    ]
    assert min(overlaps) == 0, "flipped"
    assert len({round(each, 3) for each in overlaps}) > 10, "moved"


def test_training_films_are_kept_as_they_are_before_augmentation(films: Path, datalist_file: Path):
    """CacheDataset keeps what comes before the first random transform, and a nested Compose counts as one."""
    parser = parse_train_config(dataset_dir=str(films), datalist_file=str(datalist_file), image_size=64, cache_rate=0.1)
    dataset = parser.get_parsed_content("train#dataset")
    kept = dataset._cache[0]
    assert isinstance(kept["image"], torch.Tensor) and kept["image"].shape == kept["mask"].shape == (1, 64, 64)
    assert len({dataset[0]["image"].sum().item() for _ in range(8)}) > 4, "augmented anew each time"


def test_films_of_any_size_become_one_batch(films: Path, datalist_file: Path):
    parser = parse_train_config(dataset_dir=str(films), datalist_file=str(datalist_file), image_size=64, cache_rate=0.0)
    dataset = parser.get_parsed_content("validate#dataset")
    batch = list_data_collate([dataset[number] for number in range(4)])
    assert batch["image"].shape == batch["mask"].shape == (4, 1, 64, 64)
    assert batch["image"].min() >= 0 and batch["image"].max() <= 1
    assert batch["crop_box"].shape == (4, 4) and batch["film_size"].shape == (4, 2)
    assert batch["label"].dtype == torch.int64 and batch["boxes_known"].dtype == torch.bool
