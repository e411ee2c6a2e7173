"""Age of a patient: every form of it, and placeholders of de-identification, which are none."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from scripts.errors import RejectedImage
from scripts.radiographs import ImageMetadata, read_radiograph

from tests import images


def read(tmp_path: Path, elements: dict[str, str]) -> ImageMetadata:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom minds other forms than the standard's
        path = images.write_image(tmp_path / "image.dcm", images.make_image(**elements))
    return read_radiograph(path).metadata


AGES: list[tuple[dict[str, str], float | None]] = [
    ({"PatientAge": "054Y"}, 54),
    ({"PatientAge": "54"}, 54),
    ({"PatientAge": "54 Y"}, 54),
    ({"PatientAge": "54YRS"}, 54),
    ({"PatientAge": "54 years"}, 54),
    ({"PatientAge": "240M"}, 20),
    ({"PatientAge": "054Y", "PatientBirthDate": "20200701", "StudyDate": "20200701"}, 54),
    ({"PatientBirthDate": "19500701", "StudyDate": "20200701"}, 70),
    ({"PatientBirthDate": "1950-07-01", "StudyDate": "2020.07.01"}, 70),
    ({"PatientBirthDate": "19500701", "AcquisitionDate": "20200701"}, 70),
    ({"PatientBirthDate": "19500701", "StudyDate": "", "ContentDate": "20200701"}, 70),
    ({"PatientBirthDate": "19500701", "StudyDate": "19000101", "SeriesDate": "20200701"}, 70),
    ({"PatientBirthDate": "19500701"}, None),
    ({"PatientAge": "", "StudyDate": "20200701"}, None),
    ({}, None),
]
PLACEHOLDERS: list[tuple[dict[str, str], float | None]] = [
    ({"PatientAge": "000Y"}, None),
    ({"PatientAge": "0"}, None),
    ({"PatientAge": "000"}, None),
    ({"PatientAge": "0Y"}, None),
    ({"PatientAge": "00Y"}, None),
    ({"PatientAge": "999Y"}, None),
    ({"PatientAge": "ANON"}, None),
    ({"PatientAge": "000Y", "PatientBirthDate": "19500701", "StudyDate": "20200701"}, 70),
    ({"PatientBirthDate": "20200701", "StudyDate": "20200701"}, None),
    ({"PatientBirthDate": "20200701", "AcquisitionDate": "20200701"}, None),
    ({"PatientBirthDate": "19010101", "StudyDate": "19010101"}, None),
    ({"PatientBirthDate": "20200702", "StudyDate": "20200701"}, None),
    ({"PatientBirthDate": "18500701", "StudyDate": "20200701"}, None),
]
CHILDREN: list[dict[str, str]] = [
    {"PatientAge": "017Y"},
    {"PatientAge": "1 year"},
    {"PatientAge": "000D"},
    {"PatientAge": "003D"},
    {"PatientAge": "006W"},
    {"PatientAge": "000M"},
    {"PatientAge": "6 months"},
    {"PatientAge": "000Y", "PatientBirthDate": "20200301", "StudyDate": "20200701"},
    {"PatientBirthDate": "20200630", "StudyDate": "20200701"},
    {"PatientBirthDate": "20100101", "AcquisitionDate": "20200101"},
]


@pytest.mark.parametrize(("elements", "years"), AGES)
def test_an_age_is_read_in_every_form(tmp_path: Path, elements: dict[str, str], years: float | None) -> None:
    metadata = read(tmp_path, elements)
    assert metadata.patient_age_years == (years if years is None else pytest.approx(years, abs=0.01))
    assert metadata.flags == ()


@pytest.mark.parametrize(("elements", "years"), PLACEHOLDERS)
def test_a_placeholder_is_no_age_and_is_flagged(tmp_path: Path, elements: dict[str, str], years: float | None) -> None:
    metadata = read(tmp_path, elements)
    assert metadata.patient_age_years == (years if years is None else pytest.approx(years, abs=0.01))
    assert metadata.flags == ("age",)


@pytest.mark.parametrize("elements", CHILDREN)
def test_a_child_is_out_of_scope_in_whatever_unit(tmp_path: Path, elements: dict[str, str]) -> None:
    with pytest.raises(RejectedImage, match="out_of_scope.*under 18"):
        read(tmp_path, elements)
