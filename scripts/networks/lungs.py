"""The lung detector: one box round both lungs, read off four distributions along the image's edges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from scripts.networks.encoders import build_feature_encoder, check_input_shape, normalise
from torch import nn

#: An image may stand upright or be rotated counter-clockwise by so many quarters.
QUARTER_TURNS = 4


class LungDetector(nn.Module):
    """Finds the box round both lungs on a whole image, whether there are lungs, and how the image is rotated.

    An image has one box, so there is nothing to match, sample or suppress: each of its four edges is a distribution
    over places along the image, the box its mean, and the distribution's spread reports how sure the edge is
    (Li et al. 2020, arXiv:2006.04388).

    Args:
        encoder: name of a timm model with maps of stride 16 and 32.
        in_channels: channels of the image.
        width: channels of the head.
        positions_per_cell: places that each cell of the stride 16 map has along an axis.
        weights, encoder_options, pixel_mean, pixel_std: as for `StudyClassifier`.

    Shape:
        (B, in_channels, H, W) in [0, 1], H and W multiples of 32 -> a dictionary: "box" (B, 4), xmin, ymin, xmax,
        ymax as fractions of the image's width and height, "edge_std" (B,), the largest standard deviation of its edges,
        and
        logits: "x" (B, 2, P) of the left and right edge over P
        places along the columns, "y" (B, 2, Q) of the upper and lower edge, "lungs" (B,) whether there are any,
        "rotation" (B, 4) by how many quarters the image is rotated.
    """

    def __init__(
        self,
        encoder: str = "mobilenetv4_conv_small",
        in_channels: int = 1,
        width: int = 96,
        positions_per_cell: int = 4,
        weights: str | Path | None = None,
        encoder_options: dict[str, Any] | None = None,
        pixel_mean: float = 0.0,
        pixel_std: float = 1.0,
    ) -> None:
        super().__init__()
        self.pixel_mean, self.pixel_std = pixel_mean, pixel_std
        self.encoder = build_feature_encoder(encoder, in_channels, (16, 32), weights, encoder_options or {})
        fine, coarse = self.encoder.feature_info.channels()  # type: ignore[union-attr,operator]
        self.positions_per_cell = positions_per_cell
        self.fine, self.coarse = nn.Conv2d(fine, width, 1), nn.Conv2d(coarse, width, 1)
        self.join = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.x, self.y = (nn.Conv1d(2 * width, 2 * positions_per_cell, 3, padding=1) for _ in range(2))
        self.lungs, self.turn = nn.Linear(coarse, 1), nn.Linear(coarse, QUARTER_TURNS)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        check_input_shape(image)
        fine, coarse = self.encoder(normalise(image, self.pixel_mean, self.pixel_std))
        upper = nn.functional.interpolate(self.coarse(coarse), scale_factor=2.0, mode="nearest")
        joined = self.join(self.fine(fine) + upper)
        pooled = coarse.mean(dim=(2, 3))
        x = self._unfold(self.x(torch.cat([joined.mean(dim=2), joined.amax(dim=2)], dim=1)))
        y = self._unfold(self.y(torch.cat([joined.mean(dim=3), joined.amax(dim=3)], dim=1)))
        # sorted: an untrained network's edges may stand in the wrong order, and no loss of overlaps takes such a box
        box = torch.stack([average_positions(x).sort(dim=1)[0], average_positions(y).sort(dim=1)[0]], dim=2).flatten(1)
        edge_std = torch.cat([measure_edge_std(x), measure_edge_std(y)], dim=1).amax(dim=1)
        lungs, rotation = self.lungs(pooled).squeeze(1), self.turn(pooled)
        return {"x": x, "y": y, "box": box, "edge_std": edge_std, "lungs": lungs, "rotation": rotation}

    def _unfold(self, logits: torch.Tensor) -> torch.Tensor:
        """(B, 2 x places, cells) -> (B, 2, cells x places), in the order of the image."""
        batch, _, cells = logits.shape
        return logits.view(batch, 2, self.positions_per_cell, cells).transpose(2, 3).reshape(batch, 2, -1)


def average_positions(logits: torch.Tensor) -> torch.Tensor:
    """Means (B, 2) of distributions (B, 2, P) over equal steps of [0, 1]."""
    positions = torch.linspace(0.0, 1.0, logits.shape[2], device=logits.device)
    return (logits.float().softmax(dim=2) * positions).sum(dim=2)


def measure_edge_std(logits: torch.Tensor) -> torch.Tensor:
    """Standard deviations (B, 2) of distributions (B, 2, P) over equal steps of [0, 1]."""
    positions = torch.linspace(0.0, 1.0, logits.shape[2], device=logits.device)
    distance = positions - average_positions(logits).unsqueeze(2)
    return (logits.float().softmax(dim=2) * distance.square()).sum(dim=2).sqrt()
