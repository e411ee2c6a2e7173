"""Typed records of the challenge's tables, or of a CSV of one's own images; a bad row is named by file, line and id.

The challenge's folder holds
    train_study_level.csv    id, one 0/1 column for each study class
    train_image_level.csv    id, label ("opacity 1 xmin ymin xmax ymax ..." or "none 1 0 0 1 1"), StudyInstanceUID
    train_lung_boxes.csv     image, xmin, ymin, xmax, ymax   (optional, one box round both lungs)
    test_lung_boxes.csv      the same for images without labels (optional)

A CSV of one's own images has one row for each image, with the columns
    study      id of the study
    image      the image: path relative to the tree, its stem is the image id
    label      the study's class: negative, typical, indeterminate or atypical (or the challenge's spelling);
               empty for an image without label, which is predicted but not learnt from
    boxes      opacity boxes "xmin ymin xmax ymax", several separated by ";", in image pixels; empty for none
    patient    optional: anything that reports patients apart; it is not written anywhere
    lung_box   optional: "xmin ymin xmax ymax", one box round both lungs
    mask       optional: a mask of the opacities, path relative to the tree (`scripts.masks`); trained on in place of
               the boxes' rectangles
    origin     optional: where the row comes from, in words; it is kept in the datalist
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from scripts.errors import InputError
from scripts.files import Row, read_csv
from scripts.labels import IMAGE_SUFFIX, NONE, OPACITY, STUDY_SUFFIX, TABLE_COLUMNS

Box = tuple[float, float, float, float]

STUDY_TABLE = "train_study_level.csv"
IMAGE_TABLE = "train_image_level.csv"
LUNG_TABLES = ("train_lung_boxes.csv", "test_lung_boxes.csv")

#: Boxes may leave their image by so many pixels: tables round, and are clipped. Beyond, the row is rejected.
BOX_TOLERANCE = 1.0


@dataclass(frozen=True)
class ImageRow:
    """One image of the tables.

    Args:
        image_id: the image's id.
        study_id: the study it belongs to.
        boxes: opacity boxes in image pixels, xmin, ymin, xmax, ymax.
        where: file, line and id of the row, for messages.
        image: path relative to the tree, or None where the id names the file.
        patient: what reports patients apart, or None where the image itself does. Never written anywhere.
        mask: path of a mask relative to the tree, or None.
        origin: where the row comes from, in words, or None.
    """

    image_id: str
    study_id: str
    boxes: tuple[Box, ...]
    where: str
    image: str | None = None
    patient: str | None = field(default=None, repr=False)
    mask: str | None = None
    origin: str | None = None


@dataclass(frozen=True)
class LungRow:
    """One lung box of the tables, in image pixels, and where it stands."""

    box: Box
    where: str


@dataclass(frozen=True)
class Tables:
    """Records of the tables.

    Args:
        study_labels: class name of each labelled study.
        images: row of each image by image id; without a label in `study_labels` for the images to predict.
        lung_boxes: lung box by image id, of labelled and unlabelled images.
        own: whether this is a CSV of one's own images, which then names every image there is.
    """

    study_labels: Mapping[str, str]
    images: Mapping[str, ImageRow]
    lung_boxes: Mapping[str, LungRow]
    own: bool = False


def read_tables(path: str | Path) -> Tables:
    """The challenge's tables of a folder, or a CSV of one's own images.

    Raises:
        InputError: where a table, column or id is missing or a cell is wrong.
    """
    path = Path(path)
    if path.is_dir():
        return _read_challenge_tables(path)
    return _read_own_table(path)


def fit_boxes(boxes: Sequence[Box], height: int, width: int, where: str) -> tuple[Box, ...]:
    """Boxes clipped to their image of `height` x `width` pixels.

    Args:
        boxes: xmin, ymin, xmax, ymax in image pixels.
        where: file, line and id of the row, for the message.

    Raises:
        InputError: where a box leaves the image by more than `BOX_TOLERANCE` pixels, or is empty.
    """
    bounds = (width, height, width, height)
    fitted = []
    for box in boxes:
        clipped = tuple(min(max(value, 0.0), float(bound)) for value, bound in zip(box, bounds, strict=True))
        too_far = any(abs(value - inside) > BOX_TOLERANCE for value, inside in zip(box, clipped, strict=True))
        if too_far or clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
            raise InputError(
                f"boxes inside the image of {width} x {height} pixels (x, y)",
                f"{' '.join(f'{value:g}' for value in box)} at {where}",
                "correct the row: xmin ymin xmax ymax in pixels of the image",
            )
        fitted.append((clipped[0], clipped[1], clipped[2], clipped[3]))
    return tuple(fitted)


def _read_challenge_tables(folder: Path) -> Tables:
    study_labels: dict[str, str] = {}
    for row in _read_rows(folder / STUDY_TABLE, ("id", *TABLE_COLUMNS.values())):
        study_id = _take_id(row, "id", STUDY_SUFFIX)
        _reject_repeated(study_id, study_labels, row)
        study_labels[study_id] = _parse_one_hot(row)
    images: dict[str, ImageRow] = {}
    for row in _read_rows(folder / IMAGE_TABLE, ("id", "label", "StudyInstanceUID")):
        image_id = _take_id(row, "id", IMAGE_SUFFIX)
        _reject_repeated(image_id, images, row)
        study_id = row.cells["StudyInstanceUID"]
        if study_id not in study_labels:
            raise InputError(f"a study of {STUDY_TABLE}", f"study {study_id} at {row.locate(image_id)}", "add its row")
        boxes = _parse_image_label(row, image_id)
        images[image_id] = ImageRow(image_id, study_id, boxes, row.locate(image_id))
    _reject_empty_studies(study_labels, images)
    return Tables(study_labels, images, _read_lung_boxes(folder))


def _read_lung_boxes(folder: Path) -> dict[str, LungRow]:
    lung_boxes: dict[str, LungRow] = {}
    for name in LUNG_TABLES:
        if (folder / name).is_file():
            for row in _read_rows(folder / name, ("image", "xmin", "ymin", "xmax", "ymax")):
                image_id = _take_id(row, "image")
                _reject_repeated(image_id, lung_boxes, row)
                text = " ".join(row.cells[column] for column in ("xmin", "ymin", "xmax", "ymax"))
                lung_boxes[image_id] = LungRow(_parse_box(text, row.locate(image_id)), row.locate(image_id))
    return lung_boxes


def _read_own_table(path: Path) -> Tables:
    study_labels: dict[str, str] = {}
    images: dict[str, ImageRow] = {}
    lung_boxes: dict[str, LungRow] = {}
    unlabelled: set[str] = set()
    for row in _read_rows(path, ("study", "image", "label", "boxes")):
        image = _take_id(row, "image")
        image_id, study_id = PurePosixPath(image).stem, _take_id(row, "study")
        _reject_repeated(image_id, images, row)
        label = _parse_class(row, image_id)
        if (
            (label is None and study_id in study_labels)
            or (label and study_id in unlabelled)
            or (label and study_labels.setdefault(study_id, label) != label)
        ):
            raise InputError("one label for a study", f"another one at {row.locate(image_id)}", "correct the row")
        if label is None:
            unlabelled.add(study_id)
        boxes = tuple(_parse_box(text, row.locate(image_id)) for text in row.cells["boxes"].split(";") if text.strip())
        patient, mask, origin = (_take_optional(row, name) for name in ("patient", "mask", "origin"))
        images[image_id] = ImageRow(image_id, study_id, boxes, row.locate(image_id), image, patient, mask, origin)
        if row.cells.get("lung_box"):
            lung_boxes[image_id] = LungRow(
                _parse_box(row.cells["lung_box"], row.locate(image_id)), row.locate(image_id)
            )
    return Tables(study_labels, images, lung_boxes, own=True)


def _read_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Read the rows of a table; one without any is rejected."""
    row = None
    for row in read_csv(path, columns, what="a table"):
        yield row
    if row is None:
        raise InputError("at least one row", f"none in {path.name}", "check the table")


def _take_id(row: Row, column: str, suffix: str = "") -> str:
    text = row.cells[column]
    if not text or not text.endswith(suffix) or text == suffix:
        ending = f" ending in {suffix}" if suffix else ""
        raise InputError(f"an id{ending}", f"{text!r} at {row.locate(column)}", "correct it")
    return text.removesuffix(suffix)


def _take_optional(row: Row, column: str) -> str | None:
    return row.cells.get(column) or None


def _reject_repeated(name: str, seen: Mapping[str, object], row: Row) -> None:
    if name in seen:
        raise InputError("each id once", f"a second row at {row.locate(name)}", "remove one of the rows")


def _reject_empty_studies(study_labels: Mapping[str, str], images: Mapping[str, ImageRow]) -> None:
    empty = sorted(set(study_labels) - {row.study_id for row in images.values()})
    if empty:
        raise InputError(
            f"a row in {IMAGE_TABLE} for every study", f"none for {len(empty)}, first {empty[0]}", "add the rows"
        )


def _parse_one_hot(row: Row) -> str:
    values = {name: row.cells[column] for name, column in TABLE_COLUMNS.items()}
    chosen = [name for name, value in values.items() if value == "1"]
    if len(chosen) != 1 or any(value not in ("0", "1") for value in values.values()):
        raise InputError(
            "1 in exactly one of the class columns and 0 in the others",
            f"{', '.join(map(repr, values.values()))} at {row.locate(row.cells['id'])}",
            "correct the row",
        )
    return chosen[0]


def _parse_class(row: Row, image_id: str) -> str | None:
    text = row.cells["label"]
    spellings = {spelling.lower(): name for name, column in TABLE_COLUMNS.items() for spelling in (name, column)}
    if text and text.lower() not in spellings:
        raise InputError(
            f"one of {', '.join(TABLE_COLUMNS)}", f"{text!r} at {row.locate(image_id)}", "correct the label"
        )
    return spellings[text.lower()] if text else None


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
    return tuple(_parse_box(" ".join(group[2:]), row.locate(image_id)) for group in groups if group[0] == OPACITY)


def _parse_box(text: str, where: str) -> Box:
    try:
        xmin, ymin, xmax, ymax = (float(word) for word in text.split())
    except ValueError:
        found = f"{text.strip()[:40]!r} at {where}"
        raise InputError("four numbers xmin ymin xmax ymax", found, "correct the box") from None
    if not all(map(math.isfinite, (xmin, ymin, xmax, ymax))) or xmax <= xmin or ymax <= ymin:
        raise InputError("xmin < xmax and ymin < ymax", f"{text.strip()[:40]!r} at {where}", "correct the box")
    return xmin, ymin, xmax, ymax
