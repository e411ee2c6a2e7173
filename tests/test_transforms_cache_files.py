"""A prepared image as a file: small, whole or not at all, and the same again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scripts.transforms.cache_files import read_item, write_item

PICTURE = torch.rand(1, 40, 30, generator=torch.Generator().manual_seed(0))


def measure_content(path: Path) -> int:
    """Bytes behind the header, whose length the first eight bytes give."""
    content = path.read_bytes()
    return len(content) - 8 - int.from_bytes(content[:8], "little")


@pytest.mark.parametrize(
    ("value", "tolerance", "num_bytes"),
    [
        (PICTURE, 8e-6, 2 * 1200),
        ((PICTURE > 0.5).float(), 0, 150),
        (torch.zeros(1, 5, 3), 0, 2),
        (2 * PICTURE, 0, 4 * 1200),
        (torch.full((1, 2, 2), float("nan")), 0, 16),
        (torch.tensor([[0.5, 1.5, 3.0, 4.0]]), 0, 16),
        (torch.zeros(0, 4), 0, 0),
        (torch.tensor([[3, 4], [5, 6]]).T, 0, 32),
        (torch.tensor(True), 0, 1),
    ],
    ids=["picture", "mask", "black", "outside of 0 to 1", "not a number", "boxes", "no box", "transposed", "truth"],
)
def test_pictures_are_kept_small_and_come_back(tmp_path: Path, value: torch.Tensor, tolerance: float, num_bytes: int):
    written = write_item(tmp_path / "item", {"image": value, "label": 3})
    assert measure_content(tmp_path / "item") == num_bytes
    read = read_item(tmp_path / "item")
    assert read is not None and read["label"] == written["label"] == 3
    assert read["image"].dtype == value.dtype and read["image"].shape == value.shape
    torch.testing.assert_close(read["image"], value, atol=tolerance, rtol=0, equal_nan=True)
    torch.testing.assert_close(read["image"], written["image"], atol=0, rtol=0, equal_nan=True)


def test_what_is_no_tensor_comes_back_too(tmp_path: Path):
    item = {"image_id": "ä", "label": None, "boxes_known": False, "weight": 0.1, "corners": np.arange(3)}
    write_item(tmp_path / "item", item)
    read = read_item(tmp_path / "item")
    assert read is not None and read.pop("corners").tolist() == [0, 1, 2]
    assert read == {name: item[name] for name in ("image_id", "label", "boxes_known", "weight")}


def test_every_changed_byte_is_found(tmp_path: Path):
    """Lengths, names, types and values alike; a header that says the same in another way is no harm."""
    path = tmp_path / "item"
    write_item(path, {"image": torch.rand(1, 3, 3), "mask": torch.ones(1, 3, 3), "boxes": torch.rand(1, 4), "label": 2})
    content, before = path.read_bytes(), read_item(path)
    missed = []
    for position in range(len(content)):
        for bit in (0, 6):
            harmed = bytearray(content)
            harmed[position] ^= 1 << bit
            path.write_bytes(harmed)
            after = read_item(path)
            if after is not None and not all(np.array_equal(after[name], before[name]) for name in before):
                missed.append(position)
    assert not missed


@pytest.mark.parametrize("length", [0, 1, 8, 100, -1])
def test_a_cut_file_is_none(tmp_path: Path, length: int):
    path = tmp_path / "item"
    write_item(path, {"image": PICTURE})
    path.write_bytes(path.read_bytes()[:length])
    assert read_item(path) is None


def test_what_a_file_cannot_hold_is_named(tmp_path: Path):
    with pytest.raises(TypeError, match="set"):
        write_item(tmp_path / "item", {"names": {1, 2}})
    assert not list(tmp_path.iterdir())
