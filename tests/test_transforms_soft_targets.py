"""Soft labels and weights come back to their images after the preparation, and a wrong one is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import list_data_collate
from scripts.errors import InputError
from scripts.labels import STUDY_CLASSES
from scripts.predictions import ImageFindings, write_predictions
from scripts.transforms import AttachTargets, WeighByStudy, WeighMistakes

SOFT = [0.1, 0.6, 0.3, 0.0]


def describe_image(name: str = "a", label: int = 2, study: str = "s", **more: Any) -> dict[str, Any]:
    return {"image_id": name, "study_id": study, "label": label, **more}


def test_an_image_gets_back_its_soft_label_and_weight():
    found = AttachTargets([describe_image(soft_label=SOFT, weight=0.5)])({"image_id": "a", "label": 2})
    assert found["soft_label"].tolist() == pytest.approx(SOFT) and found["weight"].item() == 0.5
    assert found["label"] == 2 and found["image_id"] == "a"


@pytest.mark.parametrize("label", range(4))
def test_an_image_without_them_is_sure_and_counts_once(label: int):
    found = AttachTargets([describe_image(label=label)])({"image_id": "a"})
    assert found["soft_label"].tolist() == [float(number == label) for number in range(4)]
    assert found["weight"] == 1


def test_sure_and_unsure_images_stand_in_one_batch():
    images = [describe_image("a"), describe_image("b", soft_label=SOFT, weight=2)]
    batch = list_data_collate([AttachTargets(images)({"image_id": name}) for name in ("b", "a")])
    assert batch["soft_label"].shape == (2, 4) and batch["soft_label"].dtype == torch.float32
    assert batch["weight"].tolist() == [2, 1] and batch["weight"].dtype == torch.float32


def test_the_given_image_is_not_changed():
    image = {"image_id": "a"}
    AttachTargets([describe_image()])(image)
    assert image == {"image_id": "a"}


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            {"soft_label": [0.5, 0.5]},
            r"expected 4 probabilities that sum to 1 as soft_label, found \[0.5, 0.5\] of image a",
        ),
        ({"soft_label": [0.5, 0.5, 0.5, 0.0]}, "expected 4 probabilities"),
        ({"soft_label": [1.5, -0.5, 0.0, 0.0]}, "expected 4 probabilities"),
        ({"soft_label": [float("nan")] * 4}, "expected 4 probabilities"),
        ({"weight": -1}, "expected a weight from 0 on, found -1.0 of image a"),
        ({"weight": float("nan")}, "expected a weight from 0 on, found nan"),
    ],
)
def test_what_is_no_soft_label_and_no_weight_is_named(image: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        AttachTargets([describe_image(**image)])


def read_weights(transform: AttachTargets, names: str) -> list[float]:
    return [transform({"image_id": name})["weight"].item() for name in names]


def test_a_study_counts_once_however_many_images_it_has():
    images = [describe_image(name, study=study) for name, study in zip("abcdef", "sssttu", strict=True)]
    assert read_weights(WeighByStudy(images), "abcdef") == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0.5, 0.5, 1])


def test_a_weight_that_an_image_brings_is_shared_by_its_study():
    images = [describe_image("a", weight=4.0, soft_label=SOFT), describe_image("b")]
    transform = WeighByStudy(images)
    assert read_weights(transform, "ab") == [2, 0.5]
    assert transform({"image_id": "a"})["soft_label"].tolist() == pytest.approx(SOFT)


def write_guesses(folder: Path, **guesses: int) -> Path:
    images = [
        ImageFindings(
            name,
            name,
            {each: 0.4 if number == guess else 0.2 for number, each in enumerate(STUDY_CLASSES)},
            (),
            (),
            0.5,
            (0.0, 0.0, 1.0, 1.0),
        )
        for name, guess in guesses.items()
    ]
    write_predictions(images, folder / "predictions.json")
    return folder / "predictions.json"


def test_images_that_the_first_run_got_wrong_weigh_more(tmp_path: Path):
    images = [describe_image("a", 0), describe_image("b", 1), describe_image("c", 3, weight=0.5)]
    path = write_guesses(tmp_path, a=0, b=2, c=1, another=0)
    assert read_weights(WeighMistakes(images, path, factor=5), "abc") == [1, 5, 2.5]


def test_an_absent_first_run_is_named_with_what_to_do(tmp_path: Path):
    message = r"expected a predictions.json, found none at .*absent.json .*; .*train the first run and evaluate it"
    with pytest.raises(InputError, match=message):
        WeighMistakes([describe_image()], tmp_path / "absent.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"images": [{"image_id": "a"}]}', '{"images": 3}'])
def test_another_file_is_no_first_run(text: str, tmp_path: Path):
    (tmp_path / "predictions.json").write_text(text)
    with pytest.raises(InputError, match="found another content in predictions.json; train the first run"):
        WeighMistakes([describe_image()], tmp_path / "predictions.json")


def test_a_first_run_that_lacks_an_image_is_rejected(tmp_path: Path):
    images = [describe_image("a"), describe_image("b")]
    with pytest.raises(InputError, match="expected predictions of all 2 training images, found 1 in .*, without b"):
        WeighMistakes(images, write_guesses(tmp_path, a=0))
