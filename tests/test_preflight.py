"""Before inference every image is read once: what cannot be read is reported with its reason, and never scored."""

from __future__ import annotations

import csv
import logging
import shutil
from pathlib import Path

import pytest
from scripts.datalist import read_datalist, readable_images, validation_images
from scripts.errors import InputError

from tests import images as made


def write_folder(folder: Path) -> Path:
    """Two studies: one of a good and a broken image, one of a broken image alone."""
    for study in ("study1", "study2"):
        (folder / study / "series").mkdir(parents=True)
    good, bad = made.make_image(made.draw_values()), made.make_image(made.draw_values(seed=1))
    made.write_image(folder / "study1" / "series" / "good.dcm", good)
    cut = made.write_image(folder / "study1" / "series" / "cut.dcm", bad)
    cut.write_bytes(cut.read_bytes()[:3000])
    (folder / "study2" / "series" / "text.dcm").write_text("no image")
    return folder


def read_rejected(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_images_that_cannot_be_read_are_left_out_and_reported_with_their_reason(tmp_path: Path):
    rejected_file = tmp_path / "out" / "rejected.csv"
    images = readable_images(write_folder(tmp_path / "in"), rejected_file=rejected_file, workers=1)
    assert [(image["image_id"], image["study_id"]) for image in images] == [("good", "study1")]
    rows = read_rejected(rejected_file)
    assert [(row["image_id"], row["study_id"], row["reason"]) for row in rows] == [
        ("cut", "study1", "truncated"),
        ("text", "study2", "not_dicom"),
    ]
    assert all(Path(row["path"]).is_file() and row["detail"] for row in rows)


def test_the_table_of_rejected_images_is_written_also_where_it_stays_empty(tmp_path: Path):
    (tmp_path / "in").mkdir()
    made.write_image(tmp_path / "in" / "a.dcm", made.make_image())
    assert len(readable_images(tmp_path / "in", rejected_file=tmp_path / "rejected.csv", workers=1)) == 1
    assert (tmp_path / "rejected.csv").read_text() == "image_id,study_id,reason,path,detail\n"


def test_a_batch_reports_how_many_images_were_rejected_and_why(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        readable_images(write_folder(tmp_path), workers=1)
    assert "2 of 3 images rejected, not_dicom 1, truncated 1" in caplog.text


def test_a_batch_of_which_nothing_can_be_read_is_an_error_and_its_table_is_written(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "text.dcm").write_text("no image")
    with pytest.raises(InputError, match="expected at least one readable image, found 1 rejected, not_dicom 1"):
        readable_images(tmp_path / "in", rejected_file=tmp_path / "rejected.csv", workers=1)
    assert [row["reason"] for row in read_rejected(tmp_path / "rejected.csv")] == ["not_dicom"]


def test_the_advice_names_a_table_only_where_one_was_written(tmp_path: Path):
    (tmp_path / "text.dcm").write_text("no image")
    with pytest.raises(InputError) as caught:
        readable_images(tmp_path, workers=1)
    assert "rejected.csv" not in str(caught.value)


@pytest.mark.parametrize("make", [True, False], ids=["empty", "absent"])
def test_a_folder_without_images_is_rejected_and_nothing_is_written(tmp_path: Path, make: bool):
    if make:
        (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="expected a folder of DICOM images"):
        readable_images(tmp_path / "in", rejected_file=tmp_path / "out" / "rejected.csv")
    assert not (tmp_path / "out").exists()


def test_images_of_a_datalist_bring_their_ids_and_lung_boxes(images: Path, datalist_file: Path, tmp_path: Path):
    found = readable_images(images, datalist_file, tmp_path / "rejected.csv", workers=1)
    assert found and all(image["lung_box"] is not None and "label" not in image for image in found)
    assert {Path(image["image"]).stem for image in found} == {image["image_id"] for image in found}
    assert read_rejected(tmp_path / "rejected.csv") == []


def test_the_images_of_a_fold_are_those_that_were_held_out(images: Path, datalist_file: Path):
    found = readable_images(images, datalist_file, workers=1, fold=2)
    expected = [image for image in read_datalist(datalist_file)["training"] if image["fold"] == 2]
    assert [image["image_id"] for image in found] == [image["image_id"] for image in expected]
    assert all("label" in image and image["fold"] == 2 and Path(image["image"]).is_file() for image in found)


def test_a_fold_that_is_not_there_is_rejected_and_nothing_is_written(images: Path, datalist_file: Path, tmp_path: Path):
    with pytest.raises(InputError, match="expected a fold from 0 to 2, found fold 3"):
        readable_images(images, datalist_file, tmp_path / "rejected.csv", workers=1, fold=3)
    assert list(tmp_path.iterdir()) == []


def test_an_image_of_a_fold_that_cannot_be_read_is_left_out_and_reported(
    images: Path, datalist_file: Path, tmp_path: Path
):
    tree = shutil.copytree(images, tmp_path / "images")
    first, *others = validation_images(datalist_file, tree, 0)
    Path(first["image"]).write_text("no image")
    found = readable_images(tree, datalist_file, tmp_path / "rejected.csv", workers=1, fold=0)
    assert [image["image_id"] for image in found] == [image["image_id"] for image in others]
    (row,) = read_rejected(tmp_path / "rejected.csv")
    assert (row["image_id"], row["study_id"], row["reason"]) == (first["image_id"], first["study_id"], "not_dicom")


def test_reader_options_decide_what_is_rejected(tmp_path: Path):
    made.write_image(tmp_path / "a.dcm", made.make_image(SOPClassUID=made.SECONDARY_CAPTURE))
    with pytest.raises(InputError, match="unsupported_sop 1"):
        readable_images(tmp_path, workers=1)
    assert readable_images(tmp_path, reader_options={"accept_secondary_capture": True}, workers=1)
