"""The Lovasz hinge beside its definition: how much each further wrong pixel costs in intersection over union."""

from __future__ import annotations

import pytest
import torch
from scripts.losses import LovaszHingeLoss


def lose_slowly(wrong: set[int], ground_truth: set[int]) -> float:
    """1 - IoU of a mask that is wrong in these pixels: the wrong ones among all that are opaque or wrong."""
    return len(wrong) / len(wrong | ground_truth) if wrong else 0.0


def compute_slowly(scores: list[float], mask: list[float]) -> float:
    """The set function's Lovasz extension: pixels become wrong one by one, worst first."""
    ground_truth = {pixel for pixel, value in enumerate(mask) if value == 1}
    errors = [1 - score * (1 if pixel in ground_truth else -1) for pixel, score in enumerate(scores)]
    total, wrong = 0.0, set()
    for pixel in sorted(range(len(errors)), key=lambda pixel: -errors[pixel]):
        before = lose_slowly(wrong, ground_truth)
        wrong = wrong | {pixel}
        total += max(0.0, errors[pixel]) * (lose_slowly(wrong, ground_truth) - before)
    return total


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("opaque", [0.0, 0.3, 1.0], ids=["no opacity", "some", "all"])
def test_the_loss_equals_its_definition(opaque: float, seed: int):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(3, 1, 5, 7, generator=generator, dtype=torch.float64)
    masks = (torch.rand(3, 1, 5, 7, generator=generator) < opaque).double()
    expected = [
        compute_slowly(image.flatten().tolist(), mask.flatten().tolist())
        for image, mask in zip(logits, masks, strict=True)
    ]
    assert LovaszHingeLoss()(logits, masks).item() == pytest.approx(sum(expected) / 3)


def test_certain_logits_cost_the_intersection_over_union_itself():
    """At +-1 an error is 0 or 2: twice 1 - IoU."""
    masks = torch.zeros(1, 1, 4, 4)
    masks[..., :2, :2] = 1
    reported = torch.full((1, 1, 4, 4), -1.0)
    reported[..., 1:3, :2] = 1
    assert LovaszHingeLoss()(reported, masks).item() == pytest.approx(2 * (1 - 2 / 6))


def test_a_sure_right_mask_costs_nothing_and_its_opposite_most():
    masks = (torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    assert LovaszHingeLoss()(10 * (2 * masks - 1), masks) == 0
    assert LovaszHingeLoss()(10 * (1 - 2 * masks), masks).item() == pytest.approx(11)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_its_gradient_is_finite_and_points_to_the_ground_truth(scale: float):
    masks = (torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    logits = (scale * (1 - 2 * masks)).requires_grad_()
    loss = LovaszHingeLoss()(logits, masks)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()
    assert (logits.grad * (2 * masks - 1) <= 0).all() and logits.grad.any()


def test_a_mixed_masks_fraction_of_one_half_counts_as_opacity():
    logits = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    masks = torch.tensor([0.0, 0.49, 0.5, 1.0]).repeat(4).view(1, 1, 4, 4)
    assert torch.equal(LovaszHingeLoss()(logits, masks), LovaszHingeLoss()(logits, (masks >= 0.5).float()))
