"""Check of a datalist: an image that is absent, damaged or exchanged is named before a training begins."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from scripts.datalist import read_datalist, training_images
from scripts.datalist.schema import compute_content_hash
from scripts.errors import InputError
from scripts.preparation import check_datalist
from scripts.radiographs import PIXELS_SHA256
from scripts.transforms import LoadRadiographd


@pytest.fixture
def tree(images: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(images, tmp_path / "tree"))


def exchange(tree: Path, datalist_file: Path) -> Path:
    """Put the file of another image of the same size in the first one's place."""
    first, *others = read_datalist(datalist_file)["training"]
    size = (first["height"], first["width"])
    other = next(each for each in others[4:] if (each["height"], each["width"]) == size)
    shutil.copyfile(tree / other["image"], tree / first["image"])
    return tree / first["image"]


def test_images_as_they_were_prepared_pass(tree: Path, datalist_file: Path):
    checked = check_datalist(datalist_file, tree)
    datalist = read_datalist(datalist_file)
    assert checked.num_images == len(datalist["training"]) + len(datalist["test"]) > 0
    assert checked.num_without_digest == 0


def test_what_is_wrong_is_listed_by_reason(tree: Path, datalist_file: Path, tmp_path: Path):
    rows = [image["image"] for image in read_datalist(datalist_file)["training"]]
    exchange(tree, datalist_file)
    (tree / rows[2]).unlink()
    (tree / rows[3]).write_bytes((tree / rows[3]).read_bytes()[:-500])
    table = tmp_path / "bad.csv"
    with pytest.raises(InputError, match=r"found 3 that are not \(changed 1, truncated 1, unreadable 1\), the first"):
        check_datalist(datalist_file, tree, out=table)
    with table.open(newline="") as file:
        listed = {Path(row["path"]).relative_to(tree).as_posix(): row["reason"] for row in csv.DictReader(file)}
    assert listed == {rows[0]: "changed", rows[2]: "unreadable", rows[3]: "truncated"}


def test_a_datalist_without_digests_is_told(tree: Path, datalist_file: Path, tmp_path: Path):
    content = json.loads(datalist_file.read_text())
    for image in (*content["training"], *content["test"]):
        del image[PIXELS_SHA256]
    assert content["content_hash"] == compute_content_hash(content), "recorded hashes stay what they were"
    old = tmp_path / "old.json"
    old.write_text(json.dumps(content))
    exchange(tree, old)
    checked = check_datalist(old, tree)
    assert checked.num_without_digest == checked.num_images


def test_an_exchanged_image_is_named_when_it_is_trained_on(tree: Path, datalist_file: Path):
    path = exchange(tree, datalist_file)
    items = training_images(datalist_file, tree, fold=None)
    load = LoadRadiographd("image")
    (changed,) = [item for item in items if Path(item["image"]).resolve() == path.resolve()]
    with pytest.raises(
        InputError, match="expected the image that was prepared, found other pixels at .*; put that image"
    ):
        load(changed)
    (other,) = items[5:6]
    assert isinstance(load(other)["image"], torch.Tensor)
