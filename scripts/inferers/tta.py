"""Mixed precision and test-time augmentation by flips for one network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from monai.utils import convert_to_tensor
from scripts.predictions import NonFinitePrediction
from torch import nn

Logits = dict[str, torch.Tensor]

#: Mirror axes of each flip; every flip is its own inverse.
TTA_FLIPS: dict[str, tuple[int, ...]] = {"identity": (), "horizontal": (-1,), "vertical": (-2,), "both": (-2, -1)}

#: So many pictures go through a network at once, where they are flips of one batch: of a single image both flips
#: together take two thirds of the time of one after the other on two cores.
MAX_FLIPPED = 8


def check_tta_flips(tta_flips: Sequence[str]) -> tuple[str, ...]:
    """The flips, where there are any and all of them are known.

    Raises:
        ValueError: naming those that are not.
    """
    unknown = sorted(set(tta_flips) - set(TTA_FLIPS))
    if unknown or not tta_flips:
        raise ValueError(f"expected flips among {', '.join(TTA_FLIPS)}, got {', '.join(unknown) or 'none'}")
    return tuple(tta_flips)


def flip_together(pictures: torch.Tensor, tta_flips: Sequence[str]) -> Iterator[tuple[Sequence[str], torch.Tensor]]:
    """Flips that go through a network together, and their pictures, flip by flip: all of few pictures, else one."""
    size = max(1, MAX_FLIPPED // len(pictures))
    for start in range(0, len(tta_flips), size):
        flips = tta_flips[start : start + size]
        yield flips, torch.cat([torch.flip(pictures, TTA_FLIPS[flip]) for flip in flips])


class AutocastInferer(Inferer):
    """One forward pass in mixed precision; the same line serves CPU and GPU, and bfloat16 needs no scaler.

    Args:
        dtype: name of a torch type, "bfloat16" on a GPU; None or "float32": full precision, which on a CPU without
            matrix units is faster (22 against 28 ms an image and training step).

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
    """The "image" of each image, prepared to one size, as a batch (B, C, H, W) of plain tensors.

    MONAI's transforms hand out MetaTensors, whose bookkeeping would go through every layer of a network.
    """
    pictures = torch.stack([convert_to_tensor(image["image"], track_meta=False) for image in prepared])
    return pictures.contiguous(memory_format=torch.channels_last)


def check_finite(output: Any, network: Any) -> Any:
    """A network's output, where all numbers in it are finite.

    Raises:
        NonFinitePrediction: naming the output and the weights of the network.
    """
    named = output.items() if isinstance(output, dict) else enumerate(output) if isinstance(output, list) else ()
    for name, value in named:
        if isinstance(value, torch.Tensor) and not bool(torch.isfinite(value).all()):
            raise NonFinitePrediction(f"NaN or infinity in {name} by {name_network(network)}")
        check_finite(value, network)
    return output


def name_network(network: Any) -> str:
    """The files of a network's weights as `load_weights` noted them, or the network's type."""
    modules = network.modules() if isinstance(network, nn.Module) else ()
    files = [str(module.weights_file) for module in modules if hasattr(module, "weights_file")]
    return ", ".join(files) or type(network).__name__


def _to_float(output: Any) -> Any:
    """Convert a network's output to full precision, in the same dictionaries and lists."""
    if isinstance(output, dict):
        return {name: _to_float(value) for name, value in output.items()}
    if isinstance(output, list):
        return [_to_float(value) for value in output]
    return output.float() if output.is_floating_point() else output


class TTAInferer(AutocastInferer):
    """Test-time augmentation: the mean of the probabilities over flips, as logits.

    Args:
        tta_flips: keys of `TTA_FLIPS`.
        dtype: as for `AutocastInferer`.

    Shape:
        image (B, C, H, W) -> {"study": (B, N) logs of mean softmax, "mask": (B, 1, H, W) logits of mean sigmoid}, so
        that softmax and sigmoid give the mean probabilities back, and "study_tta" (B, V, N), logs of each flip's
        softmax: what the flips disagree about is a measure of doubt.
    """

    def __init__(self, tta_flips: Sequence[str] = ("identity", "horizontal"), dtype: str | None = "bfloat16") -> None:
        super().__init__(dtype)
        self.tta_flips = check_tta_flips(tta_flips)

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Logits], *args: Any, **kwargs: Any) -> Logits:
        seen = []
        for flips, pictures in flip_together(inputs, self.tta_flips):
            logits = check_finite(super().__call__(pictures, network, *args, **kwargs), network)
            parts = zip(*(each.chunk(len(flips)) for each in logits.values()), strict=True)
            seen += [_undo(dict(zip(logits, part, strict=True)), flip) for flip, part in zip(flips, parts, strict=True)]
        mean = {name: torch.stack([logits[name] for logits in seen]).mean(dim=0) for name in seen[0]}
        tiny = torch.finfo(torch.float32).tiny
        tta_flips = torch.stack([logits["study"] for logits in seen], dim=1)
        out = {"study": mean["study"].clamp_min(tiny).log(), "study_tta": tta_flips.clamp_min(tiny).log()}
        if "mask" in mean:
            out["mask"] = torch.logit(mean["mask"], eps=1e-6)
        return out


def _undo(logits: Logits, flip: str) -> Logits:
    """Probabilities of a flip's logits, the mask where the image had it."""
    probabilities = {"study": logits["study"].softmax(dim=1)}
    if "mask" in logits:
        probabilities["mask"] = torch.flip(logits["mask"].sigmoid(), TTA_FLIPS[flip])
    return probabilities
