"""Parts of a screening: a shard's table of images and its table of rejected files, as CSV or Parquet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from monai.utils import optional_import
from scripts.errors import REJECTED_COLUMNS, REJECTED_FILE, InputError
from scripts.files import TEMPORARY_PREFIX, read_csv, replace_file, write_csv, write_text
from scripts.labels import STUDY_CLASSES
from scripts.outputs import SOURCES_FILE
from scripts.predictions import PREDICTIONS_FILE, average_studies, read_done, read_predictions
from scripts.screening.plan import Shard

FORMATS = ("csv", "parquet")
PARTS, RECORDS = "parts", "shards"
STUDY_COLUMNS = tuple(f"study_{name}" for name in STUDY_CLASSES)
IMAGE_COLUMNS = ("image_id", "study_id", "path", *STUDY_CLASSES, "none", "boxes", "scores", "flags", *STUDY_COLUMNS)

Rows = list[list[Any]]


def check_format(table_format: str) -> None:
    """Reject a format that is unknown, or whose library is absent.

    Raises:
        InputError: then.
    """
    if table_format not in FORMATS:
        raise InputError(f"a format among {', '.join(FORMATS)}", table_format, "say one of them with --table_format")
    if table_format == "parquet" and find_spec("pyarrow") is None:
        raise InputError("the package pyarrow for Parquet", "none installed", "pip install pyarrow, or take csv")


def write_part(shard: Shard, folder: Path, tree: Path, out: Path, table_format: str) -> None:
    """Write a finished shard's tables, and last its record, which says that they are whole.

    Args:
        shard: the shard.
        folder: of its inference.
        tree: the archive; paths in the tables are relative to it.
        out: folder of the screening.
        table_format: of `FORMATS`.
    """
    images, rejected = _list_images(folder, tree), _list_rejected(folder, tree)
    for kind, columns, rows in (("images", IMAGE_COLUMNS, images), ("rejected", REJECTED_COLUMNS, rejected)):
        path = out / PARTS / f"{kind}-{shard.number:06d}.{table_format}"
        (write_csv if table_format == "csv" else _write_parquet)(path, columns, rows)
    record = {"digest": shard.digest, "files": len(shard.files), "images": len(images), "rejected": len(rejected)}
    write_text(_name_record(out, shard.number), json.dumps(record) + "\n")


def is_done(out: Path, shard: Shard) -> bool:
    """Report if a shard's part is whole."""
    return _name_record(out, shard.number).is_file()


def count_done(out: Path) -> dict[str, int]:
    """Sum up the records of all shards that are done: shards, files, images, rejected."""
    total = dict.fromkeys(("shards", "files", "images", "rejected"), 0)
    for path in (out / RECORDS).glob(f"[!{TEMPORARY_PREFIX[0]}]*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        total = {name: total[name] + record.get(name, 1) for name in total}
    return total


def _name_record(out: Path, number: int) -> Path:
    return out / RECORDS / f"{number:06d}.json"


def _list_images(folder: Path, tree: Path) -> Rows:
    if not read_done(folder)["images"]:
        return []
    images = read_predictions(folder / PREDICTIONS_FILE)
    paths = {row.cells["image_id"]: row.cells["path"] for row in read_csv(folder / SOURCES_FILE, ("image_id", "path"))}
    studies = average_studies(images)
    return [
        [
            *(image.image_id, image.study_id, _shorten(paths[image.image_id], tree)),
            *(image.probabilities[name] for name in STUDY_CLASSES),
            *(image.none, json.dumps(image.boxes), json.dumps(image.scores), " ".join(image.flags)),
            *(studies[image.study_id][name] for name in STUDY_CLASSES),
        ]
        for image in images
    ]


def _list_rejected(folder: Path, tree: Path) -> Rows:
    rows = read_csv(folder / REJECTED_FILE, REJECTED_COLUMNS)
    return [[_shorten(row.cells[name], tree) for name in REJECTED_COLUMNS] for row in rows]


def _shorten(path: str, tree: Path) -> str:
    """A path relative to the archive: the same wherever that is mounted."""
    return path.removeprefix(f"{tree.absolute()}/")


def _write_parquet(path: Path, columns: Sequence[str], rows: Rows) -> None:
    arrow, _ = optional_import("pyarrow")
    parquet, _ = optional_import("pyarrow.parquet")
    numbers = {*STUDY_CLASSES, *STUDY_COLUMNS, "none"}
    schema = arrow.schema([(name, arrow.float64() if name in numbers else arrow.string()) for name in columns])
    values = list(zip(*rows, strict=True)) or [()] * len(columns)
    arrays = [arrow.array(column, field.type) for column, field in zip(values, schema, strict=True)]
    with replace_file(path) as temporary:
        parquet.write_table(arrow.Table.from_arrays(arrays, schema=schema), temporary)
