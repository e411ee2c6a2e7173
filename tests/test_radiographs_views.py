"""View of an image: every attribute and word that says it, on both sides."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from scripts.errors import RejectedImage
from scripts.radiographs import read_radiograph

from tests import images


def read_flags(tmp_path: Path, **elements: Any) -> tuple[str, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom minds lower case and long words
        path = images.write_image(tmp_path / "image.dcm", images.make_image(**elements))
    return read_radiograph(path).metadata.flags


def make_code(value: str = "", meaning: str = "", modifier: str = "") -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    if modifier:
        item.ViewModifierCodeSequence = make_code(meaning=modifier)
    return [item]


LATERAL = [
    *("LL", "RL", "LLO", "RLO", "LAT", "LATERAL", "LLAT", "RLAT", "LLATERAL", "lateral", "XTL", "XTABLE LATERAL"),
    *("LPO", "RPO", "LAO", "RAO", "OBLIQUE", "OBL", "AP OBLIQUE", "Lat. Obl.", "PA_LAO", "MEDIOLATERAL", "LATERALE"),
    *("PERFIL", "LEFT LATERAL", "L LAT", "LAT-L", "X-TABLE LAT"),
]
FRONTAL = ["PA", "AP", "PA ERECT", "AP_PORTABLE", "AP SUPINE", "ANTERO-POSTERIOR", "PORTABLE", "BILATERAL", "", "CHEST"]
UNSURE = ["L", "R", "LA", "LLD", "RLD", "LEFT LATERAL DECUBITUS", "PA AND LATERAL", "AP/LAT", "AP LORDOTIC"]


@pytest.mark.parametrize("view", LATERAL)
def test_a_lateral_or_oblique_view_position_is_out_of_scope(tmp_path: Path, view: str) -> None:
    with pytest.raises(RejectedImage, match="out_of_scope.*lateral or oblique"):
        read_flags(tmp_path, ViewPosition=view)


@pytest.mark.parametrize("view", FRONTAL)
def test_a_frontal_view_position_passes_without_a_flag(tmp_path: Path, view: str) -> None:
    assert read_flags(tmp_path, ViewPosition=view) == ()


@pytest.mark.parametrize("view", UNSURE)
def test_a_view_position_that_may_be_either_is_flagged(tmp_path: Path, view: str) -> None:
    assert read_flags(tmp_path, ViewPosition=view) == ("view",)


@pytest.mark.parametrize(
    "code",
    [
        make_code("399067008", "lateral"),
        make_code("399173006"),
        make_code("R-10236", "left lateral"),
        make_code("R-10232"),
        make_code("399135007", "left anterior oblique"),
        make_code("local", "Lateral chest"),
        make_code("local", "antero-posterior", "Oblique"),
    ],
)
@pytest.mark.parametrize("position", ["", None])
def test_a_lateral_view_code_is_out_of_scope(tmp_path: Path, code: list[Dataset], position: str | None) -> None:
    with pytest.raises(RejectedImage, match="out_of_scope.*lateral or oblique"):
        read_flags(tmp_path, ViewCodeSequence=code, ViewPosition=position)


@pytest.mark.parametrize(
    ("code", "flags"),
    [
        (make_code("399348003", "antero-posterior"), ()),
        (make_code("272479007"), ()),
        (make_code("R-10206"), ()),
        (make_code("local", "postero-anterior"), ()),
        (make_code("local", "Erect"), ()),
        (make_code("399348003", "antero-posterior", "Lordotic"), ("view",)),
        ([Dataset()], ()),
        ([], ()),
    ],
)
def test_other_view_codes_are_read(tmp_path: Path, code: list[Dataset], flags: tuple[str, ...]) -> None:
    assert read_flags(tmp_path, ViewCodeSequence=code, ViewPosition=None) == flags


@pytest.mark.parametrize(("position", "code"), [("PA", "399067008"), ("LL", "399348003")])
def test_position_and_code_that_contradict_each_other_are_flagged(tmp_path: Path, position: str, code: str) -> None:
    assert read_flags(tmp_path, ViewPosition=position, ViewCodeSequence=make_code(code)) == ("view",)


@pytest.mark.parametrize("keyword", ["SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription"])
@pytest.mark.parametrize(
    ("description", "position", "flags"),
    [
        ("Chest Lateral", "", ("view",)),
        ("CHEST LAT", "PA", ("view",)),
        ("chest pa + lat", "", ("view",)),
        ("chest pa + lat", "PA", ()),
        ("Thorax p.a.", "", ()),
        ("Chest PA", "", ()),
        ("LL lobe", "", ()),
        ("high profile", "", ()),
        ("bilateral", "", ()),
        ("decubitus", "AP", ("view",)),
    ],
)
def test_a_description_raises_a_doubt_and_no_more(
    tmp_path: Path, keyword: str, description: str, position: str, flags: tuple[str, ...]
) -> None:
    assert read_flags(tmp_path, ViewPosition=position, **{keyword: description}) == flags


@pytest.mark.parametrize(("rows", "flags"), [("L", ()), ("LF", ()), ("LA", ("view",)), ("LP", ("view",))])
def test_rows_that_run_to_the_front_too_are_flagged(tmp_path: Path, rows: str, flags: tuple[str, ...]) -> None:
    assert read_flags(tmp_path, PatientOrientation=[rows, "F"]) == flags


@pytest.mark.parametrize("rows", ["A", "P", "AL"])
def test_rows_that_run_to_the_front_or_back_are_lateral(tmp_path: Path, rows: str) -> None:
    with pytest.raises(RejectedImage, match="out_of_scope.*orientation"):
        read_flags(tmp_path, PatientOrientation=[rows, "F"], ViewPosition="")
