"""Losses of the study classes beside slow twins in float64: soft labels, sample weights, focal and bi-tempered."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from scripts.losses import AuxiliaryMaskLoss, BiTemperedLoss, LovaszHingeLoss, StudyFocalLoss
from scripts.losses.studies import smooth_labels, temper_softmax
from torch import nn

SMOOTHING = 0.1
EXTREME = torch.tensor([[1e4, -1e4, 0.0, 3.0], [-1e4, 1e4, 1e4, 0.0], [0.0, 0.0, 0.0, 0.0], [80.0, -80.0, 1.0, 2.0]])


def draw_logits(images: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(images, 4, generator=generator)
    return logits, torch.randint(0, 4, (images,), generator=generator)


def spread_slowly(label: int) -> list[float]:
    return [SMOOTHING / 4 + (1 - SMOOTHING) * (number == label) for number in range(4)]


def softmax_slowly(row: Sequence[float]) -> list[float]:
    total = sum(math.exp(value) for value in row)
    return [math.exp(value) / total for value in row]


def focus_slowly(row: Sequence[float], probabilities: Sequence[float], gamma: float) -> float:
    found = softmax_slowly(row)
    return -sum(y * (1 - p) ** gamma * math.log(p) for y, p in zip(probabilities, found, strict=True))


def temper_slowly(row: Sequence[float], temperature: float) -> list[float]:
    """The shares whose sum is 1, their normalisation found by halving an interval, not by the paper's iteration."""
    if temperature == 1:
        return softmax_slowly(row)

    def fraction(value: float, normalisation: float) -> float:
        base = 1 + (1 - temperature) * (value - normalisation)
        return base ** (1 / (1 - temperature))

    low, high = max(row), max(row) + 1e4
    for _ in range(200):
        middle = (low + high) / 2
        if sum(fraction(value, middle) for value in row) > 1:
            low = middle
        else:
            high = middle
    return [fraction(value, low) for value in row]


def take_log_slowly(value: float, temperature: float) -> float:
    return math.log(value) if temperature == 1 else (value ** (1 - temperature) - 1) / (1 - temperature)


def bi_temper_slowly(row: Sequence[float], probabilities: Sequence[float], t1: float, t2: float) -> float:
    total = 0.0
    for y, p in zip(probabilities, temper_slowly(row, t2), strict=True):
        total += y * (take_log_slowly(y, t1) - take_log_slowly(p, t1)) if y else 0.0
        total -= (y ** (2 - t1) - p ** (2 - t1)) / (2 - t1)
    return total


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_the_focal_loss_equals_a_slow_twin(gamma: float, seed: int):
    logits, labels = draw_logits(seed=seed)
    expected = [
        focus_slowly(row, spread_slowly(label), gamma)
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    found = StudyFocalLoss(gamma, SMOOTHING)(logits, labels).item()
    assert found == pytest.approx(sum(expected) / len(expected), rel=1e-5)


def test_the_focal_loss_without_a_focus_is_cross_entropy():
    logits, labels = draw_logits()
    expected = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)(logits, labels)
    torch.testing.assert_close(StudyFocalLoss(0.0, SMOOTHING)(logits, labels), expected)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("t1", "t2"), [(0.8, 1.4), (0.0, 1.4), (0.8, 1.0), (1.0, 1.4), (0.5, 3.0)])
def test_the_bi_tempered_loss_equals_a_slow_twin(t1: float, t2: float, seed: int):
    logits, labels = draw_logits(seed=seed)
    expected = [
        bi_temper_slowly(row, spread_slowly(label), t1, t2)
        for row, label in zip(logits.double().tolist(), labels.tolist(), strict=True)
    ]
    mean = sum(expected) / len(expected)
    assert BiTemperedLoss(t1, t2, SMOOTHING, iterations=60)(logits, labels).item() == pytest.approx(mean, rel=1e-4)
    # five iterations, the paper's, come close
    assert BiTemperedLoss(t1, t2, SMOOTHING)(logits, labels).item() == pytest.approx(mean, rel=0.03)


@pytest.mark.parametrize("label_smoothing", [0.0, SMOOTHING])
def test_the_bi_tempered_loss_at_temperatures_of_1_is_cross_entropy_but_for_the_entropy_of_the_labels(
    label_smoothing: float,
):
    logits, labels = draw_logits()
    probabilities = smooth_labels(labels, 4, label_smoothing)
    entropy = -torch.xlogy(probabilities, probabilities).sum(dim=1).mean()
    expected = nn.CrossEntropyLoss(label_smoothing=label_smoothing)(logits, labels) - entropy
    torch.testing.assert_close(BiTemperedLoss(1.0, 1.0, label_smoothing)(logits, labels), expected)


def test_the_bi_tempered_gradient_is_that_of_finite_differences():
    logits, labels = draw_logits()
    loss = BiTemperedLoss(0.8, 1.4, SMOOTHING, iterations=200)
    logits = logits.double().requires_grad_()
    loss(logits, labels).backward()
    step = 1e-5
    for place in [(0, 0), (1, 3), (4, 2)]:
        moved = torch.zeros_like(logits)
        moved[place] = step
        with torch.no_grad():
            slope = (loss(logits + moved, labels) - loss(logits - moved, labels)) / (2 * step)
        assert logits.grad[place].item() == pytest.approx(slope.item(), rel=1e-4)


def test_a_tempered_softmax_sums_to_1_and_has_a_heavier_tail():
    logits, _ = draw_logits()
    found = temper_softmax(logits, 1.4, iterations=60)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(5))
    assert (found.amin(dim=1) > logits.softmax(dim=1).amin(dim=1)).all()


def test_one_wrong_label_costs_no_more_than_the_bound():
    """The purpose of t1: cross entropy would grow without end."""
    wrong = torch.tensor([[1e4, 0.0, 0.0, 0.0]])
    assert 4 < BiTemperedLoss(0.8, 1.4)(wrong, torch.tensor([1])).item() <= 1 / (1 - 0.8)


@pytest.mark.parametrize(("t1", "t2"), [(1.2, 1.4), (-0.1, 1.4), (0.8, 0.9)])
def test_temperatures_on_the_wrong_side_of_1_are_rejected(t1: float, t2: float):
    with pytest.raises(ValueError, match="expected temperatures 0 <= t1 <= 1 <= t2"):
        BiTemperedLoss(t1, t2)


STUDY_LOSSES = [nn.CrossEntropyLoss(label_smoothing=SMOOTHING), StudyFocalLoss(), BiTemperedLoss()]


@pytest.mark.parametrize("loss", STUDY_LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("label", range(4))
def test_extreme_logits_give_a_finite_loss_and_gradient(loss: nn.Module, label: int):
    logits = EXTREME.clone().requires_grad_()
    found = loss(logits, torch.full((4,), label))
    found.backward()
    assert torch.isfinite(found) and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("loss", STUDY_LOSSES, ids=lambda loss: type(loss).__name__)
def test_a_class_index_and_its_fraction_of_1_are_one_thing(loss: nn.Module):
    logits, labels = draw_logits()
    torch.testing.assert_close(loss(logits, torch.eye(4)[labels]), loss(logits, labels))


@pytest.mark.parametrize("loss", STUDY_LOSSES, ids=lambda loss: type(loss).__name__)
def test_half_a_class_pulls_to_both(loss: nn.Module):
    logits = torch.zeros(1, 4, requires_grad=True)
    loss(logits, torch.tensor([[0.5, 0.0, 0.5, 0.0]])).backward()
    assert (logits.grad < 0).tolist() == [[True, False, True, False]]


def test_labels_are_spread_as_cross_entropy_does_it():
    found = smooth_labels(torch.tensor([2, 0]), 4, SMOOTHING)
    torch.testing.assert_close(found, torch.tensor([spread_slowly(2), spread_slowly(0)]))


# Soft labels and weights in the whole loss


def draw_batch() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    logits, labels = draw_logits(6)
    generator = torch.Generator().manual_seed(1)
    masks = {"mask": (torch.rand(6, 1, 8, 12, generator=generator) > 0.7).float()}
    known = {"boxes_known": torch.tensor([True, True, False, True, True, False])}
    outputs = {"study": logits, "mask": torch.randn(6, 1, 8, 12, generator=generator)}
    return outputs, {"label": labels, **masks, **known}


def build_loss(mask: Sequence[nn.Module] = (nn.BCEWithLogitsLoss(),)) -> AuxiliaryMaskLoss:
    return AuxiliaryMaskLoss(nn.CrossEntropyLoss(label_smoothing=SMOOTHING), mask)


def test_a_soft_label_stands_for_the_label():
    logits, targets = draw_batch()
    sure = {**targets, "soft_label": torch.eye(4)[targets["label"]]}
    torch.testing.assert_close(build_loss()(logits, sure), build_loss()(logits, targets))
    other = {**sure, "label": 3 - targets["label"]}
    assert torch.equal(build_loss()(logits, other), build_loss()(logits, sure)), "nothing looks at the index any more"


def take(images: Sequence[int], batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value[list(images)] for name, value in batch.items()}


@pytest.mark.parametrize("mask", [[nn.BCEWithLogitsLoss()], [LovaszHingeLoss()]], ids=["bce", "lovasz"])
def test_an_image_that_weighs_twice_is_an_image_that_stands_there_twice(mask: list[nn.Module]):
    logits, targets = draw_batch()
    weighed = {**targets, "weight": torch.tensor([2.0, 1.0, 1.0, 0.0, 1.0, 3.0])}
    images = [0, 0, 1, 2, 4, 5, 5, 5]
    torch.testing.assert_close(
        build_loss(mask)(logits, weighed), build_loss(mask)(take(images, logits), take(images, targets))
    )


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_weights_alike_change_nothing(weight: float):
    logits, targets = draw_batch()
    found = build_loss()(logits, {**targets, "weight": torch.full((6,), weight)})
    torch.testing.assert_close(found, build_loss()(logits, targets))


def test_a_batch_in_which_nothing_counts_costs_nothing():
    logits, targets = draw_batch()
    assert build_loss()(logits, {**targets, "weight": torch.zeros(6)}) == 0


def test_weights_of_a_batch_without_known_boxes_do_no_harm():
    logits, targets = draw_batch()
    targets |= {"boxes_known": torch.zeros(6, dtype=torch.bool), "weight": torch.rand(6)}
    found: Callable[..., torch.Tensor] = build_loss()
    assert torch.isfinite(found(logits, targets))
