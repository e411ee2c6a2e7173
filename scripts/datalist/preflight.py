"""Check before inference: each image is read once, in limited child processes; unreadable ones are never scored."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.datalist.selection import Image, find_images, test_images, validation_images
from scripts.errors import REJECTED_COLUMNS, InputError, RejectedImage
from scripts.files import write_csv
from scripts.radiographs import read_radiographs
from tqdm import tqdm


def readable_images(
    dataset_dir: str | Path,
    datalist_file: str | Path | None = None,
    rejected_file: str | Path | None = None,
    reader_options: Mapping[str, Any] | None = None,
    workers: int = 2,
    fold: int | None = None,
) -> list[Image]:
    """Images to infer on: of a folder, or of a datalist its unlabelled part or a fold; without what the reader rejects.

    A rejected image is never scored, so it is never "negative": it stands in `rejected_file` with its reason.

    Args:
        dataset_dir: a folder of DICOM images, or the tree that the datalist was made of.
        datalist_file: made by `prepare`; it brings ids and lung boxes.
        rejected_file: CSV to write: image_id, study_id, reason, path, detail. It is written also where it stays empty.
        reader_options: options of `read_radiograph`.
        workers: child processes.
        fold: of a datalist, the labelled images of this fold instead of those without a label.

    Raises:
        InputError: where there is no image, or none that can be read.
    """
    images = _list_images(dataset_dir, datalist_file, fold)
    readings = read_radiographs([image["image"] for image in images], workers=workers, **(reader_options or {}))
    progress = tqdm(zip(images, readings, strict=True), "reading images", len(images), unit="image", leave=False)
    readable, rejected = [], []
    for image, (_, reading) in progress:
        if isinstance(reading, RejectedImage):
            rejected.append((image, reading))
        else:
            readable.append(image)
    if rejected_file is not None:
        rows = [
            (image["image_id"], image["study_id"], error.reason, error.path, error.detail) for image, error in rejected
        ]
        write_csv(rejected_file, REJECTED_COLUMNS, rows)
    if not readable:
        advice = f"see {rejected_file}" if rejected_file is not None else "check that these are chest radiographs"
        raise InputError("at least one readable image", f"{len(rejected)} rejected, {_format(rejected)}", advice)
    if rejected:
        logging.getLogger(__name__).warning(
            "%d of %d images rejected, %s", len(rejected), len(images), _format(rejected)
        )
    return readable


def _list_images(dataset_dir: str | Path, datalist_file: str | Path | None, fold: int | None) -> list[Image]:
    if datalist_file is None:
        return find_images(dataset_dir)
    return (
        test_images(datalist_file, dataset_dir) if fold is None else validation_images(datalist_file, dataset_dir, fold)
    )


def _format(rejected: Sequence[tuple[Image, RejectedImage]]) -> str:
    reasons = [error.reason for _, error in rejected]
    return ", ".join(f"{reason} {reasons.count(reason)}" for reason in sorted(set(reasons)))
