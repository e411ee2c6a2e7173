"""The recipe of the shipped weights: each part behind what it needs, nothing twice, and nobody teaches what it saw."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scripts.datalist import read_datalist
from scripts.errors import InputError
from scripts.experiments import Plan
from scripts.labels import STUDY_CLASSES
from scripts.recipe import (
    assemble_predictions,
    describe_plan,
    make_weights,
    read_recipe,
    start_forked,
    write_out_of_fold,
)
from scripts.recipe.parts import name_part

SHIPPED = Path(__file__).parents[1] / "scripts" / "recipe" / "shipped.json"
SMALL: dict[str, Any] = {
    "configs": "bundle/configs",
    "caches": [{"stack": ["train.json", "stacked.json"], "options": {"image_size": 64}}],
    "families": {
        "teacher": {"stack": ["train.json", "stacked.json"], "options": {"epochs": 1}, "held_out": "folds"},
        "pairs": {"stack": ["train.json", "stacked.json"], "options": {"epochs": 1}, "held_out": "pairs"},
        "student": {
            "stack": ["train.json", "stacked.json", "experiments/soft_labels.json"],
            "options": {"epochs": 1},
            "held_out": ["all", "folds"],
            "soft_labels": ["teacher", "pairs"],
            "ship": {"all": "student.pt", "fold0": "student_fold0.pt"},
        },
        "boxes": {
            "stack": ["train.json", "train_detector.json", "stacked.json"],
            "options": {"epochs": 1, "encoder": "tf_efficientnetv2_b0"},
            "held_out": "folds",
            "encoder_from": "teacher",
        },
    },
}


def write_recipe(folder: Path, **changes: Any) -> Path:
    path = folder / "recipe.json"
    path.write_text(json.dumps({**SMALL, "families": {**SMALL["families"], **changes}}))
    return path


def test_the_shipped_recipe_names_configs_that_are_there():
    recipe = read_recipe(SHIPPED, 5)
    files = [file for part in recipe.parts for file in part.stack] + [f for stack, _ in recipe.caches for f in stack]
    assert all((SHIPPED.parents[2] / file).is_file() for file in files)
    assert len({part.name for part in recipe.parts}) == len(recipe.parts)


def test_every_part_stands_behind_what_it_needs(tmp_path: Path):
    done: set[str] = set()
    for part in read_recipe(write_recipe(tmp_path), 3).parts:
        assert set(part.needs) <= done
        done.add(part.name)


def test_a_teacher_saw_neither_the_students_folds_nor_what_it_labels(tmp_path: Path):
    parts = {part.name: part for part in read_recipe(write_recipe(tmp_path), 3).parts}
    assert set(parts["student/all"].needs) == {"teacher/fold0", "teacher/fold1", "teacher/fold2"}
    assert set(parts["student/fold1"].needs) == {"pairs/folds0-1", "pairs/folds1-2"}
    assert parts["boxes/fold2"].needs == ("teacher/fold2",)


def test_what_the_recipe_names_is_shipped(tmp_path: Path):
    shipped = {part.name: part.ship for part in read_recipe(write_recipe(tmp_path), 3).parts if part.ship}
    assert shipped == {"student/all": "student.pt", "student/fold0": "student_fold0.pt"}


def test_weights_of_a_part_that_is_not_made_cannot_be_shipped(tmp_path: Path):
    boxes = {**SMALL["families"]["boxes"], "ship": {"all": "boxes.pt"}}
    with pytest.raises(InputError, match="weights of fold0, fold1, fold2 to ship, found all in boxes"):
        read_recipe(write_recipe(tmp_path, boxes=boxes), 3)


def test_selected_parts_come_with_what_they_need(tmp_path: Path):
    recipe = read_recipe(write_recipe(tmp_path), 3)
    names = [part.name for part in recipe.select(["student/fold1", "boxes/fold0"])]
    assert names == ["teacher/fold0", "pairs/folds0-1", "pairs/folds1-2", "student/fold1", "boxes/fold0"]
    assert recipe.select([]) == recipe.parts
    with pytest.raises(InputError, match="expected parts among .*, found student/fold9"):
        recipe.select(["student/fold9"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"late": {"stack": [], "held_out": "thirds"}}, "held_out among folds, pairs, all"),
        ({"late": {"stack": [], "held_out": "all", "typo": 1}}, "typo in late"),
        ({"late": {"stack": [], "held_out": "all", "encoder_from": "teacher"}}, "a part teacher/all before late"),
        ({"late": {"stack": [], "held_out": "all", "soft_labels": ["boxed"]}}, "families before late"),
    ],
)
def test_a_wrong_family_is_named(changes: dict[str, Any], message: str, tmp_path: Path):
    with pytest.raises(InputError, match=message):
        read_recipe(write_recipe(tmp_path, **changes), 3)


def test_another_file_is_no_recipe(tmp_path: Path):
    (tmp_path / "recipe.json").write_text("[]")
    with pytest.raises(InputError, match="another content"):
        read_recipe(tmp_path / "recipe.json", 3)
    with pytest.raises(InputError, match="none at"):
        read_recipe(tmp_path / "absent.json", 3)


def test_the_plan_counts_images_epochs_and_pixels(datalist_file: Path, images: Path, tmp_path: Path):
    plan = Plan(datalist_file, images, {"image_size": 128, "epochs": 2})
    described = describe_plan(write_recipe(tmp_path), plan, ["teacher/fold0"]).splitlines()
    datalist = read_datalist(datalist_file)["training"]
    count = sum(image["fold"] != 0 and image["duplicate_of"] is None for image in datalist)
    assert described[0].split()[-1] == f"{count * 2 * 0.25 / 1e6:.3f}" and described[-1].startswith("1 parts")


class Fake:
    """Stands in for the processes: writes what a training and a prediction leave, and counts what runs at once."""

    def __init__(self, failing: str = "") -> None:
        self.commands: list[tuple[str, str]] = []
        self.options: list[dict[str, str]] = []
        self.failing, self.running, self.most = failing, 0, 0
        self.lock = threading.Lock()

    def __call__(self, arguments: Sequence[str], log: Path) -> int:
        options = {arguments[i][2:]: arguments[i + 1] for i in range(4, len(arguments), 2)}
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
            self.commands.append((arguments[3], options["output_dir"]))
            self.options.append(options)
        log.write_text("an error of its own")
        folder = Path(options["output_dir"])
        if arguments[3] == "training":
            (folder / "last.pt").write_bytes(b"w")
        elif arguments[3] == "predicting":
            self._predict(folder, options)
        with self.lock:
            self.running -= 1
        return int(bool(self.failing) and self.failing in options["output_dir"])

    def _predict(self, folder: Path, options: dict[str, str]) -> None:
        datalist, fold = read_datalist(options["datalist_file"]), json.loads(options["fold"])
        held_out = fold if isinstance(fold, list) else [fold]
        rows = {
            image["image_id"]: {"study_id": image["study_id"], "probabilities": [0.4, 0.3, 0.2, 0.1]}
            for image in datalist["training"]
            if image["fold"] in held_out
        }
        table = {
            "name": folder.name,
            "held_out": held_out,
            "weights_sha256": "0",
            "datalist_hash": datalist["content_hash"],
            "images": rows,
        }
        Path(options["table_file"]).write_text(json.dumps(table))


@pytest.fixture
def no_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are done where their weights are, as the fake writes no records; nothing is shipped."""
    monkeypatch.setattr(Plan, "is_done", lambda self, files, folder, fold, seed: (folder / "last.pt").is_file())
    monkeypatch.setattr(Plan, "predict", predict_once)
    monkeypatch.setattr("scripts.recipe.running.ship_weights", lambda weights, path: Path(path).write_bytes(b"s"))


def predict_once(self: Plan, files: Sequence[str], weights: Path, folder: Path, fold: Any, table: str) -> Path:
    if not (folder / table).is_file():
        self._run("predicting", files, folder, {**self.options, "fold": fold, "table_file": folder / table})
    return folder / table


@pytest.mark.usefixtures("no_records")
def test_all_parts_are_made_and_a_second_call_makes_none(datalist_file: Path, images: Path, tmp_path: Path):
    fake, recipe, models = Fake(), write_recipe(tmp_path), tmp_path / "models"
    models.mkdir()
    plan = Plan(datalist_file, images, {}, start=fake)
    report = make_weights(recipe, plan, tmp_path / "out", models=models, slots=3)
    trained = [folder for run, folder in fake.commands if run == "training"]
    assert report == "13 of 13 parts made" and len(trained) == len(set(trained)) == 13 and fake.most <= 3
    assert (models / "student.pt").read_bytes() == b"s"
    assert sum(run == "caching" for run, _ in fake.commands) == 1
    fake.commands.clear()
    make_weights(recipe, plan, tmp_path / "out", models=models)
    assert {run for run, _ in fake.commands} == {"caching"}


@pytest.mark.usefixtures("no_records")
def test_options_of_the_command_line_win_over_the_recipes(datalist_file: Path, images: Path, tmp_path: Path):
    fake = Fake()
    plan = Plan(datalist_file, images, {"image_size": 96}, start=fake)
    make_weights(write_recipe(tmp_path), plan, tmp_path / "out", models=tmp_path, names=["teacher/fold0"])
    assert {run for run, _ in fake.commands} == {"caching", "training", "predicting"}
    assert {options["image_size"] for options in fake.options} == {"96"}


@pytest.mark.usefixtures("no_records")
def test_external_images_are_predicted_by_teachers_alone(datalist_file: Path, images: Path, tmp_path: Path):
    fake, names, out = Fake(), ["student/fold1", "boxes/fold0"], tmp_path / "out"
    make_weights(write_recipe(tmp_path), Plan(datalist_file, images, {}, start=fake), out, tmp_path, tmp_path, names)
    predicted = {
        Path(folder).relative_to(out).as_posix(): options["external_dir"]
        for (run, folder), options in zip(fake.commands, fake.options, strict=True)
        if run == "predicting"
    }
    taught = {name for name, folder in predicted.items() if folder == str(tmp_path)}
    assert taught == {"teacher/fold0", "pairs/folds0-1", "pairs/folds1-2"}
    assert predicted.keys() - taught == {"student/fold1", "boxes/fold0"}


@pytest.mark.usefixtures("no_records")
def test_a_failure_is_reported_and_what_needs_it_does_not_begin(datalist_file: Path, images: Path, tmp_path: Path):
    fake, lines = Fake(failing="teacher/fold1"), []
    plan = Plan(datalist_file, images, {}, start=fake)
    with pytest.raises(InputError, match="a training that ends well.*an error of its own"):
        make_weights(write_recipe(tmp_path), plan, tmp_path / "out", models=tmp_path, report=lines.append)
    assert any(line.startswith("teacher/fold1 failed") for line in lines)
    assert not any("boxes" in folder for _, folder in fake.commands)


@pytest.mark.usefixtures("no_records")
def test_no_part_begins_when_the_time_is_over(datalist_file: Path, images: Path, tmp_path: Path):
    fake = Fake()
    plan = Plan(datalist_file, images, {}, start=fake)
    report = make_weights(write_recipe(tmp_path), plan, tmp_path / "out", models=tmp_path, names=["teacher"], minutes=0)
    assert report.startswith("0 of 3 parts made; not begun: teacher/fold0")
    assert {run for run, _ in fake.commands} == {"caching"}


def test_out_of_fold_predictions_hold_every_image_once(tmp_path: Path):
    rows = [{"a": [0.1, 0.6, 0.2, 0.1]}, {"b": [0.7, 0.1, 0.1, 0.1], "external": [0.25] * 4}]
    tables = []
    for number, images in enumerate(rows):
        content = {"name": "n", "held_out": [number], "weights_sha256": "", "datalist_hash": ""}
        content["images"] = {name: {"study_id": f"s{name}", "probabilities": row} for name, row in images.items()}
        tables.append(tmp_path / f"{number}.json")
        tables[-1].write_text(json.dumps(content))
    boxes = tmp_path / "boxes.json"
    boxed = {"a": {"boxes": [[1, 2, 3, 4]], "scores": [0.5]}}
    boxes.write_text(json.dumps({**json.loads(tables[0].read_text()), "images": boxed}))
    findings = assemble_predictions(tables, [boxes], {"a", "b"}, none_weight=0.25)
    assert [image.image_id for image in findings] == ["a", "b"]
    assert findings[0].scores == (pytest.approx(0.45),) and findings[1].boxes == ()
    assert findings[0].none == pytest.approx(0.25 * 0.1 + 0.75 * 0.55)
    text = write_out_of_fold(findings, tmp_path / "pooled").read_text()
    assert "sa_study" in text and "opacity 0.450000 1.000 2.000 3.000 4.000" in text
    with pytest.raises(InputError, match="a in two"):
        assemble_predictions([tables[0], tables[0]], [], {"a"})
    with pytest.raises(InputError, match="none of c"):
        assemble_predictions(tables, [], {"a", "b", "c"})


def test_names_tell_what_is_held_out():
    assert [name_part("f", folds) for folds in ((), (3,), (0, 4))] == ["f/all", "f/fold3", "f/folds0-4"]
    assert len(STUDY_CLASSES) == 4


@pytest.mark.slow
def test_a_small_recipe_trains_predicts_and_distils(datalist_file: Path, images: Path, tmp_path: Path):
    options = {"image_size": 64, "batch_size": 8, "encoder_options": "{}", "cache_dir": tmp_path / "cache"}
    plan = Plan(datalist_file, images, options, start=start_forked)
    report = make_weights(write_recipe(tmp_path), plan, tmp_path / "out", models=tmp_path / "models")
    assert report == "13 of 13 parts made" and (tmp_path / "models" / "student.pt").is_file()
    table = json.loads((tmp_path / "out" / "boxes" / "fold0" / "predictions_table.json").read_text())
    assert table["held_out"] == [0] and table["images"]
