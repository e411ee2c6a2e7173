"""Encoders that compute their activations again give the same gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scripts.errors import InputError
from scripts.networks import OpacityDetector, StudyClassifier
from scripts.networks.encoders import build_encoder
from torch import nn


def count_saved_bytes(network: nn.Module, images: torch.Tensor) -> tuple[int, list[torch.Tensor]]:
    """Bytes that a training step keeps for its gradients, and the gradients."""
    saved: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = network(images)
        kept = sum(saved.values())
    outputs = [each for value in output.values() for each in (value if isinstance(value, list) else [value])]
    sum(each.square().mean() for each in outputs).backward()
    return kept, [each.grad for each in network.parameters()]  # type: ignore[misc]


def build(kind: str, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    if kind == "classifier":
        return StudyClassifier("tf_efficientnetv2_b0", mask_widths=[8] * 5, encoder_options=options).train()
    return OpacityDetector("tf_efficientnetv2_b0", width=8, encoder_options=options).network.train()


@pytest.mark.parametrize("kind", ["classifier", "detector"])
def test_checkpointing_saves_memory_and_changes_no_gradient(kind: str):
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    (usual, gradients), (less, same) = (
        count_saved_bytes(build(kind, **options), images) for options in ({}, {"checkpointing": True})
    )
    assert less < 0.5 * usual
    for one, other in zip(gradients, same, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_an_encoder_that_cannot_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("timm.create_model", lambda *args, **options: nn.Identity())
    with pytest.raises(InputError, match="that can recompute its activations, found test_efficientnet; choose another"):
        build_encoder("test_efficientnet", 1, None, {"checkpointing": True})
