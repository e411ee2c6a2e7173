from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scripts import datalist, preparation
from scripts.datalist.schema import IMAGE_TYPES, compute_content_hash
from scripts.errors import InputError
from scripts.labels import STUDY_CLASSES, TABLE_COLUMNS
from scripts.preparation import images as reading
from scripts.preparation.decisions import Decisions
from scripts.synthetic import generate_tree, write_image
from scripts.tables import ImageRow

from tests.images import draw_noise, read_images_here

# Trees of a few images have classes rarer than their folds, and scikit-learn says so.
pytestmark = pytest.mark.filterwarnings("ignore:The least populated class")

REAL_TREE = Path(__file__).parents[2] / "shared/data/siim-covid19-256"


class Tree:
    """A challenge-shaped tree of noise images, written image by image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.studies: dict[str, str] = {}
        self.images: list[list[str]] = []

    def add(
        self, study: str, image: str, seed: int, label: str | None = "typical", boxes: str = "", patient: str = ""
    ) -> Path:
        part = "test" if label is None else "train"
        if label is not None:
            self.studies[study] = label
            opacities = " ".join(f"opacity 1 {box}" for box in boxes.split(";") if box)
            self.images.append([f"{image}_image", opacities or "none 1 0 0 1 1", study])
        path = self.folder / part / study / "series" / f"{image}.dcm"
        return write_image(path, draw_noise(seed), patient_id=patient or f"CANARY-{study}", patient_name="CANARY^NAME")

    def write_tables(self) -> Path:
        rows = [
            [f"{study}_study", *(int(name == label) for name in STUDY_CLASSES)] for study, label in self.studies.items()
        ]
        self._write("train_study_level.csv", ["id", *TABLE_COLUMNS.values()], rows)
        self._write("train_image_level.csv", ["id", "label", "StudyInstanceUID"], self.images)
        return self.folder

    def _write(self, name: str, header: list[str], rows: list[list[Any]]) -> None:
        with (self.folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Eight studies of eight patients, without tables yet."""
    monkeypatch.setattr(reading, "read_radiographs", read_images_here)
    synthetic = Tree(tmp_path / "tree")
    for number in range(8):
        synthetic.add(f"s{number}", f"i{number}", seed=number, label=STUDY_CLASSES[number % 4])
    return synthetic


def prepare(tree: Tree, **changes: Any) -> tuple[dict[str, dict[str, Any]], list[dict[str, str]]]:
    """Images by image id, and the decisions."""
    out = tree.folder.parent / "out"
    prepared = preparation.prepare(tree.write_tables(), out, **{"num_folds": 2, "workers": 1} | changes)
    content = datalist.read_datalist(prepared.datalist)
    with prepared.decisions.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {Path(image["image"]).stem: image for image in content["training"] + content["test"]}, rows


def test_an_image_is_described_by_its_tables_and_its_pixels(tree: Tree) -> None:
    tree.add("s8", "boxed", seed=8, label="atypical", boxes="10 20.5 30 40;1 2 3 4")
    tree.add("t1", "unlabelled", seed=9, label=None)
    (tree.folder / "train_lung_boxes.csv").write_text("image,xmin,ymin,xmax,ymax\nboxed,5,6,90,91.5\n")
    images, decisions = prepare(tree)
    image = images["boxed"]
    assert image["image"] == "train/s8/series/boxed.dcm" and image["label"] == 3 and image["fold"] in (0, 1)
    assert image["boxes"] == [[10, 20.5, 30, 40], [1, 2, 3, 4]] and image["boxes_known"]
    assert image["lung_box"] == [5, 6, 90, 91.5] and (image["height"], image["width"]) == (96, 96)
    assert images["unlabelled"]["label"] is None and images["unlabelled"]["fold"] is None
    assert images["i0"]["boxes"] == [] and images["i0"]["lung_box"] is None and images["i0"]["boxes_known"]
    assert decisions == [] and len(images) == 10


def test_a_synthetic_tree_is_prepared_twice_to_the_same_bytes(tmp_path: Path) -> None:
    generate_tree(tmp_path / "tree", num_studies=16, num_test_studies=3, size=96, workers=1)
    first, second = (
        preparation.prepare(tmp_path / "tree", tmp_path / out, num_folds=3, workers=1) for out in ("one", "two")
    )
    assert first.datalist.read_bytes() == second.datalist.read_bytes()
    assert first.decisions.read_bytes() == second.decisions.read_bytes()
    assert first.num_training >= 16 and first.num_test >= 3
    assert first.content_hash == json.loads(first.datalist.read_text())["content_hash"]


def test_patients_that_share_an_image_become_one_and_stand_in_one_fold(tree: Tree) -> None:
    tree.add("s8", "copy", seed=3, label="negative", patient="another")
    tree.add("s9", "later", seed=20, label="typical", patient="another")
    images, decisions = prepare(tree)
    assert images["copy"]["patient"] == images["i3"]["patient"] == images["later"]["patient"]
    assert images["copy"]["fold"] == images["i3"]["fold"] == images["later"]["fold"]
    assert len({image["patient"] for image in images.values()}) == 8
    joined = [row for row in decisions if row["decision"] == "patients joined"]
    assert [(row["image_id"], row["other_image_id"]) for row in joined] == [("copy", "i3")]


def test_studies_of_one_patient_stand_in_one_fold(tree: Tree) -> None:
    for number in range(20, 26):
        tree.add(f"s{number}", f"i{number}", seed=number, label=STUDY_CLASSES[number % 4], patient="CANARY-s0")
    images, _ = prepare(tree)
    assert len({images[f"i{number}"]["fold"] for number in (0, *range(20, 26))}) == 1


def test_of_the_same_images_the_one_with_boxes_is_trained_on(tree: Tree) -> None:
    tree.add("s8", "a_copy", seed=8)
    tree.add("s8", "b_boxed", seed=8, boxes="10 10 50 50")
    tree.add("s8", "c_copy", seed=8)
    images, decisions = prepare(tree)
    assert [images[name]["duplicate_of"] for name in ("a_copy", "b_boxed", "c_copy")] == ["b_boxed", None, "b_boxed"]
    duplicates = {row["image_id"]: row for row in decisions if row["decision"] == "duplicate"}
    assert set(duplicates) == {"a_copy", "c_copy"} and duplicates["a_copy"]["why"] == "equal pixels"


def test_the_same_image_under_two_labels_is_kept_twice_and_reported(tree: Tree) -> None:
    tree.add("s8", "other_label", seed=1, label="negative")
    images, decisions = prepare(tree)
    assert images["other_label"]["duplicate_of"] is None and images["i1"]["duplicate_of"] is None
    assert "duplicate, other label" in {row["decision"] for row in decisions}


def test_the_same_image_in_train_and_test_is_reported_and_stays(tree: Tree) -> None:
    tree.add("t1", "unlabelled", seed=2, label=None)
    tree.add("t2", "unlabelled_again", seed=2, label=None)
    images, decisions = prepare(tree)
    reported = {(row["decision"], row["image_id"], row["other_image_id"]) for row in decisions}
    assert ("duplicate in test", "unlabelled", "i2") in reported
    assert ("duplicate without label", "unlabelled_again", "unlabelled") in reported
    assert images["i2"]["duplicate_of"] is None and images["unlabelled_again"]["duplicate_of"] is None


def test_a_positive_image_that_lost_its_boxes_has_no_false_empty_mask(tree: Tree) -> None:
    tree.add("s8", "boxed", seed=8, boxes="10 10 50 50")
    tree.add("s8", "lost", seed=9)
    tree.add("s9", "never_had", seed=10)
    tree.add("s0", "negative", seed=11, label="negative")
    images, decisions = prepare(tree)
    assert [name for name, image in images.items() if not image["boxes_known"]] == ["lost"]
    assert [row["image_id"] for row in decisions if row["decision"] == "boxes unknown"] == ["lost"]


def test_no_image_of_a_study_with_several_is_dropped(tree: Tree) -> None:
    for number in range(5):
        tree.add("s8", f"m{number}", seed=30 + number)
    images, _ = prepare(tree)
    assert {f"m{number}" for number in range(5)} <= set(images)


def test_an_image_that_cannot_be_read_is_rejected_with_its_reason_and_the_others_go_on(tree: Tree) -> None:
    broken = tree.add("s8", "broken", seed=8)
    broken.write_bytes(b"not an image at all" * 100)
    images, decisions = prepare(tree)
    assert "broken" not in images and len(images) == 8
    assert [row["image_id"] for row in decisions] == ["broken"]
    assert decisions[0]["decision"] == "rejected" and decisions[0]["why"].startswith("not_dicom")


def test_files_without_a_row_or_place_are_dropped_and_reported(tree: Tree) -> None:
    tree.add("s0", "rowless", seed=8)
    tree.images.pop()
    (tree.folder / "train" / "s0" / "notes.txt").write_text("x")
    images, decisions = prepare(tree)
    assert {row["image_id"] for row in decisions if row["decision"] == "dropped"} == {"rowless", "notes"}
    assert "rowless" not in images


def test_a_box_one_pixel_outside_is_clipped_and_reported(tree: Tree) -> None:
    tree.add("s8", "clipped", seed=8, boxes="10 10 96.8 50")
    images, decisions = prepare(tree)
    assert images["clipped"]["boxes"] == [[10, 10, 96, 50]]
    assert [row["decision"] for row in decisions] == ["boxes clipped"]


def test_nothing_written_reports_who_a_patient_is(tree: Tree) -> None:
    broken = tree.add("s8", "broken", seed=8)
    broken.write_bytes(broken.read_bytes()[:-5000])
    prepare(tree)
    written = list((tree.folder.parent / "out").iterdir())
    assert len(written) == 2
    assert all("CANARY" not in path.read_text() and "CANARY" not in path.name for path in written)


def test_a_table_of_ones_own_images_is_prepared(tree: Tree) -> None:
    table = tree.folder.parent / "own.csv"
    rows = [f"s{number},train/s{number}/series/i{number}.dcm,typical,,{number // 2},1 2 90 91" for number in range(7)]
    table.write_text("\n".join(["study,image,label,boxes,patient,lung_box", *rows, "s7,train/s7/series/i7.dcm,,,,"]))
    images, _ = prepare(tree, tables=table)
    assert images["i0"]["patient"] == images["i1"]["patient"] != images["i2"]["patient"]
    assert images["i0"]["lung_box"] == [1, 2, 90, 91] and images["i7"]["label"] is None


def test_own_images_have_the_ids_of_inference(tree: Tree) -> None:
    """A copy under another name too, which the datalist knows as one."""
    first = tree.folder / "train/s0/series/i0.dcm"
    shutil.copy(first, tree.folder / "train/s0/series/Doe_John.dcm")
    table = tree.folder.parent / "own.csv"
    rows = [f"s{number},train/s{number}/series/i{number}.dcm,typical," for number in range(4)]
    table.write_text("\n".join(["study,image,label,boxes", *rows, "s0,train/s0/series/Doe_John.dcm,typical,"]))
    images, _ = prepare(tree, tables=table)
    ids = {Path(image["image"]).stem: image["image_id"] for image in datalist.find_images(tree.folder / "train")}
    assert {name: images[name]["image_id"] for name in ("i1", "i2", "i3")} == {
        name: ids[name] for name in ids if name in ("i1", "i2", "i3")
    }
    pair = sorted(images[name]["image_id"] for name in ("i0", "Doe_John"))
    assert pair == [ids["i0"], f"{ids['i0']}-2"] and ids["i0"] == ids["Doe_John"]
    (copy,) = (image for image in images.values() if image["duplicate_of"])
    assert copy["duplicate_of"] in pair and copy["duplicate_of"] != copy["image_id"]


def test_images_without_labels_need_no_folds(tree: Tree) -> None:
    table = tree.folder.parent / "own.csv"
    table.write_text("study,image,label,boxes\ns1,train/s1/series/i1.dcm,,\n")
    images, _ = prepare(tree, tables=table, num_folds=5)
    assert list(images) == ["i1"] and images["i1"]["fold"] is None


def test_a_rendering_is_prepared_by_option_only(tree: Tree) -> None:
    Image.fromarray((draw_noise(70) // 16).astype(np.uint8)).save(tree.folder / "image.png")
    table = tree.folder.parent / "own.csv"
    table.write_text("study,image,label,boxes\ns1,train/s1/series/i1.dcm,,\ns2,image.png,,\n")
    assert list(prepare(tree, tables=table)[0]) == ["i1"]
    assert list(prepare(tree, tables=table, accept_renderings=True)[0]) == ["i1", "image"]


def lose_image(tree: Tree) -> None:
    next(tree.folder.rglob("i3.dcm")).unlink()


def move_image(tree: Tree) -> None:
    next(tree.folder.rglob("i3.dcm")).rename(tree.folder / "train/s4/series/i3.dcm")


def repeat_name(tree: Tree) -> None:
    tree.add("s4", "i3", seed=50)
    tree.images.pop()


def repeat_name_in_test(tree: Tree) -> None:
    tree.add("t1", "i3", seed=50, label=None)


def draw_box_outside(tree: Tree) -> None:
    tree.add("s8", "outside", seed=8, boxes="10 10 120 50")


def break_all(tree: Tree) -> None:
    for path in tree.folder.rglob("*.dcm"):
        path.write_bytes(b"no image")


def share_patient(tree: Tree) -> None:
    for number in range(8):
        tree.add(f"s{number}", f"j{number}", seed=60 + number, label=STUDY_CLASSES[number % 4], patient="ANONYMOUS")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lose_image, r"none for 1 of them, first train_image_level.csv line 5 \(i3\); check that the tree is whole"),
        (move_image, r"study s3 for train_image_level.csv line 5 \(i3\), found its image in study s4"),
        (repeat_name, "each image id once in the tree"),
        (repeat_name_in_test, "i3 in train and test"),
        (draw_box_outside, r"inside the image of 96 x 96 pixels .* 10 10 120 50 at train_image_level.csv line 10"),
        (break_all, "at least one image that can be read, found none among 8 .* rejected as not_dicom"),
        (share_patient, "found 1 patients .* column patient"),
    ],
)
def test_bad_input_is_reported_in_one_line_and_leaves_nothing_behind(tree: Tree, spoil: Any, message: str) -> None:
    spoil(tree)
    with pytest.raises(InputError, match=message) as caught:
        prepare(tree)
    assert "\n" not in str(caught.value)
    assert not (tree.folder.parent / "out").exists()


def test_negative_studies_with_boxes_are_rejected_or_one_side_wins(tree: Tree) -> None:
    tree.add("s8", "boxed", seed=8, label="negative", boxes="10 10 50 50")
    tree.add("s8", "other", seed=9, label="negative")
    with pytest.raises(
        InputError, match=r"labelled negative, found some at .*line 10 \(boxed\).*keep_label, or keep_boxes"
    ):
        prepare(tree)
    images, decisions = prepare(tree, contradictions="keep_label")
    assert images["boxed"]["boxes"] == [] and images["boxed"]["label"] == 0 and images["boxed"]["boxes_known"]
    assert [row["image_id"] for row in decisions if row["decision"] == "label kept"] == ["boxed"]
    images, decisions = prepare(tree, contradictions="keep_boxes")
    assert (
        images["boxed"]["boxes"] == [[10, 10, 50, 50]] and images["boxed"]["label"] is images["other"]["label"] is None
    )
    assert [row["image_id"] for row in decisions if row["decision"] == "boxes kept"] == ["boxed"]
    with pytest.raises(InputError, match="one of reject, keep_label, keep_boxes, found 'neither'"):
        prepare(tree, contradictions="neither")


def write_own_table(tree: Tree, text: str) -> Path:
    path = tree.folder.parent / "own.csv"
    path.write_text(text)
    return path


def list_own_rows(tree: Tree, known: str = "") -> str:
    rows = [
        f"s{number},train/s{number}/series/i{number}.dcm,{STUDY_CLASSES[number % 4]},,{known if number == 1 else ''}\n"
        for number in range(8)
    ]
    return "study,image,label,boxes,boxes_known\n" + "".join(rows)


def test_a_positive_study_without_boxes_that_are_known_contradicts_itself(tree: Tree) -> None:
    table = write_own_table(tree, list_own_rows(tree, "1"))
    with pytest.raises(
        InputError, match=r"labelled typical whose boxes are known, found none at own.csv line 3 \(i1\)"
    ):
        prepare(tree, tables=table)
    images, decisions = prepare(tree, tables=table, contradictions="keep_label")
    assert not images["i1"]["boxes_known"] and images["i1"]["label"] == 1
    assert [(row["decision"], row["image_id"]) for row in decisions] == [("label kept", "i1")]
    for known, result in (("0", False), ("", True)):
        images, decisions = prepare(tree, tables=write_own_table(tree, list_own_rows(tree, known)))
        assert images["i1"]["boxes_known"] is result and decisions == []


def test_headers_that_contradict_the_tables_studies_are_told(tree: Tree) -> None:
    for name, seed, study, uid, patient in (
        ("a", 20, "s8", "1.2.1", "P1"),
        ("b", 21, "s8", "1.2.1", "P1"),
        ("c", 22, "s8", "1.2.2", "P2"),
        ("d", 23, "s9", "1.2.1", "P1"),
    ):
        path = tree.add(study, name, seed)
        write_image(path, draw_noise(seed), study_uid=uid, patient_id=patient)
    images, decisions = prepare(tree)
    assert {(row["decision"], row["image_id"], row["other_image_id"]) for row in decisions} == {
        ("study of several UIDs", "c", "a"),
        ("study of several patients", "c", "a"),
        ("UID of several studies", "d", "a"),
    }
    assert len(images) == 12 and not any("1.2." in row["why"] or "P1" in row["why"] for row in decisions)


def test_headers_that_agree_with_the_tables_studies_are_not_mentioned(tree: Tree) -> None:
    for seed in (20, 21):
        path = tree.add("s8", f"i{seed}", seed)
        write_image(path, draw_noise(seed), study_uid="1.2.1", patient_id="P1")
    assert prepare(tree)[1] == []


def test_zeros_that_a_spreadsheet_took_away_are_told(tree: Tree) -> None:
    rows = list_own_rows(tree).replace("boxes_known", "patient")
    for number, patient in ((2, "00123"), (6, "0123")):
        write_image(tree.folder / f"train/s{number}/series/i{number}.dcm", draw_noise(number), patient_id=patient)
    one = rows.replace("i2.dcm,indeterminate,,", "i2.dcm,indeterminate,,123")
    _, decisions = prepare(tree, tables=write_own_table(tree, one))
    assert [(row["decision"], row["image_id"]) for row in decisions] == [("leading zeros", "i2")]
    two = one.replace("i6.dcm,indeterminate,,", "i6.dcm,indeterminate,,123")
    with pytest.raises(
        InputError, match=r"column patient .*line 8 \(i6\) and at own.csv line 4 \(i2\); format the column"
    ):
        prepare(tree, tables=write_own_table(tree, two))
    whole = one.replace(",,123", ",,00123")
    assert prepare(tree, tables=write_own_table(tree, whole))[1] == []


@pytest.mark.parametrize("text", ["7.dcm", "7.0", "007", "7"])
def test_a_file_whose_name_was_taken_for_a_number_is_named(tree: Tree, text: str) -> None:
    (tree.folder / ("0007.dcm" if "dcm" in text else "0007")).write_bytes(b"x")
    table = write_own_table(tree, f"study,image,label,boxes\ns1,./{text},typical,\n")
    with pytest.raises(
        InputError, match="an image below the tree.*line 2 .*0007(.dcm)? is there: format the column as text"
    ):
        prepare(tree, tables=table)


@pytest.mark.parametrize("kind", ["secondary_capture", "renderings"])
def test_the_readers_options_hold_for_all_that_read_the_datalist(tree: Tree, kind: str) -> None:
    from scripts.transforms import LoadRadiographd

    rows = ["study,image,label,boxes"]
    for number in range(8):
        name = f"x{number}.{'dcm' if kind == 'secondary_capture' else 'png'}"
        if kind == "secondary_capture":
            write_image(tree.folder / name, draw_noise(number), kind="SC", modality="CR", patient_id=f"P{number}")
        else:
            Image.fromarray((draw_noise(number) // 16).astype(np.uint8)).save(tree.folder / name)
        rows.append(f"s{number},{name},{STUDY_CLASSES[number % 4]},")
    table, out = write_own_table(tree, "\n".join(rows)), tree.folder.parent / "out"
    preparation.prepare(tree.folder, out, table, num_folds=2, workers=1, **{f"accept_{kind}": True})
    for item in datalist.training_images(out / "datalist.json", tree.folder, fold=0):
        assert LoadRadiographd("image")(item)["image"].shape == (1, 96, 96)
        with pytest.raises(InputError, match="unsupported_sop|not_dicom"):
            LoadRadiographd("image")({**item, f"accept_{kind}": False})
    assert preparation.check_datalist(out / "datalist.json", tree.folder, workers=1).num_images == 8


def test_a_datalist_with_the_readers_defaults_says_nothing_of_them(tree: Tree) -> None:
    images, _ = prepare(tree)
    assert not any("accept" in key for image in images.values() for key in image)


@pytest.mark.parametrize("image", ["nowhere.dcm", "../secret.dcm", "/etc/hostname"])
def test_a_path_of_ones_own_table_stays_in_the_tree(tree: Tree, image: str) -> None:
    (tree.folder.parent / "secret.dcm").write_bytes(b"x")
    table = tree.folder.parent / "own.csv"
    table.write_text(f"study,image,label,boxes\ns1,{image},typical,\n")
    with pytest.raises(InputError, match=r"an image below the tree.*own.csv line 2"):
        prepare(tree, tables=table)


def test_a_wrong_tree_or_place_to_write_is_reported(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder of DICOM images, found no folder .*nowhere"):
        preparation.prepare(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a folder to write into"):
        preparation.prepare(tree.write_tables(), tmp_path / "file")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_the_decisions_is_a_formula(tmp_path: Path, start: str) -> None:
    decisions = Decisions()
    decisions.add("dropped", ImageRow(f"{start}cmd|' /C calc'!A0", "s", (), ""), "why")
    decisions.write(tmp_path / "decisions.csv")
    with (tmp_path / "decisions.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["image_id"].startswith("'")


def test_an_unknown_decision_is_rejected() -> None:
    with pytest.raises(ValueError, match="expected one of rejected, .*got forgotten"):
        Decisions().add("forgotten", ImageRow("i", "s", (), ""), "why")


def test_a_write_that_fails_leaves_the_old_datalist_whole(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tree)
    out = tree.folder.parent / "out"
    old = {path.name: path.read_bytes() for path in out.iterdir()}

    def fail(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        prepare(tree, seed=1)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == old


def make_image(image_id: str, fold: int | None = 0, label: int | None = 1, **changes: Any) -> dict[str, Any]:
    image: dict[str, Any] = dict.fromkeys(IMAGE_TYPES)
    image |= {"image": f"{image_id}.dcm", "image_id": image_id, "study_id": f"s{image_id}", "patient": "0" * 12}
    return image | {"label": label, "fold": fold, "boxes": [], "boxes_known": True, "height": 9, "width": 8} | changes


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A datalist of two folds of three, and the files that it names."""
    training = [
        make_image("a", 0, boxes=[[1, 2, 3, 4]], lung_box=[0, 1, 7, 8]),
        make_image("b", 0, duplicate_of="a"),
        make_image("c", 1),
    ]
    test = [make_image("d", None, None)]
    for image in [*training, *test]:
        (tmp_path / image["image"]).write_bytes(b"")
    datalist.write_datalist(tmp_path / "datalist.json", training, test, num_folds=3, seed=0)
    return tmp_path / "datalist.json"


def name_images(images: list[dict[str, Any]]) -> list[str]:
    return [image["image_id"] for image in images]


def test_a_fold_is_trained_without_copies_and_validated_with_them(listed: Path) -> None:
    assert name_images(datalist.training_images(listed, listed.parent, fold=1)) == ["a"]
    assert name_images(datalist.validation_images(listed, listed.parent, fold=0)) == ["a", "b"]
    assert name_images(datalist.training_images(listed, listed.parent, fold=None)) == ["a", "c"]
    assert name_images(datalist.test_images(listed, listed.parent)) == ["d"]


def write_images(folder: Path, *images: dict[str, Any]) -> Path:
    for image in images:
        (folder / image["image"]).write_bytes(b"")
    datalist.write_datalist(folder / "datalist.json", list(images), [], num_folds=3, seed=0)
    return folder / "datalist.json"


def test_a_detector_is_not_trained_on_images_whose_opacities_nobody_drew(tmp_path: Path) -> None:
    boxed, empty = make_image("a", 0, boxes=[[1, 2, 3, 4]]), make_image("b", 0)
    unknown, copy = make_image("c", 0, boxes_known=False), make_image("d", 0, duplicate_of="a")
    path = write_images(tmp_path, boxed, empty, unknown, copy, make_image("e", 1, boxes_known=False))
    assert name_images(datalist.training_images(path, tmp_path, fold=1)) == ["a", "b", "c"]
    assert name_images(datalist.training_images(path, tmp_path, fold=1, boxes_known=True)) == ["a", "b"]
    assert name_images(datalist.validation_images(path, tmp_path, fold=0)) == ["a", "b", "c", "d"]


def test_a_detector_is_not_validated_where_nobody_knows_the_boxes_of_a_study(tmp_path: Path) -> None:
    """An image without a box beside one with some is scored as the challenge does: as without opacities."""
    boxed, beside = make_image("a", 0, boxes=[[1, 2, 3, 4]]), make_image("b", 0, boxes_known=False, study_id="sa")
    path = write_images(tmp_path, boxed, beside, make_image("c", 0), make_image("d", 0, boxes_known=False))
    assert name_images(datalist.validation_images(path, tmp_path, fold=0, boxes_known=True)) == ["a", "b", "c"]


def test_a_datalist_without_known_boxes_is_reported(tmp_path: Path) -> None:
    path = write_images(tmp_path, make_image("a", 0, boxes_known=False))
    with pytest.raises(InputError, match="training images outside fold 1, found none in .*datalist.json"):
        datalist.training_images(path, tmp_path, fold=1, boxes_known=True)


def test_images_come_with_absolute_paths_and_arrays(listed: Path) -> None:
    image, other = datalist.training_images(listed, listed.parent, fold=None)
    assert Path(image["image"]).is_absolute() and Path(image["image"]).is_file()
    assert image["boxes"].shape == (1, 4) and image["boxes"].dtype == np.float32
    assert other["boxes"].shape == (0, 4) and other["lung_box"] is None
    np.testing.assert_array_equal(image["lung_box"], np.array([0, 1, 7, 8], np.float32))
    assert "label" not in datalist.test_images(listed, listed.parent)[0]


@pytest.mark.parametrize("fold", [-1, 3, True, "0", 1.5])
def test_a_fold_that_is_not_there_is_reported(listed: Path, fold: Any) -> None:
    with pytest.raises(InputError, match="a fold from 0 to 2, found fold"):
        datalist.validation_images(listed, listed.parent, fold)


def test_an_empty_fold_is_reported(listed: Path) -> None:
    with pytest.raises(InputError, match="images of fold 2, found none in .*datalist.json"):
        datalist.validation_images(listed, listed.parent, 2)


def test_an_image_that_is_not_there_is_reported(listed: Path) -> None:
    (listed.parent / "c.dcm").unlink()
    with pytest.raises(InputError, match="expected 2 images below .*, found 1, without c.dcm; check dataset_dir"):
        datalist.training_images(listed, listed.parent, fold=None)
    with pytest.raises(InputError, match="no folder .*nowhere; check dataset_dir"):
        datalist.training_images(listed, listed.parent / "nowhere", fold=None)


def edit(path: Path, **changes: Any) -> None:
    """Change a datalist as a careful forger would: with its hash."""
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(content | {"content_hash": compute_content_hash(content)}))


def change_without_hash(path: Path) -> None:
    path.write_text(path.read_text().replace('"label": 1', '"label": 2'))


def cut_short(path: Path) -> None:
    path.write_text(path.read_text()[:-200])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (Path.unlink, "a datalist.json, found none at .*No such file"),
        (cut_short, "a whole JSON file, found a cut or changed one"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "a whole JSON file"),
        (lambda path: path.write_text("[]"), "a file of schema chest_xray_covid19/datalist, found another one"),
        (lambda path: edit(path, schema="other"), "a file of schema"),
        (lambda path: edit(path, version=2), "a datalist of version 1, found version 2"),
        (change_without_hash, "the content that its content_hash was made of"),
        (lambda path: edit(path, classes=["a", "b"]), "the classes negative, typical"),
        (lambda path: edit(path, training=[{}]), "one with a wrong image at"),
        (lambda path: edit(path, training=[make_image("a", label="typical")]), "one with a wrong label at"),  # type: ignore[arg-type]
        (lambda path: edit(path, training=[make_image("a", image="../a.dcm")]), "image paths inside the tree"),
        (lambda path: edit(path, training=[make_image("a", image="/etc/hostname")]), "image paths inside the tree"),
    ],
)
def test_a_datalist_that_was_changed_or_cut_is_rejected(listed: Path, spoil: Any, message: str) -> None:
    spoil(listed)
    with pytest.raises(InputError, match=message) as caught:
        datalist.training_images(listed, listed.parent, fold=1)
    assert "\n" not in str(caught.value)


def test_the_content_hash_does_not_depend_on_layout(listed: Path) -> None:
    content = json.loads(listed.read_text())
    listed.write_text(json.dumps(dict(reversed(content.items()))))
    assert datalist.read_datalist(listed)["content_hash"] == content["content_hash"]


@pytest.mark.slow
@pytest.mark.skipif(not REAL_TREE.is_dir(), reason="the real images are not beside the project")
def test_the_real_images_are_prepared_in_a_minute(tmp_path: Path) -> None:
    start = os.times()
    prepared = preparation.prepare(REAL_TREE, tmp_path, workers=2)
    end = os.times()
    seconds_on_two_cores = sum(end[:4]) / 2 - sum(start[:4]) / 2  # other work on the machine does not count
    assert (prepared.num_training, prepared.num_test, prepared.num_patients) == (5278, 1056, 2711)
    assert prepared.num_decisions["patients joined"] == 1 and prepared.num_decisions["boxes unknown"] == 188
    assert "rejected" not in prepared.num_decisions
    assert seconds_on_two_cores < 60
