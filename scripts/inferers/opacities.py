"""Opacity detection by several networks and flips, with their boxes fused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer
from numpy.typing import NDArray
from scripts.boxes import Boxes, clip_boxes, flip_boxes, fuse_boxes
from scripts.inferers.tta import TTA_FLIPS, AutocastInferer, check_finite, check_tta_flips, flip_together
from torch import nn


class OpacityInferer:
    """Finds opacity boxes in pictures: each network predicts each flip, and weighted boxes fusion joins the boxes.

    Args:
        networks: `OpacityDetector`s with their weights, one or one of each fold.
        tta_flips: keys of `TTA_FLIPS`.
        device: where the networks run; they are moved there.
        dtype: as for `AutocastInferer`.
        min_overlap: boxes of two flips or networks that overlap more are one.
        max_boxes: what is kept of a picture, the best first.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        tta_flips: Sequence[str] = ("identity", "horizontal"),
        device: str | torch.device = "cpu",
        dtype: str | None = None,
        min_overlap: float = 0.55,
        max_boxes: int = 12,
    ) -> None:
        if not networks:
            raise ValueError("expected at least one network, got none")
        self.device, self.inferer = torch.device(device), AutocastInferer(dtype)
        self.networks = [each.to(self.device).eval() for each in networks]
        self.tta_flips = check_tta_flips(tta_flips)
        self.min_overlap, self.max_boxes = min_overlap, max_boxes

    @torch.no_grad()
    def __call__(self, pictures: torch.Tensor) -> list[tuple[Boxes, NDArray[np.float64]]]:
        """Boxes `(M, 4)` in pixels of each picture (B, 1, H, W), and their scores `(M,)`, best first."""
        pictures = pictures.to(self.device).contiguous(memory_format=torch.channels_last)
        seen = [looks for network in self.networks for looks in self._look(pictures, network)]
        return [self._fuse(found, *pictures.shape[-2:]) for found in zip(*seen, strict=True)]

    def _look(self, pictures: torch.Tensor, network: nn.Module) -> Iterator[list[tuple[Boxes, NDArray[np.float64]]]]:
        """Boxes and scores of every picture, flip by flip."""
        for flips, flipped in flip_together(pictures, self.tta_flips):
            found = check_finite(self.inferer(flipped, network), network)
            for number, flip in enumerate(flips):
                own = found[number * len(pictures) : (number + 1) * len(pictures)]
                yield [_undo(each, flip, pictures.shape) for each in own]

    def _fuse(
        self, found: Sequence[tuple[Boxes, NDArray[np.float64]]], height: int, width: int
    ) -> tuple[Boxes, NDArray[np.float64]]:
        boxes, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        fused, fused_scores = fuse_boxes(clip_boxes(boxes, height, width), scores, len(found), self.min_overlap)
        return fused[: self.max_boxes], fused_scores[: self.max_boxes]


def _undo(found: dict[str, torch.Tensor], flip: str, shape: Sequence[int]) -> tuple[Boxes, NDArray[np.float64]]:
    boxes = found["boxes"].cpu().numpy()
    for axis in TTA_FLIPS[flip]:
        boxes = flip_boxes(boxes, shape[axis], axis + 2)
    return boxes, found["scores"].cpu().numpy()


class FusedBoxesInferer(Inferer):
    """An `OpacityInferer` of the one network that an engine evaluates.

    Args:
        tta_flips, dtype: as for `OpacityInferer`.

    Shape:
        images (B, 1, H, W) -> for each image {"boxes": (M, 4) in its pixels, "scores": (M,)}, best first.
    """

    def __init__(self, tta_flips: Sequence[str] = ("identity", "horizontal"), dtype: str | None = None) -> None:
        super().__init__()
        self.tta_flips, self.dtype = tta_flips, dtype

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        inferer = OpacityInferer([network], self.tta_flips, inputs.device, self.dtype)
        return [{"boxes": boxes, "scores": scores} for boxes, scores in inferer(inputs)]
