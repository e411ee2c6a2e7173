"""Export of the networks as TorchScript and ONNX, each compared with the eager one.

The reason for a module of its own: MONAI's exports know one network of a config, and of a detector not its inside,
which is all of it that scripts; anchors and suppression of boxes stay in Python.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.bundle import ConfigParser
from scripts.errors import InputError, find_input_error
from scripts.files import replace_file, write_text
from scripts.networks import export_onnx_bytes, flatten_outputs, start_onnx
from scripts.options import reject_unknown_names
from torch import nn
from tqdm import tqdm

#: Networks of inference.json, by component, each with the name of the side of its input.
NETWORKS: dict[str, tuple[str, str]] = {
    "study_classifier": ("network", "image_size"),
    "lung_detector": ("lung_detector", "lung_image_size"),
    "opacity_detector": ("opacity_detector", "opacity_image_size"),
}

#: The largest difference between an export and the eager network that is accepted to be rounding.
TOLERANCE = 1e-4


class StudyProbabilities(nn.Module):
    """The study classifier as one tensor: (B, C, H, W) -> probabilities (B, N).

    That is what metadata.json calls `pred`, and what MONAI's verify_net_in_out can look at; the classifier itself
    returns a dictionary.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: dict[str, torch.Tensor] = self.network(image)
        return logits["study"].softmax(dim=1)


def read_networks(config_file: str | Path, changes: Mapping[str, Any]) -> dict[str, tuple[nn.Module, int]]:
    """The networks of inference.json with their weights, on the CPU and as they script, and the sides of their inputs.

    Raises:
        InputError: where the config is not there or the weights are not right.
    """
    config_file = Path(config_file)
    if not config_file.is_file():
        raise InputError("a config with the networks", f"no file {config_file}", "name inference.json with --config")
    parser = ConfigParser()
    parser.read_config(config_file)
    parser.read_meta(config_file.with_name("metadata.json"))
    known: Any = parser.config
    reject_unknown_names(changes, known)
    parser.update({"device": "$torch.device('cpu')", **changes})
    try:
        return {
            name: (_take_scriptable(parser.get_parsed_content(part)), int(parser.get_parsed_content(side)))
            for name, (part, side) in NETWORKS.items()
        }
    except RuntimeError as error:  # MONAI's word for whatever a component raises
        if (bad_input := find_input_error(error)) is None:
            raise
        raise bad_input from None


def _take_scriptable(network: nn.Module) -> nn.Module:
    inside = network.network if isinstance(network, RetinaNetDetector) else network
    return inside.eval()


def export_networks(config_file: str | Path, out: str | Path, **changes: Any) -> dict[str, dict[str, float | None]]:
    """Write `<network>.ts` and `<network>.onnx` of each network, and `exports.json`, what was measured.

    Args:
        config_file: inference.json.
        out: folder.
        changes: other values for the config's names, such as `weights`.

    Returns:
        For each network the largest difference from the eager one, for "torchscript" and "onnx"; None where
        onnxruntime is not installed.

    Raises:
        InputError: as `read_networks`, and where an export differs by more than `TOLERANCE`.
    """
    out, measured = Path(out), {}
    networks = read_networks(config_file, changes).items()
    for name, (network, side) in tqdm(networks, "exporting", unit="network", disable=None):
        pictures = torch.rand(2, 1, side, side, generator=torch.Generator().manual_seed(0))
        measured[name] = {
            "torchscript": export_torchscript(network, out / f"{name}.ts", pictures),
            "onnx": export_onnx(network, out / f"{name}.onnx", pictures),
        }
    write_text(out / "exports.json", json.dumps(measured, indent=1) + "\n")
    return measured


@torch.no_grad()
def export_torchscript(network: nn.Module, path: Path, pictures: torch.Tensor) -> float:
    """Script a network, write it, and return how far what was written differs from it on `pictures`."""
    with replace_file(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch prefers torch.export; Label, Deploy and zoo do not
        torch.jit.script(network).save(str(temporary))
    found = torch.jit.load(str(path))(pictures)
    return _compare_outputs(path, network, pictures, list(flatten_outputs(found).values()))


@torch.no_grad()
def export_onnx(network: nn.Module, path: Path, pictures: torch.Tensor) -> float | None:
    """Write a network as ONNX, for batches of any number, and return how far it differs on `pictures`."""
    model = export_onnx_bytes(network, pictures[:1])
    with replace_file(path) as temporary:
        temporary.write_bytes(model)
    if find_spec("onnxruntime") is None:  # `start_onnx` imports it, so that it writes nothing at home
        return None
    return _compare_outputs(path, network, pictures, start_onnx(model, torch.get_num_threads())(pictures.numpy()))


def _compare_outputs(path: Path, network: nn.Module, pictures: torch.Tensor, found: Sequence[Any]) -> float:
    expected = flatten_outputs(network(pictures)).values()
    pairs = [(value.numpy(), np.asarray(other)) for value, other in zip(expected, found, strict=True)]
    difference = max(float(np.abs(a - b).max()) for a, b in pairs)
    if not difference <= TOLERANCE:
        raise InputError(
            f"an export within {TOLERANCE} of the eager network", f"{difference:.2g} in {path.name}", "do not use it"
        )
    return difference
