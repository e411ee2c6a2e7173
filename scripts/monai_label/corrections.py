"""Corrections from MONAI Label: masks, classes and their origin, as a table for `prepare`.

MONAI Label keeps them in a folder of images:
    datastore_v2.json        for each image id: the image's suffix, and for each tag a label's suffix and its parameters
    labels/final/<id>.nrrd   the masks that were submitted

The parameters are the `params` of `PUT /datastore/label`. Of them `study_class` is read, one of `STUDY_CLASSES`, and
`lung_box` or `crop_box`, image pixels, as a result of the bundle has it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from scripts.boxes import find_regions
from scripts.errors import InputError
from scripts.files import Row, compute_sha256, write_csv
from scripts.labels import STUDY_CLASSES, UNKNOWN_CLASS
from scripts.masks import read_mask
from scripts.radiographs import name_image
from scripts.tables import Spreadsheet, Tables, build_own_tables

STORE, TAG = "datastore_v2.json", "final"

#: As `scripts.tables` reads them.
COLUMNS = ("study", "image", "label", "boxes", "lung_box", "mask", "origin")

_ADVICE = "name the folder that MONAI Label serves"


@dataclass(frozen=True)
class Correction:
    """An image with the mask that was saved for it.

    Args:
        image_id: MONAI Label's.
        image, mask: files.
        study_class: one of `STUDY_CLASSES`, or None where nobody reported it.
        lung_box: `(xmin, ymin, xmax, ymax)` in image pixels, or None.
        saved: when, UTC.
    """

    image_id: str
    image: Path
    mask: Path
    study_class: str | None
    lung_box: tuple[float, ...] | None
    saved: str

    @property
    def label(self) -> int:
        """Index in `STUDY_CLASSES`, or `UNKNOWN_CLASS`."""
        return UNKNOWN_CLASS if self.study_class is None else STUDY_CLASSES.index(self.study_class)

    def describe_origin(self) -> str:
        """Describe the origin of a mask."""
        return f"MONAI Label, saved {self.saved}, mask sha256 {compute_sha256(self.mask)}"


@dataclass(frozen=True)
class Listed:
    """Result of `list_corrections`: the table, its number of corrections, and how many of them lack a class."""

    table: Path
    num_images: int
    num_without_class: int


def list_corrections(store: str | Path, table: str | Path) -> Listed:
    """Write what was saved in a folder of MONAI Label as a CSV of one's own images, to be looked through and completed.

    An image without a class is listed without a label: it is not trained on before somebody adds it.

    Args:
        store: the folder that MONAI Label serves; the tree of the table's paths.
        table: the CSV to write.

    Raises:
        InputError: where nothing was saved there, or a mask cannot be read.
    """
    corrections = read_corrections(store)
    rows = [_describe_row(correction, Path(store)) for correction in corrections]
    write_csv(table, COLUMNS, rows)
    return Listed(Path(table), len(rows), sum(correction.study_class is None for correction in corrections))


def read_correction_tables(store: str | Path) -> Tables:
    """Records of what was saved in a folder of MONAI Label, as those of the table that `list_corrections` writes.

    Raises:
        InputError: as `list_corrections`, or where images of one study have different classes.
    """
    rows = (map(str, _describe_row(correction, Path(store))) for correction in read_corrections(store))
    cells = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    return build_own_tables(Spreadsheet(STORE, COLUMNS, tuple(Row(STORE, n, row) for n, row in enumerate(cells, 1))))


def read_corrections(store: str | Path) -> list[Correction]:
    """Everything that was submitted in a folder of MONAI Label, by image id.

    Raises:
        InputError: where the folder is none of MONAI Label, nothing was submitted, or a class is unknown.
    """
    found = [_read_correction(*each) for each in _list_submitted(Path(store))]
    if not found:
        raise InputError(
            "at least one submitted label", f"none in {Path(store) / STORE}", "submit one in the viewer first"
        )
    return found


def find_correction(image: str | Path, mask: str | Path) -> Correction:
    """One image and its mask as MONAI Label's trainer hands them over, with what stands beside them in the store.

    Raises:
        InputError: where its class is unknown.
    """
    image, mask = Path(image), Path(mask)
    store = next((folder for folder in mask.parents if (folder / STORE).is_file()), None)
    for image_id, entry, images, masks in [] if store is None else _list_submitted(store):
        if masks / f"{image_id}{entry['labels'][TAG]['ext']}" == mask:
            return _read_correction(image_id, entry, images, masks)
    return Correction(image.stem, image, mask, None, None, "at an unknown time")


def _list_submitted(store: Path) -> list[tuple[str, Mapping[str, Any], Path, Path]]:
    """Image id and entry of every image with a submitted label, with the folders of images and masks."""
    path = store / STORE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images, masks = store / content.get("images_dir", "."), store / content.get("labels_dir", "labels") / TAG
        entries = sorted(content["objects"].items())
    except OSError as error:
        raise InputError(f"a folder with {STORE}", f"none at {path} ({error.strerror})", _ADVICE) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"a {STORE} of MONAI Label", f"another content at {path}", _ADVICE) from None
    return [(image_id, entry, images, masks) for image_id, entry in entries if TAG in entry.get("labels", {})]


def _read_correction(image_id: str, entry: Mapping[str, Any], images: Path, masks: Path) -> Correction:
    label = entry["labels"][TAG]
    reported = label.get("info") or {}
    study_class = reported.get("study_class") or None
    if study_class is not None and study_class not in STUDY_CLASSES:
        expected = f"a study_class of {', '.join(STUDY_CLASSES)}"
        raise InputError(expected, f"{str(study_class)[:40]!r} for {image_id}", "submit the label again")
    box = reported.get("lung_box") or reported.get("crop_box")
    seconds = reported.get("ts")
    return Correction(
        image_id,
        images / f"{image_id}{entry['image']['ext']}",
        masks / f"{image_id}{label['ext']}",
        study_class,
        None if box is None else tuple(float(edge) for edge in box),
        "at an unknown time" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(),
    )


def _describe_row(correction: Correction, store: Path) -> list[object]:
    boxes, _ = find_regions(read_mask(correction.mask).astype(np.float32), 0.5)
    return [
        name_image(correction.image)[1],
        correction.image.relative_to(store).as_posix(),
        correction.study_class or "",
        "; ".join(_join(box) for box in boxes),
        _join(correction.lung_box or ()),
        correction.mask.relative_to(store).as_posix(),
        correction.describe_origin(),
    ]


def _join(box: Any) -> str:
    return " ".join(f"{float(edge):g}" for edge in box)
