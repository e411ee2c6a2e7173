"""Augmentations of grey values: CLAHE and blurs beside slow twins, brightness with contrast, what is left alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from scripts.transforms import RandBrightnessContrastd, RandCLAHEd, RandKernelBlurd
from scripts.transforms.intensity import BOX, LEVELS, MOTIONS, equalize_tiles


def draw_picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """A dim gradient with noise, in [0, 1]."""
    noise = torch.rand(1, height, width, generator=torch.Generator().manual_seed(seed))
    return (0.3 + 0.2 * torch.linspace(0, 1, width) + 0.2 * noise).clamp(0, 1)


def draw_curve_slowly(tile: NDArray, clip: float) -> list[float]:
    counts = [0.0] * LEVELS
    for level in tile.ravel():
        counts[level] += 1
    limit = max(1.0, clip * tile.size / LEVELS)
    excess = sum(max(0.0, count - limit) for count in counts)
    curve, total = [], 0.0
    for count in counts:
        total += min(count, limit) + excess / LEVELS
        curve.append(total / tile.size)
    return curve


def equalize_slowly(picture: NDArray, clip: float, tiles: int) -> NDArray:
    """Pixel by pixel, each the blend of four curves."""
    height, width = picture.shape
    rows, columns = math.ceil(height / tiles), math.ceil(width / tiles)
    levels = np.rint(picture.astype(np.float64) * (LEVELS - 1)).astype(int)
    padded = np.pad(levels, ((0, rows * tiles - height), (0, columns * tiles - width)), mode="edge")
    curves = {
        (i, j): draw_curve_slowly(padded[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns], clip)
        for i in range(tiles)
        for j in range(tiles)
    }
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            i, j = (y + 0.5) / rows - 0.5, (x + 0.5) / columns - 0.5
            for down, across in ((0, 0), (0, 1), (1, 0), (1, 1)):
                weight = abs(1 - down - (i - math.floor(i))) * abs(1 - across - (j - math.floor(j)))
                place = [min(max(math.floor(value) + step, 0), tiles - 1) for value, step in ((i, down), (j, across))]
                out[y, x] += weight * curves[tuple(place)][levels[y, x]]
    return out


@pytest.mark.parametrize(("height", "width", "tiles"), [(32, 32, 4), (33, 47, 4), (24, 40, 8)])
@pytest.mark.parametrize("clip", [1.0, 3.0, 100.0])
def test_tiles_are_equalised_as_by_a_slow_twin(height: int, width: int, tiles: int, clip: float):
    picture = draw_picture(height, width)
    found = equalize_tiles(picture, clip, tiles)
    np.testing.assert_allclose(found[0], equalize_slowly(picture[0].numpy(), clip, tiles), atol=1e-5)


def test_equalising_stretches_a_dim_picture_and_keeps_flat_ones_dim():
    picture = draw_picture(64, 64)
    assert equalize_tiles(picture).std() > 1.3 * picture.std()
    assert equalize_tiles(torch.zeros(1, 64, 64)).max() < 0.05, "the clip holds what a full equalisation would whiten"


def test_each_channel_is_equalised_by_itself():
    first, second = draw_picture(32, 32), draw_picture(32, 32, seed=1)
    found = equalize_tiles(torch.cat([first, second]))
    torch.testing.assert_close(found, torch.cat([equalize_tiles(first), equalize_tiles(second)]))


def test_brightness_and_contrast_are_a_line_cut_to_the_range():
    picture = torch.linspace(0, 1, 11).view(1, 1, 11)
    change = RandBrightnessContrastd("image", brightness=0.25, contrast=0.25, prob=1.0).set_random_state(0)
    slopes, shifts = [], []
    for _ in range(200):
        found = change({"image": picture})["image"].flatten().tolist()
        slopes.append(change.stretch)
        shifts.append(change.shift)
        expected = [min(1.0, max(0.0, value * change.stretch + change.shift)) for value in picture.flatten().tolist()]
        assert found == pytest.approx(expected, abs=1e-6)
    assert 0.75 <= min(slopes) < 0.8 and 1.2 < max(slopes) <= 1.25
    assert -0.25 <= min(shifts) < -0.2 and 0.2 < max(shifts) <= 0.25
    assert abs(np.corrcoef(slopes, shifts)[0, 1]) < 0.3, "drawn apart"


def blur_slowly(picture: NDArray, kernel: NDArray) -> NDArray:
    padded, out = np.pad(picture, 1, mode="edge"), np.zeros_like(picture)
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            out[y, x] = (padded[y : y + 3, x : x + 3] * kernel).sum()
    return out


@pytest.mark.parametrize("kernel", [*MOTIONS, *BOX])
def test_a_blur_is_the_mean_along_its_kernel(kernel: torch.Tensor):
    picture = torch.rand(1, 9, 12, generator=torch.Generator().manual_seed(0))
    found = RandKernelBlurd("image", kernels=[kernel])({"image": picture})["image"]
    np.testing.assert_allclose(found[0], blur_slowly(picture[0].numpy(), kernel.numpy()), atol=1e-6)
    assert kernel.sum().item() == pytest.approx(1)


def test_motion_goes_four_ways_over_three_pixels():
    directions = {tuple(map(tuple, (kernel > 0).nonzero().tolist())) for kernel in MOTIONS}
    assert len(directions) == 4 and all(len(pixels) == 3 and (1, 1) in pixels for pixels in directions)
    blur, seen = RandKernelBlurd("image").set_random_state(0), set()
    for _ in range(40):
        blur({"image": torch.zeros(1, 3, 3)})
        seen.add(tuple(blur.kernel.flatten().tolist()))
    assert len(seen) == 4


TRANSFORMS: dict[str, Any] = {"brightness": RandBrightnessContrastd, "tiles": RandCLAHEd, "blur": RandKernelBlurd}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_they_keep_the_range_the_mask_and_what_they_were_given(name: str):
    image = {"image": draw_picture(40, 48), "mask": torch.ones(1, 40, 48), "image_id": "a"}
    before = image["image"].clone()
    transform = TRANSFORMS[name]("image", prob=1.0).set_random_state(0)
    for _ in range(5):
        found = transform(image)
        assert found["image"].min() >= 0 and found["image"].max() <= 1 and found["image"].shape == (1, 40, 48)
        assert not torch.equal(found["image"], before)
        assert found["mask"] is image["mask"] and found["image_id"] == "a"
    assert torch.equal(image["image"], before)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_they_are_repeated_by_their_seed_and_happen_as_often_as_asked(name: str):
    image, transform = {"image": draw_picture(24, 24)}, TRANSFORMS[name]("image", prob=0.3)
    first, second = ([transform(image)["image"] for _ in range(20)] for _ in map(transform.set_random_state, (5, 5)))
    assert all(map(torch.equal, first, second))
    transform.set_random_state(0)
    changed = sum(transform(image)["image"] is not image["image"] for _ in range(200))
    assert 35 < changed < 85


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("kind", [torch.Tensor, MetaTensor])
def test_they_give_back_the_kind_of_picture_that_they_get(name: str, kind: type):
    picture = draw_picture(24, 24)
    found = TRANSFORMS[name]("image", prob=1.0)({"image": MetaTensor(picture) if kind is MetaTensor else picture})
    assert type(found["image"]) is kind


def test_a_missing_picture_is_rejected_unless_it_may_be_missing():
    with pytest.raises(KeyError, match="image"):
        RandKernelBlurd("image")({})
    assert RandKernelBlurd("image", allow_missing_keys=True)({}) == {}
