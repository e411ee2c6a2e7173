"""Variants of the study classifier: a coarse mask, normalised grey values, a Swin Transformer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scripts.errors import InputError
from scripts.networks import CoarseMaskClassifier, StudyClassifier
from torch import nn
from torch.nn import functional

TINY = "test_efficientnet"
IMAGES = torch.rand(2, 1, 64, 96, generator=torch.Generator().manual_seed(0))
#: timm's smallest Swin, made smaller still: windows of 2 x 2 cells that are shifted in its first stage.
SWIN = "swin_tiny_patch4_window7_224"
TINY_SWIN: dict[str, Any] = {
    "img_size": 64,
    "window_size": 2,
    "embed_dim": 8,
    "depths": (2, 1, 1, 1),
    "num_heads": (1,) * 4,
}


def build(kind: type = StudyClassifier, encoder: str = TINY, **arguments: Any) -> StudyClassifier:
    torch.manual_seed(0)
    return kind(encoder, **arguments).eval()


# A coarse mask


@torch.no_grad()
def test_a_coarse_mask_has_one_logit_for_each_cell_of_16_pixels_at_the_images_resolution():
    mask = build(CoarseMaskClassifier)(IMAGES)["mask"]
    assert mask.shape == (2, 1, 64, 96)
    cells = mask[..., ::16, ::16]
    assert torch.equal(mask, cells.repeat_interleave(16, 2).repeat_interleave(16, 3))
    assert len(cells.unique()) == 2 * 4 * 6, "and each cell its own"


@torch.no_grad()
def test_a_coarse_mask_leaves_the_study_as_it_is():
    plain, coarse = build(), build(CoarseMaskClassifier)
    coarse.classifier.load_state_dict(plain.classifier.state_dict())
    coarse.encoder.load_state_dict(plain.encoder.state_dict())
    torch.testing.assert_close(coarse(IMAGES)["study"], plain(IMAGES)["study"])


def test_its_cross_entropy_is_that_against_the_mask_averaged_over_the_cells():
    logits = build(CoarseMaskClassifier)(IMAGES)["mask"]
    mask = torch.zeros(2, 1, 64, 96)
    mask[..., 10:41, 20:77] = 1  # on no border of a cell
    cells = functional.avg_pool2d(mask, 16)
    expected = nn.BCEWithLogitsLoss()(logits[..., ::16, ::16], cells)
    torch.testing.assert_close(nn.BCEWithLogitsLoss()(logits, mask), expected)


def test_a_coarse_mask_shapes_the_encoder_up_to_its_second_last_map_only():
    network = build(CoarseMaskClassifier).train()
    network(torch.rand(4, 1, 64, 64))["mask"].square().mean().backward()
    taught = {
        name.split(".")[1]
        for name, each in network.encoder.blocks.named_parameters(prefix="b")
        if each.grad is not None
    }
    assert taught == {"0", "1", "2", "3"}, "of five blocks"
    assert network.encoder.conv_head.weight.grad is None


def test_a_coarse_mask_has_its_two_convolutions_and_no_other_decoder():
    network = build(CoarseMaskClassifier, mask_width=12)
    kernels = [tuple(each.weight.shape) for each in network.coarse_decoder if isinstance(each, nn.Conv2d)]
    assert kernels == [(12, 48, 3, 3), (1, 12, 3, 3)] and network.mask_decoder is None


def test_an_encoder_without_a_map_of_stride_16_before_its_last_is_rejected():
    with pytest.raises(InputError, match="second-last map has stride 16, found one of stride 8 in test_efficientnet"):
        CoarseMaskClassifier("test_efficientnet", encoder_options={"output_stride": 8})


def test_a_coarse_mask_rejects_a_size_that_does_not_fit():
    with pytest.raises(ValueError, match="the nearest valid size is 64 x 96"):
        build(CoarseMaskClassifier)(torch.zeros(1, 1, 65, 96))


# Normalised grey values


@torch.no_grad()
def test_grey_values_are_normalised_inside_of_the_network():
    plain, normalised = build(), build(pixel_mean=0.449, pixel_std=0.226)
    expected = plain((IMAGES - 0.449) / 0.226)
    for name, value in normalised(IMAGES).items():
        torch.testing.assert_close(value, expected[name])
    assert not torch.allclose(plain(IMAGES)["study"], expected["study"])
    assert normalised.state_dict().keys() == plain.state_dict().keys(), "weights fit both"


@torch.no_grad()
def test_a_normalised_network_can_be_scripted():
    network = build(pixel_mean=0.449, pixel_std=0.226)
    torch.testing.assert_close(
        torch.jit.script(network)(IMAGES)["study"], network(IMAGES)["study"], rtol=1e-4, atol=1e-5
    )


# Swin Transformer


@torch.no_grad()
def test_a_swin_transformer_gives_classes_and_a_mask_as_any_encoder():
    network = build(encoder=SWIN, encoder_options=TINY_SWIN)
    found = network(IMAGES[..., :64])
    assert found["study"].shape == (2, 4) and found["mask"].shape == (2, 1, 64, 64)
    assert network.encoder(IMAGES[..., :64]).shape == (2, network.encoder.num_features, 2, 2)


@torch.no_grad()
def test_the_map_of_a_swin_transformer_lies_as_the_image_does():
    """Rows stay rows: its channels come last, and an image that is turned turns the map's moved axes alone."""
    encoder = build(encoder=SWIN, encoder_options={**TINY_SWIN, "img_size": (64, 128)}).encoder
    image = torch.rand(1, 1, 64, 128)
    assert encoder(image).shape[2:] == (2, 4)
    torch.testing.assert_close(encoder(image), encoder.forward_features(image).permute(0, 3, 1, 2))


def test_every_parameter_of_a_swin_transformer_learns():
    network = build(encoder=SWIN, encoder_options=TINY_SWIN).train()
    logits = network(torch.rand(4, 1, 64, 64))
    (logits["study"].square().mean() + logits["mask"].square().mean()).backward()
    assert [name for name, each in network.named_parameters() if each.grad is None] == []


def test_a_swin_transformer_rejects_a_size_that_it_was_not_built_for():
    with pytest.raises(AssertionError, match="doesn't match model"):
        build(encoder=SWIN, encoder_options=TINY_SWIN)(IMAGES)
