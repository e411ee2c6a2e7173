"""Loss of the opacity detector: the two losses of MONAI's RetinaNet as one number."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class DetectionLoss(nn.Module):
    """Classification loss + `box_weight` x the loss of the boxes, as the detector computed them in its forward pass.

    Args:
        box_weight: weight of the boxes' loss.

    Shape:
        {"classification": scalar, "box_regression": scalar} and targets, which the detector had already -> scalar.
    """

    def __init__(self, box_weight: float = 1.0) -> None:
        super().__init__()
        self.box_weight = box_weight

    def forward(self, losses: dict[str, torch.Tensor], targets: Any = None) -> torch.Tensor:
        return losses["classification"] + self.box_weight * losses["box_regression"]
