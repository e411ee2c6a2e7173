"""Reader of the tables of VinDr-CXR, in which several radiologists draw boxes on each image.

    image_id, class_name, class_id (optional), rad_id (optional), x_min, y_min, x_max, y_max

An image is <image_id>.dicom. A table without `rad_id` is one of a consensus, and taken as it stands. Source: Nguyen et
al. 2022, doi:10.1038/s41597-022-01498-w.

Agreement: the opacity boxes of each reader are fused, then those of all readers, both by weighted boxes fusion
(`scripts.boxes.fuse_boxes`). A fused box is kept where more than half of the image's readers drew it (2 of 3), and so
is a label. Where no box is kept though a reader drew one, it is unknown where the image's opacities are.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from scripts.boxes import fuse_boxes
from scripts.errors import InputError
from scripts.files import Row
from scripts.labels import OPACITY
from scripts.tables.cells import parse_edges, take_id
from scripts.tables.mapping import Label, LabelledImage, LabelMap, Meaning, build_tables
from scripts.tables.records import Box, Tables
from scripts.tables.spreadsheets import read_spreadsheet

EDGES = ("x_min", "y_min", "x_max", "y_max")
COLUMNS = ("image_id", "class_name", *EDGES)
#: Boxes of different people overlap less than those of networks, for which 0.55 is usual.
READERS_IOU = 0.4


def read_vindr_table(path: Path, label_map: LabelMap) -> Tables:
    """Read a table of VinDr-CXR.

    Raises:
        InputError: where a column or an id is missing, a cell is wrong, or the map lacks a label.
    """
    table = read_spreadsheet(path, (*COLUMNS, "class_id", "rad_id"), EDGES)
    table.reject_missing(COLUMNS)
    _reject_renumbered(table.rows)
    images: defaultdict[str, list[Row]] = defaultdict(list)
    for row in table.rows:
        images[take_id(row, "image_id")].append(row)
    return build_tables(_build_image(name, rows, label_map) for name, rows in images.items())


def _reject_renumbered(rows: tuple[Row, ...]) -> None:
    """Reject a table whose numbers and names of classes contradict each other: one of them was exchanged."""
    for key, value in (("class_id", "class_name"), ("class_name", "class_id")):
        first: dict[str, Row] = {}
        for row in rows if rows and "class_id" in rows[0].cells else ():
            other = first.setdefault(row.cells[key], row)
            if other.cells[value] != row.cells[value]:
                found = f"{row.cells[key]!r} with two at {other.locate()} and {row.locate()}"
                raise InputError(f"one {value} for a {key}", found, "take the table as it was published")


def _build_image(name: str, rows: list[Row], label_map: LabelMap) -> LabelledImage:
    readers: defaultdict[str, list[Label]] = defaultdict(list)
    for row in rows:
        where, label = row.locate(name), row.cells["class_name"]
        labelled = Label(label, label_map.find(label, where), parse_edges(row, EDGES, where))
        readers[row.cells.get("rad_id", "")].append(labelled)
    return LabelledImage(name, [*_agree_on_labels(readers), *_agree_on_boxes(readers)], rows[0].locate(name))


def _agree_on_labels(readers: dict[str, list[Label]]) -> list[Label]:
    """Labels that more than half of the readers gave, without their boxes; opacities are a matter of boxes."""
    given = [{(label.name, label.meaning) for label in labels} for labels in readers.values()]
    agreed = {each for labels in given for each in labels if sum(each in other for other in given) > len(given) / 2}
    return [
        Label(name, Meaning(None if meaning.boxes == OPACITY else meaning.boxes, meaning.study_class))
        for name, meaning in sorted(agreed, key=lambda each: each[0])
    ]


def _agree_on_boxes(readers: dict[str, list[Label]]) -> list[Label]:
    by_reader = [
        _fuse([label.box for label in labels if label.meaning.boxes == OPACITY and label.box], 1)
        for labels in readers.values()
    ]
    pooled = [box for boxes in by_reader for box, _ in boxes]
    opacity = Meaning(OPACITY)
    kept = [Label(OPACITY, opacity, box) for box, fraction in _fuse(pooled, len(by_reader)) if fraction > 0.5]
    return kept or [Label(OPACITY, opacity)] * bool(pooled)


def _fuse(boxes: list[Box], num_sources: int) -> list[tuple[Box, float]]:
    """Fused boxes, each with the fraction of the sources that drew it."""
    fused, fractions = fuse_boxes(boxes, [1.0] * len(boxes), num_sources, READERS_IOU)
    return [((*map(float, box),), float(each)) for box, each in zip(fused, fractions, strict=True)]  # type: ignore[misc]
