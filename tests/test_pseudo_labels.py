"""Pseudo-labels of external images for the fold that a model never saw; anything less certain is rejected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from scripts.checkpoints import save_weights
from scripts.datalist import read_datalist, with_pseudo_labels, write_datalist
from scripts.errors import InputError
from scripts.files import compute_sha256
from scripts.labels import STUDY_CLASSES
from scripts.outputs import write_tables
from scripts.predictions import ImageFindings
from scripts.pseudo_labels import label_external
from scripts.run_records import DONE, FAILED, Record, hash_weights, write_record


class Teachers:
    """Trainings and their predictions as they lie on disk, with made-up weights."""

    def __init__(self, folder: Path, datalist_file: Path) -> None:
        self.folder, self.datalist = folder, read_datalist(datalist_file)
        self.runs: list[Path] = []
        self.predictions: list[Path] = []

    @property
    def images(self) -> list[Mapping[str, Any]]:
        return self.datalist["external"]["images"]

    def add(self, fold: int | None, left_out: int = 0, by: str = "last.pt", **changes: Any) -> None:
        """A training with `fold` held out, and what it says of all external images but the first `left_out`."""
        number = len(self.runs)
        run = self.folder / f"run{number}"
        for name in ("last.pt", "best.pt"):
            save_weights({"number": number, "name": name}, run / name)
        known = {"fold": fold, "datalist_hash": self.datalist["external"]["matched_with"], "status": DONE}
        record = {"name": f"teacher{number}", "weights_sha256": hash_weights(run), **known, **changes}
        rest = {
            "description": "",
            "expected": "",
            "overrides": (),
            "settings": {},
            "seed": 0,
            "code": "",
            "machine": "",
        }
        write_record(Record(**rest, started="", **record), run)
        out = run / "predicted"
        write_tables([self._predict(image, number) for image in self.images[left_out:]], out)
        (out / "done.json").write_text(json.dumps({"weights_sha256": compute_sha256(run / by)}))
        self.runs.append(run)
        self.predictions.append(out / "predictions.json")

    def _predict(self, image: Mapping[str, Any], number: int) -> ImageFindings:
        fractions = predict(image, number)
        named = dict(zip(STUDY_CLASSES, fractions, strict=True))
        return ImageFindings(image["image_id"], image["study_id"], named, (), (), 0.5, (0.0, 0.0, 1.0, 1.0))

    def label(self, **changes: Any) -> dict[str, Any]:
        """The datalist with their labels."""
        arguments = {"predictions": self.predictions, "runs": self.runs, "out": self.folder / "labelled", **changes}
        arguments = {"datalist_file": self.folder / "joined" / "datalist.json", **arguments}
        label_external(**arguments)
        return read_datalist(Path(arguments["out"]) / "datalist.json")


def predict(image: Mapping[str, Any], number: int) -> list[float]:
    """Other probabilities for each image and model."""
    weights = [1 + (hash_text(image["image_id"]) * (place + 2) + 3 * number * place) % 7 for place in range(4)]
    return [weight / sum(weights) for weight in weights]


def hash_text(text: str) -> int:
    return sum(map(ord, text))


@pytest.fixture
def teachers(tmp_path: Path, joined_datalist_file: Path) -> Teachers:
    """None yet; the datalist has external images, without labels."""
    joined = read_datalist(joined_datalist_file)
    external = joined["external"] | {"pseudo_labels": []}
    path = tmp_path / "joined" / "datalist.json"
    write_datalist(path, joined["training"], joined["test"], joined["num_folds"], joined["seed"], external)
    return Teachers(tmp_path, path)


def test_a_fold_is_labelled_by_the_mean_of_the_models_that_held_it_out(teachers: Teachers):
    folds = [0, 1, 0, 2, 0]
    for fold in folds:
        teachers.add(fold)
    found = teachers.label(predictions=teachers.predictions[::-1])["external"]["pseudo_labels"]
    assert [labels["fold"] for labels in found] == [0, 1, 2]
    studies = {image["study_id"] for image in teachers.images}
    assert len(teachers.images) > len(studies), "some studies have several images"
    for labels in found:
        numbers = [number for number, fold in enumerate(folds) if fold == labels["fold"]]
        assert {model["name"] for model in labels["models"]} == {f"teacher{number}" for number in numbers}
        assert labels["probabilities"].keys() == studies
        for study, row in labels["probabilities"].items():
            images = [image for image in teachers.images if image["study_id"] == study]
            means = [[sum(predict(image, n)[c] for image in images) / len(images) for c in range(4)] for n in numbers]
            assert row == pytest.approx([sum(mean[c] for mean in means) / len(means) for c in range(4)])


def test_the_datalist_records_which_weights_of_which_training_labelled(teachers: Teachers):
    teachers.add(1)
    (labels,) = teachers.label()["external"]["pseudo_labels"]
    (model,) = labels["models"]
    last = compute_sha256(teachers.runs[0] / "last.pt")
    known = {"name": "teacher0", "fold": 1, "datalist_hash": teachers.datalist["external"]["matched_with"]}
    assert model == {**known, "weights_sha256": last}


def test_what_was_labelled_trains_its_fold_and_no_other(teachers: Teachers, images: Path, external_images: Path):
    teachers.add(1)
    teachers.label()
    places = (teachers.folder / "labelled" / "datalist.json", images, external_images)
    joined = with_pseudo_labels(*places, fold=1)
    labelled = [image["image_id"] for image in joined if "soft_label" in image]
    assert labelled == [image["image_id"] for image in teachers.images]
    for fold in (0, 2):
        with pytest.raises(InputError, match=f"pseudo-labels for fold {fold}, given by a model, found none"):
            with_pseudo_labels(*places, fold=fold)


def test_what_is_said_of_images_that_were_left_out_is_not_used(teachers: Teachers):
    teachers.add(0)
    path = teachers.predictions[0]
    content = json.loads(path.read_text())
    content["images"].append({**content["images"][0], "image_id": "left_out", "study_id": "left_out"})
    path.write_text(json.dumps(content))
    (labels,) = teachers.label()["external"]["pseudo_labels"]
    assert "left_out" not in labels["probabilities"]


def test_a_run_of_several_networks_is_known_by_its_classifier(teachers: Teachers):
    teachers.add(0)
    done = teachers.predictions[0].with_name("done.json")
    weights = json.loads(done.read_text())["weights_sha256"]
    done.write_text(json.dumps({"weights_sha256": {"lung_detector": "0" * 64, "study_classifier": weights}}))
    assert len(teachers.label()["external"]["pseudo_labels"]) == 1


def test_weights_that_were_not_kept_are_known_by_their_record(teachers: Teachers):
    teachers.add(0)
    (teachers.runs[0] / "last.pt").unlink()
    assert len(teachers.label()["external"]["pseudo_labels"]) == 1


@pytest.mark.parametrize(
    ("teacher", "predicted"),
    [
        ({"fold": None}, "a fold held out, found model teacher1 .*, trained on all images"),
        ({"fold": 2, "datalist_hash": "f" * 64}, "model teacher1 .*, fold 2: it was trained on datalist ffffffffffff"),
        ({"fold": 2, "weights_sha256": {}}, "expected a record of last.pt, found none"),
        ({"fold": 2, "weights_sha256": {}, "status": FAILED}, "which is failed"),
        ({"fold": 2, "by": "best.pt"}, "predictions by last.pt of one of the runs"),
        ({"fold": 2, "left_out": 3}, "none in .*predictions.json for 3, first"),
    ],
)
def test_a_model_that_may_know_the_fold_is_rejected(teachers: Teachers, teacher: dict[str, Any], predicted: str):
    teachers.add(0)
    teachers.add(**teacher)
    with pytest.raises(InputError, match=predicted):
        teachers.label()
    assert not (teachers.folder / "labelled").exists()


def remove_record(teachers: Teachers) -> None:
    (teachers.runs[0] / "record.json").unlink()


def change_weights(teachers: Teachers) -> None:
    save_weights({"number": 99}, teachers.runs[0] / "last.pt")


def forget_run(teachers: Teachers) -> None:
    del teachers.runs[0]


def name_twice(teachers: Teachers) -> None:
    teachers.predictions *= 2


def predict_nothing(teachers: Teachers) -> None:
    teachers.predictions.clear()


def remove_done(teachers: Teachers) -> None:
    teachers.predictions[0].with_name("done.json").unlink()


@pytest.mark.parametrize(
    ("change", "predicted"),
    [
        (remove_record, "a record.json, found none"),
        (change_weights, "last.pt with the recorded SHA-256 [0-9a-f]{12}, found"),
        (forget_run, "predictions by last.pt of one of the runs, found weights"),
        (name_twice, "each model's labels once, found model teacher0 of fold 0 twice"),
        (predict_nothing, "predictions of at least one model, found none"),
        (remove_done, "a done.json in"),
    ],
)
def test_predictions_of_which_the_model_is_not_certain_are_rejected(teachers: Teachers, change, predicted: str):
    teachers.add(0)
    change(teachers)
    with pytest.raises(InputError, match=predicted):
        teachers.label()


def test_the_datalist_must_have_external_images_and_is_not_overwritten(teachers: Teachers, datalist_file: Path):
    teachers.add(0)
    with pytest.raises(InputError, match="a datalist with external images, found none"):
        teachers.label(datalist_file=datalist_file)
    with pytest.raises(InputError, match="another folder than the datalist's"):
        teachers.label(out=teachers.folder / "joined")
