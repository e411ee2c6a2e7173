"""Before inference every film is read once: what cannot be read is told with its reason, and never scored."""

from __future__ import annotations

import csv
import logging
import shutil
from pathlib import Path

import pytest

from scripts.datalist import read_datalist, readable_films, validation_films
from scripts.errors import InputError
from tests import films as made


def write_folder(folder: Path) -> Path:
    """Two studies: one of a good and a broken film, one of a broken film alone."""
    for study in ("study1", "study2"):
        (folder / study / "series").mkdir(parents=True)
    good, bad = made.make_film(made.draw_values()), made.make_film(made.draw_values(seed=1))
    made.write_film(folder / "study1" / "series" / "good.dcm", good)
    cut = made.write_film(folder / "study1" / "series" / "cut.dcm", bad)
    cut.write_bytes(cut.read_bytes()[:3000])
    (folder / "study2" / "series" / "text.dcm").write_text("no film")
    return folder


def read_refused(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_films_that_cannot_be_read_are_left_out_and_told_with_their_reason(tmp_path: Path):
    refused_file = tmp_path / "out" / "refused.csv"
    films = readable_films(write_folder(tmp_path / "in"), refused_file=refused_file, workers=1)
    assert [(film["image_id"], film["study_id"]) for film in films] == [("good", "study1")]
    rows = read_refused(refused_file)
    assert [(row["image_id"], row["study_id"], row["reason"]) for row in rows] == [
        ("cut", "study1", "truncated"),
        ("text", "study2", "not_dicom"),
    ]
    assert all(Path(row["path"]).is_file() and row["detail"] for row in rows)


def test_the_table_of_refused_films_is_written_also_where_it_stays_empty(tmp_path: Path):
    (tmp_path / "in").mkdir()
    made.write_film(tmp_path / "in" / "a.dcm", made.make_film())
    assert len(readable_films(tmp_path / "in", refused_file=tmp_path / "refused.csv", workers=1)) == 1
    assert (tmp_path / "refused.csv").read_text() == "image_id,study_id,reason,path,detail\n"


def test_a_batch_tells_how_many_films_were_refused_and_why(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        readable_films(write_folder(tmp_path), workers=1)
    assert "2 of 3 films refused, not_dicom 1, truncated 1" in caplog.text


def test_a_batch_of_which_nothing_can_be_read_is_an_error_and_its_table_is_written(tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "text.dcm").write_text("no film")
    with pytest.raises(InputError, match="expected at least one readable film, found 1 refused, not_dicom 1"):
        readable_films(tmp_path / "in", refused_file=tmp_path / "refused.csv", workers=1)
    assert [row["reason"] for row in read_refused(tmp_path / "refused.csv")] == ["not_dicom"]


def test_the_advice_names_a_table_only_where_one_was_written(tmp_path: Path):
    (tmp_path / "text.dcm").write_text("no film")
    with pytest.raises(InputError) as caught:
        readable_films(tmp_path, workers=1)
    assert "refused.csv" not in str(caught.value)


@pytest.mark.parametrize("make", [True, False], ids=["empty", "absent"])
def test_a_folder_without_films_is_refused_and_nothing_is_written(tmp_path: Path, make: bool):
    if make:
        (tmp_path / "in").mkdir()
    with pytest.raises(InputError, match="expected a folder of DICOM films"):
        readable_films(tmp_path / "in", refused_file=tmp_path / "out" / "refused.csv")
    assert not (tmp_path / "out").exists()


def test_films_of_a_datalist_bring_their_ids_and_lung_boxes(films: Path, datalist_file: Path, tmp_path: Path):
    found = readable_films(films, datalist_file, tmp_path / "refused.csv", workers=1)
    assert found and all(film["lung_box"] is not None and "label" not in film for film in found)
    assert {Path(film["image"]).stem for film in found} == {film["image_id"] for film in found}
    assert read_refused(tmp_path / "refused.csv") == []


def test_the_films_of_a_fold_are_those_that_were_held_out(films: Path, datalist_file: Path):
    found = readable_films(films, datalist_file, workers=1, fold=2)
    expected = [film for film in read_datalist(datalist_file)["training"] if film["fold"] == 2]
    assert [film["image_id"] for film in found] == [film["image_id"] for film in expected]
    assert all("label" in film and film["fold"] == 2 and Path(film["image"]).is_file() for film in found)


def test_a_fold_that_is_not_there_is_refused_and_nothing_is_written(films: Path, datalist_file: Path, tmp_path: Path):
    with pytest.raises(InputError, match="expected a fold from 0 to 2, found fold 3"):
        readable_films(films, datalist_file, tmp_path / "refused.csv", workers=1, fold=3)
    assert list(tmp_path.iterdir()) == []


def test_a_film_of_a_fold_that_cannot_be_read_is_left_out_and_told(films: Path, datalist_file: Path, tmp_path: Path):
    tree = shutil.copytree(films, tmp_path / "films")
    first, *others = validation_films(datalist_file, tree, 0)
    Path(first["image"]).write_text("no film")
    found = readable_films(tree, datalist_file, tmp_path / "refused.csv", workers=1, fold=0)
    assert [film["image_id"] for film in found] == [film["image_id"] for film in others]
    (row,) = read_refused(tmp_path / "refused.csv")
    assert (row["image_id"], row["study_id"], row["reason"]) == (first["image_id"], first["study_id"], "not_dicom")


def test_reader_options_decide_what_is_refused(tmp_path: Path):
    made.write_film(tmp_path / "a.dcm", made.make_film(SOPClassUID=made.SECONDARY_CAPTURE))
    with pytest.raises(InputError, match="unsupported_sop 1"):
        readable_films(tmp_path, workers=1)
    assert readable_films(tmp_path, reader_options={"accept_secondary_capture": True}, workers=1)
