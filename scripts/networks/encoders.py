"""Encoders from timm: cut before pooling, or as maps of several strides; weights random, from a file, or online."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from scripts.errors import InputError
from scripts.networks.pretrained import has_package, load_package_weights
from torch import nn
from torchvision.ops import Permute


def build_encoder(name: str, in_channels: int, weights: str | Path | None, options: dict[str, Any]) -> nn.Module:
    """A timm model cut before pooling: (B, in_channels, H, W) -> (B, num_features, H / 32, W / 32).

    Args:
        name: a timm model whose last map has stride 32.
        in_channels: channels of the image.
        weights: None (random), "imagenet" (the encoder's package where there is one, timm's hub otherwise), "hub"
            (timm's, online), or a local .pt or .safetensors file.
        options: further arguments of `timm.create_model`; a transformer wants `img_size`, height and width in pixels.
            "checkpointing": true keeps no activations inside of the encoder's stages and computes them again for the
            gradient: less memory for a third more time; batch norm takes each batch twice into its running statistics.

    Raises:
        InputError: where there is no such model, its weights cannot be had, or it cannot do without its activations.
    """
    encoder = _create_model(name, in_channels, weights, {"num_classes": 0, "global_pool": "", **options})
    if getattr(encoder, "output_fmt", "NCHW") == "NHWC":  # Swin; what is left of its head pools nothing
        encoder.head = Permute([0, 3, 1, 2])
    return encoder


def build_feature_encoder(
    name: str, in_channels: int, strides: Sequence[int], weights: str | Path | None, options: dict[str, Any]
) -> nn.Module:
    """A timm model that gives the last map of each stride: (B, in_channels, H, W) -> list of (B, C, H / s, W / s).

    Args and raises as `build_encoder`, and where an encoder has no maps of these strides; `strides` are powers of 2 up
    to 32. `feature_info.channels()` reports the C.
    """
    # counted from the last map, of stride 32: some encoders begin with a map of stride 2, some with one of stride 4
    places = tuple(stride.bit_length() - 7 for stride in strides)
    encoder = _create_model(name, in_channels, weights, {"features_only": True, "out_indices": places, **options})
    found = encoder.feature_info.reduction()  # type: ignore[union-attr,operator]
    if found != list(strides):
        wanted, others = (", ".join(map(str, numbers)) for numbers in (strides, found))
        raise InputError(f"an encoder with maps of stride {wanted}", f"{others} in {name}", "choose another encoder")
    return encoder


def _create_model(name: str, in_channels: int, weights: str | Path | None, options: dict[str, Any]) -> nn.Module:
    options, checkpointing = dict(options), options.get("checkpointing", False)
    options.pop("checkpointing", None)
    from_package = weights == "imagenet" and has_package(name)
    from_hub = weights in ("hub", "imagenet") and not from_package
    if not timm.is_model(name):
        raise InputError("the name of a timm model", repr(name), "choose one of timm.list_models()")
    try:
        encoder = timm.create_model(name, pretrained=from_hub, in_chans=in_channels, **options)
    except (OSError, RuntimeError) as error:  # huggingface_hub's offline errors are OSErrors, timm's RuntimeErrors
        if not from_hub:
            raise
        raise InputError(
            f"the weights of {name} from timm's hub",
            f"no way to them ({type(error).__name__})",
            "go online, name a local file, or set the weights to null for a random start",
        ) from error
    if checkpointing:
        _checkpoint_activations(encoder, name)
    if from_package:
        load_package_weights(encoder, name)
    elif weights is not None and not from_hub:
        load_encoder_weights(encoder, Path(weights))
    return encoder


def _checkpoint_activations(encoder: nn.Module, name: str) -> None:
    try:
        encoder.set_grad_checkpointing(True)  # type: ignore[operator]
    except (AssertionError, AttributeError):
        advice = "choose another encoder, or leave the option out"
        raise InputError("an encoder that can recompute its activations", name, advice) from None


def load_encoder_weights(encoder: nn.Module, path: Path) -> None:
    """Load weights for an encoder from a .pt or .safetensors file: an encoder's own, or those of a network round one.

    A detector may so begin with the encoder of a study classifier; what the file holds beyond it is ignored.

    Raises:
        InputError: where the file is missing or does not fit.
    """
    if not path.is_file():
        raise InputError("a file of encoder weights", f"nothing at {path}", "correct the path or set weights to null")
    advice = "choose the matching encoder and number of channels"
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
        missing, _ = encoder.load_state_dict(_pick_encoder(state), strict=False)
    except Exception as error:  # a damaged file, or tensors of another shape: torch and safetensors raise many types
        raise InputError("weights of this encoder", f"others, or damaged ones, in {path.name}", advice) from error
    if missing:
        raise InputError("weights of this encoder", f"{len(missing)} tensors missing in {path.name}", advice)


def _pick_encoder(state: dict[str, Any]) -> dict[str, Any]:
    prefix, state = "encoder.", state.get("network", state)
    inside = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return inside or state


def check_input_shape(image: torch.Tensor) -> None:
    """Raise where height or width is no multiple of the encoder's stride; the nearest valid size is named."""
    height, width = image.shape[-2], image.shape[-1]
    if height % 32 != 0 or width % 32 != 0:
        valid_height, valid_width = max(1, (height + 16) // 32) * 32, max(1, (width + 16) // 32) * 32
        raise ValueError(
            f"expected height and width as multiples of 32, got {height} x {width}; "
            f"the nearest valid size is {valid_height} x {valid_width}"
        )


def normalise(image: torch.Tensor, mean: float, std: float) -> torch.Tensor:
    """Grey values as an encoder wants them: inside of the network, so that whoever loads it cannot forget it."""
    if mean == 0.0 and std == 1.0:
        return image
    return (image - mean) / std
