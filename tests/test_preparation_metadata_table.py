"""The table of image metadata: known words of a header, and nothing that identifies a person."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pydicom
import pytest
from scripts.datalist import read_datalist
from scripts.preparation import write_metadata_table
from scripts.preparation.metadata_table import METADATA_COLUMNS, name_age_band


@pytest.fixture(scope="module")
def table(images: Path, datalist_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("metadata") / "metadata.csv"
    listed = read_datalist(datalist_file)
    assert write_metadata_table(datalist_file, images, path) == (len(listed["training"]) + len(listed["test"]), 0)
    return path


def read_rows(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return {row.pop("image_id"): row for row in csv.DictReader(file)}


def test_a_row_says_what_the_header_says(table: Path, images: Path, datalist_file: Path):
    rows = read_rows(table)
    for image in read_datalist(datalist_file)["training"]:
        header = pydicom.dcmread(images / image["image"], stop_before_pixels=True)
        row = rows[image["image_id"]]
        assert tuple(row) == METADATA_COLUMNS
        assert row["photometric"] == header.PhotometricInterpretation and row["modality"] == header.Modality
        assert row["view_position"] == header.get("ViewPosition", "") and row["patient_sex"] == header.PatientSex
        assert row["bits_stored"] == str(header.BitsStored)
        assert header.get("Manufacturer", "").lower().startswith(row["manufacturer"])
        assert row["age_band"] == name_age_band(int(header.PatientAge[:3]) if header.get("PatientAge") else None)
    assert len({row["photometric"] for row in rows.values()}) == 2


def test_nothing_in_it_reports_who_it_is(table: Path, images: Path, datalist_file: Path):
    text = table.read_text(encoding="utf-8")
    for image in read_datalist(datalist_file)["training"]:
        header = pydicom.dcmread(images / image["image"], stop_before_pixels=True)
        private = [image["patient"], str(header.PatientName), str(header.PatientID), header.StudyInstanceUID]
        private += [str(header.get("StudyDate", "")), str(header.get("PatientAge", ""))]
        assert [word for word in private if word and word in text] == []


def test_an_image_that_is_none_has_no_row(images: Path, datalist_file: Path, tmp_path: Path):
    listed = read_datalist(datalist_file)
    number = len(listed["training"]) + len(listed["test"])
    first = listed["training"][0]
    tree = tmp_path / "tree"
    for image in listed["training"][1:3]:
        (tree / image["image"]).parent.mkdir(parents=True, exist_ok=True)
        (tree / image["image"]).write_bytes((images / image["image"]).read_bytes())
    (tree / first["image"]).parent.mkdir(parents=True, exist_ok=True)
    (tree / first["image"]).write_text(json.dumps("no image"))
    assert write_metadata_table(datalist_file, tree, tmp_path / "metadata.csv") == (2, number - 2)
    assert set(read_rows(tmp_path / "metadata.csv")) == {image["image_id"] for image in listed["training"][1:3]}


@pytest.mark.parametrize(
    ("years", "band"),
    [(None, ""), (0.3, "0 to 39"), (39.99, "0 to 39"), (40, "40 to 59"), (79, "60 to 79"), (103, "80 or more")],
)
def test_ages_are_reported_as_bands(years: float | None, band: str):
    assert name_age_band(years) == band
