"""A record of MONAI Label becomes a prepared image; an image that was prepared passes through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest
import torch
from configs import TRAIN, read_json
from images import draw_values, make_image, write_image
from monai.bundle import ConfigParser
from monai.data import PersistentDataset
from monai.data.utils import pickle_hashing
from scripts.errors import InputError
from scripts.inferers import Lungs
from scripts.labels import UNKNOWN_CLASS
from scripts.monai_label import PrepareCorrection

SIZE, LUNGS = (96, 80), (10.0, 20.0, 70.0, 84.0)


@pytest.fixture
def record(tmp_path: Path) -> dict[str, str]:
    """An image and the mask of its right half."""
    write_image(tmp_path / "image.dcm", make_image(draw_values(12, *SIZE)))
    mask = np.zeros(SIZE[::-1], dtype=np.uint8)
    mask[SIZE[1] // 2 :] = 1
    (tmp_path / "labels" / "final").mkdir(parents=True)
    path = tmp_path / "labels" / "final" / "image.nrrd"
    nrrd.write(str(path), mask)
    return {"image": str(tmp_path / "image.dcm"), "label": str(path)}


def say(record: dict[str, str], **info: Any) -> None:
    entry = {"image": {"ext": ".dcm"}, "labels": {"final": {"info": info, "ext": ".nrrd"}}}
    store = Path(record["image"]).parent / "datastore_v2.json"
    store.write_text(json.dumps({"objects": {"image": entry}}))


def build_preparation() -> Any:
    """The preparation of train.json."""
    config = {**read_json(TRAIN), "image_size": 64}
    return ConfigParser(config).get_parsed_content("train#preprocessing")


def test_image_mask_and_class_are_prepared_as_the_datalists_images(record: dict[str, str]):
    say(record, study_class="typical", lung_box=LUNGS)
    image = PrepareCorrection(build_preparation())(record)
    assert image["image"].shape == image["mask"].shape == (1, 64, 64) and image["label"] == 1
    assert image["crop_box"].tolist() == list(LUNGS)
    # the right half of the image begins in the middle of the lung box
    columns = image["mask"][0].mean(dim=0)
    assert torch.equal(columns, (torch.arange(64) >= 32).float())


def test_what_is_prepared_is_plain_whether_new_or_from_a_cache_on_disk(record: dict[str, str], tmp_path: Path):
    """MONAI's collation takes a batch for what its first image is: a MetaTensor before a plain one ends a training."""
    say(record, study_class="typical", lung_box=LUNGS)
    prepare = PrepareCorrection(build_preparation())
    dataset = PersistentDataset([record], prepare, cache_dir=tmp_path / "cache", hash_transform=pickle_hashing)
    new, cached = dataset[0], dataset[0]
    for name in ("image", "mask", "crop_box", "original_size"):
        assert type(new[name]) is type(cached[name]) is torch.Tensor, name


def test_without_a_class_it_is_unknown(record: dict[str, str]):
    say(record, lung_box=LUNGS)
    assert PrepareCorrection(build_preparation())(record)["label"] == UNKNOWN_CLASS


def test_lungs_that_nobody_marked_are_looked_for(record: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[Any, ...]] = []

    def read_inferer(*places: Any) -> Any:
        asked.append(places)
        return lambda images: [Lungs(LUNGS, 0.9, 0.0, ()) for _ in images]

    monkeypatch.setattr("scripts.monai_label.preparing.read_lung_inferer", read_inferer)
    prepare = PrepareCorrection(build_preparation(), "inference.json", "lungs.pt")
    images = [prepare(record), prepare(record)]
    assert [image["crop_box"].tolist() for image in images] == [list(LUNGS)] * 2
    assert asked == [("inference.json", "lungs.pt")]  # the network is read once


def test_without_an_inferer_the_image_is_seen_whole(record: dict[str, str]):
    assert PrepareCorrection(build_preparation())(record)["crop_box"].tolist() == [0, 0, SIZE[1], SIZE[0]]


def test_a_prepared_image_passes_through():
    image = {"image": torch.zeros(1, 4, 4), "label": torch.tensor(2)}
    assert PrepareCorrection(pytest.fail)(image) is image


def test_a_mask_of_another_image_is_reported(record: dict[str, str]):
    nrrd.write(record["label"], np.zeros((7, 7), dtype=np.uint8))
    with pytest.raises((InputError, RuntimeError)) as reported:
        PrepareCorrection(build_preparation())(record)
    assert "96 x 80" in str(reported.value) or "96 x 80" in str(reported.value.__cause__)
