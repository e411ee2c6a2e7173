"""One network: its films as a batch of plain tensors, mixed precision, and several views of a film."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from monai.utils import convert_to_tensor

Logits = dict[str, torch.Tensor]

#: Mirror axes of each view; every view is its own inverse.
VIEWS: dict[str, tuple[int, ...]] = {"identity": (), "horizontal": (-1,), "vertical": (-2,), "both": (-2, -1)}


def check_views(views: Sequence[str]) -> tuple[str, ...]:
    """The views, where there are any and all of them are known.

    Raises:
        ValueError: naming those that are not.
    """
    unknown = sorted(set(views) - set(VIEWS))
    if unknown or not views:
        raise ValueError(f"expected views among {', '.join(VIEWS)}, got {', '.join(unknown) or 'none'}")
    return tuple(views)


class AutocastInferer(Inferer):
    """One forward pass in mixed precision; the same line serves CPU and GPU, and bfloat16 needs no scaler.

    Args:
        dtype: name of a torch type, "bfloat16" on a GPU; None or "float32": full precision, which on a CPU without
            matrix units is faster (22 against 28 ms a film and training step).

    Shape:
        image (B, C, H, W) -> what the network returns, a dictionary of logits as a rule, float32.
    """

    def __init__(self, dtype: str | None = "bfloat16") -> None:
        super().__init__()
        self.dtype = None if dtype in (None, "float32") else getattr(torch, dtype)

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with torch.autocast(inputs.device.type, dtype=self.dtype, enabled=self.dtype is not None):
            logits = network(inputs, *args, **kwargs)
        return _to_float(logits)


def stack_pictures(prepared: Sequence[Mapping[str, Any]]) -> torch.Tensor:
    """The "image" of each film, prepared to one size, as a batch (B, C, H, W) of plain tensors.

    MONAI's transforms hand out MetaTensors, whose bookkeeping would go through every layer of a network.
    """
    pictures = torch.stack([convert_to_tensor(film["image"], track_meta=False) for film in prepared])
    return pictures.contiguous(memory_format=torch.channels_last)


def _to_float(output: Any) -> Any:
    """What a network returned, tensors of floats in full precision, in the same dictionaries and lists."""
    if isinstance(output, dict):
        return {name: _to_float(value) for name, value in output.items()}
    if isinstance(output, list):
        return [_to_float(value) for value in output]
    return output.float() if output.is_floating_point() else output


class ViewsInferer(AutocastInferer):
    """Test-time augmentation: the mean of the probabilities over mirrored views, as logits.

    Args:
        views: keys of `VIEWS`.
        dtype: as for `AutocastInferer`.

    Shape:
        image (B, C, H, W) -> {"study": (B, N) logs of mean softmax, "mask": (B, 1, H, W) logits of mean sigmoid}, so
        that softmax and sigmoid give the mean probabilities back, and "study_views" (B, V, N), logs of each view's
        softmax: what the views disagree about is a measure of doubt.
    """

    def __init__(self, views: Sequence[str] = ("identity", "horizontal"), dtype: str | None = "bfloat16") -> None:
        super().__init__(dtype)
        self.views = check_views(views)

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Logits], *args: Any, **kwargs: Any) -> Logits:
        seen = [self._look(inputs, network, VIEWS[view], *args, **kwargs) for view in self.views]
        mean = {name: torch.stack([logits[name] for logits in seen]).mean(dim=0) for name in seen[0]}
        tiny = torch.finfo(torch.float32).tiny
        views = torch.stack([logits["study"] for logits in seen], dim=1)
        out = {"study": mean["study"].clamp_min(tiny).log(), "study_views": views.clamp_min(tiny).log()}
        if "mask" in mean:
            out["mask"] = torch.logit(mean["mask"], eps=1e-6)
        return out

    def _look(
        self, inputs: torch.Tensor, network: Callable[..., Logits], axes: tuple[int, ...], *args: Any, **kwargs: Any
    ) -> Logits:
        logits = super().__call__(torch.flip(inputs, axes), network, *args, **kwargs)
        probabilities = {"study": logits["study"].softmax(dim=1)}
        if "mask" in logits:
            probabilities["mask"] = torch.flip(logits["mask"].sigmoid(), axes)
        return probabilities
