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


def test_a_path_as_windows_writes_it_is_read(tmp_path: Path) -> None:
    tables = read_tables(write_own(tmp_path, OWN.replace("one/a.dcm", "one\\a.dcm")))
    assert tables.images["a"].image == "one/a.dcm"


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
    "a row of another study": (OWN + "s4,c.dcm,negative,,p2,\n", r"one study .*line 6 \(c\) than at .*line 4 \(c\)"),
    "a row of another label": (OWN + "s2,c.dcm,typical,1 2 3 4,p2,\n", r"one label .*line 6 \(c\) than at .*line 4"),
    "a row of another patient": (
        OWN + "s2,./c.dcm,negative,,p9,\n",
        r"one patient .*line 6 .*keep every row that holds",
    ),
    "two patients in a study": (OWN + "s2,e.dcm,negative,,p9,\n", r"one patient for a study.* line 6 .* line 4 \(c\)"),
    "a box and no known boxes": (
        OWN.replace("lung_box", "boxes_known").replace("p1,0 0 50 60", "p1,0"),
        r"no boxes where they are not known.* line 2 \(a\)",
    ),
    "a word for known boxes": (OWN.replace("lung_box", "boxes_known"), r"1, 0 or an empty cell.*column boxes_known"),
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


CLASSES = "negative,typical,indeterminate,atypical"
SEPARATED = {"commas": ",", "semicolons": ";", "tabs": "\t", "pipes": "|"}
SIMPLE = "study,image,label,boxes,patient\ns1,a.dcm,typical,10 20 40 60,\ns2,b.dcm,negative,,p2\n"


def separate(text: str, separator: str) -> str:
    return text.replace(",", separator)


WRITTEN = {
    **{name: separate(SIMPLE, separator).encode() for name, separator in SEPARATED.items()},
    **{f"sep= and {name}": f"sep={each}\r\n{separate(SIMPLE, each)}".encode() for name, each in SEPARATED.items()},
    "sep= saved again": b'"sep=;",,,\n' + SIMPLE.encode(),
    "a separator that is none": b"sep=;\n" + SIMPLE.encode(),
    "a byte order mark before sep=": b"\xef\xbb\xbfsep=;\r\n" + separate(SIMPLE, ";").encode(),
    "UTF-16": separate(SIMPLE, "\t").encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + SIMPLE.encode("utf-16-be"),
    "old line ends": SIMPLE.replace("\n", "\r").encode(),
    "empty rows": SIMPLE.replace("\n", "\n,,,,\n\n").encode(),
    "empty rows first": b"\n,,,,\n" + SIMPLE.encode(),
    "separators at the end": SIMPLE.replace("\n", ",,,\n").encode(),
    "separators at the end of rows": SIMPLE.replace(",\n", ",,,\n").replace("p2\n", "p2,,\n").encode(),
    "an index without a name": f",{SIMPLE}".replace("\ns", "\n0,s").encode(),
    "a blank column between": SIMPLE.replace("label,", "label,,")
    .replace("al,", "al,,")
    .replace("ve,", "ve,,")
    .encode(),
    "quoted cells": SIMPLE.replace("10 20 40 60", '"10 20 40 60"').replace("s1", ' "s1"').encode(),
    "capitals": SIMPLE.replace("study,image,label", "Study , IMAGE,Label").encode(),
    "further columns": SIMPLE.replace("\n", ",x y\n").replace("patient,x y", "patient,Bemerkung ä").encode("latin-1"),
    "words for nothing": SIMPLE.replace(",,p2", ",NaN,p2").replace("60,\n", "60,nan\n").encode(),
}


@pytest.mark.parametrize("content", WRITTEN.values(), ids=WRITTEN)
def test_a_table_is_read_as_spreadsheets_write_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "own.csv").write_bytes(content)
    tables = read_tables(tmp_path / "own.csv")
    assert tables.study_labels == {"s1": "typical", "s2": "negative"}
    assert [(row.image, row.boxes, row.patient) for row in tables.images.values()] == [
        ("a.dcm", ((10, 20, 40, 60),), None),
        ("b.dcm", (), "p2"),
    ]


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_decimal_comma_is_read_where_no_comma_separates(tmp_path: Path, separator: str) -> None:
    text = separate(SIMPLE, separator).replace("10 20 40 60", '"10,5 20 40,25 60; 1 2 3 4,5"')
    assert read_tables(write_own(tmp_path, text)).images["a"].boxes == ((10.5, 20, 40.25, 60), (1, 2, 3, 4.5))
    with pytest.raises(InputError, match="four numbers"):
        read_tables(write_own(tmp_path, SIMPLE.replace("10 20 40 60", '"10,5 20 40,25 60"')))


def test_latin_1_is_read(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_bytes(SIMPLE.replace("s1", "Müller").encode("latin-1"))
    assert read_tables(tmp_path / "own.csv").images["a"].study_id == "Müller"


UNREADABLE = {
    "a workbook": (
        b"PK\x03\x04 and more",
        "UTF-8 text, found own.csv, a workbook; open it in a spreadsheet and export",
    ),
    "an old workbook": (b"\xd0\xcf\x11\xe0", "a workbook"),
    "UTF-16 without its mark": (SIMPLE.encode("utf-16-le"), "UTF-8 text.*export it as CSV UTF-8"),
    "other separators": (
        SIMPLE.replace(",", ":").encode(),
        "no study, image, label, boxes.*commas, semicolons, tabs or",
    ),
    "unquoted separators": (SIMPLE.replace("10 20", "10,20").encode(), r"5 cells, found 6 .*line 2.* double quotes"),
    "an open quote": (SIMPLE.replace("10 20", '"10 20').encode(), "double quotes, found own.csv"),
}


@pytest.mark.parametrize(("content", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_named_with_what_to_do(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "own.csv").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_tables(tmp_path / "own.csv")
    assert "\n" not in str(caught.value)


def test_a_line_is_counted_from_the_files_first(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 4 \(a\)"):
        read_tables(write_own(tmp_path, "sep=,\n\n" + SIMPLE.replace("typical", "odd")))


def test_the_challenges_tables_may_be_separated_otherwise_too(tmp_path: Path) -> None:
    studies, images = STUDIES.replace(",", ";"), IMAGES.replace(",", ";").replace("5.5 6.5", "5,5 6,5")
    tables = read_tables(write_tables(tmp_path, studies=studies, images=images, lungs="sep=,\n" + LUNGS))
    assert tables.images["a"].boxes == ((10, 20, 40, 60), (5.5, 6.5, 7.5, 8.5)) and len(tables.lung_boxes) == 1


EDGES = {
    "corners": ("xmin,ymin,xmax,ymax", "10,20,40,60", "1,2,3,4"),
    "corners with lines": ("x_min,y_min,x_max,y_max", "10,20,40,60", "1,2,3,4"),
    "corners by number": ("x1,y1,x2,y2", "10,20,40,60", "1,2,3,4"),
    "a corner and the size": ("x,y,width,height", "10,20,30,40", "1,2,2,2"),
    "the column boxes": ("boxes", "10 20 40 60", "1 2 3 4"),
}


@pytest.mark.parametrize(("columns", "one", "two"), EDGES.values(), ids=EDGES)
def test_an_image_has_the_boxes_of_all_its_rows(tmp_path: Path, columns: str, one: str, two: str) -> None:
    rows = [f"s1,a.dcm,typical,{one}", f"s2,b.dcm,negative{',' * len(columns.split(','))}", f"s1,./a.dcm,typical,{two}"]
    text = "\n".join([f"study,image,label,{columns}", *rows, rows[0]])
    tables = read_tables(write_own(tmp_path, text))
    assert tables.images["a"].boxes == ((10, 20, 40, 60), (1, 2, 3, 4)) and tables.images["b"].boxes == ()
    assert tables.images["a"].where == "own.csv lines 2, 4, 5 (a)"


def test_half_a_box_and_two_different_ones_are_named(tmp_path: Path) -> None:
    head = "study,image,label,boxes,xmin,ymin,xmax,ymax\n"
    with pytest.raises(InputError, match=r"four numbers .*'1 - 3 4' at own.csv line 2"):
        read_tables(write_own(tmp_path, head + "s1,a.dcm,typical,,1,,3,4\n"))
    with pytest.raises(InputError, match="the box of the column boxes, found another one in the columns xmin"):
        read_tables(write_own(tmp_path, head + "s1,a.dcm,typical,1 2 3 5,1,2,3,4\n"))
    assert read_tables(write_own(tmp_path, head + "s1,a.dcm,typical,1 2 3 4,1,2,3,4\n")).images["a"].boxes


def test_columns_of_the_classes_stand_for_the_label_or_agree_with_it(tmp_path: Path) -> None:
    rows = "s1,a.dcm,,0,1,0,0\ns2,b.dcm,,1,0,0,0\ns3,c.dcm,,,,,\n"
    tables = read_tables(write_own(tmp_path, f"study,image,boxes,{CLASSES}\n{rows}"))
    assert tables.study_labels == {"s1": "typical", "s2": "negative"} and len(tables.images) == 3
    both = f"study,image,label,boxes,{CLASSES}\ns1,a.dcm,typical,,"
    assert read_tables(write_own(tmp_path, both + "0,1,0,0\n")).study_labels == {"s1": "typical"}
    assert read_tables(write_own(tmp_path, both + "0.2,0.5,0.1,0.2\n")).study_labels == {"s1": "typical"}
    for cells in ("0,0,1,0", "0,1,1,0", "0,0,0,0"):
        with pytest.raises(InputError, match=r"one class in a row.* line 2 \(a\)"):
            read_tables(write_own(tmp_path, both + cells + "\n"))


DATES = ("02-Jan", "2. Mrz", "Mar-20", "01.02.2020", "3/1/20", "2020-03-01 00:00:00")
MANGLED = ("2.02E+15", "9.9E+15", "1,23457E+15", "2E+15", "2.02e+15", "20200301.0", "5.1E-05", "#NAME?", "########")
WHOLE = (
    "2020030112345678",
    "12e45678",
    "1.2.840.10008.1",
    "00123",
    "E+15",
    "s.0",
    "1-1",
    "v1.0",
    "2020-03-01",
    "MAR-20",
    "1.2.840",
    "A#1",
    "3E",
)


@pytest.mark.parametrize("column", ["study", "image", "patient"])
@pytest.mark.parametrize("text", [*MANGLED, *DATES])
def test_an_id_that_a_spreadsheet_took_for_a_number_or_a_date_is_named(tmp_path: Path, text: str, column: str) -> None:
    row = {"study": "s1", "image": "a.dcm", "patient": "p1"} | {column: f'"{text}"'}
    table = f"study,image,label,boxes,patient\n{row['study']},{row['image']},typical,,{row['patient']}\n"
    with pytest.raises(InputError, match=rf"own.csv line 2 \(column {column}\); format the column as text") as caught:
        read_tables(write_own(tmp_path, table))
    assert text not in str(caught.value)


@pytest.mark.parametrize("text", WHOLE)
def test_an_id_that_only_looks_like_a_number_is_kept(tmp_path: Path, text: str) -> None:
    tables = read_tables(write_own(tmp_path, f"study,image,label,boxes,patient\n{text},{text}.dcm,typical,,{text}\n"))
    (row,) = tables.images.values()
    assert (row.study_id, row.image, row.patient) == (text, f"{text}.dcm", text)


def test_the_challenges_ids_are_held_against_spreadsheets_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 4 \(column StudyInstanceUID\)"):
        read_tables(write_tables(tmp_path, images=IMAGES.replace(",s2", ",2.02E+15")))


def test_images_of_one_name_have_ids_of_their_own(tmp_path: Path) -> None:
    tables = read_tables(write_own(tmp_path, OWN + "s4,two/a.dcm,typical,,p4,\n"))
    assert len(tables.images) == 5 and "a" not in tables.images and "c" in tables.images
    assert {row.image for row in tables.images.values()} >= {"one/a.dcm", "two/a.dcm"}
    assert all(name == row.image_id for name, row in tables.images.items())


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
