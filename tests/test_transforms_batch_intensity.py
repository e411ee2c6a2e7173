"""Random grey values of a batch: each image by its own draw, within [0, 1], against slower and clearer twins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from scripts import transforms
from scripts.transforms.batch_intensity import blur, equalise

CLASSES = (
    *("RandBlurBatchd", "RandCutoutBatchd", "RandEqualizeBatchd", "RandGammaBatchd"),
    *("RandNoiseBatchd", "RandSharpenBatchd", "RandSigmoidBatchd", "RandWindowBatchd"),
)


def make_images(count: int = 6) -> torch.Tensor:
    return torch.rand(count, 1, 40, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", CLASSES)
def test_what_comes_out_is_in_range_and_the_rest_stays(name: str):
    torch.manual_seed(0)
    batch = {"image": make_images(), "mask": make_images(), "image_id": ["a"] * 6}
    found = getattr(transforms, name)(prob=1.0)(batch)
    assert found["image"].shape == batch["image"].shape and found["image"].dtype == torch.float32
    assert found["image"].min() >= 0 and found["image"].max() <= 1
    assert found["mask"] is batch["mask"] and found["image_id"] == batch["image_id"]
    assert all((new != old).any() for new, old in zip(found["image"], batch["image"], strict=True))


@pytest.mark.parametrize("name", CLASSES)
def test_a_chance_of_zero_changes_nothing_and_one_half_changes_half(name: str):
    torch.manual_seed(0)
    images = make_images(200)
    assert torch.equal(getattr(transforms, name)(prob=0.0)({"image": images})["image"], images)
    changed = (getattr(transforms, name)(prob=0.5)({"image": images})["image"] != images).flatten(1).any(dim=1)
    assert 70 < changed.sum() < 130


@pytest.mark.parametrize("name", CLASSES)
def test_the_same_seed_gives_the_same_images(name: str):
    found = []
    for _ in range(2):
        torch.manual_seed(5)
        found.append(getattr(transforms, name)(prob=0.7)({"image": make_images()})["image"])
    assert torch.equal(*found)


def test_gamma_is_a_power():
    found = transforms.RandGammaBatchd(prob=1.0, gamma=(2.0, 2.0))({"image": make_images()})["image"]
    assert torch.allclose(found, make_images().square(), atol=1e-5)


def test_a_window_of_all_values_changes_nothing_and_a_narrow_one_saturates():
    whole = transforms.RandWindowBatchd(prob=1.0, width=(1.0, 1.0))({"image": make_images()})["image"]
    assert torch.allclose(whole, make_images(), atol=1e-6)
    narrow = transforms.RandWindowBatchd(prob=1.0, width=(0.5, 0.5))({"image": make_images()})["image"]
    outside = ((narrow == 0) | (narrow == 1)).float().mean()
    assert 0.4 < outside < 0.6


def test_a_sigmoid_keeps_the_order_and_both_ends():
    ramp = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8)
    found = transforms.RandSigmoidBatchd(prob=1.0)({"image": ramp})["image"].flatten()
    assert found[0].abs() < 1e-5 and (found[-1] - 1).abs() < 1e-5 and (found.diff() > 0).all()


def test_each_image_is_blurred_by_its_own_sigma_as_scipy_does_it():
    images, sigma = make_images(3), torch.tensor([0.5, 1.5, 3.0])
    found = blur(images, sigma.reshape(-1, 1, 1, 1))
    for image, width, blurred in zip(images, sigma.tolist(), found, strict=True):
        wanted = ndimage.gaussian_filter(image[0].numpy(), width, mode="nearest", radius=8)
        assert np.abs(blurred[0].numpy() - wanted).max() < 1e-5


def test_equalised_values_are_the_fraction_of_pixels_not_above_them():
    images = make_images(2).square()
    for image, found in zip(images, equalise(images), strict=True):
        levels = (image.numpy() * 255).round()
        wanted = np.array([(levels <= level).mean() for level in levels.ravel()]).reshape(levels.shape)
        assert np.abs(found.numpy() - wanted).max() < 1e-5


def test_an_unsharp_mask_adds_contrast_at_edges_only():
    step = torch.full((1, 1, 40, 40), 0.4)
    step[..., 20:] = 0.6
    found = transforms.RandSharpenBatchd(prob=1.0, amount=(2.0, 2.0), sigma=(2.0, 2.0))({"image": step})["image"]
    assert found[..., 18].mean() < 0.4 - 0.05 and found[..., 21].mean() > 0.6 + 0.05
    assert torch.allclose(found[..., 0], step[..., 0], atol=1e-4)


def test_a_cutout_is_one_rectangle_of_one_value():
    torch.manual_seed(2)
    images = torch.full((8, 1, 40, 40), 0.5)
    for image in transforms.RandCutoutBatchd(prob=1.0, size=(0.2, 0.3))({"image": images})["image"]:
        changed = image[0] != 0.5
        rows, columns = changed.any(dim=1).sum(), changed.any(dim=0).sum()
        assert changed.sum() == rows * columns and 7 <= rows <= 13 and len(image[0][changed].unique()) == 1
