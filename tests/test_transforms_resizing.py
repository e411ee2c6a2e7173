"""Antialiased resizing: MONAI's picture, made of a fraction of the work."""

from __future__ import annotations

import pytest
import torch
from monai.transforms import Resize
from scripts.transforms import AntialiasedResized
from scripts.transforms.resizing import weigh_pixels

SIZES = [(513, 700), (700, 513), (256, 256), (255, 257), (257, 100), (100, 90), (1031, 31), (2, 300), (64, 64)]


def draw_picture(height: int, width: int, channels: int = 1) -> torch.Tensor:
    return torch.rand(channels, height, width, generator=torch.Generator().manual_seed(height * width))


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("wanted", [(64, 64), (96, 32)])
def test_it_is_the_picture_of_monai(height: int, width: int, wanted: tuple[int, int]):
    picture = draw_picture(height, width, 2)
    expected = Resize(wanted, mode="bilinear", align_corners=False, anti_aliasing=True)(picture)
    found = AntialiasedResized("image", wanted)({"image": picture})["image"]
    assert found.dtype == torch.float32 and found.shape == (2, *wanted)
    assert (found - torch.as_tensor(expected)).abs().max() < 1e-5


@pytest.mark.parametrize(("height", "width"), [(60, 64), (64, 64), (10, 3)])
def test_a_picture_that_does_not_shrink_is_monais_to_the_bit(height: int, width: int):
    picture = draw_picture(height, width)
    expected = Resize((64, 64), mode="bilinear", align_corners=False, anti_aliasing=True)(picture)
    assert torch.equal(AntialiasedResized("image", (64, 64))({"image": picture})["image"], torch.as_tensor(expected))


def test_an_even_picture_stays_even_but_at_its_border():
    weights = weigh_pixels(1000, 100)
    assert (weights[5:-5].sum(dim=1) - 1).abs().max() < 1e-4 and weights.sum(dim=1).min() < 0.9


def test_other_items_stay():
    out = AntialiasedResized("image", (8, 8))({"image": draw_picture(20, 20), "name": "a"})
    assert out["name"] == "a"
    with pytest.raises(KeyError):
        AntialiasedResized("mask", (8, 8))({"image": draw_picture(20, 20)})
