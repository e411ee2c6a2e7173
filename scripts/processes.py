"""Several processes in one run: the one that writes, gathered results, and a network distributed over them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any, TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


def count_processes() -> int:
    """Processes of this run, 1 without a process group."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def is_first_process() -> bool:
    """True in the process that writes what a run has once: tables, histories, checkpoints."""
    return get_process_index() == 0


def get_process_index() -> int:
    """Index of this process among those of its run, from 0."""
    return distributed.get_rank() if count_processes() > 1 else 0


def derive_seed(*parts: int) -> int:
    """A seed of 32 bits from several numbers: another one for each combination."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "little")


def is_restarted() -> bool:
    """Report whether torchrun started this process again after a failure of one of them."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def keep_first(items: dict[str, T], name: str, item: T) -> None:
    """Add an item unless one of this name is there."""
    items.setdefault(name, item)


def gather_items(items: Mapping[str, T], add: Callable[[dict[str, T], str, T], None] = keep_first) -> dict[str, T]:
    """Gather the items of all processes, in every process, each name once.

    Items are taken from the processes in turn, as `DistributedSampler` deals images out: the order is that of one
    process that saw them all.

    Args:
        items: of this process.
        add: puts an item under its name into what was gathered before; by default the first process is accepted.
    """
    if count_processes() == 1:
        return dict(items)
    parts: list[dict[str, T]] = [{} for _ in range(count_processes())]
    distributed.all_gather_object(parts, dict(items))
    joined: dict[str, T] = {}
    for pair in chain.from_iterable(zip_longest(*(part.items() for part in parts))):
        if pair is not None:
            add(joined, *pair)
    return joined


def distribute_network(network: nn.Module, device: torch.device) -> DistributedDataParallel:
    """A network that is trained by all processes together, begun with the weights of the first.

    Batch norm takes the images of all processes on GPUs only: torch has no other one on a CPU.
    """
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return DistributedDataParallel(network, device_ids=[device] if device.type == "cuda" else None)


def take_inner_network(member: Any) -> Any:
    """The network inside of a shared one, whose weights fit into a network on its own; anything else as it is."""
    return member.module if isinstance(member, DistributedDataParallel) else member


@torch.no_grad()
def broadcast_buffers(network: nn.Module) -> None:
    """Give all processes the first one's running statistics, so that they evaluate one network."""
    if count_processes() > 1:
        for buffer in network.buffers():
            distributed.broadcast(buffer, src=0)


def compare_counts(counts: Sequence[int], device: torch.device) -> Sequence[Any]:
    """Ratios of this process's counts to the mean of all processes'.

    A mean over what a process counts, times its ratio, has the gradient that the mean over all would have: distributed
    training averages gradients over processes, as if each had counted the same.
    """
    if count_processes() == 1:
        return [1.0] * len(counts)
    own = torch.tensor(counts, dtype=torch.float32).to(device, non_blocking=True)
    mean = own / count_processes()
    distributed.all_reduce(mean)
    return (own / mean.clamp_min(torch.finfo(torch.float32).tiny)).unbind()


def take_largest(value: torch.Tensor) -> None:
    """Put the largest value of all processes in its place, in each of them; on a GPU the host does not wait for it."""
    if count_processes() > 1:
        distributed.all_reduce(value, distributed.ReduceOp.MAX)
