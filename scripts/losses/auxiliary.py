"""Study classification plus a weighted auxiliary loss on the opacity mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scripts.labels import UNKNOWN_CLASS
from torch import nn


class AuxiliaryMaskLoss(nn.Module):
    """Classification loss + `mask_weight` x the sum of mask losses, each on the images whose ground truth is known.

    An image of a positive study whose boxes stand on a near-duplicate has no known mask; taking it for an empty one
    would teach the decoder that its opacities are none. A corrected mask may come without a class, `UNKNOWN_CLASS`.

    Args:
        classification: loss of (B, C) logits against (B,) class indices or (B, C) fractions of the classes, cross
            entropy with label smoothing as a rule.
        mask: losses of (B, 1, H, W) logits against masks of that shape: BCE, Dice with sigmoid, or both.
        mask_weight: the 17th-place solution found 10 better than 1.

    Shape:
        logits {"study": (B, C), "mask": (B, 1, H, W), the latter optional} and
        targets {"label": (B,), "mask": (B, 1, H, W), "boxes_known": (B,) bool} -> scalar. Optional targets are
        "soft_label" (B, C), fractions of the classes that then stand for "label", and "weight" (B,), how much each
        image counts, in both losses: a weighted mean, so that weights alike change nothing.
        After each call `members` holds the two losses before `mask_weight`, detached, for logging.
    """

    def __init__(self, classification: nn.Module, mask: Sequence[nn.Module] = (), mask_weight: float = 10.0) -> None:
        super().__init__()
        self.classification = classification
        self.mask = nn.ModuleList(mask)
        self.mask_weight = mask_weight
        self.members: dict[str, torch.Tensor] = {}

    def forward(self, logits: dict[str, torch.Tensor], targets: dict[str, torch.Tensor]) -> torch.Tensor:
        weight = targets.get("weight")
        loss = self._compute_study_loss(logits["study"], targets, weight)
        self.members = {"classification": loss.detach()}
        if "mask" not in logits or not self.mask:
            return loss
        mask_loss = self._compute_mask_loss(logits["mask"], targets["mask"], targets["boxes_known"].bool(), weight)
        self.members["mask"] = mask_loss.detach()
        return loss + self.mask_weight * mask_loss

    def _compute_study_loss(
        self, logits: torch.Tensor, targets: dict[str, torch.Tensor], weight: torch.Tensor | None
    ) -> torch.Tensor:
        ground_truth = targets.get("soft_label", targets["label"])
        known = (
            torch.ones_like(ground_truth[:, 0], dtype=torch.bool)
            if ground_truth.ndim == 2
            else ground_truth != UNKNOWN_CLASS
        )
        if known.all():
            return _average(self.classification, logits, ground_truth, weight)
        if not known.any():
            return logits.sum() * 0.0
        return _average(
            self.classification, logits[known], ground_truth[known], None if weight is None else weight[known]
        )

    def _compute_mask_loss(
        self, logits: torch.Tensor, masks: torch.Tensor, known: torch.Tensor, weight: torch.Tensor | None
    ) -> torch.Tensor:
        if not known.any():
            return logits.sum() * 0.0  # keeps the decoder in the graph, as distributed training wants it
        logits, masks, weight = logits[known], masks[known].to(logits.dtype), None if weight is None else weight[known]
        return torch.stack([_average(loss, logits, masks, weight) for loss in self.mask]).sum()


def _average(
    loss: nn.Module, logits: torch.Tensor, ground_truth: torch.Tensor, weight: torch.Tensor | None
) -> torch.Tensor:
    """Loss of a batch, or the weighted mean of its images' losses, one by one: not all losses have `reduction`."""
    if weight is None:
        return loss(logits, ground_truth)
    each = torch.stack(
        [loss(logits[image : image + 1], ground_truth[image : image + 1]) for image in range(len(logits))]
    )
    weight = weight.to(each.dtype)
    return (weight * each).sum() / weight.sum().clamp_min(torch.finfo(each.dtype).tiny)
