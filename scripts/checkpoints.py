"""Weights on disk: written whole, with their SHA-256 beside them, checked before they are loaded; a training's state.

The reason for a module of its own: MONAI's CheckpointSaver writes in place, so that a kill or a full disk destroys the
only good file, and torch loads a file with a flipped bit without a word.

A hash stands beside its file at every instant: while a file is exchanged, its `.sha256` lists both, the new one first.
"""

from __future__ import annotations

import copy
import logging
import math
import os
import shutil
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from scripts.errors import InputError
from scripts.files import compute_sha256, replace_file, write_text
from scripts.output_folders import claim_folder, find_results
from scripts.processes import take_inner_network
from scripts.switches import read_switch
from torch import nn

HASH_SUFFIX = ".sha256"
LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
#: What a training writes into its output folder, as patterns.
TRAINING_RESULTS = (f"{LAST}*", f"{PREVIOUS}*", f"{BEST}*", "history.json", "record.json")
#: Where these stand alone, a training was built and never ran, as MONAI does that checks a workflow's properties.
EVENT_FILES = "events.out.tfevents.*"
#: Where a state dictionary's metadata name what the weights belong to.
ORIGIN = "chest_xray_covid19"


def claim_training_folder(output_dir: str | Path, resume: bool | str = False, replace: bool | str = False) -> Path:
    """Take the output folder of a training, as `claim_folder` does; to be called before anything is written there."""
    has_results = bool(find_results(Path(output_dir), TRAINING_RESULTS))
    return claim_folder(output_dir, (*TRAINING_RESULTS, EVENT_FILES) if has_results else (), resume, replace)


def save_weights(state: Mapping[str, Any], path: str | Path) -> None:
    """Write a state dictionary as a whole, with its SHA-256 beside it in the format of `sha256sum`.

    Equal states give equal bytes, whatever the file is called. A save that fails leaves the old file with its hash.
    """
    path = Path(path)
    with replace_file(path) as temporary:
        with temporary.open("wb") as file:  # a path would go into the archive as the name of its folder
            torch.save(state, file)
        _list_hashes(path, [compute_sha256(temporary), *_read_hashes(path)[:1]])
    _list_hashes(path, _read_hashes(path)[:1])


def read_weights(path: str | Path) -> dict[str, Any]:
    """Read what `save_weights` wrote, tensors and plain values only.

    A file without a hash is told of in the log; one that names what it belongs to was written with a hash, and is
    rejected without it.

    Raises:
        InputError: where the file is missing, differs from its SHA-256, lacks it, or is no file of weights.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("a file of weights", f"nothing at {path}", "train first, or correct the path")
    hashed = _name_hash_file(path).is_file()
    if hashed and (found := compute_sha256(path)) not in _read_hashes(path):
        expected = f"{path} with the SHA-256 in {path.name}{HASH_SUFFIX}"
        raise InputError(expected, f"{found[:12]}...", "fetch the weights again; do not use these")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for a damaged file
        raise InputError("a whole file of weights", f"{type(error).__name__} at {path}", "fetch them again") from error
    if not isinstance(state, dict):
        raise InputError("a dictionary of weights", f"{type(state).__name__} at {path}", "choose another file")
    if not hashed:
        _miss_hash(path, state)
    return state


def read_origin(state: Mapping[str, Any]) -> dict[str, Any]:
    """The origin that weights, or a training's checkpoint, name; empty where they were written before 0.5.0.

    It stands in the metadata that torch keeps beside the tensors of a state dictionary, so that these are tensors only.
    """
    network = state.get("network", state)
    return dict(getattr(network, "_metadata", {}).get("", {}).get(ORIGIN, {}))


def name_origin(network: Mapping[str, Any], origin: Mapping[str, Any]) -> OrderedDict[str, Any]:
    """The state of a network with what it belongs to: bundle version, config, encoder, size of its images."""
    named = OrderedDict(network)
    metadata = OrderedDict(getattr(network, "_metadata", {}))
    metadata[""] = {**metadata.get("", {}), ORIGIN: dict(origin)}
    named._metadata = metadata  # type: ignore[attr-defined]
    return named


def load_weights(network: nn.Module, path: str | Path, image_size: int | None = None) -> nn.Module:
    """Load weights, or the network of a training's checkpoint, into a network, and return it.

    Half precision on disk becomes the network's own precision.

    Args:
        network: of the shape that the weights were trained in.
        path: their file.
        image_size: of the images that it will see, pixels; another one than it was trained on is told of in the log.

    Raises:
        InputError: as `read_weights`, and where the weights belong to another network, are not finite, or were trained
            on grey values normalised otherwise.
    """
    state = read_weights(path)
    weights, origin = state.get("network", state), read_origin(state)
    if not isinstance(weights, Mapping):
        raise InputError("weights of a network", f"{type(weights).__name__} at {path}", "choose another file")
    unfit = [name for name, each in weights.items() if isinstance(each, torch.Tensor) and not each.isfinite().all()]
    if unfit:
        advice = "use weights of a training that did not diverge"
        raise InputError("finite weights", f"NaN or infinity in {unfit[0]} at {path}", advice)
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        named = " ".join(f"{name} {origin[name]}" for name in ("config", "encoder", "version") if origin.get(name))
        raise InputError(
            "weights of this network",
            f"others at {path}" + (f" ({named})" if named else ""),
            "use the configuration that they were trained with",
        ) from error
    _check_normalisation(network, origin, Path(path).name)
    if image_size is not None and origin.get("image_size", image_size) != image_size:
        message = "%s: trained on images of %s px, used on %s px; set the option image_size to what it was trained on"
        logging.getLogger(__name__).warning(message, Path(path).name, origin["image_size"], image_size)
    network.weights_file = str(path)  # type: ignore[assignment]  # for messages about what the network predicts
    return network


def _check_normalisation(network: nn.Module, origin: Mapping[str, Any], name: str) -> None:
    """Compare what no tensor of the weights shows: by which mean and deviation a network normalises grey values."""
    for module in network.modules():
        for option in ("pixel_mean", "pixel_std"):
            found = getattr(module, option, None)
            if found is not None and origin.get(option, found) != found:
                expected = f"{option} {origin[option]}, by which {name} was trained"
                raise InputError(expected, f"{found}", f"set the network's {option} to it")


def load_members(
    network: nn.Module, paths: Mapping[str, str | Path], others: Mapping[str, nn.Module] | None = None
) -> list[nn.Module]:
    """The networks of an ensemble with their weights, in the order of their names.

    Args:
        network: what a member is, a copy for each.
        paths: file of each member's weights, by its name.
        others: by name the members that are another network.

    Raises:
        InputError: as `load_weights`.
    """
    known = others or {}
    return [
        load_weights(known[name] if name in known else copy.deepcopy(network), paths[name]) for name in sorted(paths)
    ]


def ship_weights(checkpoint: str | Path, path: str | Path) -> None:
    """Write the network of a training's checkpoint in half precision, for release, with what it belongs to.

    Integers (batch counts of batch norm) stay as they are.

    Raises:
        InputError: as `read_weights`, and where the checkpoint itself would be written over.
    """
    if Path(path).resolve() == Path(checkpoint).resolve():
        raise InputError(
            "another file than the checkpoint", str(path), "choose another --out: a training resumes by it"
        )
    state = read_weights(checkpoint)
    network = state.get("network", state)
    half = OrderedDict((k, v.half() if v.is_floating_point() else v) for k, v in network.items())
    half._metadata = getattr(network, "_metadata", OrderedDict())  # type: ignore[attr-defined]
    save_weights(half, path)


class SafeCheckpointSaver:
    """Keeps a training's last two epochs and its best one, and resumes from them; nothing good is ever removed.

    Args:
        output_dir: where last.pt, previous.pt and best.pt go.
        members: what to keep by name (network, optimizer, ...): objects with `state_dict` and `load_state_dict`. One
            that is the same object as an earlier one is kept once.
        evaluator: its `metric` decides what is best; a metric that is not finite never does.
        metric: name of the metric; larger is better.
        origin: what the weights belong to, for whoever finds them alone.
        resume: begin behind the epoch of last.pt, or of previous.pt where that is damaged.
        writes: False in all processes of a run but the first; each of them resumes.

    best.pt holds the network only.

    Raises:
        InputError: when a training starts that is to be resumed, where there is no checkpoint that can be read.
    """

    def __init__(
        self,
        output_dir: str | Path,
        members: Mapping[str, Any],
        evaluator: Engine,
        metric: str,
        origin: Mapping[str, Any] | None = None,
        resume: bool | str = False,
        writes: bool = True,
    ) -> None:
        self.output_dir, self.origin = Path(output_dir), dict(origin or {})
        self.resume, self.writes = read_switch(resume, "resume"), writes
        self.members: dict[str, Any] = {}
        for name, member in members.items():
            if member is not None and not any(take_inner_network(member) is other for other in self.members.values()):
                self.members[name] = take_inner_network(member)
        self.evaluator, self.metric = evaluator, metric
        self.best = -math.inf

    def attach(self, engine: Engine) -> None:
        if self.resume:
            engine.add_event_handler(Events.STARTED, self._restore)
        if self.writes:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self)
            engine.add_event_handler(Events.COMPLETED, self._report)

    def __call__(self, engine: Engine) -> None:
        state = {name: member.state_dict() for name, member in self.members.items()}
        state["network"] = name_origin(state["network"], {**self.origin, "epoch": engine.state.epoch})
        value = float(self.evaluator.state.metrics.get(self.metric, math.nan))
        if math.isfinite(value) and value > self.best:
            self.best = value
            # before last.pt: a training killed between both comes to this epoch again
            save_weights({"network": state["network"], "epoch": engine.state.epoch}, self.output_dir / BEST)
            logging.getLogger(__name__).info("best %s so far: %.4f in epoch %d", self.metric, value, engine.state.epoch)
        _keep_previous(self.output_dir / LAST, self.output_dir / PREVIOUS)
        save_weights({**state, "epoch": engine.state.epoch, "best": self.best}, self.output_dir / LAST)

    def _report(self, engine: Engine) -> None:
        score = f"best {self.metric} {self.best:.4f} in {BEST}, " if math.isfinite(self.best) else ""
        message = "%slast epoch %d in %s of %s"
        logging.getLogger(__name__).info(message, score, engine.state.epoch, LAST, self.output_dir)

    def _restore(self, engine: Engine) -> None:
        state, path = _read_last(self.output_dir)
        try:
            for name, member in self.members.items():
                member.load_state_dict(state[name])
            self.best, epoch = float(state["best"]), int(state["epoch"])
        except (KeyError, ValueError, RuntimeError, TypeError) as error:
            found = f"others in {path}"
            raise InputError("network, optimizer and history of this training", found, "train anew") from error
        if path.name == PREVIOUS and self.writes:  # the damaged one must not take its place
            (self.output_dir / LAST).unlink(missing_ok=True)
        engine.state.epoch, engine.state.iteration = epoch, epoch * (engine.state.epoch_length or 0)
        logging.getLogger(__name__).info("resumed behind epoch %d of %s", epoch, path)


def has_checkpoint(output_dir: str | Path) -> bool:
    """Report whether a training left a checkpoint in a folder."""
    return any((Path(output_dir) / name).is_file() for name in (LAST, PREVIOUS))


def _read_last(output_dir: Path) -> tuple[dict[str, Any], Path]:
    """The newest checkpoint that is whole, and its path; one that is passed over is told of."""
    if not has_checkpoint(output_dir):
        raise InputError(f"a {LAST} to resume from", f"none in {output_dir}", "train without --resume")
    damaged: InputError | None = None
    for path in (output_dir / LAST, output_dir / PREVIOUS):
        try:
            return read_weights(path), path
        except InputError as error:
            logging.getLogger(__name__).warning("passed over: %s", error)
            damaged = damaged or error
    assert damaged is not None
    raise damaged


def _keep_previous(last: Path, previous: Path) -> None:
    """Give last.pt a second name, so that one of both is whole at every instant."""
    if not last.is_file() or (previous.is_file() and last.samefile(previous)):
        return
    _list_hashes(previous, [*_read_hashes(last)[:1], *_read_hashes(previous)[:1]])
    with replace_file(previous) as temporary:
        temporary.unlink()
        try:
            os.link(last, temporary)
        except OSError:  # a file system without links
            shutil.copyfile(last, temporary)
    _list_hashes(previous, _read_hashes(previous)[:1])


def _miss_hash(path: Path, state: Mapping[str, Any]) -> None:
    if read_origin(state):
        advice = f"fetch it with the weights, or write it with sha256sum {path.name} > {path.name}{HASH_SUFFIX}"
        raise InputError(f"{path.name}{HASH_SUFFIX} beside {path}", "none", advice)
    logging.getLogger(__name__).warning("%s has no SHA-256 beside it: damage to it would not be seen", path)


def _name_hash_file(path: Path) -> Path:
    return path.with_name(path.name + HASH_SUFFIX)


def _read_hashes(path: Path) -> list[str]:
    """Digests listed beside a file, the newest first; none where nothing readable is there."""
    try:
        lines = _name_hash_file(path).read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return [digest for line in lines for digest in line.split()[:1] if len(digest) == 64]


def _list_hashes(path: Path, digests: Sequence[str]) -> None:
    if digests:
        write_text(_name_hash_file(path), "".join(f"{digest}  {path.name}\n" for digest in dict.fromkeys(digests)))
