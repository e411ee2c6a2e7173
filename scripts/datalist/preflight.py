"""Before inference: every film is read once, in limited child processes; what cannot be read is told, not scored."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from scripts.datalist.selection import Film, find_films, test_films, validation_films
from scripts.errors import REFUSED_COLUMNS, InputError, RefusedFilm
from scripts.files import write_csv
from scripts.radiographs import read_radiographs


def readable_films(
    dataset_dir: str | Path,
    datalist_file: str | Path | None = None,
    refused_file: str | Path | None = None,
    reader_options: Mapping[str, Any] | None = None,
    workers: int = 2,
    fold: int | None = None,
) -> list[Film]:
    """Films to infer on: of a folder, or of a datalist its unlabelled part or a fold; without what the reader refuses.

    A refused film is never scored, so it is never "negative": it stands in `refused_file` with its reason.

    Args:
        dataset_dir: a folder of DICOM films, or the tree that the datalist was made of.
        datalist_file: made by `prepare`; it brings ids and lung boxes.
        refused_file: CSV to write: image_id, study_id, reason, path, detail. It is written also where it stays empty.
        reader_options: options of `read_radiograph`.
        workers: child processes.
        fold: of a datalist, the labelled films of this fold instead of those without a label.

    Raises:
        InputError: where there is no film, or none that can be read.
    """
    films = _list_films(dataset_dir, datalist_file, fold)
    readings = read_radiographs([film["image"] for film in films], workers=workers, **(reader_options or {}))
    progress = tqdm(zip(films, readings, strict=True), "reading films", len(films), unit="film", leave=False)
    readable, refused = [], []
    for film, (_, reading) in progress:
        if isinstance(reading, RefusedFilm):
            refused.append((film, reading))
        else:
            readable.append(film)
    if refused_file is not None:
        rows = [(film["image_id"], film["study_id"], error.reason, error.path, error.detail) for film, error in refused]
        write_csv(refused_file, REFUSED_COLUMNS, rows)
    if not readable:
        advice = f"see {refused_file}" if refused_file is not None else "check that these are chest films"
        raise InputError("at least one readable film", f"{len(refused)} refused, {_tell(refused)}", advice)
    if refused:
        logging.getLogger(__name__).warning("%d of %d films refused, %s", len(refused), len(films), _tell(refused))
    return readable


def _list_films(dataset_dir: str | Path, datalist_file: str | Path | None, fold: int | None) -> list[Film]:
    if datalist_file is None:
        return find_films(dataset_dir)
    return (
        test_films(datalist_file, dataset_dir) if fold is None else validation_films(datalist_file, dataset_dir, fold)
    )


def _tell(refused: Sequence[tuple[Film, RefusedFilm]]) -> str:
    reasons = [error.reason for _, error in refused]
    return ", ".join(f"{reason} {reasons.count(reason)}" for reason in sorted(set(reasons)))
