"""The 17th-place solution's augmentations as a whole: their order, the mask with what moves, nothing out of range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose, OneOf
from scripts.transforms import SeventeenthPlaceAugmentation

SIZE = 64


def draw_image(seed: int = 0) -> dict[str, Any]:
    """A picture that shows its own mask: a bright rectangle, by no symmetry its own image, on dim noise."""
    mask = torch.zeros(1, SIZE, SIZE)
    mask[:, 20:36, 30:54] = 1
    noise = 0.1 * torch.rand(1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    return {"image": 0.1 + 0.7 * mask + noise, "mask": mask, "label": 2}


def name_steps(steps: Compose) -> list[Any]:
    """Each step by its name, those of which one is drawn as a list."""
    return [
        [type(each).__name__ for each in step.transforms] if isinstance(step, OneOf) else type(step).__name__
        for step in steps.transforms
    ]


def test_the_augmentations_stand_in_the_articles_order():
    assert name_steps(SeventeenthPlaceAugmentation(SIZE)) == [
        "RandFlipd",
        "RandFlipd",
        ["Transposed", "Identityd"],
        "RandAffined",
        "RandGaussianNoised",
        "Lambdad",
        "RandBrightnessContrastd",
        "RandCLAHEd",
        ["RandKernelBlurd", "MedianSmoothd", "RandKernelBlurd", "Identityd"],
        "RandCoarseDropoutd",
    ]


def test_chances_and_ranges_are_the_articles():
    steps = SeventeenthPlaceAugmentation(448).transforms
    assert [steps[place].prob for place in (0, 1, 3, 4, 6, 7, 9)] == [0.5, 0.5, 0.3, 0.5, 0.5, 0.5, 0.5]
    assert steps[2].weights == (0.5, 0.5)
    assert steps[8].weights[-1] == pytest.approx(0.8) and len(set(steps[8].weights[:3])) == 1
    assert [steps[place].flipper.spatial_axis for place in (0, 1)] == [1, 0]
    grid = steps[3].rand_affine.rand_affine_grid
    assert grid.rotate_range == (pytest.approx(np.pi / 4),)
    assert grid.translate_range == (28, 28) and grid.scale_range == (0.1, 0.1)
    assert (steps[6].brightness, steps[6].contrast) == (0.25, 0.25)
    assert (steps[7].clip, steps[7].tiles) == (3, 8)
    assert steps[9].dropper.holes == 2 and steps[9].dropper.spatial_size == 44


def test_the_mask_follows_the_picture_and_stays_a_mask():
    augment = SeventeenthPlaceAugmentation(SIZE).set_random_state(0)
    shapes = set()
    for seed in range(40):
        found = augment(draw_image(seed))
        picture, mask = (np.asarray(found[key])[0] for key in ("image", "mask"))
        assert picture.shape == mask.shape == (SIZE, SIZE)
        assert set(np.unique(mask)) <= {0, 1} and mask.any()
        assert picture.min() >= 0 and picture.max() <= 1 and picture.dtype == np.float32
        # what is inside stays brighter, whatever grey values and cut-outs do
        assert np.median(picture[mask == 1]) > np.median(picture[mask == 0]) + 0.05
        columns, rows = np.ptp(np.nonzero(mask.any(axis=0))), np.ptp(np.nonzero(mask.any(axis=1)))
        shapes.add(columns > rows)
        assert found["label"] == 2
    assert shapes == {False, True}, "transposed, too"


def keep(augment: SeventeenthPlaceAugmentation, places: range) -> Compose:
    return Compose([augment.transforms[place] for place in places])


def test_what_changes_grey_values_keeps_the_mask():
    change, image = keep(SeventeenthPlaceAugmentation(SIZE), range(4, 10)).set_random_state(0), draw_image()
    found = [change(image) for _ in range(20)]
    assert all(torch.equal(each["mask"], image["mask"]) for each in found)
    assert sum(not torch.equal(torch.as_tensor(each["image"]), image["image"]) for each in found) > 15


def test_what_moves_keeps_grey_values():
    """Flips and transposition alone: the same pixels, elsewhere; all eight of them come."""
    move, image = keep(SeventeenthPlaceAugmentation(SIZE), range(3)).set_random_state(0), draw_image()
    seen = set()
    for _ in range(100):
        found = move(image)
        seen.add(np.asarray(found["image"]).tobytes())
        both = torch.as_tensor(found["image"] > 0.5).float()
        assert torch.equal(both, torch.as_tensor(found["mask"]))
    assert len(seen) == 8


def test_borders_are_reflected_not_black():
    turn, image = keep(SeventeenthPlaceAugmentation(SIZE), range(3, 4)).set_random_state(0), draw_image()
    image["image"] = torch.ones(1, SIZE, SIZE)
    assert all(turn(image)["image"].min() > 0.999 for _ in range(30))


def test_one_seed_gives_one_result_and_others_give_others():
    image, augment = draw_image(), SeventeenthPlaceAugmentation(SIZE)
    for seed in range(5):
        first, second = (augment.set_random_state(seed)(image) for _ in range(2))
        assert all(torch.equal(first[key], second[key]) for key in ("image", "mask"))
    others = {np.asarray(augment.set_random_state(seed)(image)["image"]).tobytes() for seed in range(10)}
    assert len(others) == 10


def test_the_given_image_is_not_changed():
    image, augment = draw_image(), SeventeenthPlaceAugmentation(SIZE).set_random_state(0)
    before = {key: image[key].clone() for key in ("image", "mask")}
    for _ in range(30):
        augment(image)
    assert all(torch.equal(image[key], value) for key, value in before.items())


@pytest.mark.parametrize("size", [8, 32])
def test_small_pictures_are_augmented_too(size: int):
    augment = SeventeenthPlaceAugmentation(size).set_random_state(0)
    for _ in range(10):
        assert (
            augment({"image": torch.rand(1, size, size), "mask": torch.zeros(1, size, size)})["image"].shape[1] == size
        )
