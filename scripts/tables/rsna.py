"""Reader of the tables of the RSNA Pneumonia Detection Challenge (2018).

    stage_2_train_labels.csv           patientId, x, y, width, height, Target: a row for each box, or one without box
    stage_2_detailed_class_info.csv    patientId, class (optional, in the same folder)

An image is <patientId>.dcm. Without the second table an image of Target 0 has the label "No Lung Opacity". Source:
Shih et al. 2019, doi:10.1148/ryai.2019180041.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from scripts.errors import InputError
from scripts.files import Row
from scripts.tables.cells import parse_edges, parse_switch, take_id
from scripts.tables.mapping import Label, LabelledImage, LabelMap, build_tables
from scripts.tables.records import Tables
from scripts.tables.spreadsheets import read_spreadsheet

BOX_TABLE, CLASS_TABLE = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
EDGES = ("x", "y", "width", "height")
COLUMNS = ("patientId", *EDGES, "Target")
BOXED, UNBOXED = "Lung Opacity", "No Lung Opacity"


def read_rsna_tables(path: Path, label_map: LabelMap) -> Tables:
    """Read the table of boxes, a file or in a folder, and that of classes beside it.

    Raises:
        InputError: where a column or an id is missing, a cell is wrong, the tables contradict each other, or the map
            lacks a label.
    """
    path = path / BOX_TABLE if path.is_dir() else path
    table = read_spreadsheet(path, COLUMNS, EDGES)
    table.reject_missing(COLUMNS)
    classes = _read_classes(path.with_name(CLASS_TABLE))
    images: defaultdict[str, list[Row]] = defaultdict(list)
    for row in table.rows:
        images[take_id(row, "patientId")].append(row)
    return build_tables(_build_image(name, rows, classes, label_map) for name, rows in images.items())


def _read_classes(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    table = read_spreadsheet(path, ("patientId", "class"))
    table.reject_missing(("patientId", "class"))
    classes: dict[str, str] = {}
    for row in table.rows:  # one row for each box, so that an image may have several
        name, found = take_id(row, "patientId"), row.cells["class"]
        if classes.setdefault(name, found) != found:
            raise InputError("one class for an image", f"another at {row.locate(name)}", "correct the row")
    return classes


def _build_image(name: str, rows: list[Row], classes: dict[str, str], label_map: LabelMap) -> LabelledImage:
    labels = []
    for row in rows:
        where, box = row.locate(name), parse_edges(row, EDGES, row.locate(name))
        if parse_switch(row, "Target") is not (box is not None):
            raise InputError("a box where Target is 1, and none where it is 0", where, "correct the row")
        label = classes.get(name, BOXED if box else UNBOXED)
        if (label == BOXED) is not (box is not None):
            advice = "take both tables from one release"
            raise InputError(f"the class {BOXED} exactly where Target is 1", f"{label!r} at {where}", advice)
        labels.append(Label(label, label_map.find(label, where), box))
    return LabelledImage(name, labels, rows[0].locate(name), patient=name)
