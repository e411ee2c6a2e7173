"""Ensemble of study classifiers: the weighted mean of their predictions on the same image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scripts.errors import InputError
from torch import nn


class StudyEnsemble(nn.Module):
    """The weighted mean of its members' probabilities, as logits: softmax and sigmoid give the means back.

    Args:
        members: networks that take one picture, such as `StudyClassifier` of several folds; all with a mask or none.
        ensemble_weights: a weight for each member, scaled to sum 1; None: all alike.

    Shape:
        (B, C, H, W) -> {"study": (B, N), "mask": (B, 1, H, W)}, the latter where the members have it.

    Raises:
        InputError: where there is no member, or the weights are not one positive number for each.
    """

    def __init__(self, members: Sequence[nn.Module], ensemble_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        given = [1.0] * len(members) if ensemble_weights is None else list(ensemble_weights)
        if not members or len(given) != len(members) or min(given) <= 0:
            expected = f"a fraction above 0 for each of {len(members)} members"
            raise InputError(expected, str(given), "say one for each with --ensemble_weights, or null for equal ones")
        self.members = nn.ModuleList(members)
        self.register_buffer("ensemble_weights", torch.tensor(given) / sum(given), persistent=False)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        reported = [member(image) for member in self.members]
        study = self._average([logits["study"].float().softmax(dim=1) for logits in reported])
        out = {"study": study.clamp_min(torch.finfo(torch.float32).tiny).log()}
        if "mask" in reported[0]:
            out["mask"] = torch.logit(
                self._average([logits["mask"].float().sigmoid() for logits in reported]), eps=1e-6
            )
        return out

    def _average(self, probabilities: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.tensordot(self.ensemble_weights, torch.stack(list(probabilities)), dims=1)
