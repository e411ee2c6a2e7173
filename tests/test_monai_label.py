"""Corrections from MONAI Label become a table, then a datalist, with their origin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest
from images import draw_values, make_image, write_image
from scripts.datalist import training_images
from scripts.errors import InputError
from scripts.files import compute_sha256
from scripts.labels import UNKNOWN_CLASS
from scripts.monai_label import find_correction, list_corrections, read_corrections
from scripts.preparation import prepare

HEIGHT, WIDTH = 80, 72
BOX = (10, 20, 30, 50)


def write_store(folder: Path, reported: dict[str, dict[str, Any] | None]) -> Path:
    """A folder of MONAI Label: for each image what was said of its label, or None where none was submitted."""
    mask = np.zeros((WIDTH, HEIGHT), dtype=np.uint8)
    mask[BOX[0] : BOX[2], BOX[1] : BOX[3]] = 1
    (folder / "labels" / "final").mkdir(parents=True)
    objects = {}
    for number, (name, info) in enumerate(reported.items()):
        uids = {"SOPInstanceUID": f"2.25.1{number}", "StudyInstanceUID": f"2.25.2{number}"}
        values = draw_values(12, HEIGHT, WIDTH, seed=number)
        write_image(folder / f"{name}.dcm", make_image(values, PatientID=f"P{number}", **uids))
        labels = {} if info is None else {"final": {"info": {"ts": 1_700_000_000, **info}, "ext": ".nrrd"}}
        if info is not None:
            nrrd.write(str(folder / "labels" / "final" / f"{name}.nrrd"), mask)
        objects[name] = {"image": {"info": {}, "ext": ".dcm"}, "labels": labels}
    content = {"images_dir": ".", "labels_dir": "labels", "objects": objects}
    (folder / "datastore_v2.json").write_text(json.dumps(content))
    return folder


def test_what_was_said_beside_a_mask_is_read(tmp_path: Path):
    reported = {
        "a": {"study_class": "typical", "lung_box": [1, 2, 60, 70]},
        "b": {"crop_box": [3, 4, 50, 60]},
        "c": None,
    }
    first, second = read_corrections(write_store(tmp_path, reported))
    assert (first.image_id, first.study_class, first.label, first.lung_box) == ("a", "typical", 1, (1, 2, 60, 70))
    assert (second.image_id, second.label, second.lung_box) == ("b", UNKNOWN_CLASS, (3, 4, 50, 60))
    assert first.image.is_file() and first.mask.is_file() and first.saved == "2023-11-14T22:13:20+00:00"


def test_corrections_become_images_to_train_on_with_their_origin(tmp_path: Path):
    classes = ("typical", "atypical", "indeterminate", "typical", "atypical", "indeterminate")
    reported: dict[str, dict[str, Any] | None] = {f"f{n}": {"study_class": name} for n, name in enumerate(classes)}
    store = write_store(tmp_path / "store", {**reported, "open": {}})
    listed = list_corrections(store, tmp_path / "corrections.csv")
    assert (listed.num_images, listed.num_without_class) == (7, 1)
    prepared = prepare(store, tmp_path / "prepared", listed.table, num_folds=2, workers=1)
    assert (prepared.num_training, prepared.num_test) == (6, 1)
    images = {Path(image["image"]).stem: image for image in training_images(prepared.datalist, store, None)}
    image = images["f0"]
    mask = store / "labels" / "final" / "f0.nrrd"
    assert image["label"] == 1 and image["boxes"].tolist() == [list(BOX)] and Path(image["mask"]) == mask.resolve()
    again = prepare(store, tmp_path / "again", store, num_folds=2, workers=1)
    assert again.content_hash == prepared.content_hash, "the folder itself is read as its table"
    assert image["origin"] == f"MONAI Label, saved 2023-11-14T22:13:20+00:00, mask sha256 {compute_sha256(mask)}"


def test_an_image_of_the_trainer_is_found_in_its_store(tmp_path: Path):
    store = write_store(tmp_path / "store", {"a": {"study_class": "atypical"}})
    found = find_correction(store / "a.dcm", store / "labels" / "final" / "a.nrrd")
    assert (found.study_class, found.label) == ("atypical", 3)


def test_a_mask_beside_no_store_has_no_class(tmp_path: Path):
    found = find_correction(tmp_path / "image.dcm", tmp_path / "mask.nrrd")
    assert (found.image_id, found.label, found.lung_box) == ("image", UNKNOWN_CLASS, None)


def test_an_unknown_class_is_reported(tmp_path: Path):
    with pytest.raises(InputError, match="'viral' for a"):
        read_corrections(write_store(tmp_path, {"a": {"study_class": "viral"}}))


@pytest.mark.parametrize(
    ("content", "message"), [(None, "none at"), ("{", "another content"), ('{"objects": {}}', "at least one submitted")]
)
def test_a_folder_that_holds_no_correction_is_reported(content: str | None, message: str, tmp_path: Path):
    if content is not None:
        (tmp_path / "datastore_v2.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_corrections(tmp_path)
