"""Mixup and CutMix of whole batches: classes, masks, what is known and what images weigh are mixed as pictures are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.data import list_data_collate
from scripts.engines import MixedBatch, prepare_study_batch
from scripts.losses import AuxiliaryMaskLoss
from torchvision.transforms.v2 import CutMix, MixUp

SIZE = 8


def describe_images(number: int = 4, unknown: tuple[int, ...] = (), **more: Any) -> list[dict[str, Any]]:
    """Images of one grey value each, which is their number's share; the mask is the picture."""
    return [
        {
            "image": torch.full((1, SIZE, SIZE), image / number),
            "mask": torch.full((1, SIZE, SIZE), float(image % 2)),
            "label": image % 4,
            "boxes_known": image not in unknown,
            "image_id": f"image{image}",
            "study_id": f"study{image}",
            **{key: torch.tensor(values[image]) for key, values in more.items()},
        }
        for image in range(number)
    ]


def mix(kind: type, images: list[dict[str, Any]], seed: int = 0) -> tuple[torch.Tensor, dict[str, Any]]:
    torch.manual_seed(seed)
    return MixedBatch(kind(alpha=1.0))(list_data_collate(images))


@pytest.mark.parametrize("kind", [MixUp, CutMix])
def test_classes_are_mixed_by_the_fraction_of_each_image_that_is_seen(kind: type):
    """Every image is of one grey value, so a mixture's mean reports the shares."""
    for seed in range(10):
        image, targets = mix(kind, describe_images(), seed)
        assert image.shape == (4, 1, SIZE, SIZE) and targets["soft_label"].shape == (4, 4)
        torch.testing.assert_close(targets["soft_label"].sum(dim=1), torch.ones(4))
        grey = targets["soft_label"] @ (torch.arange(4) / 4)
        torch.testing.assert_close(image.mean(dim=(1, 2, 3)), grey, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", [MixUp, CutMix])
def test_the_mask_is_mixed_where_the_picture_is(kind: type):
    items = describe_images()
    for item in items:
        item["mask"] = item["image"].clone()
    image, targets = mix(kind, items)
    torch.testing.assert_close(targets["mask"], image)
    assert not torch.equal(image, prepare_study_batch(list_data_collate(items))[0])


def test_cutmix_pastes_a_rectangle_and_mixup_blends_everywhere():
    pasted, blended = (mix(kind, describe_images(), seed=1)[0] for kind in (CutMix, MixUp))
    assert set(pasted.unique().tolist()) == {0, 0.25, 0.5, 0.75}
    assert all(len(image.unique()) == 1 for image in blended)
    assert not set(blended.unique().tolist()) <= {0, 0.25, 0.5, 0.75}


@pytest.mark.parametrize("kind", [MixUp, CutMix])
def test_a_mixture_with_an_unknown_mask_has_none(kind: type):
    """Whichever image is mixed with which: a mask is known where none of the two is unknown."""
    image, targets = mix(kind, describe_images(unknown=(2,)))
    probabilities = targets["soft_label"]
    expected = [not probabilities[index, 2] > 0 for index in range(4)]
    assert targets["boxes_known"].tolist() == expected and sum(expected) == 2
    assert mix(kind, describe_images())[1]["boxes_known"].all()


@pytest.mark.parametrize("kind", [MixUp, CutMix])
def test_weights_and_soft_labels_are_mixed_by_the_same_shares(kind: type):
    soft = torch.eye(4).roll(1, 0).tolist()
    _, plain = mix(kind, describe_images())
    _, targets = mix(kind, describe_images(soft_label=soft, weight=[1.0, 2.0, 3.0, 4.0]))
    torch.testing.assert_close(targets["soft_label"], plain["soft_label"].roll(-1, 1))
    torch.testing.assert_close(targets["weight"], plain["soft_label"] @ torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert "weight" not in plain


def test_ids_and_labels_are_those_of_the_image_that_each_began_with():
    _, targets = mix(MixUp, describe_images())
    assert list(targets["image_id"]) == [f"image{image}" for image in range(4)] and targets["label"].tolist() == [
        0,
        1,
        2,
        3,
    ]


@pytest.mark.parametrize("number", [1, 3, 5])
def test_a_last_batch_of_any_size_is_mixed(number: int):
    image, targets = mix(CutMix, describe_images(number))
    assert len(image) == len(targets["soft_label"]) == number


def test_mixing_is_repeated_by_torchs_seed():
    first, second, other = (mix(CutMix, describe_images(), seed)[0] for seed in (3, 3, 4))
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_the_batch_goes_to_the_device_in_the_engines_precision_and_is_not_changed():
    batch = list_data_collate(describe_images())
    before = batch["image"].clone()
    image, targets = MixedBatch(MixUp(alpha=1.0))(batch, "cpu", True, dtype=torch.float64)
    assert image.dtype == torch.float64 and type(image) is torch.Tensor and type(targets["mask"]) is torch.Tensor
    assert torch.equal(batch["image"], before)


@pytest.mark.parametrize("kind", [MixUp, CutMix])
def test_a_loss_learns_from_a_mixture(kind: type):
    image, targets = mix(kind, describe_images(unknown=(1,)))
    logits = {"study": torch.zeros(4, 4, requires_grad=True), "mask": torch.zeros_like(image).requires_grad_()}
    AuxiliaryMaskLoss(torch.nn.CrossEntropyLoss(), [torch.nn.BCEWithLogitsLoss()])(logits, targets).backward()
    torch.testing.assert_close(logits["study"].grad, (0.25 - targets["soft_label"]) / 4)
    assert logits["mask"].grad.flatten(1).any(dim=1).tolist() == targets["boxes_known"].tolist()
