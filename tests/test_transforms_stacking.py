"""Prepared images as stacked tensors: a batch holds what single items hold, in any order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.data import DataLoader
from scripts.transforms import StackedDataset, fill_cache, take_batch_as_it_is
from torch.utils.data import Dataset


def make_items(count: int = 5, size: int = 8) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "image": torch.rand(1, size, size, generator=generator),
            "mask": (torch.rand(1, size, size, generator=generator) > 0.5).float(),
            "boxes": torch.rand(number, 4, generator=generator),
            "label": number % 4,
            "boxes_known": number % 2 == 0,
            "image_id": f"image{number}",
        }
        for number in range(count)
    ]


def test_a_batch_holds_what_its_items_hold():
    items = make_items()
    batch = StackedDataset(items).__getitems__([3, 0, 4])
    for position, number in enumerate([3, 0, 4]):
        item = items[number]
        assert (batch["image"][position] - item["image"]).abs().max() < 1 / 2048
        assert torch.equal(batch["mask"][position], item["mask"]) and torch.equal(
            batch["boxes"][position], item["boxes"]
        )
        assert batch["label"][position] == item["label"] and batch["image_id"][position] == item["image_id"]
        assert batch["boxes_known"][position].item() is item["boxes_known"]
    assert batch["image"].dtype == batch["mask"].dtype == torch.float32


def test_an_epoch_brings_every_image_once_by_monais_loader():
    loader = DataLoader(StackedDataset(make_items(7)), batch_size=3, shuffle=True, collate_fn=take_batch_as_it_is)
    names = [name for batch in loader for name in batch["image_id"]]
    assert sorted(names) == [f"image{number}" for number in range(7)] and len(loader) == 3


def test_what_is_attached_is_stacked_too():
    def attach(item: dict[str, Any]) -> dict[str, Any]:
        return {**item, "soft_label": torch.full((4,), 0.25)}

    assert StackedDataset(make_items(), attach=attach).__getitems__([1, 2])["soft_label"].shape == (2, 4)


def test_images_of_several_sizes_are_named():
    with pytest.raises(ValueError, match=r"expected image of shape \(1, 8, 8\), got \(1, 4, 4\)"):
        StackedDataset([*make_items(1, 8), *make_items(1, 4)])


def test_images_with_other_items_are_named():
    items = make_items(3)
    del items[1]["label"]
    with pytest.raises(ValueError, match="label in some only"):
        StackedDataset(items)


def test_no_image_is_an_error():
    with pytest.raises(ValueError, match="expected prepared images, got none"):
        StackedDataset([])


class Cached(Dataset):
    def __init__(self, folder: Any) -> None:
        self.folder = folder

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> int:
        (self.folder / str(index)).touch()
        return index


@pytest.mark.parametrize("workers", [0, 2])
def test_a_cache_is_filled_by_reading_every_item(workers: int, tmp_path: Any):
    assert fill_cache(Cached(tmp_path), workers) == 40
    assert len(list(tmp_path.iterdir())) == 40
