"""Prepared images of one size as tensors on the training's device: a batch is one indexing, without workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.utils import convert_to_tensor
from torch.utils.data import DataLoader, Dataset

#: Items that are stacked, by how they are stored; images keep eleven bits, more than their 8-bit sources have.
STACKED: dict[str, torch.dtype] = {"image": torch.float16, "mask": torch.uint8}
#: Items of an image that become one tensor for all images as they are; small, they stay on the host.
TENSORS: tuple[str, ...] = ("label", "boxes_known", "soft_label", "weight", "crop_box", "original_size")


class StackedDataset(Dataset):
    """A dataset of prepared images, held as stacked tensors on a device, whose batches are dictionaries.

    An epoch of 4,226 images from a cached dataset of single items costs more in collation than a small network costs in
    training; here a batch is one indexing on the device. Give it to a `DataLoader` with `collate_fn`
    `take_batch_as_it_is` and no workers.

    Args:
        data: prepared images: dictionaries with "image" (1, H, W) in [0, 1], all of one size.
        device: where images and masks lie; 4,226 images and masks of 288 x 288 take 1.1 GB.
        attach: adds items to a prepared image, such as `AttachTargets`.

    Shape:
        a batch is {"image": (B, 1, H, W) float32, "mask": (B, 1, H, W) float32, "boxes": B tensors (N, 4) on the CPU,
        "label": (B,), "image_id": B strings, ...}: of these what the images have.

    Raises:
        ValueError: where there is no image, or images differ in size or in what they hold.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        device: str | torch.device = "cpu",
        attach: Callable[[Mapping[Any, Any]], Mapping[Any, Any]] | None = None,
    ) -> None:
        self.data, self.device = data, torch.device(device)
        self.columns = _stack_items(data, attach, self.device)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: values[0] for name, values in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        rows = torch.as_tensor(list(indices))
        rows_there = rows.to(self.device, non_blocking=True)
        batch: dict[str, Any] = {}
        for name, column in self.columns.items():
            if isinstance(column, list):
                batch[name] = [column[index] for index in indices]
            else:
                batch[name] = column[rows_there].float() if name in STACKED else column[rows]
        return batch


def take_batch_as_it_is(batch: Any) -> Any:
    """Collate nothing: a `StackedDataset` gives whole batches."""
    return batch


def fill_cache(dataset: Dataset, num_workers: int) -> int:
    """Read every item of a cached dataset once, by several processes, so that later trainings find all in its cache."""
    loader = DataLoader(dataset, batch_size=32, num_workers=num_workers, collate_fn=len)
    return sum(loader)


def _stack_items(
    data: Sequence[Mapping[str, Any]],
    attach: Callable[[Mapping[Any, Any]], Mapping[Any, Any]] | None,
    device: torch.device,
) -> dict[str, Any]:
    if len(data) == 0:
        raise ValueError("expected prepared images, got none")
    lists: dict[str, list[Any]] = {}
    stacks: dict[str, torch.Tensor] = {}
    for position in range(len(data)):
        item = convert_to_tensor(dict(attach(data[position]) if attach else data[position]), track_meta=False)
        for name, value in item.items():
            if name not in STACKED:
                lists.setdefault(name, []).append(value)
                continue
            if name not in stacks:
                stacks[name] = torch.empty(len(data), *value.shape, dtype=STACKED[name])
            if value.shape != stacks[name].shape[1:]:
                raise ValueError(f"expected {name} of shape {tuple(stacks[name].shape[1:])}, got {tuple(value.shape)}")
            stacks[name][position] = value
    uneven = [name for name, values in lists.items() if len(values) != len(data)]
    if uneven:
        raise ValueError(f"expected images with the same items, got {', '.join(uneven)} in some only")
    columns: dict[str, Any] = {name: stack.to(device) for name, stack in stacks.items()}
    for name, values in lists.items():
        columns[name] = torch.stack([torch.as_tensor(v) for v in values]) if name in TENSORS else values
    return columns
