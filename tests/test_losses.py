"""The training losses beside slow twins in plain numpy, and which images they leave out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from monai.losses import DiceLoss
from numpy.typing import NDArray
from scripts.labels import UNKNOWN_CLASS
from scripts.losses import AuxiliaryMaskLoss, DetectionLoss, LungBoxLoss
from scripts.networks import StudyClassifier
from scripts.networks.lungs import average_positions, measure_edge_std
from torch import nn

SMOOTHING, WEIGHT = 0.1, 10.0


def build_loss(mask: Sequence[nn.Module] = (nn.BCEWithLogitsLoss(),), weight: float = WEIGHT) -> AuxiliaryMaskLoss:
    return AuxiliaryMaskLoss(nn.CrossEntropyLoss(label_smoothing=SMOOTHING), mask, weight)


def draw_batch(images: int = 6, seed: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Logits and targets of a batch in which every third image's boxes are not known."""
    generator = torch.Generator().manual_seed(seed)
    logits = {
        "study": torch.randn(images, 4, generator=generator),
        "mask": 2 * torch.randn(images, 1, 8, 12, generator=generator),
    }
    targets = {
        "label": torch.randint(0, 4, (images,), generator=generator),
        "mask": (torch.rand(images, 1, 8, 12, generator=generator) > 0.7).float(),
        "boxes_known": torch.tensor([image % 3 != 2 for image in range(images)]),
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
    """One minus the soft Dice coefficient of each image, smoothed by 1e-5 as MONAI does, then the mean."""
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


def test_images_with_unknown_boxes_do_not_enter_the_mask_loss():
    logits, targets = draw_batch()
    build_loss()(logits, targets).backward()
    touched = logits["mask"].grad.flatten(1).any(dim=1)
    assert touched.tolist() == targets["boxes_known"].tolist()
    assert logits["study"].grad.flatten(1).any(dim=1).all(), "they are classified all the same"


def test_images_with_an_unknown_class_do_not_enter_the_study_loss():
    logits, targets = draw_batch()
    known = torch.arange(len(targets["label"])) % 2 == 0
    reported = {**targets, "label": torch.where(known, targets["label"], UNKNOWN_CLASS)}
    loss = build_loss(mask=())
    expected = loss({"study": logits["study"][known]}, {"label": targets["label"][known]})
    torch.testing.assert_close(loss({"study": logits["study"]}, reported), expected)


def test_a_batch_without_a_known_class_teaches_the_decoder_alone():
    logits, targets = draw_batch()
    unknown = {**targets, "label": torch.full_like(targets["label"], UNKNOWN_CLASS)}
    build_loss()(logits, unknown).backward()
    assert logits["study"].grad is not None and not logits["study"].grad.any() and logits["mask"].grad.any()


def test_what_an_unknown_mask_holds_changes_nothing():
    logits, targets = draw_batch()
    other = {**targets, "mask": torch.where(targets["boxes_known"][:, None, None, None], targets["mask"], 1.0)}
    assert torch.equal(build_loss()(logits, targets), build_loss()(logits, other))


def test_a_batch_without_known_boxes_leaves_the_decoder_as_it_is_and_stays_in_its_graph():
    torch.manual_seed(0)
    network, (_, targets) = StudyClassifier("test_efficientnet"), draw_batch(images=2)
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


# The lung detector's loss

SIZE = (64, 96)  # height and width of a picture, which is not square
PLACES = {"x": 24, "y": 16}
LUNG_WEIGHTS = {"box_weight": 2.0, "edge_weight": 0.25, "lungs_weight": 0.5, "rotation_weight": 0.1}


def draw_lungs(images: int = 6, seed: int = 0) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Random logits of a detector for a batch, and the ground truth; every third image shows no lungs."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    logits = {axis: 2 * torch.randn(images, 2, number, generator=generator) for axis, number in PLACES.items()}
    logits |= {
        "lungs": torch.randn(images, generator=generator),
        "rotation": torch.randn(images, 4, generator=generator),
    }
    logits["box"] = torch.rand(images, 4, generator=generator).view(images, 2, 2).sort(dim=1)[0].flatten(1)
    targets = []
    for image in range(images):
        low, high = rng.uniform(0, 0.5, 2), rng.uniform(0.6, 1, 2)
        box = torch.tensor([[*low, *high]], dtype=torch.float32) * torch.tensor([96, 64, 96, 64])
        targets.append(
            {"boxes": box[: image % 3 != 2], "size": SIZE, "rotation": int(rng.integers(4)), "image_id": f"{image}"}
        )
    return {name: value.requires_grad_() for name, value in logits.items()}, targets


def edge_slowly(logits: NDArray, position: float) -> float:
    """Distribution focal loss (Li et al. 2020) of one edge at a fraction of the picture's side."""
    probabilities = np.exp(logits) / np.exp(logits).sum()
    step = position * (len(logits) - 1)
    return float(-sum(max(0.0, 1 - abs(step - number)) * np.log(p) for number, p in enumerate(probabilities)))


def giou_slowly(box: Sequence[float], other: Sequence[float]) -> float:
    """Generalized intersection over union (Rezatofighi et al. 2019) of two boxes."""

    def area(xmin: float, ymin: float, xmax: float, ymax: float) -> float:
        return max(0.0, xmax - xmin) * max(0.0, ymax - ymin)

    pairs = list(zip(box, other, strict=True))
    inner = area(*map(max, pairs[:2]), *map(min, pairs[2:]))
    union = area(*box) + area(*other) - inner
    hull = area(*map(min, pairs[:2]), *map(max, pairs[2:]))
    return inner / union - (hull - union) / hull


def lung_loss_slowly(logits: dict[str, NDArray], targets: list[dict[str, Any]], weights: dict[str, float]) -> float:
    shown = [len(target["boxes"]) > 0 for target in targets]
    lungs = binary_cross_entropy_slowly(logits["lungs"], np.array(shown, dtype=float))
    edges, overlaps, rotations = [], [], []
    for image in np.flatnonzero(shown):
        height, width = targets[image]["size"]
        xmin, ymin, xmax, ymax = targets[image]["boxes"][0].tolist()
        positions = [("x", 0, xmin / width), ("x", 1, xmax / width), ("y", 0, ymin / height), ("y", 1, ymax / height)]
        edges.append(sum(edge_slowly(logits[axis][image, side], position) / 2 for axis, side, position in positions))
        fractions = (xmin / width, ymin / height, xmax / width, ymax / height)
        overlaps.append(1 - giou_slowly(logits["box"][image], fractions))
        row = logits["rotation"][image]
        rotations.append(np.log(np.exp(row).sum()) - row[targets[image]["rotation"]])
    parts = {"box_weight": overlaps, "edge_weight": edges, "lungs_weight": lungs, "rotation_weight": rotations}
    return sum(weights[name] * float(np.mean(part)) for name, part in parts.items())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("only", [None, *LUNG_WEIGHTS])
def test_the_lung_loss_equals_a_slow_twin_in_the_whole_and_in_each_part(only: str | None, seed: int):
    logits, targets = draw_lungs(seed=seed)
    weights = {name: weight if only in (None, name) else 0.0 for name, weight in LUNG_WEIGHTS.items()}
    plain = {name: value.detach().double().numpy() for name, value in logits.items()}
    expected = lung_loss_slowly(plain, targets, weights)
    assert expected > 0
    assert LungBoxLoss(**weights)(logits, targets).item() == pytest.approx(expected, rel=2e-4)


def test_the_twin_stands_on_the_weights_that_are_the_default():
    logits, targets = draw_lungs()
    assert torch.equal(LungBoxLoss()(logits, targets), LungBoxLoss(**LUNG_WEIGHTS)(logits, targets))


def test_an_image_without_lungs_counts_for_the_question_whether_there_are_any_and_for_nothing_else():
    logits, targets = draw_lungs()
    LungBoxLoss()(logits, targets).backward()
    for name, value in logits.items():
        touched = value.grad.reshape(len(targets), -1).any(dim=1).tolist()
        assert touched == ([True] * 6 if name == "lungs" else [len(target["boxes"]) > 0 for target in targets])


def test_how_an_image_without_lungs_is_turned_changes_nothing():
    logits, targets = draw_lungs()
    others = [
        {**target, "rotation": 3 - target["rotation"]} if not len(target["boxes"]) else target for target in targets
    ]
    assert torch.equal(LungBoxLoss()(logits, targets), LungBoxLoss()(logits, others))


def describe_without_lungs(images: int) -> list[dict[str, Any]]:
    return [{"boxes": torch.zeros(0, 4), "size": SIZE, "rotation": 0} for _ in range(images)]


def test_a_batch_without_lungs_keeps_every_head_in_the_graph_and_leaves_it_as_it_is():
    logits, _ = draw_lungs(images=4)
    loss = LungBoxLoss()(logits, describe_without_lungs(4))
    expected = 0.5 * binary_cross_entropy_slowly(logits["lungs"].detach().numpy(), np.zeros(4))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert logits["lungs"].grad.all()
    assert all(logits[head].grad is not None and not logits[head].grad.any() for head in ("x", "y", "rotation"))


def test_edges_that_are_entirely_sure_do_no_harm_in_a_batch_without_lungs():
    """Their spread is 0, where a square root has no gradient: zero times it would be NaN in every weight."""
    logits, _ = draw_lungs(images=2)
    sure = {axis: (1000 * torch.eye(PLACES[axis])[:2]).repeat(2, 1, 1).requires_grad_() for axis in PLACES}
    edge_std = torch.cat([measure_edge_std(sure["x"]), measure_edge_std(sure["y"])], dim=1).amax(dim=1)
    LungBoxLoss()({**logits, **sure, "edge_std": edge_std}, describe_without_lungs(2)).backward()
    assert not any(value.grad.any() for value in sure.values())


def say_perfectly(image: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Ideal logits for an image whose box's edges lie on positions of the grid; sure, but not without end."""
    fractions = image["boxes"][0] / torch.tensor([96.0, 64.0, 96.0, 64.0])
    reported = {
        "box": fractions[None],
        "lungs": torch.tensor([20.0]),
        "rotation": 20 * torch.eye(4)[[image["rotation"]]],
    }
    for axis, edges in (("x", fractions[[0, 2]]), ("y", fractions[[1, 3]])):
        steps = PLACES[axis] - 1
        reported[axis] = 20 * torch.eye(steps + 1)[(edges * steps).round().long()][None]
    return reported


# on the places of both axes: multiples of 96 / 23 and of 64 / 15
ON_PLACES = {"boxes": torch.tensor([[3 / 23, 4 / 15, 19 / 23, 1.0]]) * torch.tensor([96.0, 64.0, 96.0, 64.0])}


@pytest.mark.parametrize("rotation", range(4))
def test_a_perfect_answer_costs_nothing(rotation: int):
    image = {**ON_PLACES, "size": SIZE, "rotation": rotation}
    assert 0 <= LungBoxLoss()(say_perfectly(image), [image]).item() < 1e-2


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("box", lambda box: box + torch.tensor([0.0, 0.0, 0.03, 0.0])),
        ("box", lambda box: box - torch.tensor([0.0, 0.03, 0.0, 0.0])),
        ("box", lambda box: box[:, [1, 0, 3, 2]]),
        ("x", lambda logits: logits.roll(1, dims=2)),
        ("y", lambda logits: logits.roll(-1, dims=2)),
        ("x", lambda logits: logits.flip(1)),  # left and right in each other's place
        ("lungs", lambda logit: -logit),
        ("rotation", lambda logits: logits.roll(1, dims=1)),
    ],
)
def test_any_other_answer_costs_more(part: str, change: Any):
    image = {**ON_PLACES, "size": SIZE, "rotation": 1}
    reported = say_perfectly(image)
    best = LungBoxLoss()(reported, [image])
    assert LungBoxLoss()({**reported, part: change(reported[part])}, [image]) > best + 0.02


def test_learning_moves_the_box_onto_the_ground_truth():
    """Edges begin without information: the box is the mean of its edges, as in the detector."""
    target = {"boxes": torch.tensor([[10.0, 20.0, 50.0, 55.0]]), "size": SIZE, "rotation": 0}
    logits = {name: torch.zeros(1, 2, number, requires_grad=True) for name, number in PLACES.items()}
    rest = {"lungs": torch.zeros(1), "rotation": torch.zeros(1, 4)}
    optimizer, losses = torch.optim.Adam(logits.values(), lr=0.5), []
    for _ in range(60):
        box = torch.stack([average_positions(logits["x"]), average_positions(logits["y"])], dim=2).flatten(1)
        losses.append(LungBoxLoss()({**logits, **rest, "box": box}, [target]))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    torch.testing.assert_close(box * torch.tensor([96, 64, 96, 64]), target["boxes"], atol=1.0, rtol=0)
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("box", [[0, 0, 96, 64], [-3, -2, 120, 70], [0, 0, 0, 0], [96, 64, 96, 64]])
def test_boxes_at_or_past_the_pictures_border_give_a_finite_loss_and_gradient(box: list[float]):
    logits, _ = draw_lungs(images=1)
    loss = LungBoxLoss()(logits, [{"boxes": torch.tensor([box], dtype=torch.float32), "size": SIZE, "rotation": 0}])
    loss.backward()
    assert torch.isfinite(loss) and all(torch.isfinite(value.grad).all() for value in logits.values())


# The opacity detector's loss


@pytest.mark.parametrize(("weight", "expected"), [(0.0, 0.5), (1.0, 0.75), (4.0, 1.5)])
def test_the_detection_loss_is_the_sum_of_its_two_parts_by_weight(weight: float, expected: float):
    parts = {
        name: torch.tensor(value, requires_grad=True)
        for name, value in (("classification", 0.5), ("box_regression", 0.25))
    }
    loss = DetectionLoss(weight)(parts, targets=["not looked at"])
    assert loss.item() == expected
    loss.backward()
    assert (parts["classification"].grad, parts["box_regression"].grad) == (1, weight)
