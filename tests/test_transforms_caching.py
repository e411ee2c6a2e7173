"""The cache of prepared images: by content, mended, skipping a counted few; random changes by seed, epoch and index."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.transforms import Compose, Lambdad, RandGaussianNoised
from scripts.errors import InputError, RejectedImage
from scripts.transforms import PreparedDataset, SeededCacheDataset


def read_number(path: str) -> torch.Tensor:
    text = Path(path).read_text()
    if not text.isdigit():
        raise RejectedImage("truncated", path, "no number")
    return torch.full((1, 4, 4), float(text))


READ = Compose([Lambdad("image", read_number)])


def write_images(folder: Path, count: int = 8) -> list[dict[str, Any]]:
    for index in range(count):
        (folder / f"{index}.txt").write_text(str(index))
    return [{"image": str(folder / f"{index}.txt"), "image_id": f"image{index}"} for index in range(count)]


def read_first(data: list[dict[str, Any]], cache: Path) -> float:
    return PreparedDataset(data, READ, cache)[0]["image"][0, 0, 0].item()


def test_a_prepared_image_is_read_once(tmp_path: Path):
    data = write_images(tmp_path)
    assert read_first(data, tmp_path / "cache") == 0
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    assert read_first(data, tmp_path / "cache") == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == times


@pytest.mark.parametrize("size", ["same", "other"])
def test_an_image_that_was_exchanged_is_prepared_again(tmp_path: Path, size: str):
    data = write_images(tmp_path)
    read_first(data, tmp_path / "cache")
    path, value = tmp_path / "0.txt", 7 if size == "same" else 71
    path.write_text(str(value))
    os.utime(path, ns=(1, 1))
    assert read_first(data, tmp_path / "cache") == value


def test_a_digest_names_the_content(tmp_path: Path):
    """With it, neither time nor size decide: a copied tree finds its cache, and another image does not."""
    data = [{**item, "pixels_sha256": "a"} for item in write_images(tmp_path)]
    read_first(data, tmp_path / "cache")
    (tmp_path / "0.txt").write_text("9")
    assert read_first(data, tmp_path / "cache") == 0
    assert read_first([{**data[0], "pixels_sha256": "b"}], tmp_path / "cache") == 9


@pytest.mark.parametrize("harm", ["empty", "cut", "flipped bit", "text"])
def test_a_damaged_entry_is_made_anew_and_told(tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture):
    data = write_images(tmp_path)[2:]  # its pixels are 2: outside of 0 to 1 they are kept as they are
    read_first(data, tmp_path / "cache")
    (entry,) = (tmp_path / "cache").iterdir()
    content = bytearray(entry.read_bytes())
    if harm == "flipped bit":
        content[content.index(np.full(16, 2, np.float32).tobytes())] ^= 64
    entry.write_bytes({"empty": b"", "cut": content[:-200], "text": b"no archive"}.get(harm, content))
    assert read_first(data, tmp_path / "cache") == 2
    assert "was damaged: its image is prepared again" in caplog.text
    caplog.clear()
    assert read_first(data, tmp_path / "cache") == 2 and not caplog.text


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_cannot_be_prepared_ends_the_run_by_name(tmp_path: Path, workers: int):
    data = write_images(tmp_path)
    (tmp_path / "3.txt").write_text("x")
    with pytest.raises(InputError, match=r"^expected images that can be prepared, found image3: .*3\.txt: truncated"):
        list(DataLoader(PreparedDataset(data, READ, None), num_workers=workers))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_few_may_be_skipped_each_by_name(tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture):
    data = write_images(tmp_path)
    for index in (3, 4):
        (tmp_path / f"{index}.txt").write_text("x")
    dataset = PreparedDataset(data, READ, None, max_skipped=2)
    for _ in range(2):  # a second epoch counts nothing twice
        values = [item["image"].mean().item() for item in DataLoader(dataset, num_workers=workers)]
        assert values == [0, 1, 2, 5, 5, 5, 6, 7]
    if not workers:
        assert [record.getMessage()[:32] for record in caplog.records] == [
            "skipped image 1 of at most 2: ex",
            "skipped image 2 of at most 2: ex",
        ]


@pytest.mark.parametrize("workers", [0, 2])
def test_more_than_those_end_the_run(tmp_path: Path, workers: int):
    data = write_images(tmp_path)
    for index in (1, 3, 6):
        (tmp_path / f"{index}.txt").write_text("x")
    with pytest.raises(InputError, match="expected at most 2 images to skip, found 3, the last: .*image"):
        list(DataLoader(PreparedDataset(data, READ, None, max_skipped=2), num_workers=workers))


def draw(epoch: int, seed: int = 0, workers: int = 0) -> torch.Tensor:
    data = [{"image": torch.zeros(1, 4, 4)} for _ in range(6)]
    dataset = SeededCacheDataset(data, Compose([RandGaussianNoised("image", prob=1.0)]), seed=seed, progress=False)
    loader = DataLoader(dataset, batch_size=2, num_workers=workers, persistent_workers=workers > 0)
    for each in range(1, epoch + 1):
        dataset.set_epoch(each)
        changed = torch.cat([batch["image"] for batch in loader])
    return changed


def test_changes_follow_from_seed_epoch_and_index_alone():
    assert draw(2).equal(draw(2)) and draw(2).equal(draw(2, workers=2))
    assert not draw(2).equal(draw(1)) and not draw(2).equal(draw(2, seed=1))
    assert len({tuple(image.flatten().tolist()) for image in draw(1)}) == 6, "each image its own"


def test_numbers_of_an_epoch_do_not_need_the_epochs_before_it():
    data = [{"image": torch.zeros(1, 4, 4)} for _ in range(6)]
    dataset = SeededCacheDataset(data, Compose([RandGaussianNoised("image", prob=1.0)]), progress=False)
    dataset.set_epoch(3)
    assert torch.stack([item["image"] for item in dataset]).equal(draw(3))


def test_an_item_is_the_same_whether_it_was_just_prepared_or_kept(tmp_path: Path):
    picture = torch.rand(1, 40, 30, generator=torch.Generator().manual_seed(0))

    def read() -> torch.Tensor:
        return PreparedDataset([{"image": picture, "label": 1}], [], tmp_path / "cache")[0]["image"]

    prepared = read()
    assert torch.equal(prepared, read())
