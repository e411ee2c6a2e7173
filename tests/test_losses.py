"""The training loss beside a slow twin in plain numpy, and which films it leaves out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from monai.losses import DiceLoss
from numpy.typing import NDArray
from torch import nn

from scripts.losses import AuxiliaryMaskLoss
from scripts.networks import StudyClassifier

SMOOTHING, WEIGHT = 0.1, 10.0


def build_loss(mask: Sequence[nn.Module] = (nn.BCEWithLogitsLoss(),), weight: float = WEIGHT) -> AuxiliaryMaskLoss:
    return AuxiliaryMaskLoss(nn.CrossEntropyLoss(label_smoothing=SMOOTHING), mask, weight)


def draw_batch(films: int = 6, seed: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Logits and targets of a batch in which every third film's boxes are not known."""
    generator = torch.Generator().manual_seed(seed)
    logits = {
        "study": torch.randn(films, 4, generator=generator),
        "mask": 2 * torch.randn(films, 1, 8, 12, generator=generator),
    }
    targets = {
        "label": torch.randint(0, 4, (films,), generator=generator),
        "mask": (torch.rand(films, 1, 8, 12, generator=generator) > 0.7).float(),
        "boxes_known": torch.tensor([film % 3 != 2 for film in range(films)]),
    }
    return {name: value.requires_grad_() for name, value in logits.items()}, targets


def cross_entropy_slowly(logits: NDArray, labels: NDArray) -> float:
    """Cross entropy with label smoothing: the true class has 1 - s + s / C, each other s / C (Szegedy et al. 2016)."""
    losses = []
    for row, label in zip(logits, labels, strict=True):
        log_probabilities = row - np.log(np.exp(row).sum())
        target = np.full(len(row), SMOOTHING / len(row))
        target[label] += 1 - SMOOTHING
        losses.append(-(target * log_probabilities).sum())
    return float(np.mean(losses))


def binary_cross_entropy_slowly(logits: NDArray, masks: NDArray) -> float:
    probabilities = 1 / (1 + np.exp(-logits))
    return float(-np.mean(masks * np.log(probabilities) + (1 - masks) * np.log(1 - probabilities)))


def dice_slowly(logits: NDArray, masks: NDArray) -> float:
    """One minus the soft Dice coefficient of each film, smoothed by 1e-5 as MONAI does, then the mean."""
    losses = []
    for row, mask in zip(1 / (1 + np.exp(-logits)), masks, strict=True):
        losses.append(1 - (2 * (row * mask).sum() + 1e-5) / (row.sum() + mask.sum() + 1e-5))
    return float(np.mean(losses))


BCE, DICE = nn.BCEWithLogitsLoss(), DiceLoss(sigmoid=True)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("members", "twins"),
    [
        ([BCE], [binary_cross_entropy_slowly]),
        ([DICE], [dice_slowly]),
        ([BCE, DICE], [binary_cross_entropy_slowly, dice_slowly]),
    ],
    ids=["bce", "dice", "both"],
)
def test_the_loss_equals_a_slow_twin(members: list, twins: list, seed: int):
    logits, targets = draw_batch(seed=seed)
    study, mask = (logits[name].detach().double().numpy() for name in ("study", "mask"))
    known = targets["boxes_known"].numpy()
    masks = targets["mask"].double().numpy()[known]
    expected = cross_entropy_slowly(study, targets["label"].numpy())
    expected += WEIGHT * sum(twin(mask[known], masks) for twin in twins)
    assert build_loss(members)(logits, targets).item() == pytest.approx(expected, rel=1e-5)


def test_films_with_unknown_boxes_do_not_enter_the_mask_loss():
    logits, targets = draw_batch()
    build_loss()(logits, targets).backward()
    touched = logits["mask"].grad.flatten(1).any(dim=1)
    assert touched.tolist() == targets["boxes_known"].tolist()
    assert logits["study"].grad.flatten(1).any(dim=1).all(), "they are classified all the same"


def test_what_an_unknown_mask_holds_changes_nothing():
    logits, targets = draw_batch()
    other = {**targets, "mask": torch.where(targets["boxes_known"][:, None, None, None], targets["mask"], 1.0)}
    assert torch.equal(build_loss()(logits, targets), build_loss()(logits, other))


def test_a_batch_without_known_boxes_leaves_the_decoder_as_it_is_and_stays_in_its_graph():
    torch.manual_seed(0)
    network, (_, targets) = StudyClassifier("test_efficientnet"), draw_batch(films=2)
    targets |= {"mask": torch.zeros(2, 1, 32, 32), "boxes_known": torch.zeros(2, dtype=torch.bool)}
    loss = build_loss()
    loss(network(torch.rand(2, 1, 32, 32)), targets).backward()
    gradients = [parameter.grad for parameter in network.mask_decoder.parameters()]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)
    assert network.classifier.weight.grad.any()
    assert loss.members["mask"] == 0


@pytest.mark.parametrize("known", [[1, 1, 0, 1, 1, 0], [True, True, False, True, True, False]])
def test_known_boxes_may_come_as_numbers(known: list):
    logits, targets = draw_batch()
    assert torch.equal(
        build_loss()(logits, targets | {"boxes_known": torch.tensor(known)}), build_loss()(logits, targets)
    )


@pytest.mark.parametrize("weight", [0.0, 1.0, 10.0])
def test_members_are_kept_apart_unweighted_and_detached(weight: float):
    logits, targets = draw_batch()
    loss = build_loss(weight=weight)
    total = loss(logits, targets)
    members = loss.members
    assert set(members) == {"classification", "mask"} and not any(each.requires_grad for each in members.values())
    assert total.item() == pytest.approx((members["classification"] + weight * members["mask"]).item())


def test_a_network_without_decoder_is_classified_only():
    logits, targets = draw_batch()
    loss = build_loss()
    found = loss({"study": logits["study"]}, targets)
    assert found.item() == pytest.approx(
        cross_entropy_slowly(logits["study"].detach().numpy(), targets["label"].numpy())
    )
    assert set(loss.members) == {"classification"}


def test_without_a_mask_loss_the_mask_is_left_alone():
    logits, targets = draw_batch()
    build_loss(mask=[])(logits, targets).backward()
    assert logits["mask"].grad is None


def test_masks_of_another_type_are_taken_in_the_logits_precision():
    logits, targets = draw_batch()
    found = build_loss()(logits, targets | {"mask": targets["mask"].to(torch.uint8)})
    assert torch.equal(found, build_loss()(logits, targets))
