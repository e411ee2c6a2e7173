"""Mixup and CutMix: images of a batch mixed with each other, with their classes, masks and weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from scripts.engines.batches import prepare_study_batch
from scripts.labels import STUDY_CLASSES
from torch.nn import functional


class MixedBatch:
    """As `prepare_study_batch`, with each image mixed with another one of the batch; for training only.

    Everything goes through one mixing: the mask as a plane beside the picture and, as planes of one value each, whether
    the boxes are known and what the image weighs. A mixture's mask is known where nothing unknown is in it; its weight
    is the mean by fraction. MONAI's mixers take a fixed number of images and no class probabilities (B, C), and in
    CutMix count another area than the one that is pasted; torchvision's take what comes, and count what they paste.

    Args:
        mix: `torchvision.transforms.v2.MixUp` or `CutMix`: planes (B, K, H, W) and class probabilities (B, C) -> the
            same, mixed.

    Returns:
        Pictures (B, C, H, W), and targets whose "soft_label" (B, classes), "mask", "boxes_known" and "weight" are those
        of the mixtures; ids and "label" are those of the image with which each began.

    Source: Zhang et al. 2018, arXiv:1710.09412; Yun et al. 2019, arXiv:1905.04899.
    """

    def __init__(self, mix: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]) -> None:
        self.mix = mix

    def __call__(self, batch: dict[str, Any], *args: Any, **kwargs: Any) -> tuple[torch.Tensor, dict[str, Any]]:
        image, targets = prepare_study_batch(batch, *args, **kwargs)
        probabilities = targets.get("soft_label")
        if probabilities is None:
            probabilities = functional.one_hot(targets["label"], len(STUDY_CLASSES)).to(image)
        weight = targets.get("weight", torch.ones(len(image), device=image.device))
        planes = [image, targets["mask"].to(image.dtype)]
        planes += [_spread(values, image) for values in (targets["boxes_known"], weight)]
        mixed, probabilities = self.mix(torch.cat(planes, dim=1), probabilities)
        image, mask, known, weight = mixed.split([plane.shape[1] for plane in planes], dim=1)
        targets |= {"soft_label": probabilities, "mask": mask, "boxes_known": known.amin(dim=(1, 2, 3)) > 0.999}
        if "weight" in targets:
            targets["weight"] = weight.mean(dim=(1, 2, 3))
        return image.contiguous(memory_format=torch.channels_last), targets


def _spread(values: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """One value for each image (B,) as planes (B, 1, H, W)."""
    return values.to(image)[:, None, None, None].expand_as(image[:, :1])
