"""Lovasz hinge: a mask loss that follows the intersection over union itself."""

from __future__ import annotations

import torch
from torch import nn


class LovaszHingeLoss(nn.Module):
    """The convex hull of 1 - intersection over union, of each image's mask, then the mean over images.

    An image without opacities asks for the mask's largest logit to be below -1, whatever the others say.

    Shape:
        logits (B, 1, H, W), masks (B, 1, H, W) -> scalar; a fraction of at least one half counts as opacity.

    Source: Berman et al. 2018, arXiv:1705.08790, equation 9 and algorithm 1.
    """

    def forward(self, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        scores, ground_truth = logits.flatten(1), (masks.flatten(1) >= 0.5).to(logits.dtype)
        errors, order = (1 - scores * (2 * ground_truth - 1)).sort(dim=1, descending=True)
        return (errors.clamp_min(0) * _differ(ground_truth.gather(1, order))).sum(dim=1).mean()


def _differ(ground_truth: torch.Tensor) -> torch.Tensor:
    """Increments of 1 - IoU with each further wrong pixel (B, N), for references sorted by their errors."""
    total = ground_truth.sum(dim=1, keepdim=True)
    lost = 1 - (total - ground_truth.cumsum(dim=1)) / (total + (1 - ground_truth).cumsum(dim=1))
    return lost.diff(dim=1, prepend=torch.zeros_like(total))
