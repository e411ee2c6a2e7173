"""Outputs of a run: tables that agree with one another, a submission that scores, pictures of the image."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from PIL import Image
from scripts.errors import REJECTED_COLUMNS, InputError
from scripts.files import compute_sha256, write_csv
from scripts.labels import STUDY_CLASSES, UNIT_BOX
from scripts.metrics import GroundTruth, score_predictions
from scripts.outputs import FindingsWriter, LungCase, draw_lung_sheet, draw_overlay, write_mask, write_tables
from scripts.outputs.pictures import (
    CAPTION_HEIGHT,
    CROP_COLOUR,
    LABEL_COLOUR,
    LARGEST_WIDTH,
    OPACITY_COLOUR,
    SMALLEST_WIDTH,
    place_label,
)
from scripts.outputs.sheets import ANNOTATED_COLOUR, DETECTED_COLOUR
from scripts.predictions import ImageFindings, average_studies
from scripts.radiographs import read_radiograph
from scripts.submission import read_submission, write_submission
from scripts.synthetic import write_image
from scripts.transforms import LogitsToFindingsd

HEIGHT, WIDTH = 80, 120


def make_image(image_id: str = "a", study_id: str = "s", negative: float = 0.1, **changes: Any) -> ImageFindings:
    rest = (1 - negative) / 3
    metadata: dict[str, Any] = {
        "probabilities": dict(zip(STUDY_CLASSES, (negative, rest, rest, rest), strict=True)),
        "boxes": ((10.0, 20.0, 40.0, 60.0), (50.5, 20.25, 90.125, 70.0)),
        "scores": (0.8, 0.25),
        "none": negative,
        "crop_box": (5.0, 6.0, 110.0, 70.0),
    }
    return ImageFindings(image_id, study_id, **{**metadata, **changes})


IMAGES = (
    make_image("a1", "A", negative=0.1),
    make_image("a2", "A", negative=0.7, boxes=(), scores=()),
    make_image("b1", "B", negative=0.9, flags=("whole_image",)),
)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_two_images_of_one_study_are_averaged():
    studies = average_studies(IMAGES)
    assert list(studies) == ["A", "B"]
    assert studies["A"] == pytest.approx({"negative": 0.4, "typical": 0.2, "indeterminate": 0.2, "atypical": 0.2})
    assert studies["B"]["negative"] == pytest.approx(0.9)


def test_the_order_of_images_changes_no_mean_and_no_image_is_lost():
    studies = average_studies(IMAGES[::-1])
    assert studies["A"] == pytest.approx(average_studies(IMAGES)["A"])
    assert average_studies([]) == {}


def test_tables_have_a_row_for_every_image_and_every_study(tmp_path: Path):
    write_tables(IMAGES, tmp_path)
    images, studies = read_csv(tmp_path / "images.csv"), read_csv(tmp_path / "studies.csv")
    assert [(row["image_id"], row["study_id"], row["num_boxes"], row["flags"]) for row in images] == [
        ("a1", "A", "1", ""),
        ("a2", "A", "0", ""),
        ("b1", "B", "1", "whole_image"),
    ], "of two boxes the fainter one is not shown"
    assert [(row["study_id"], row["num_images"], float(row["negative"])) for row in studies] == [
        ("A", "2", 0.4),
        ("B", "1", 0.9),
    ]
    content = json.loads((tmp_path / "predictions.json").read_text())
    assert content["classes"] == list(STUDY_CLASSES) and content["studies"] == average_studies(IMAGES)
    assert [image["image_id"] for image in content["images"]] == ["a1", "a2", "b1"]
    assert content["images"][0]["boxes"] == [list(box) for box in IMAGES[0].boxes]


def test_tables_of_no_image_are_empty_and_whole(tmp_path: Path):
    write_tables([], tmp_path)
    assert read_csv(tmp_path / "images.csv") == read_csv(tmp_path / "studies.csv") == []


@pytest.mark.parametrize("name", ["=1+1", "+cmd", "-2", "@SUM(A1)"])
def test_an_id_that_a_spreadsheet_would_run_is_escaped_in_every_table(tmp_path: Path, name: str):
    images = [make_image(name, name)]
    write_tables(images, tmp_path)
    write_submission(images, tmp_path / "submission.csv")
    cells = [cell for path in tmp_path.glob("*.csv") for row in read_csv(path) for cell in row.values()]
    assert not [cell for cell in cells if cell.startswith(name)]
    assert f"'{name}" in cells


def test_the_submission_is_read_back_as_it_was_meant(tmp_path: Path):
    write_submission(IMAGES, tmp_path / "submission.csv")
    found = read_submission(tmp_path / "submission.csv")
    assert found.study == {study: pytest.approx(row, abs=1e-6) for study, row in average_studies(IMAGES).items()}
    assert found.image["a1"] == [
        ("opacity", 0.8, (10, 20, 40, 60)),
        ("opacity", 0.25, (50.5, 20.25, 90.125, 70)),
        ("none", pytest.approx(0.4), UNIT_BOX),
    ]
    assert found.image["a2"] == [("none", pytest.approx(0.4), UNIT_BOX)], "what the whole study says"
    assert set(found.image) == {"a1", "a2", "b1"}


@pytest.mark.parametrize(("weight", "none"), [(1.0, (0.4, 0.4, 0.9)), (0.5, (0.3, 0.7, 0.55)), (0.0, (0.2, 1.0, 0.2))])
def test_none_of_an_image_blends_its_study_with_its_own_best_box(
    tmp_path: Path, weight: float, none: tuple[float, ...]
):
    images = [replace(image, none_weight=weight) for image in IMAGES]  # best scores 0.8, none, 0.8
    write_submission(images, tmp_path / "submission.csv")
    found = read_submission(tmp_path / "submission.csv").image
    assert [found[image.image_id][-1] for image in images] == [("none", pytest.approx(each), UNIT_BOX) for each in none]


def test_none_of_a_study_of_one_image_is_what_was_found_on_it(tmp_path: Path):
    crop = {"crop_box": np.array([0.0, 0.0, WIDTH, HEIGHT]), "original_size": np.array([HEIGHT, WIDTH])}
    boxes = {"boxes": np.array([[10.0, 20.0, 40.0, 60.0]]), "scores": np.array([0.75])}
    pred = {"study": torch.tensor([0.0, 2.0, 1.0, -1.0]), **boxes, **crop}
    result = LogitsToFindingsd(none_weight=0.3)({"pred": pred})["result"]
    write_submission([ImageFindings.from_result("a", "s", result)], tmp_path / "submission.csv")
    (*_, (name, confidence, _)) = read_submission(tmp_path / "submission.csv").image["a"]
    assert (name, confidence) == ("none", pytest.approx(result["none"], abs=1e-6))
    assert result["none"] != pytest.approx(result["probabilities"]["negative"], abs=0.01)


def test_a_perfect_submission_scores_one(tmp_path: Path):
    boxes = ((10.0, 20.0, 40.0, 60.0),)
    images, labels = [], {}
    for study, name in enumerate(STUDY_CLASSES):
        certain = {each: float(each == name) for each in STUDY_CLASSES}
        seen = {"boxes": (), "scores": ()} if name == "negative" else {"boxes": boxes, "scores": (0.9,)}
        images.append(make_image(f"i{study}", f"s{study}", probabilities=certain, **seen))
        labels[f"s{study}"] = name
    write_submission(images, tmp_path / "submission.csv")
    ground_truth = GroundTruth(
        labels,
        {image.image_id: np.array(image.boxes).reshape(-1, 4) for image in images},
        {image.image_id: image.study_id for image in images},
    )
    assert set(score_predictions(read_submission(tmp_path / "submission.csv"), ground_truth).values()) == {1.0}


def draw_gradient() -> np.ndarray:
    return np.linspace(0, 1, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)


def draw_region() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[30:50, 60:90] = 1
    return mask


def test_a_mask_is_a_png_in_the_images_own_pixels(tmp_path: Path):
    write_mask(draw_region(), tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as picture:
        assert (picture.mode, picture.size) == ("L", (WIDTH, HEIGHT))
        np.testing.assert_array_equal(np.asarray(picture), draw_region() * 255)


def open_overlay(folder: Path, pixels: np.ndarray, mask: np.ndarray, image: ImageFindings) -> np.ndarray:
    draw_overlay(pixels, mask, image, folder / "overlay.png")
    with Image.open(folder / "overlay.png") as picture:
        assert picture.mode == "RGB" and not picture.info, "no text, no time, no name of a program"
        return np.asarray(picture)


def count_pixels(picture: np.ndarray, colour: tuple[int, ...]) -> int:
    return int((picture == colour).all(axis=2).sum())


def test_an_overlay_shows_the_image_with_mask_boxes_crop_and_caption(tmp_path: Path):
    picture = open_overlay(tmp_path, draw_gradient(), draw_region(), make_image())
    assert picture.shape == (round(HEIGHT * SMALLEST_WIDTH / WIDTH) + CAPTION_HEIGHT, SMALLEST_WIDTH, 3)
    assert count_pixels(picture, OPACITY_COLOUR) > 500 and count_pixels(picture, CROP_COLOUR) > 500
    caption = picture[-CAPTION_HEIGHT:]
    assert (caption == 255).all(axis=2).any(), "the classes are written below the image"


def test_the_image_below_an_overlay_is_the_image(tmp_path: Path):
    """Grey, rows first, neither mirrored nor inverted."""
    nothing = make_image(boxes=(), scores=(), crop_box=(0.0, 0.0, float(WIDTH), float(HEIGHT)))
    picture = open_overlay(tmp_path, draw_gradient(), np.zeros((HEIGHT, WIDTH), np.uint8), nothing)
    image = picture[2 : -CAPTION_HEIGHT - 2, 2:-2].astype(int)
    assert (image == image[..., :1]).all(), "grey"
    shown = np.asarray(Image.fromarray(draw_gradient()).resize((SMALLEST_WIDTH, len(picture) - CAPTION_HEIGHT)))
    assert np.abs(image[..., 0] / 255 - shown[2:-2, 2:-2]).max() < 0.02


def test_an_overlays_boxes_lie_where_they_were_found(tmp_path: Path):
    box = (12.0, 48.0, 60.0, 72.0)  # off the diagonal
    image = make_image(boxes=(box,), scores=(0.5,))
    picture = open_overlay(tmp_path, draw_gradient(), np.zeros((HEIGHT, WIDTH), np.uint8), image)
    rows, columns = np.nonzero((picture == OPACITY_COLOUR).all(axis=2)[:-CAPTION_HEIGHT])
    scale = SMALLEST_WIDTH / WIDTH
    found = np.array([columns.min(), rows.min(), columns.max(), rows.max()]) / scale
    np.testing.assert_allclose(found, box, atol=1)


def test_a_score_is_dark_on_a_label_of_its_boxs_colour(tmp_path: Path):
    """Also on an opacity's mask, where orange on orange could not be read."""
    image = make_image(boxes=((12.0, 10.0, 60.0, 72.0),), scores=(0.5,))
    picture = open_overlay(tmp_path, draw_gradient(), np.ones((HEIGHT, WIDTH), np.uint8), image)
    scale = SMALLEST_WIDTH / WIDTH
    top, left = round(10 * scale), round(12 * scale)
    label = picture[top : top + 17, left : left + 30]
    assert count_pixels(label, OPACITY_COLOUR) > 250 and count_pixels(label, LABEL_COLOUR) > 5


@pytest.mark.parametrize(
    ("box", "others", "left_and_top"),
    [
        ((40, 30, 90, 80), [], (40, 30)),  # in the box's corner, as on the study page
        ((-20, -10, 30, 40), [], (0, 0)),
        ((190, 95, 230, 130), [], (170, 84)),  # at the picture's right and lower edge
        ((40, 30, 90, 80), [(45, 35, 75, 51)], (40, 65)),  # both upper corners are taken
        ((40, 30, 140, 80), [(45, 35, 75, 51)], (111, 30)),
        ((40, 30, 42, 32), [(40, 30, 70, 46)], (40, 30)),  # no corner is free
    ],
)
def test_a_label_stands_in_a_corner_of_its_box_inside_of_the_picture_and_off_other_labels(
    box: tuple[float, ...], others: list[tuple[int, int, int, int]], left_and_top: tuple[int, int]
):
    left, top = left_and_top
    assert place_label(box, (30, 16), (200, 100), others) == (left, top, left + 30, top + 16)


@pytest.mark.parametrize(("width", "shown"), [(600, 600), (LARGEST_WIDTH, LARGEST_WIDTH), (3000, LARGEST_WIDTH)])
def test_an_overlay_is_as_wide_as_its_image_up_to_a_bound(tmp_path: Path, width: int, shown: int):
    pixels = np.zeros((width // 2, width), np.float32)
    picture = open_overlay(tmp_path, pixels, np.zeros(pixels.shape, np.uint8), make_image())
    assert picture.shape == (shown // 2 + CAPTION_HEIGHT, shown, 3)


@pytest.fixture
def synthetic(tmp_path: Path) -> dict[str, Path]:
    """Two images of one study and one of another, on disk, by image id."""
    values = (draw_gradient() * 4095).astype(np.uint16)
    names = ("a1", "a2", "b1")
    return {
        name: write_image(tmp_path / "images" / f"{name}.dcm", values, patient_name="Canary^Rara") for name in names
    }


def run_writer(images: dict[str, Path], folder: Path, out_of_scope: str = "", **options: Any) -> FindingsWriter:
    """The writer behind an engine that finds the same on every image, two images a batch.

    Images whose ids stand in `out_of_scope`, separated by blanks, are so.
    """
    writer = FindingsWriter(folder, **options)
    items = [{"image_id": name, "study_id": name[0].upper(), "path": str(path)} for name, path in images.items()]

    def infer(engine: Engine, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
        whys = ["no chest" if item["image_id"] in out_of_scope.split() else "" for item in batch]
        results = [{**describe_result(), "out_of_scope": why} for why in whys]
        return [{"pred": torch.from_numpy(draw_region()).T, "result": result} for result in results]

    engine = Engine(infer)
    writer.attach(engine)
    engine.run([items[:2], items[2:]], max_epochs=1)
    return writer


def describe_result() -> dict[str, Any]:
    image = make_image()
    return {
        "probabilities": dict(image.probabilities),
        "none": image.none,
        "boxes": [list(box) for box in image.boxes],
        "scores": list(image.scores),
        "crop_box": list(image.crop_box),
        "flags": [],
    }


def list_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


TABLES = {"images.csv", "studies.csv", "sources.csv", "predictions.json", "submission.csv", "done.json"}


def test_a_run_leaves_masks_overlays_tables_a_submission_and_a_record(synthetic: dict[str, Path], tmp_path: Path):
    (tmp_path / "weights.pt").write_bytes(b"weights")
    run_writer(synthetic, tmp_path / "out", weights=tmp_path / "weights.pt")
    pictures = {f"{kind}/{name}.png" for kind in ("masks", "overlays") for name in synthetic}
    assert list_files(tmp_path / "out") == TABLES | pictures
    record = json.loads((tmp_path / "out" / "done.json").read_text())
    hashed = compute_sha256(tmp_path / "weights.pt")
    assert record == {"images": 3, "studies": 2, "rejected_out_of_scope": 0, "weights_sha256": hashed}
    assert [row["image_id"] for row in read_csv(tmp_path / "out" / "images.csv")] == list(synthetic)


def test_the_weights_of_several_networks_are_recorded_by_name(synthetic: dict[str, Path], tmp_path: Path):
    weights = {"study_classifier": tmp_path / "a.pt", "lung_detector": str(tmp_path / "b.pt")}
    for name, path in weights.items():
        Path(path).write_bytes(name.encode())
    run_writer(synthetic, tmp_path / "out", weights=weights)
    record = json.loads((tmp_path / "out" / "done.json").read_text())
    assert record["weights_sha256"] == {name: compute_sha256(path) for name, path in weights.items()}


def test_without_weights_none_are_recorded(synthetic: dict[str, Path], tmp_path: Path):
    run_writer(synthetic, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "done.json").read_text())["weights_sha256"] is None


def test_an_image_out_of_scope_is_rejected_and_stands_nowhere_else(synthetic: dict[str, Path], tmp_path: Path):
    run_writer(synthetic, tmp_path / "out", out_of_scope="a2")
    out = tmp_path / "out"
    assert (out / "rejected.csv").read_text().splitlines() == [
        "image_id,study_id,reason,path,detail",
        f"a2,A,out_of_scope,{synthetic['a2']},no chest",
    ]
    pictures = {f"{kind}/{name}.png" for kind in ("masks", "overlays") for name in ("a1", "b1")}
    assert list_files(out) == TABLES | pictures | {"rejected.csv"}
    assert [row["image_id"] for row in read_csv(out / "images.csv")] == ["a1", "b1"]
    assert [(row["study_id"], row["num_images"]) for row in read_csv(out / "studies.csv")] == [("A", "1"), ("B", "1")]
    assert [image["image_id"] for image in json.loads((out / "predictions.json").read_text())["images"]] == ["a1", "b1"]
    assert set(read_submission(out / "submission.csv").image) == {"a1", "b1"}
    record = json.loads((out / "done.json").read_text())
    assert (record["images"], record["studies"], record["rejected_out_of_scope"]) == (2, 2, 1)


def test_a_study_of_which_every_image_is_out_of_scope_has_no_row(synthetic: dict[str, Path], tmp_path: Path):
    run_writer(synthetic, tmp_path / "out", out_of_scope="a1 a2")
    assert [row["study_id"] for row in read_csv(tmp_path / "out" / "studies.csv")] == ["B"]
    assert set(read_submission(tmp_path / "out" / "submission.csv").study) == {"B"}


def test_where_every_image_is_out_of_scope_the_tables_are_empty_and_whole(synthetic: dict[str, Path], tmp_path: Path):
    run_writer(synthetic, tmp_path / "out", out_of_scope="a1 a2 b1")
    assert list_files(tmp_path / "out") == TABLES | {"rejected.csv"}
    assert read_csv(tmp_path / "out" / "images.csv") == []
    assert [row["image_id"] for row in read_csv(tmp_path / "out" / "rejected.csv")] == ["a1", "a2", "b1"]


def test_images_that_were_rejected_earlier_keep_their_rows(synthetic: dict[str, Path], tmp_path: Path):
    """The reader's table comes first; a cell that was escaped in it is not escaped again."""
    broken = ["'=x", "s", "truncated", "in/=x.dcm", 'ends after 3, not "9", bytes']
    write_csv(tmp_path / "out" / "rejected.csv", REJECTED_COLUMNS, [["=x", *broken[1:]]])
    run_writer(synthetic, tmp_path / "out", out_of_scope="b1")
    rows = read_csv(tmp_path / "out" / "rejected.csv")
    assert [list(row.values()) for row in rows] == [
        broken,
        ["b1", "B", "out_of_scope", str(synthetic["b1"]), "no chest"],
    ]
    assert set(rows[0]) == set(REJECTED_COLUMNS)


def test_where_no_image_is_out_of_scope_the_readers_table_is_left_alone(synthetic: dict[str, Path], tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rejected.csv").write_text("image_id,study_id,reason,path,detail\n")
    run_writer(synthetic, tmp_path / "out")
    assert read_csv(tmp_path / "out" / "rejected.csv") == []
    run_writer(synthetic, tmp_path / "other")
    assert not (tmp_path / "other" / "rejected.csv").exists()


def test_overlays_are_counted_without_images_out_of_scope(synthetic: dict[str, Path], tmp_path: Path):
    run_writer(synthetic, tmp_path / "out", out_of_scope="a1", overlays=1)
    assert [path.name for path in (tmp_path / "out" / "overlays").iterdir()] == ["a2.png"]


@pytest.mark.parametrize("image_id", ["../outside", "/absolute"])
def test_no_id_of_an_image_out_of_scope_is_taken_unchecked(tmp_path: Path, synthetic: dict[str, Path], image_id: str):
    with pytest.raises(InputError, match="an image id that can be a file's name"):
        run_writer({image_id: synthetic["a1"]}, tmp_path / "out", out_of_scope=image_id)


@pytest.mark.parametrize(("overlays", "number"), [(-1, 3), (0, 0), (2, 2), (9, 3)])
def test_overlays_are_as_many_as_asked_for(synthetic: dict[str, Path], tmp_path: Path, overlays: int, number: int):
    run_writer(synthetic, tmp_path / "out", overlays=overlays)
    assert len(list((tmp_path / "out").glob("overlays/*.png"))) == number
    assert len(list((tmp_path / "out").glob("masks/*.png"))) == 3


def test_done_is_written_last(synthetic: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from scripts.outputs import writer

    def fail(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    run_writer(synthetic, tmp_path / "out")
    monkeypatch.setattr(writer, "write_submission", fail)
    with pytest.raises(InputError, match="found No space left on device; free or name another one"):
        run_writer(synthetic, tmp_path / "out")
    assert not (tmp_path / "out" / "done.json").exists(), "the record of an earlier run does not stand for this one"


def test_an_image_that_vanished_stops_the_run_without_a_record(synthetic: dict[str, Path], tmp_path: Path):
    synthetic["b1"].unlink()
    with pytest.raises(InputError, match=r"b1\.dcm: unreadable"):
        run_writer(synthetic, tmp_path / "out")
    assert not TABLES & list_files(tmp_path / "out")


@pytest.mark.parametrize("image_id", ["../outside", "folder/image", "/absolute"])
def test_no_id_leads_out_of_the_output_folder(tmp_path: Path, synthetic: dict[str, Path], image_id: str):
    with pytest.raises(InputError, match="an image id that can be a file's name"):
        run_writer({image_id: synthetic["a1"]}, tmp_path / "out")
    assert not list_files(tmp_path / "out")
    assert list_files(tmp_path) == {"images/a1.dcm", "images/a2.dcm", "images/b1.dcm"}


def test_a_writer_starts_anew_with_each_run(synthetic: dict[str, Path], tmp_path: Path):
    writer = run_writer(synthetic, tmp_path / "out", out_of_scope="a1")
    engine = Engine(lambda engine, batch: [])
    writer.attach(engine)
    engine.run([[]], max_epochs=1)
    assert writer.images == writer.rejected == {}
    assert read_csv(tmp_path / "out" / "images.csv") == []


def test_reader_options_reach_the_overlay(tmp_path: Path):
    values = (draw_gradient() * 4095).astype(np.uint16)
    path = write_image(tmp_path / "a.dcm", values, kind="SC", modality="CR")
    with pytest.raises(InputError, match="unsupported_sop"):
        run_writer({"a": path}, tmp_path / "out", reader_options={})
    for number, options in enumerate(({"accept_secondary_capture": True}, None)):
        run_writer({"a": path}, tmp_path / f"out{number}", reader_options=options)
        assert (tmp_path / f"out{number}" / "overlays" / "a.png").is_file()


def test_no_patient_is_named_in_any_output(synthetic: dict[str, Path], tmp_path: Path):
    run_writer(synthetic, tmp_path / "out")
    assert "canary" not in " ".join(list_files(tmp_path / "out")).lower()
    assert not [path for path in (tmp_path / "out").rglob("*.*") if b"canary" in path.read_bytes().lower()]


def test_an_overlay_is_drawn_on_the_pixels_that_the_reader_gives(synthetic: dict[str, Path], tmp_path: Path):
    run_writer(synthetic, tmp_path / "out")
    shown = make_image("a1", "A").keep_shown()
    expected = open_overlay(tmp_path, read_radiograph(synthetic["a1"]).pixels[0], draw_region(), shown)
    with Image.open(tmp_path / "out" / "overlays" / "a1.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), expected)


def test_a_person_is_shown_the_boxes_that_are_sure_enough():
    image = replace(make_image("a1", "A"), boxes=((0, 0, 9, 9), (1, 1, 5, 5), (2, 2, 6, 6)), scores=(0.9, 0.5, 0.49))
    shown = image.keep_shown()
    assert (shown.boxes, shown.scores) == (((0, 0, 9, 9), (1, 1, 5, 5)), (0.9, 0.5))
    assert replace(shown, boxes=image.boxes, scores=image.scores) == image, "nothing else changes"


def draw_sheet(cases: list[LungCase], folder: Path, **options: int) -> np.ndarray:
    draw_lung_sheet(cases, folder / "sheet.png", **options)
    with Image.open(folder / "sheet.png") as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB") and not picture.info
        return np.asarray(picture)


@pytest.mark.parametrize(
    ("number", "options", "size"),
    [
        (1, {}, (6 * 244 + 4, 260 + 4)),
        (6, {}, (6 * 244 + 4, 260 + 4)),
        (7, {}, (6 * 244 + 4, 2 * 260 + 4)),
        (5, {"columns": 2, "size": 50}, (2 * 54 + 4, 3 * 70 + 4)),
        (0, {}, (6 * 244 + 4, 4)),
    ],
)
def test_a_sheet_of_lungs_is_as_large_as_its_images(
    synthetic: dict[str, Path], tmp_path: Path, number: int, options: dict[str, int], size: tuple[int, int]
):
    case = LungCase(synthetic["a1"], (10.0, 20.0, 90.0, 70.0), None, "a caption")
    assert draw_sheet([case] * number, tmp_path, **options).shape == (*size[::-1], 3)


def test_a_sheet_shows_each_image_in_its_place_with_both_boxes_where_they_lie(
    synthetic: dict[str, Path], tmp_path: Path
):
    """Images become squares of 120 pixels: a box off the diagonal of an image of 120 x 80 reports rows from columns."""
    box, other = (12.0, 48.0, 60.0, 72.0), (30.0, 8.0, 108.0, 40.0)
    cases = [LungCase(synthetic["a1"], None, None, ""), LungCase(synthetic["a2"], box, None, "")]
    cases += [LungCase(synthetic["b1"], None, other, "words")]
    sheet = draw_sheet(cases, tmp_path, columns=2, size=120)
    squares = [sheet[top : top + 120, left : left + 120] for top, left in ((4, 4), (4, 128), (144, 4))]
    image = Image.fromarray((read_radiograph(synthetic["a1"]).pixels[0] * 255).astype(np.uint8)).resize((120, 120))
    np.testing.assert_array_equal(squares[0], np.repeat(np.asarray(image)[..., None], 3, axis=2))
    for square, colour, expected in ((squares[1], ANNOTATED_COLOUR, box), (squares[2], DETECTED_COLOUR, other)):
        rows, columns = np.nonzero((square == colour).all(axis=2))
        edges = [columns.min(), rows.min() / 1.5, columns.max(), rows.max() / 1.5]
        np.testing.assert_allclose(edges, expected, atol=1)
    assert not count_pixels(squares[1], DETECTED_COLOUR) and not count_pixels(squares[2], ANNOTATED_COLOUR)
    assert not sheet[124:140, 4:124].any() and sheet[264:280, 4:124].any(), "captions stand below their images"
