"""Anchors of a batch: matched, sampled and weighed as MONAI's detector does it image by image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.losses import BoxGIoULoss
from scripts.networks import OpacityDetector
from scripts.networks.anchors import decode_boxes, measure_giou_losses

HEIGHT, WIDTH = 96, 160


def build_detector(**options: Any) -> OpacityDetector:
    torch.manual_seed(0)
    detector = OpacityDetector("test_efficientnet", width=8, **options).train()
    for head in (detector.network.classification_head.cls_logits, detector.network.regression_head.bbox_reg):
        torch.nn.init.normal_(head.weight, std=0.3)
    return detector


def make_targets(counts: list[int], seed: int = 0) -> list[dict[str, torch.Tensor]]:
    generator, targets = torch.Generator().manual_seed(seed), []
    for count in counts:
        corner = torch.rand(count, 2, generator=generator) * torch.tensor([WIDTH * 0.6, HEIGHT * 0.5])
        size = 12 + torch.rand(count, 2, generator=generator) * torch.tensor([WIDTH * 0.35, HEIGHT * 0.4])
        boxes = torch.cat([corner, corner + size], dim=1)
        targets.append({"boxes": boxes, "labels": torch.zeros(count, dtype=torch.long)})
    return targets


def compute(detector: OpacityDetector, targets: list[dict[str, torch.Tensor]], of_monai: bool) -> list[torch.Tensor]:
    """Both losses and the gradient of all parameters, by our way or by MONAI's, from the same random numbers."""
    images = torch.rand(len(targets), 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    if of_monai:
        detector.set_box_regression_loss(BoxGIoULoss(reduction="mean"), encode_gt=False, decode_pred=True)
        detector.compute_loss = lambda *parts: RetinaNetDetector.compute_loss(detector, *parts)  # type: ignore[method-assign]
    torch.manual_seed(7)
    losses = detector(images, targets)
    sum(losses.values()).backward()
    gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in detector.parameters()]
    return [
        losses["classification"].detach(),
        losses["box_regression"].detach(),
        torch.cat([g.flatten() for g in gradients]),
    ]


@pytest.mark.parametrize("options", [{}, {"samples_per_image": 8}, {"samples_per_image": 8, "positive_fraction": 0.25}])
@pytest.mark.parametrize("counts", [[2], [1, 3, 2], [0, 4], [0, 0], [1, 0, 5, 2]])
def test_losses_and_gradients_of_a_batch_are_those_of_monais_detector(options: dict[str, Any], counts: list[int]):
    """With few samples an image, positives and negatives are drawn at random: by the same numbers."""
    ours = compute(build_detector(**options), make_targets(counts), of_monai=False)
    theirs = compute(build_detector(**options), make_targets(counts), of_monai=True)
    assert len(counts) == counts.count(0) or ours[1] > 0
    for own, other in zip(ours, theirs, strict=True):
        assert torch.linalg.vector_norm(own - other) <= 1e-4 * torch.linalg.vector_norm(other)


def test_boxes_are_decoded_as_monais_coder_decodes_them():
    detector = build_detector()
    coder, generator = detector.box_coder, torch.Generator().manual_seed(0)
    corner, size = torch.rand(50, 2, generator=generator) * 90, 5 + torch.rand(50, 2, generator=generator) * 60
    anchors, codes = torch.cat([corner, corner + size], dim=1), 3 * torch.randn(50, 4, generator=generator)
    decoded = decode_boxes(codes, anchors, coder.weights, coder.boxes_xform_clip)
    torch.testing.assert_close(decoded, coder.decode_single(codes, anchors), rtol=1e-5, atol=1e-3)


def test_overlaps_are_those_of_monais_loss_also_of_boxes_apart():
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(2, 40, 2, generator=generator) * 50
    one, other = torch.cat([low, low + 1 + torch.rand(2, 40, 2, generator=generator) * 30], dim=2)
    losses = measure_giou_losses(one, other)
    assert losses.min() < 1 < losses.max(), "some overlap, some do not"
    torch.testing.assert_close(losses, BoxGIoULoss(reduction="none")(one, other))


def test_a_batch_without_boxes_has_gradients_for_every_parameter():
    """Several processes wait for the gradient of each parameter, and one of them may have no boxes."""
    detector = build_detector()
    losses = detector(torch.rand(2, 1, HEIGHT, WIDTH), make_targets([0, 0]))
    assert losses["box_regression"] == 0
    sum(losses.values()).backward()
    assert [name for name, each in detector.named_parameters() if each.grad is None] == []


@pytest.mark.parametrize("head", ["classification_head.cls_logits", "regression_head.bbox_reg"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_makes_the_loss_not_finite_whatever_was_sampled(head: str, value: float):
    detector = build_detector()
    detector.network.get_submodule(head).bias.data[0] = value
    losses = detector(torch.rand(2, 1, HEIGHT, WIDTH), make_targets([0, 1]))
    assert not torch.isfinite(sum(losses.values()))


def test_boxes_on_the_host_are_matched_for_images_of_each_size():
    detector = build_detector()
    for height, width in ((64, 64), (96, 160), (64, 64)):
        losses = detector(
            torch.rand(1, 1, height, width), [{**make_targets([1])[0], "boxes": torch.tensor([[4.0, 6, 40, 44]])}]
        )
        assert torch.isfinite(losses["box_regression"]) and losses["box_regression"] > 0
        assert len(detector.anchors_on_host) == 3 * (height * width) * (1 / 64 + 1 / 256 + 1 / 1024)


def test_no_training_step_asks_the_device_for_anything():
    """On the device "meta" whatever depends on a value fails, where a GPU would let the host wait for it."""
    detector = build_detector().to("meta")
    detector.anchors = detector.previous_image_shape = None
    images, targets = torch.zeros(3, 1, HEIGHT, WIDTH, device="meta"), make_targets([1, 0, 3])
    generate = detector.anchor_generator.forward

    def keep_on_host(images: torch.Tensor, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        """Anchors with values: they depend on sizes only, and are copied to the host once for all batches."""
        return generate(torch.zeros(images.shape), [torch.zeros(each.shape) for each in maps])

    detector.anchor_generator.forward = keep_on_host
    outputs = detector.network(images)
    detector.generate_anchors(images, outputs)
    anchors = [each.to("meta") for each in detector.anchors]
    sizes = [each.shape[2:].numel() for each in outputs["classification"]]
    maps = {name: detector._reshape_maps(each) for name, each in outputs.items()}
    losses = detector.compute_loss(maps, targets, anchors, sizes)
    assert {name: (each.device.type, each.shape) for name, each in losses.items()} == {
        "classification": ("meta", ()),
        "box_regression": ("meta", ()),
    }
