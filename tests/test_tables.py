from __future__ import annotations

from pathlib import Path

import pytest
from scripts.errors import InputError
from scripts.tables import fit_boxes, read_tables

STUDIES = """id,Negative for Pneumonia,Typical Appearance,Indeterminate Appearance,Atypical Appearance
s1_study,0,1,0,0
s2_study,1,0,0,0
"""
IMAGES = """id,boxes,label,StudyInstanceUID
a_image,"[{'x': 10, 'y': 20, 'width': 30, 'height': 40}]",opacity 1 10 20 40 60 opacity 1 5.5 6.5 7.5 8.5,s1
b_image,,none 1 0 0 1 1,s1
c_image,,none 1 0 0 1 1,s2
"""
LUNGS = "image,xmin,ymin,xmax,ymax\na,1,2,60,63.5\n"
OWN = """study,image,label,boxes,patient,lung_box
s1,one/a.dcm,typical,10 20 40 60; 1 2 3 4,p1,0 0 50 60
s1,one/b.dcm,Typical Appearance,,p1,
s2,c.dcm,negative,,p2,
s3,d.dcm,,,p3,
"""


def write_tables(folder: Path, studies: str = STUDIES, images: str = IMAGES, lungs: str | None = LUNGS) -> Path:
    (folder / "train_study_level.csv").write_text(studies)
    (folder / "train_image_level.csv").write_text(images)
    if lungs is not None:
        (folder / "train_lung_boxes.csv").write_text(lungs)
    return folder


def write_own(folder: Path, text: str) -> Path:
    (folder / "own.csv").write_text(text)
    return folder / "own.csv"


def test_the_challenges_tables_become_records(tmp_path: Path) -> None:
    tables = read_tables(write_tables(tmp_path))
    assert tables.study_labels == {"s1": "typical", "s2": "negative"}
    assert tables.images["a"].boxes == ((10, 20, 40, 60), (5.5, 6.5, 7.5, 8.5))
    assert tables.images["b"].boxes == () and tables.images["b"].study_id == "s1"
    assert tables.lung_boxes["a"].box == (1, 2, 60, 63.5)
    assert not tables.own


def test_lung_boxes_may_be_missing(tmp_path: Path) -> None:
    assert read_tables(write_tables(tmp_path, lungs=None)).lung_boxes == {}


def test_a_table_of_ones_own_images_becomes_records(tmp_path: Path) -> None:
    tables = read_tables(write_own(tmp_path, OWN))
    assert tables.own and tables.study_labels == {"s1": "typical", "s2": "negative"}
    assert tables.images["a"].image == "one/a.dcm" and tables.images["a"].boxes == ((10, 20, 40, 60), (1, 2, 3, 4))
    assert tables.lung_boxes["a"].box == (0, 0, 50, 60)
    assert "d" in tables.images and "s3" not in tables.study_labels


def test_optional_columns_of_ones_own_table_may_be_missing(tmp_path: Path) -> None:
    tables = read_tables(write_own(tmp_path, "study,image,label,boxes\ns1,a.dcm,atypical,\n"))
    assert tables.images["a"].patient is None and tables.lung_boxes == {}


def test_a_table_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    assert read_tables(write_own(tmp_path, "\ufeff" + OWN)).images["c"].study_id == "s2"


def test_no_representation_shows_a_patient(tmp_path: Path) -> None:
    tables = read_tables(write_own(tmp_path, OWN.replace("p1", "CANARY")))
    assert tables.images["a"].patient == "CANARY" and "CANARY" not in repr(tables)


BAD_STUDIES = {
    "a missing column": (
        STUDIES.replace(",Typical Appearance", ",Typical"),
        "no Typical Appearance in train_study_level.csv",
    ),
    "two classes": (STUDIES.replace("0,1,0,0", "0,1,0,1"), r"exactly one .* line 2 \(s1_study\)"),
    "no class": (STUDIES.replace("0,1,0,0", "0,0,0,0"), r"exactly one .* line 2 \(s1_study\)"),
    "a word for a number": (STUDIES.replace("0,1,0,0", "0,yes,0,1"), r"exactly one .*'yes'.* line 2"),
    "a study twice": (STUDIES + "s1_study,0,1,0,0\n", r"each id once, found a second row at .* line 4 \(s1\)"),
    "an id without its ending": (STUDIES.replace("s2_study", "s2"), r"ending in _study, found 's2' .* line 3"),
    "a short row": (STUDIES + "s3_study,1\n", r"5 cells, found 2 at train_study_level.csv line 4 \(s3_study\)"),
    "a long row": (STUDIES + "s3_study,1,0,0,0,0\n", "5 cells, found 6"),
    "no rows": (STUDIES.splitlines()[0] + "\n", "at least one row, found none in train_study_level.csv"),
    "an empty file": ("", "no id, .* in train_study_level.csv"),
    "a study without images": (STUDIES + "s3_study,1,0,0,0\n", "none for 1, first s3"),
}
BAD_IMAGES = {
    "a missing column": (IMAGES.replace("label", "labels"), "no label in train_image_level.csv"),
    "a study that is not there": (
        IMAGES.replace(",s2", ",s9"),
        r"found study s9 at train_image_level.csv line 4 \(c\)",
    ),
    "an unknown word": (IMAGES.replace("none 1 0 0 1 1,s2", "nothing 1 0 0 1 1,s2"), r"opacity\|none .* line 4 \(c\)"),
    "an empty label": (IMAGES.replace("none 1 0 0 1 1,s2", ",s2"), r"opacity\|none .* line 4 \(c\)"),
    "five words": (IMAGES.replace("opacity 1 10 20 40 60 ", "opacity 1 10 20 40 "), r"opacity\|none .* line 2 \(a\)"),
    "a word in a box": (IMAGES.replace("10 20 40 60", "10 20 40 x"), r"four numbers .* line 2 \(a\)"),
    "an inverted box": (IMAGES.replace("10 20 40 60", "40 20 10 60"), r"xmin < xmax .* line 2 \(a\)"),
    "an infinite box": (IMAGES.replace("10 20 40 60", "10 20 40 inf"), r"xmin < xmax .* line 2 \(a\)"),
    "an image twice": (IMAGES + "a_image,,none 1 0 0 1 1,s1\n", r"a second row at .* line 5 \(a\)"),
}
BAD_OWN = {
    "a missing column": (OWN.replace("label", "class"), "no label in own.csv"),
    "a fifth class": (OWN.replace("negative", "normal"), r"one of negative, .*found 'normal' at own.csv line 4 \(c\)"),
    "two labels in a study": (OWN.replace("Typical Appearance", "negative"), r"one label for a study.* line 3 \(b\)"),
    "half a study labelled": (OWN.replace("Typical Appearance", ""), r"one label for a study.* line 3 \(b\)"),
    "half a study labelled later": (OWN + "s3,e.dcm,typical,,p3,\n", r"one label for a study.* line 6 \(e\)"),
    "a name twice": (OWN + "s4,two/a.dcm,typical,,p4,\n", r"each id once.* line 6 \(a\)"),
    "a short box": (OWN.replace("1 2 3 4", "1 2 3"), r"four numbers .* found '1 2 3' at own.csv line 2 \(a\)"),
    "a bad lung box": (OWN.replace("0 0 50 60", "0 0 50"), r"four numbers .* line 2 \(a\)"),
    "no study": (OWN.replace("s2,c.dcm", ",c.dcm"), r"an id, found '' at own.csv line 4 \(study\)"),
}


@pytest.mark.parametrize(("studies", "message"), BAD_STUDIES.values(), ids=BAD_STUDIES)
def test_a_bad_row_of_the_study_table_is_named(tmp_path: Path, studies: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_tables(write_tables(tmp_path, studies=studies))


@pytest.mark.parametrize(("images", "message"), BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_a_bad_row_of_the_image_table_is_named(tmp_path: Path, images: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_tables(write_tables(tmp_path, images=images))


@pytest.mark.parametrize(("own", "message"), BAD_OWN.values(), ids=BAD_OWN)
def test_a_bad_row_of_ones_own_table_is_named(tmp_path: Path, own: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_tables(write_own(tmp_path, own))


@pytest.mark.parametrize(
    ("lungs", "message"),
    [
        ("image,xmin,ymin,xmax\na,1,2,3\n", "no ymax in train_lung_boxes.csv"),
        ("image,xmin,ymin,xmax,ymax\na,1,2,0,4\n", r"xmin < xmax .* train_lung_boxes.csv line 2 \(a\)"),
    ],
)
def test_a_bad_lung_box_is_named(tmp_path: Path, lungs: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_tables(write_tables(tmp_path, lungs=lungs))


def test_a_wrong_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file .*nowhere.csv; check the path"):
        read_tables(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match="no file .*train_study_level.csv"):
        read_tables(tmp_path)


def test_a_table_that_is_no_text_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_bytes(b"study,image,label,boxes\n\xff\xfe\x00,a,typical,\n")
    with pytest.raises(InputError, match="UTF-8 text, found own.csv"):
        read_tables(tmp_path / "own.csv")


def test_every_message_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_tables(write_own(tmp_path, OWN.replace("negative", '"bad\nlabel"')))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("box", "fitted"),
    [
        ((0, 0, 200, 100), (0, 0, 200, 100)),
        ((-1, -0.5, 200.4, 101), (0, 0, 200, 100)),
        ((150, 10, 200, 90), (150, 10, 200, 90)),
    ],
)
def test_a_box_is_clipped_by_up_to_one_pixel(box: tuple[float, ...], fitted: tuple[float, ...]) -> None:
    assert fit_boxes([box], height=100, width=200, where="row") == (fitted,)  # type: ignore[list-item]


@pytest.mark.parametrize(
    "box", [(-1.1, 0, 9, 9), (0, 0, 9, 101.5), (0, 0, 201.5, 9), (10, 150, 90, 200), (200, 0, 201, 9)]
)
def test_a_box_outside_its_image_is_rejected(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(InputError, match="inside the image of 200 x 100 pixels .*own.csv line 3"):
        fit_boxes([box], height=100, width=200, where="own.csv line 3 (a)")
