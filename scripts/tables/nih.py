"""Reader of the tables of NIH ChestX-ray14.

    BBox_List_2017.csv      Image Index, Finding Label, "Bbox [x", y, w, "h]": a row for each box, on some 900 images
    Data_Entry_2017*.csv    Image Index, Finding Labels (separated by "|"), Patient ID, ...: a row for each image

Either may be absent. An image is named by its file, and the first eight digits of the name are its patient. The labels
were taken from reports by a program, and boxes were drawn for one finding at a time: where a label of opacities has no
box, it is unknown where they are. Source: Wang et al. 2017, arXiv:1705.02315.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from scripts.errors import InputError
from scripts.tables.cells import parse_edges, take_id
from scripts.tables.mapping import Label, LabelledImage, LabelMap, build_tables
from scripts.tables.records import Tables
from scripts.tables.spreadsheets import read_spreadsheet

BOX_TABLES, LABEL_TABLES = "BBox_List_2017*.csv", "Data_Entry_2017*.csv"
#: The published header names one column "Bbox [x,y,w,h]" without quotes, so that it falls into four.
PUBLISHED_EDGES = ("Bbox [x", "y", "w", "h]")
BOX_COLUMNS = ("Image Index", "Finding Label", *PUBLISHED_EDGES)
LABEL_COLUMNS = ("Image Index", "Finding Labels")
#: The one label that the two tables spell differently.
_SPELLED = {"Infiltrate": "Infiltration"}


def read_nih_tables(path: Path, label_map: LabelMap) -> Tables:
    """Read one of the tables and the other beside it, or both of a folder.

    Raises:
        InputError: where both are absent, a column or an id is missing, a cell is wrong, or the map lacks a label.
    """
    folder = path if path.is_dir() else path.parent
    files = [*sorted(folder.glob(BOX_TABLES)), *sorted(folder.glob(LABEL_TABLES))]
    files = files if path in files or path.is_dir() else [path]
    if not files:
        raise InputError(f"{BOX_TABLES} or {LABEL_TABLES}", f"neither in {path}", "check --tables")
    labels: defaultdict[str, list[Label]] = defaultdict(list)
    first: dict[str, str] = {}
    for file in files:
        for name, label, where in _read_labels(file, label_map):
            labels[name].append(label)
            first.setdefault(name, where)
    return build_tables(LabelledImage(name, each, first[name], patient=name[:8]) for name, each in labels.items())


def _read_labels(path: Path, label_map: LabelMap) -> Iterator[tuple[str, Label, str]]:
    """Image, label and place of every label in one of the tables."""
    table = read_spreadsheet(path, (*BOX_COLUMNS, *LABEL_COLUMNS), PUBLISHED_EDGES)
    boxed = "Finding Labels" not in table.columns
    table.reject_missing(BOX_COLUMNS if boxed else LABEL_COLUMNS)
    for row in table.rows:
        name = take_id(row, "Image Index")
        where = row.locate(name)
        box = parse_edges(row, PUBLISHED_EDGES, where) if boxed else None
        for given in row.cells["Finding Label" if boxed else "Finding Labels"].split("|"):
            label = _SPELLED.get(given.strip(), given.strip())
            yield name, Label(label, label_map.find(label, where), box), where
