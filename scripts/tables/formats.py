"""Formats of tables: each is found by its file or its columns, or named, and read by a module of its own.

Other data sets and annotation tools have labels of their own, which a label map translates (`mapping`):

    challenge    a folder with train_study_level.csv
    own          a CSV of one's own images
    rsna         RSNA Pneumonia: stage_2_train_labels.csv, or its folder
    vindr        VinDr-CXR: a CSV of boxes by one or several readers
    nih          NIH ChestX-ray14: BBox_List_2017.csv, Data_Entry_2017*.csv, or their folder
    coco         JSON of an annotation tool
    label        a folder of MONAI Label, which `scripts.monai_label` reads
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scripts.errors import InputError
from scripts.tables import coco, nih, rsna, vindr
from scripts.tables.challenge import STUDY_TABLE, read_challenge_tables
from scripts.tables.mapping import LabelMap, find_mapping
from scripts.tables.own import read_own_table
from scripts.tables.records import Tables
from scripts.tables.spreadsheets import read_columns

CHALLENGE, OWN, LABEL = "challenge", "own", "label"
#: What MONAI Label keeps in the folder of images that it serves.
LABEL_STORE = "datastore_v2.json"
_MAPPED: dict[str, Callable[[Path, LabelMap], Tables]] = {
    "rsna": rsna.read_rsna_tables,
    "vindr": vindr.read_vindr_table,
    "nih": nih.read_nih_tables,
    "coco": coco.read_coco_file,
}
FORMATS = (CHALLENGE, OWN, *_MAPPED, LABEL)

#: Formats of folders by a file in them, and of tables by columns that stand together in no other format.
_FILES = {
    STUDY_TABLE: CHALLENGE,
    rsna.BOX_TABLE: "rsna",
    nih.BOX_TABLES: "nih",
    nih.LABEL_TABLES: "nih",
    LABEL_STORE: LABEL,
}
_COLUMNS: dict[tuple[str, ...], str] = {
    rsna.COLUMNS: "rsna",
    vindr.COLUMNS: "vindr",
    nih.BOX_COLUMNS: "nih",
    nih.LABEL_COLUMNS: "nih",
}


def read_tables(path: str | Path, format: str | None = None, label_map: str | Path | None = None) -> Tables:
    """Records of tables in one of `FORMATS`; a folder of MONAI Label is read by `scripts.monai_label` instead.

    Args:
        path: a file or a folder.
        format: by default `detect_format` finds it.
        label_map: a JSON file (`scripts.tables.mapping`) in place of the format's own.

    Raises:
        InputError: where a table, column or id is missing, a cell is wrong, or a label has no meaning here.
    """
    path = Path(path)
    name = detect_format(path) if format is None else format
    if name in _MAPPED:
        return _MAPPED[name](path, LabelMap(label_map or find_mapping(name)))
    if label_map is not None:
        advice = "its labels are the study classes: leave --label_map out"
        raise InputError(f"a label map with {', '.join(_MAPPED)}", f"one with {name}", advice)
    if name not in (CHALLENGE, OWN):
        raise InputError(f"one of {', '.join(FORMATS)}", repr(name), "check --format")
    return read_challenge_tables(path) if name == CHALLENGE else read_own_table(path)


def detect_format(path: str | Path) -> str:
    """The format of a file or a folder; what looks like no other is `own`, a folder `challenge`.

    Raises:
        InputError: where a folder holds tables of several formats.
    """
    path = Path(path)
    if path.is_dir():
        found = {name: file for file, name in _FILES.items() if any(path.glob(file))}
        if len(found) > 1:
            advice = f"name the file, or one of them: --format {next(iter(found))}"
            raise InputError("tables of one format", f"those of {' and '.join(found)} in {path}", advice)
        return next(iter(found), CHALLENGE)
    if path.suffix.lower() == ".json":
        return LABEL if path.name == LABEL_STORE else "coco"
    known = tuple(dict.fromkeys(name for columns in _COLUMNS for name in columns))
    columns = set(read_columns(path, known)) if path.is_file() else set()
    return next((name for each, name in _COLUMNS.items() if set(each) <= columns), OWN)
