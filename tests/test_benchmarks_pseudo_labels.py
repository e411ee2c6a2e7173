"""The benchmark of pseudo-labels: a leak shows where the leaked fold gains and untouched images do not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scripts.datalist import read_datalist
from scripts.errors import InputError
from scripts.labels import STUDY_CLASSES
from scripts.preparation import prepare
from scripts.synthetic import generate_tree

from benchmarks.pseudo_labels import (
    LONGER,
    NONE,
    describe,
    list_gains,
    read_study_truth,
    score_labels,
    split_images,
    summarise_labels,
    tabulate,
    third,
)

NOISE = {"fold 0": (0.01, 8), "untouched": (0.01, 8)}


def make_values() -> dict[str, dict[str, np.ndarray]]:
    """Three seeds of a leak: 0.1 on fold 0, 0.02 on the untouched images."""
    patients = np.random.default_rng(0).normal(0, 0.01, (1, 101))
    scores = {NONE: (0.5, 0.5), "leaking": (0.6, 0.52)}
    return {
        row: {name: value + np.repeat(patients, 3, axis=0) for name, value in zip(NOISE, pair, strict=True)}
        for row, pair in scores.items()
    }


def test_a_leak_is_what_fold_0_gains_more_than_untouched_images():
    gains = list_gains(make_values(), NOISE, "leaking")
    assert list(gains) == ["fold 0", "untouched", "fold 0 more than untouched"]
    assert [round(each.value, 6) for each in gains.values()] == [0.1, 0.02, 0.08]
    widths = [each.high - each.value for each in gains.values()]
    student_t = 2.306  # of 8 degrees of freedom
    assert widths[0] == pytest.approx(student_t * 0.01 * np.sqrt(2 / 3), rel=1e-3)
    assert widths[2] == pytest.approx(widths[0] * np.sqrt(2), rel=1e-3)


def test_table_and_json_say_the_same():
    values = make_values()
    table, described = tabulate(values, NOISE, 100), describe(values, NOISE)
    assert "+0.0800" in table and "mean of 3 seeds" in table
    assert described["rows"]["leaking"]["gains"]["untouched"]["value"] == pytest.approx(0.02)
    assert described["rows"][NONE]["gains"] == {} and len(described["rows"][NONE]["seeds"]["fold 0"]) == 3


def test_no_patient_of_the_hidden_third_is_trained_on(datalist_file: Path, tmp_path: Path):
    datalist = read_datalist(datalist_file)
    parts = {name: read_datalist(path) for name, path in split_images(datalist, tmp_path).items()}
    patients = {name: {image["patient"] for image in [*p["training"], *p["test"]]} for name, p in parts.items()}
    assert not patients["hidden"] & (patients["labelled"] | patients["untouched"])
    assert all(image["label"] is None and not image["boxes"] for image in parts["hidden"]["test"])


def test_labels_are_scored_by_the_truth_of_the_studies_that_hide_it(datalist_file: Path, tmp_path: Path):
    parts = split_images(read_datalist(datalist_file), tmp_path)
    truth = read_study_truth(str(datalist_file), parts["hidden"])
    perfect = {study: [float(name == label) for name in STUDY_CLASSES] for study, label in truth.study_labels.items()}
    wrong = {study: row[::-1] for study, row in perfect.items()}
    values = {name: score_labels(each, truth, 20) for name, each in (("honest", wrong), ("leaking", perfect))}
    scores = list(summarise_labels([values, values]).values())
    assert truth.patients and len(perfect) > 5
    assert scores[1].value == 1 and scores[2].value == pytest.approx(1 - scores[0].value) and scores[2].value > 0.1
    assert not summarise_labels([])


@pytest.mark.slow
def test_a_small_third_is_trained_labelled_and_scored(tmp_path: Path):
    images = tmp_path / "images"
    generate_tree(images, num_studies=90, num_test_studies=4, size=64, workers=1)
    datalist_file = prepare(images, tmp_path / "prepared", num_folds=5, workers=1).datalist
    options = {"image_size": 64, "batch_size": 8, "encoder": "test_efficientnet", "cache_dir": tmp_path / "c"}
    table = third(str(datalist_file), str(images), str(tmp_path / "out"), num_resamples=20, epochs=1, **options)
    described = json.loads((tmp_path / "out" / "table.json").read_text())
    assert list(described["rows"]) == [NONE, LONGER, "honest", "leaking", "ground truth"]
    assert list(described["labels"])[-1] == "leaking minus honest" and "fold 0 more than untouched" in table


def test_a_folder_of_another_datalist_is_not_gone_on_with(datalist_file: Path, tmp_path: Path):
    """It would train students on images that their teachers' datalist does not hold."""
    (tmp_path / "joined").mkdir()
    shutil.copy(datalist_file, tmp_path / "joined" / "datalist.json")
    with pytest.raises(InputError, match=r"expected in .*joined.datalist\.json the images of .*; choose another --out"):
        third(str(datalist_file), out=str(tmp_path))
