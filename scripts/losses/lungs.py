"""Loss of the lung detector: the four edges, the presence of lungs, and the rotation of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.losses import BoxGIoULoss
from torch import nn
from torch.nn import functional


class LungBoxLoss(nn.Module):
    """Cross entropy of each edge against its place, 1 - GIoU of the box, and cross entropies of lungs and rotations.

    An edge between two places is shared between them by its distance to each (Li et al. 2020, arXiv:2006.04388). An
    image without a box has no lungs: it counts for "lungs" only.

    Args:
        box_weight: weight of 1 - GIoU (Rezatofighi et al. 2019, arXiv:1902.09630).
        edge_weight, lungs_weight, rotation_weight: weights of the three cross entropies.

    Shape:
        {"box": (B, 4), "x": (B, 2, P), "y": (B, 2, Q), "lungs": (B,), "rotation": (B, 4)} of a `LungDetector` and, for
        each of B images, a dictionary with "boxes" (1, 4) or (0, 4) in pixels, "size" (height, width) and "rotation", a
        number of quarters -> scalar.
    """

    def __init__(
        self,
        box_weight: float = 2.0,
        edge_weight: float = 0.25,
        lungs_weight: float = 0.5,
        rotation_weight: float = 0.1,
    ) -> None:
        super().__init__()
        self.box_weight, self.edge_weight = box_weight, edge_weight
        self.lungs_weight, self.rotation_weight = lungs_weight, rotation_weight
        self.giou = BoxGIoULoss(reduction="mean")

    def forward(self, logits: dict[str, torch.Tensor], targets: Sequence[dict[str, Any]]) -> torch.Tensor:
        has_lungs = torch.tensor([len(target["boxes"]) > 0 for target in targets], device=logits["lungs"].device)
        loss = self.lungs_weight * functional.binary_cross_entropy_with_logits(logits["lungs"], has_lungs.float())
        if not has_lungs.any():
            # keeps every head in the graph; not by "edge_std", a square root without gradient where it is 0
            return loss + sum(logits[head].sum() * 0.0 for head in ("x", "y", "rotation"))
        boxes = torch.stack([scale_to_fraction(target) for target in targets if len(target["boxes"])])
        positions = {"x": boxes[:, [0, 2]], "y": boxes[:, [1, 3]]}
        edges = [measure_edges(logits[axis][has_lungs], position) for axis, position in positions.items()]
        rotations = torch.tensor([int(target["rotation"]) for target in targets], device=boxes.device)[has_lungs]
        rotation_loss = functional.cross_entropy(logits["rotation"][has_lungs], rotations)
        overlap_loss = self.giou(logits["box"][has_lungs], boxes)
        return (
            loss + self.edge_weight * sum(edges) + self.box_weight * overlap_loss + self.rotation_weight * rotation_loss
        )


def scale_to_fraction(target: dict[str, Any]) -> torch.Tensor:
    """The box `(4,)` of a target in fractions of its picture's width and height."""
    height, width = target["size"]
    box = target["boxes"][0]
    return box / torch.tensor([width, height, width, height], dtype=box.dtype, device=box.device)


def measure_edges(logits: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Cross entropy of distributions (B, 2, P) over equal steps of [0, 1] against places (B, 2) between two steps."""
    steps = logits.shape[2] - 1
    exact = (positions.clamp(0, 1) * steps).clamp(max=steps - 1e-4)
    lower = exact.floor()
    fraction = exact - lower
    logs = logits.log_softmax(dim=2)
    below = logs.gather(2, lower.long().unsqueeze(2)).squeeze(2)
    above = logs.gather(2, lower.long().unsqueeze(2) + 1).squeeze(2)
    return -((1 - fraction) * below + fraction * above).mean()
