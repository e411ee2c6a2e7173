"""Study classification plus a weighted auxiliary loss on the opacity mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class AuxiliaryMaskLoss(nn.Module):
    """Classification loss + `mask_weight` x the sum of mask losses, the latter on films whose mask is known.

    A film of a positive study whose boxes stand on a near-duplicate has no known mask; taking it for an empty one
    would teach the decoder that its opacities are none.

    Args:
        classification: loss of (B, C) logits against (B,) class indices, cross entropy with label smoothing as a rule.
        mask: losses of (B, 1, H, W) logits against masks of that shape: BCE, Dice with sigmoid, or both.
        mask_weight: the article found 10 better than 1.

    Shape:
        logits {"study": (B, C), "mask": (B, 1, H, W), the latter optional} and
        targets {"label": (B,), "mask": (B, 1, H, W), "boxes_known": (B,) bool} -> scalar.
        After each call `members` holds the two unweighted values, detached, for logging.
    """

    def __init__(self, classification: nn.Module, mask: Sequence[nn.Module] = (), mask_weight: float = 10.0) -> None:
        super().__init__()
        self.classification = classification
        self.mask = nn.ModuleList(mask)
        self.mask_weight = mask_weight
        self.members: dict[str, torch.Tensor] = {}

    def forward(self, logits: dict[str, torch.Tensor], targets: dict[str, torch.Tensor]) -> torch.Tensor:
        loss = self.classification(logits["study"], targets["label"])
        self.members = {"classification": loss.detach()}
        if "mask" not in logits or not self.mask:
            return loss
        mask_loss = self._compute_mask_loss(logits["mask"], targets["mask"], targets["boxes_known"].bool())
        self.members["mask"] = mask_loss.detach()
        return loss + self.mask_weight * mask_loss

    def _compute_mask_loss(self, logits: torch.Tensor, masks: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        if not known.any():
            return logits.sum() * 0.0  # keeps the decoder in the graph, as distributed training wants it
        return torch.stack([loss(logits[known], masks[known].to(logits.dtype)) for loss in self.mask]).sum()
