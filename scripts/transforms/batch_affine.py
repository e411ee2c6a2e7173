"""Random flip, rotation, scale and shift of a whole batch on its device, masks and boxes with the images.

MONAI's random transforms and torchvision's take one image, or one draw for a batch; here each image of a batch has its
own draw, and all are resampled at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from scripts.transforms.augmentation import warp_boxes
from torch.nn import functional


class RandAffineBatchd:
    """Flip, rotate, scale and shift each image of a batch, in one resampling; what comes from outside is 0.

    Args:
        flip_prob: chance that left and right are swapped.
        prob: chance that an image is rotated, scaled and shifted.
        rotate: largest angle either way, degrees.
        scale: smallest and largest size.
        stretch: largest ratio of the scales of both axes.
        shift: largest shift either way, as a fraction of the image.
        min_visible: a box of which less than this fraction stays inside is left out.

    Shape:
        {"image": (B, 1, H, W), optionally "mask": (B, 1, H, W), zeros and ones, and "boxes": B tensors (N, 4) on the
        CPU in pixels} -> the same.
    """

    def __init__(
        self,
        flip_prob: float = 0.5,
        prob: float = 0.9,
        rotate: float = 12.0,
        scale: Sequence[float] = (0.85, 1.2),
        stretch: float = 1.1,
        shift: float = 0.06,
        min_visible: float = 0.3,
    ) -> None:
        self.flip_prob, self.prob, self.rotate = flip_prob, prob, rotate
        self.scale, self.stretch, self.shift, self.min_visible = tuple(scale), stretch, shift, min_visible

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        image = batch["image"]
        height, width = image.shape[-2:]
        matrices = self.sample(len(image))
        grid = build_grid(matrices, image)
        out = {**batch, "image": functional.grid_sample(image, grid, align_corners=False)}
        if "mask" in batch:
            mask = batch["mask"].to(image.dtype)
            out["mask"] = functional.grid_sample(mask, grid, mode="nearest", align_corners=False)
        if "boxes" in batch:
            pairs = zip(batch["boxes"], matrices, strict=True)
            out["boxes"] = [warp_boxes(boxes, matrix, height, width, self.min_visible) for boxes, matrix in pairs]
        return out

    def sample(self, count: int) -> torch.Tensor:
        """Draw matrices (count, 2, 3) from positions before to positions after, both in [-1, 1], x along columns."""
        uniform = torch.rand(6, count)
        changed = (uniform[0] < self.prob).float()
        mirror = 1.0 - 2.0 * (torch.rand(count) < self.flip_prob).float()
        angle = changed * math.radians(self.rotate) * (2 * uniform[1] - 1)
        low, high = (math.log(edge) for edge in self.scale)
        size = (changed * (low + (high - low) * uniform[2])).exp()
        ratio = (changed * math.log(self.stretch) * (uniform[3] - 0.5)).exp()
        shift = changed * 2 * self.shift * (2 * uniform[4:6] - 1)
        cosine, sine, across, along = angle.cos(), angle.sin(), mirror * size * ratio, size / ratio
        rows = (cosine * across, sine * along, shift[0], -sine * across, cosine * along, shift[1])
        return torch.stack(rows, dim=1).reshape(count, 2, 3)


def build_grid(matrices: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Build the sampling grid (B, H, W, 2) that moves images (B, C, H, W) by matrices (B, 2, 3).

    As `torch.nn.functional.affine_grid`, which multiplies all positions by the matrices and is ten times slower on a
    CPU: a position is a part of its column plus a part of its row.
    """
    inverse = torch.linalg.inv(matrices[:, :, :2])
    backwards = torch.cat([inverse, -inverse @ matrices[:, :, 2:]], dim=2).to(image.device, image.dtype)
    y, x = ((2 * torch.arange(n, device=image.device, dtype=image.dtype) + 1) / n - 1 for n in image.shape[-2:])
    by_column, by_row = backwards[..., :1] * x, backwards[..., 1:2] * y + backwards[..., 2:]
    return (by_column[:, :, None, :] + by_row[..., None]).permute(0, 2, 3, 1)
