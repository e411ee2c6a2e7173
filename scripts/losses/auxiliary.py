"""Study classification plus a weighted auxiliary loss on the opacity mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scripts.labels import UNKNOWN_CLASS
from scripts.processes import compare_counts
from torch import nn


class AuxiliaryMaskLoss(nn.Module):
    """Classification loss + `mask_weight` x the sum of mask losses, each on the images whose ground truth is known.

    An image of a positive study whose boxes stand on a near-duplicate has no known mask; taking it for an empty one
    would teach the decoder that its opacities are none. A corrected mask may come without a class, `UNKNOWN_CLASS`.

    Args:
        classification: loss of (B, C) logits against (B,) class indices or (B, C) fractions of the classes, cross
            entropy with label smoothing as a rule.
        mask: losses of (B, 1, H, W) logits against masks of that shape: BCE, Dice with sigmoid, or both.
        mask_weight: the 17th-place solution [4] found 10 better than 1.

    Shape:
        logits {"study": (B, C), "mask": (B, 1, H, W), the latter optional} and
        targets {"label": (B,), "mask": (B, 1, H, W), "boxes_known": (B,) bool} -> scalar. Optional targets are
        "soft_label" (B, C), fractions of the classes that then stand for "label", and "weight" (B,), how much each
        image counts, in both losses: a weighted mean, so that weights alike change nothing. "label" and "boxes_known"
        may lie on the host, beside logits on a GPU.
        Of several processes each image whose ground truth is known counts alike, wherever it is; `weight` does so
        among the images of its process.
        After each call `members` holds the two losses before `mask_weight`, detached, for logging.
    """

    def __init__(self, classification: nn.Module, mask: Sequence[nn.Module] = (), mask_weight: float = 10.0) -> None:
        super().__init__()
        self.classification = classification
        self.mask = nn.ModuleList(mask)
        self.mask_weight = mask_weight
        self.members: dict[str, torch.Tensor] = {}

    def forward(self, logits: dict[str, torch.Tensor], targets: dict[str, torch.Tensor]) -> torch.Tensor:
        study, weight = logits["study"], targets.get("weight")
        ground_truth = targets.get("soft_label", targets["label"])
        known = torch.ones(len(study), dtype=torch.bool) if ground_truth.ndim == 2 else ground_truth != UNKNOWN_CLASS
        losses, counts = [], []
        chosen = _take_known(known, study, ground_truth.to(study.device, non_blocking=True), weight)
        # a loss of no image keeps its head in the graph, as distributed training wants it
        losses.append(study.sum() * 0.0 if chosen is None else _average(self.classification, *chosen))
        counts.append(0 if chosen is None else len(chosen[0]))
        if "mask" in logits and self.mask:
            chosen = _take_known(targets["boxes_known"].bool(), logits["mask"], targets["mask"], weight)
            losses.append(logits["mask"].sum() * 0.0 if chosen is None else self._compute_mask_loss(*chosen))
            counts.append(0 if chosen is None else len(chosen[0]))
        self.members = {name: loss.detach() for name, loss in zip(("classification", "mask"), losses, strict=False)}
        # processes that validate have batches of their own, and must not wait for one another
        ratios = compare_counts(counts, study.device) if study.requires_grad else [1.0] * len(counts)
        parts = zip((1.0, self.mask_weight), ratios, losses, strict=False)
        return torch.stack([scale * ratio * loss for scale, ratio, loss in parts]).sum()

    def _compute_mask_loss(
        self, logits: torch.Tensor, masks: torch.Tensor, weight: torch.Tensor | None
    ) -> torch.Tensor:
        return torch.stack([_average(loss, logits, masks.to(logits.dtype), weight) for loss in self.mask]).sum()


def _take_known(
    known: torch.Tensor, logits: torch.Tensor, ground_truth: torch.Tensor, weight: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None] | None:
    """Logits, ground truth and weight of the images whose ground truth is known; None where there is none.

    Which they are is best asked on the host: to ask a GPU is to wait for all that it has still to do.
    """
    positions = known.nonzero()[:, 0]
    if len(positions) == 0:
        return None
    if len(positions) == len(known):
        return logits, ground_truth, weight
    positions = positions.to(logits.device, non_blocking=True)
    return logits[positions], ground_truth[positions], None if weight is None else weight[positions]


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
