"""Inference pipeline for images: lung detection, then classification, mask and opacity boxes inside the lungs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer
from scripts.boxes import move_out_of_crop
from scripts.inferers.lungs import LungInferer
from scripts.inferers.opacities import OpacityInferer
from scripts.inferers.tta import stack_pictures
from torch import nn

Preparation = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class ImageInferer(Inferer):
    """Images of any size -> what is found on each; each part can be exchanged, or left out with None.

    Args:
        study_inferer: runs the study classifier, a `TTAInferer` as a rule.
        study_preparation: dictionary transform of "image", an image `(1, H, W)`, and its "lung_box": cuts out and
            resizes what the classifier sees, and leaves its "crop_box".
        lung_inferer: finds the lungs; without it, images without a box are seen whole.
        opacity_inferer: finds opacity boxes; without it there are none beside the classifier's mask.
        opacity_preparation: as `study_preparation`, for the opacity inferer; by default the same pictures.
        use_given_lung_boxes: whether a box that came with an image is used instead of looking for lungs.
        wider_preparation: as `study_preparation`, with a wider margin round the lungs; the study's probabilities are
            then the mean of both, while the mask, which has one frame, stays that of the first.
    """

    def __init__(
        self,
        study_inferer: Callable[..., dict[str, torch.Tensor]],
        study_preparation: Preparation,
        lung_inferer: LungInferer | None = None,
        opacity_inferer: OpacityInferer | None = None,
        opacity_preparation: Preparation | None = None,
        use_given_lung_boxes: bool = False,
        wider_preparation: Preparation | None = None,
    ) -> None:
        super().__init__()
        self.study_inferer, self.study_preparation = study_inferer, study_preparation
        self.lung_inferer, self.opacity_inferer = lung_inferer, opacity_inferer
        self.opacity_preparation = opacity_preparation
        self.use_given_lung_boxes = use_given_lung_boxes
        self.wider_preparation = wider_preparation

    def __call__(  # type: ignore[override]
        self, inputs: Sequence[torch.Tensor] | torch.Tensor, network: nn.Module, lung_boxes: Sequence[Any] | None = None
    ) -> list[dict[str, Any]]:
        """Predict each image.

        Args:
            inputs: images `(1, H, W)` in [0, 1], of different sizes or as a batch (B, 1, H, W).
            network: the study classifier.
            lung_boxes: for each image the box that it came with, or None.

        Returns:
            For each image "study" (N,) and, with a decoder, "mask" (1, h, w), logits; "crop_box" (4,) in image pixels,
            what the classifier saw; "original_size" (2,), height and width; "lung_flags" as `Lungs` has them; with an
            opacity inferer "boxes" (M, 4) in image pixels and "scores" (M,), best first.
        """
        images = [torch.as_tensor(image) for image in inputs]
        items = self._find_lungs(images, [None] * len(images) if lung_boxes is None else lung_boxes)
        seen = [dict(self.study_preparation(item)) for item in items]
        device = next(network.parameters()).device
        logits = self.study_inferer(stack_pictures(seen).to(device), network)
        if self.wider_preparation is not None:
            wider = stack_pictures([self.wider_preparation(item) for item in items]).to(device)
            logits = {**logits, "study": average_logits(logits["study"], self.study_inferer(wider, network)["study"])}
        found = [
            {
                **{name: value[number] for name, value in logits.items()},
                "crop_box": np.asarray(prepared_item["crop_box"], dtype=float),
                "original_size": np.asarray(prepared_item["original_size"]),
                "lung_flags": item["lung_flags"],
            }
            for number, (item, prepared_item) in enumerate(zip(items, seen, strict=True))
        ]
        if self.opacity_inferer is not None:
            opacity_inputs = (
                seen if self.opacity_preparation is None else [dict(self.opacity_preparation(i)) for i in items]
            )
            self._add_opacities(found, opacity_inputs)
        return found

    def _find_lungs(self, images: Sequence[torch.Tensor], lung_boxes: Sequence[Any]) -> list[dict[str, Any]]:
        items = [
            {"image": image, "lung_box": box, "lung_flags": ()} for image, box in zip(images, lung_boxes, strict=True)
        ]
        open_items = [item for item in items if not self.use_given_lung_boxes or item["lung_box"] is None]
        if self.lung_inferer is not None and open_items:
            for item, lungs in zip(open_items, self.lung_inferer([item["image"] for item in open_items]), strict=True):
                item.update(lung_box=lungs.box, lung_flags=lungs.flags)
        return items

    def _add_opacities(self, found: Sequence[dict[str, Any]], opacity_inputs: Sequence[Mapping[str, Any]]) -> None:
        assert self.opacity_inferer is not None
        pictures = stack_pictures(opacity_inputs)
        for image, prepared_item, (boxes, scores) in zip(
            found, opacity_inputs, self.opacity_inferer(pictures), strict=True
        ):
            image["boxes"] = move_out_of_crop(boxes, prepared_item["crop_box"], *pictures.shape[-2:])
            image["scores"] = scores


def average_logits(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Logits (B, N) whose softmax is the mean of two softmaxes."""
    return torch.logaddexp(first.log_softmax(dim=1), second.log_softmax(dim=1))
