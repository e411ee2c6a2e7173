"""Weights on disk: written whole, with their SHA-256 beside them, checked before they are loaded.

The reason for a module of its own: MONAI's CheckpointSaver writes in place, so that a kill or a full disk destroys the
only good file, and torch loads a file with a flipped bit without a word.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from scripts.errors import InputError
from scripts.files import compute_sha256, replace_file, write_text
from scripts.processes import take_inner_network
from torch import nn

HASH_SUFFIX = ".sha256"


def save_weights(state: Mapping[str, Any], path: str | Path) -> None:
    """Write a state dictionary as a whole, then its SHA-256 in the format of `sha256sum`.

    The hash of the file that is replaced goes just before it: at no time does a wrong hash stand beside a good file,
    and a save that fails leaves the old file with its hash.
    """
    path = Path(path)
    with replace_file(path) as temporary:
        torch.save(dict(state), temporary)
        _name_hash_file(path).unlink(missing_ok=True)
    write_text(_name_hash_file(path), f"{compute_sha256(path)}  {path.name}\n")


def read_weights(path: str | Path) -> dict[str, Any]:
    """Read what `save_weights` wrote, tensors only.

    Raises:
        InputError: where the file is missing, differs from its SHA-256, or is no file of weights.
    """
    path, hash_file = Path(path), _name_hash_file(Path(path))
    if not path.is_file():
        raise InputError("a file of weights", f"nothing at {path}", "train first, or correct the path")
    if hash_file.is_file() and (found := compute_sha256(path)) not in hash_file.read_bytes().decode("ascii", "replace"):
        expected = f"{path} with the SHA-256 in {hash_file.name}"
        raise InputError(expected, f"{found[:12]}...", "fetch the weights again; do not use these")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for a damaged file
        raise InputError("a whole file of weights", f"{type(error).__name__} at {path}", "fetch them again") from error
    if not isinstance(state, dict):
        raise InputError("a dictionary of weights", f"{type(state).__name__} at {path}", "choose another file")
    return state


def load_weights(network: nn.Module, path: str | Path) -> nn.Module:
    """Load weights, or the network of a training's checkpoint, into a network, and return it.

    Half precision on disk becomes the network's own precision.

    Raises:
        InputError: as `read_weights`, and where the weights belong to another network or are not finite.
    """
    state = read_weights(path)
    weights = state.get("network", state)
    if not isinstance(weights, Mapping):
        raise InputError("weights of a network", f"{type(weights).__name__} at {path}", "choose another file")
    unfit = [name for name, each in weights.items() if isinstance(each, torch.Tensor) and not each.isfinite().all()]
    if unfit:
        advice = "use weights of a training that did not diverge"
        raise InputError("finite weights", f"NaN or infinity in {unfit[0]} at {path}", advice)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            "weights of this network", f"others at {path}", "use the configuration that they were trained with"
        ) from error
    network.weights_file = str(path)  # type: ignore[assignment]  # for messages about what the network predicts
    return network


def load_copies(network: nn.Module, paths: Mapping[str, str | Path]) -> list[nn.Module]:
    """A copy of a network for each file of weights, in the order of the names.

    Raises:
        InputError: as `load_weights`.
    """
    return [load_weights(copy.deepcopy(network), paths[name]) for name in sorted(paths)]


def ship_weights(checkpoint: str | Path, path: str | Path) -> None:
    """Write the network of a training's checkpoint in half precision, for release.

    Integers (batch counts of batch norm) stay as they are.
    """
    state = read_weights(checkpoint)
    network = state.get("network", state)
    save_weights({k: v.half() if v.is_floating_point() else v for k, v in network.items()}, path)


class SafeCheckpointSaver:
    """Keeps a training's last two epochs and its best one; nothing good is removed before its successor is on disk.

    Args:
        output_dir: where last.pt, previous.pt and best.pt go.
        members: what to keep by name (network, optimizer, ...): objects with `state_dict`.
        evaluator: its `metric` decides what is best; a metric that is not finite never does.
        metric: name of the metric; larger is better.

    best.pt holds the network only.
    """

    def __init__(self, output_dir: str | Path, members: Mapping[str, Any], evaluator: Engine, metric: str) -> None:
        self.output_dir, self.members = Path(output_dir), members
        self.evaluator, self.metric = evaluator, metric
        self.best = -math.inf

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        last = self.output_dir / "last.pt"
        if last.is_file():
            _move(last, self.output_dir / "previous.pt")
        state = {name: take_inner_network(member).state_dict() for name, member in self.members.items()}
        save_weights({**state, "epoch": engine.state.epoch}, last)
        value = float(self.evaluator.state.metrics.get(self.metric, math.nan))
        if math.isfinite(value) and value > self.best:
            self.best = value
            save_weights({"network": state["network"], "epoch": engine.state.epoch}, self.output_dir / "best.pt")
            logging.getLogger(__name__).info("best %s so far: %.4f in epoch %d", self.metric, value, engine.state.epoch)


def _name_hash_file(path: Path) -> Path:
    return path.with_name(path.name + HASH_SUFFIX)


def _move(source: Path, target: Path) -> None:
    _name_hash_file(target).unlink(missing_ok=True)
    source.replace(target)
    if _name_hash_file(source).is_file():
        _name_hash_file(source).replace(_name_hash_file(target))
