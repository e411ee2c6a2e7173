"""Soft labels never leak: neither the image's own patient nor the student's validation patients were seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripts import datalist as datalists
from scripts.datalist import (
    Prediction,
    held_out_images,
    read_datalist,
    read_soft_labels,
    soft_labelled_images,
    training_images,
    validation_images,
    write_soft_labels,
)
from scripts.errors import InputError
from scripts.labels import UNKNOWN_CLASS

FOLDS = (0, 1, 2)


def predict(datalist: dict[str, Any], held_out: tuple[int, ...], value: float = 0.7) -> Prediction:
    """A network that predicts what it never saw, and says which that is by its first probability."""
    images = [image["image_id"] for image in datalist["training"] if image["fold"] in held_out]
    probabilities = {image_id: [value, 1 - value, 0.0, 0.0] for image_id in images}
    return Prediction(f"net{held_out}", held_out, "0" * 64, datalist["content_hash"], probabilities)


def test_a_students_teachers_saw_neither_image_nor_fold(datalist_file: Path, tmp_path: Path):
    datalist, path = read_datalist(datalist_file), tmp_path / "soft.json"
    teachers = [predict(datalist, (0, 1), 0.6), predict(datalist, (0, 2), 0.8), predict(datalist, (1, 2), 0.1)]
    written = write_soft_labels(path, datalist, 0, teachers)
    labels = read_soft_labels(path, datalist_file, 0)
    folds = {image["image_id"]: image["fold"] for image in datalist["training"]}
    assert written == len(labels) == sum(fold != 0 for fold in folds.values())
    assert all(row[0] == {1: 0.6, 2: 0.8}[folds[image_id]] for image_id, row in labels.items())


def test_without_a_fold_held_out_each_image_is_labelled_by_its_own_folds_networks(datalist_file: Path, tmp_path: Path):
    datalist, path = read_datalist(datalist_file), tmp_path / "soft.json"
    write_soft_labels(path, datalist, None, [predict(datalist, (fold,), 0.1 + 0.2 * fold) for fold in FOLDS])
    labels = read_soft_labels(path, datalist_file, None)
    folds = {image["image_id"]: image["fold"] for image in datalist["training"]}
    assert labels.keys() == folds.keys()
    assert all(row[0] == pytest.approx(0.1 + 0.2 * folds[image_id]) for image_id, row in labels.items())


def test_several_teachers_are_averaged(datalist_file: Path, tmp_path: Path):
    datalist, path = read_datalist(datalist_file), tmp_path / "soft.json"
    write_soft_labels(path, datalist, None, [predict(datalist, FOLDS, 0.2), predict(datalist, FOLDS, 0.6)])
    assert all(row[0] == pytest.approx(0.4) for row in read_soft_labels(path, datalist_file, None).values())


@pytest.mark.parametrize("held_out", [[1], [0]], ids=["saw the student's fold", "saw the image's fold"])
def test_a_label_that_leaks_is_rejected_whoever_wrote_it(held_out: list[int], datalist_file: Path, tmp_path: Path):
    datalist, path = read_datalist(datalist_file), tmp_path / "soft.json"
    write_soft_labels(path, datalist, 0, [predict(datalist, (0, 1)), predict(datalist, (0, 2))])
    content = json.loads(path.read_text())
    content["models"][0]["held_out"] = held_out
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"never saw folds \[0, 1\].*net\(0, 1\), trained with"):
        read_soft_labels(path, datalist_file, 0)


def test_labels_for_one_fold_do_not_serve_another(datalist_file: Path, tmp_path: Path):
    datalist, path = read_datalist(datalist_file), tmp_path / "soft.json"
    write_soft_labels(path, datalist, None, [predict(datalist, (fold,)) for fold in FOLDS])
    with pytest.raises(InputError, match="soft labels from models that never saw"):
        read_soft_labels(path, datalist_file, 1)


def test_labels_of_another_datalist_are_rejected(datalist_file: Path, tmp_path: Path):
    datalist, path = read_datalist(datalist_file), tmp_path / "soft.json"
    write_soft_labels(path, {**datalist, "seed": 99}, None, [predict(datalist, FOLDS)])
    with pytest.raises(InputError, match="those of another one"):
        read_soft_labels(path, datalist_file, None)


@pytest.mark.parametrize("text", ["", "[]", '{"schema": "other"}', '{"schema": "chest_xray_covid19/soft_labels"}'])
def test_another_file_is_rejected(text: str, datalist_file: Path, tmp_path: Path):
    path = tmp_path / "soft.json"
    path.write_text(text)
    with pytest.raises(InputError, match="expected a file of schema"):
        read_soft_labels(path, datalist_file, None)
    with pytest.raises(InputError, match="found none at"):
        read_soft_labels(tmp_path / "absent.json", datalist_file, None)


def test_external_images_join_without_a_class(joined_datalist_file: Path, images: Path, external_images: Path):
    found = datalists.external_images(joined_datalist_file, external_images)
    assert found and {image["label"] for image in found} == {UNKNOWN_CLASS}
    with_them = soft_labelled_images(joined_datalist_file, images, 0, external_images)
    assert len(with_them) == len(training_images(joined_datalist_file, images, 0)) + len(found)
    held_out = held_out_images(joined_datalist_file, images, [0, 1], external_images)
    assert len(held_out) == len(validation_images(joined_datalist_file, images, [0, 1])) + len(found)


def test_several_folds_are_held_out_together(datalist_file: Path, images: Path):
    both = {image["image_id"] for image in validation_images(datalist_file, images, [0, 2])}
    assert both == {i["image_id"] for fold in (0, 2) for i in validation_images(datalist_file, images, fold)}
    trained = {image["fold"] for image in training_images(datalist_file, images, [0, 2])}
    assert trained == {1}
    assert held_out_images(datalist_file, images, []) == []
