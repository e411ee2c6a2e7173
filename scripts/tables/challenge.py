"""Reader of the challenge's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.errors import InputError
from scripts.files import Row
from scripts.labels import IMAGE_SUFFIX, NONE, OPACITY, STUDY_SUFFIX, TABLE_COLUMNS
from scripts.tables.cells import parse_box, parse_one_hot, reject_mangled, take_id
from scripts.tables.records import Box, ImageRow, LungRow, Tables
from scripts.tables.spreadsheets import read_spreadsheet

STUDY_TABLE = "train_study_level.csv"
IMAGE_TABLE = "train_image_level.csv"
LUNG_TABLES = ("train_lung_boxes.csv", "test_lung_boxes.csv")
_EDGES = ("xmin", "ymin", "xmax", "ymax")


def read_challenge_tables(folder: Path) -> Tables:
    """Read the tables of a folder.

    Raises:
        InputError: where a table, column or id is missing or a cell is wrong.
    """
    study_labels: dict[str, str] = {}
    seen: dict[str, Row] = {}
    for row in _read_rows(folder / STUDY_TABLE, ("id", *TABLE_COLUMNS.values())):
        study_id = take_id(row, "id", STUDY_SUFFIX)
        _reject_repeated(study_id, seen, row)
        classes = {name: row.cells[column] for name, column in TABLE_COLUMNS.items()}
        study_labels[study_id] = parse_one_hot(classes, row.locate(row.cells["id"]))
    images: dict[str, ImageRow] = {}
    seen = {}
    for row in _read_rows(folder / IMAGE_TABLE, ("id", "label", "StudyInstanceUID"), numbers=("label",)):
        image_id = take_id(row, "id", IMAGE_SUFFIX)
        _reject_repeated(image_id, seen, row)
        reject_mangled(row, "StudyInstanceUID")
        study_id = row.cells["StudyInstanceUID"]
        if study_id not in study_labels:
            raise InputError(f"a study of {STUDY_TABLE}", f"study {study_id} at {row.locate(image_id)}", "add its row")
        boxes = _parse_image_label(row, image_id)
        images[image_id] = ImageRow(image_id, study_id, boxes, row.locate(image_id))
    _reject_empty_studies(study_labels, images)
    return Tables(study_labels, images, _read_lung_boxes(folder))


def _read_lung_boxes(folder: Path) -> dict[str, LungRow]:
    lung_boxes: dict[str, LungRow] = {}
    seen: dict[str, Row] = {}
    for name in LUNG_TABLES:
        if (folder / name).is_file():
            for row in _read_rows(folder / name, ("image", *_EDGES), numbers=_EDGES):
                image_id = take_id(row, "image")
                _reject_repeated(image_id, seen, row)
                text = " ".join(row.cells[column] for column in _EDGES)
                lung_boxes[image_id] = LungRow(parse_box(text, row.locate(image_id)), row.locate(image_id))
    return lung_boxes


def _read_rows(path: Path, columns: Sequence[str], numbers: Sequence[str] = ()) -> Sequence[Row]:
    """Read the rows of a table; one without any is rejected."""
    table = read_spreadsheet(path, columns, numbers)
    table.reject_missing(columns)
    if not table.rows:
        raise InputError("at least one row", f"none in {path.name}", "check the table")
    return table.rows


def _reject_repeated(name: str, seen: dict[str, Row], row: Row) -> None:
    if first := seen.get(name):
        found = f"a second row at {row.locate(name)}, the first at {first.locate(name)}"
        raise InputError("each id once", found, "make one row of them, with all that both say")
    seen[name] = row


def _reject_empty_studies(study_labels: Mapping[str, str], images: Mapping[str, ImageRow]) -> None:
    empty = sorted(set(study_labels) - {row.study_id for row in images.values()})
    if empty:
        raise InputError(
            f"a row in {IMAGE_TABLE} for every study", f"none for {len(empty)}, first {empty[0]}", "add the rows"
        )


def _parse_image_label(row: Row, image_id: str) -> tuple[Box, ...]:
    """Boxes of "opacity 1 xmin ymin xmax ymax ..."; none of "none 1 0 0 1 1"."""
    words = row.cells["label"].split()
    if not words or len(words) % 6 or any(word not in (OPACITY, NONE) for word in words[::6]):
        raise InputError(
            f"groups of '{OPACITY}|{NONE} confidence xmin ymin xmax ymax'",
            f"{row.cells['label'][:40]!r} at {row.locate(image_id)}",
            "correct the label",
        )
    groups = [words[start : start + 6] for start in range(0, len(words), 6)]
    return tuple(parse_box(" ".join(group[2:]), row.locate(image_id)) for group in groups if group[0] == OPACITY)
