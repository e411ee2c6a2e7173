"""Reader of a CSV of one's own images: rows of one image become one record with all its boxes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from scripts.errors import InputError
from scripts.files import Row
from scripts.labels import TABLE_COLUMNS
from scripts.tables.cells import (
    has_class_columns,
    parse_box,
    parse_class,
    parse_edges,
    parse_switch,
    reject_mangled,
    take_id,
    take_optional,
)
from scripts.tables.records import Box, ImageRow, LungRow, Tables
from scripts.tables.spreadsheets import Spreadsheet, read_spreadsheet

_REQUIRED = ("study", "image", "label", "boxes")
_OPTIONAL = ("patient", "lung_box", "mask", "origin", "boxes_known")
#: Columns of one box in place of `boxes`, by the names that tables of detectors give them.
EDGE_COLUMNS: tuple[tuple[str, str, str, str], ...] = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("x1", "y1", "x2", "y2"),
    ("x", "y", "width", "height"),
)
_EDGES = tuple(name for columns in EDGE_COLUMNS for name in columns)
_CLASSES = tuple(spelling for each in TABLE_COLUMNS.items() for spelling in each)
_KEEP_ROWS = "correct one of them, and keep every row that holds a box"


def read_own_table(path: Path) -> Tables:
    """Read a CSV of one's own images.

    Raises:
        InputError: where a column or an id is missing, a cell is wrong, or rows contradict each other.
    """
    known = (*_REQUIRED, *_OPTIONAL, *_CLASSES, *_EDGES)
    return build_own_tables(read_spreadsheet(path, known, ("boxes", "lung_box", *_EDGES)))


def build_own_tables(table: Spreadsheet) -> Tables:
    """Records of the rows of such a CSV, wherever they were read from.

    Raises:
        InputError: as `read_own_table`.
    """
    edges = _find_columns(table)
    if not table.rows:
        raise InputError("at least one row", f"none in {table.file}", "check the table")
    images: dict[str, list[Row]] = {}
    for row in table.rows:
        path = take_id(row, "image").replace("\\", "/")  # as Windows writes it
        images.setdefault(PurePosixPath(path).as_posix(), []).append(row)
    image_ids = name_images(images)
    records = {image_ids[image]: _build_image(image_ids[image], image, rows, edges) for image, rows in images.items()}
    labels = {image_ids[image]: parse_class(rows[0], image_ids[image]) for image, rows in images.items()}
    lung_boxes = {
        image_ids[image]: LungRow(parse_box(text, records[image_ids[image]].where), records[image_ids[image]].where)
        for image, rows in images.items()
        if (text := _take_first(rows, "lung_box"))
    }
    by_study = [(record, labels[image_id]) for image_id, record in records.items()]
    _reject_contradictions("one label for a study", by_study)
    with_patient = [(record, record.patient) for record in records.values() if record.patient]
    _reject_contradictions("one patient for a study", with_patient)
    study_labels = {record.study_id: label for record, label in by_study if label}
    return Tables(study_labels, records, lung_boxes, own=True)


def name_images(paths: Iterable[str]) -> dict[str, str]:
    """Image id by path: the file's name without its suffix, or a hash of the path where several files share the name.

    The hash is that of inference on the same tree (`scripts.datalist.FolderImages`).
    """
    stems = {path: PurePosixPath(path).stem for path in paths}
    counts = Counter(stems.values())
    return {
        path: stem if counts[stem] == 1 else hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:12]
        for path, stem in stems.items()
    }


def _find_columns(table: Spreadsheet) -> Sequence[str]:
    """The four columns of one box, if the table has them; required columns that it lacks are named."""
    edges = next((columns for columns in EDGE_COLUMNS if set(columns) <= set(table.columns)), ())
    replaced = {"boxes"} if edges else set()
    if has_class_columns(table.columns):
        replaced |= {"label"}
    required = [name for name in _REQUIRED if name not in replaced]
    expected = "study, image, label, boxes (or for one box a row xmin, ymin, xmax, ymax)"
    table.reject_missing(required, expected)
    return edges


def _build_image(image_id: str, image: str, rows: Sequence[Row], edges: Sequence[str]) -> ImageRow:
    first = rows[0]
    study_id = take_id(first, "study")
    for row in rows:
        reject_mangled(row, "study")
        reject_mangled(row, "patient")
    _reject_different("study", rows, image_id, lambda row: row.cells["study"])
    _reject_different("label", rows, image_id, lambda row: parse_class(row, image_id))
    for column in ("patient", "lung_box", "mask", "origin"):
        filled = [row for row in rows if take_optional(row, column)]
        _reject_different(column, filled, image_id, partial(take_optional, column=column))
    boxes = tuple(dict.fromkeys(box for row in rows for box in _parse_boxes(row, image_id, edges)))
    if len(rows) == 1:
        boxes = tuple(_parse_boxes(first, image_id, edges))  # as they are given, a repeated one too
    return ImageRow(
        image_id,
        study_id,
        boxes,
        _locate_rows(rows, image_id),
        image,
        _take_first(rows, "patient"),
        _take_first(rows, "mask"),
        _take_first(rows, "origin"),
        _parse_boxes_known(rows, image_id, boxes),
    )


def _parse_boxes(row: Row, image_id: str, edges: Sequence[str]) -> list[Box]:
    """Boxes of the cell `boxes` and of the columns of one box; where both hold some, they must be the same."""
    where = row.locate(image_id)
    text = take_optional(row, "boxes") or ""
    boxes = [parse_box(each, where) for each in text.split(";") if each.strip()]
    box = parse_edges(row, edges, where) if edges else None
    if box and boxes and boxes != [box]:
        found = f"another one in the columns {' '.join(edges)} at {where}"
        raise InputError("the box of the column boxes", found, "leave one of them empty")
    return boxes or ([box] if box else [])


def _parse_boxes_known(rows: Sequence[Row], image_id: str, boxes: Sequence[Box]) -> bool | None:
    filled = [row for row in rows if parse_switch(row, "boxes_known") is not None]
    _reject_different("boxes_known", filled, image_id, lambda row: parse_switch(row, "boxes_known"))
    known = parse_switch(filled[0], "boxes_known") if filled else None
    if boxes and known is False:
        found = f"boxes, and boxes_known 0, at {_locate_rows(rows, image_id)}"
        raise InputError("no boxes where they are not known", found, "correct the row")
    return known


def _reject_different(column: str, rows: Sequence[Row], image_id: str, take: Callable[[Row], object]) -> None:
    """Reject rows of one image that differ in a column; a patient's number is not shown."""
    for row in rows[1:]:
        if take(row) != take(rows[0]):
            found = f"another {column} at {row.locate(image_id)} than at {rows[0].locate(image_id)}"
            raise InputError(f"one {column} in all rows of an image", found, _KEEP_ROWS)


def _reject_contradictions(expected: str, records: Sequence[tuple[ImageRow, str | None]]) -> None:
    first: dict[str, tuple[ImageRow, str | None]] = {}
    for record, value in records:
        other, other_value = first.setdefault(record.study_id, (record, value))
        if value != other_value:
            raise InputError(expected, f"another one at {record.where} than at {other.where}", "correct one of them")


def _take_first(rows: Sequence[Row], column: str) -> str | None:
    return next(filter(None, (take_optional(row, column) for row in rows)), None)


def _locate_rows(rows: Sequence[Row], image_id: str) -> str:
    """File, line and id of a row; of several rows, all lines."""
    if len(rows) == 1:
        return rows[0].locate(image_id)
    lines = ", ".join(str(row.line) for row in rows)
    return f"{rows[0].file} lines {lines} ({image_id[:80]})"
