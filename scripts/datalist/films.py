"""What preparation must know of each film's pixels and header, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from scripts.datalist.decisions import Decisions
from scripts.datalist.sources import Source
from scripts.duplicates import hash_pixels, make_thumbnail
from scripts.errors import InputError, RefusedFilm
from scripts.radiographs import Radiograph, read_radiographs
from scripts.tables import Box, Tables, fit_boxes


@dataclass(frozen=True)
class Film:
    """A film that was read.

    Args:
        source: where it lies and what the tables say.
        boxes: opacity boxes in film pixels, inside the film.
        lung_box: the same for the lungs, or None.
        height, width: pixels.
        digest: of the decoded pixels.
        thumbnail: `(128, 128)`.
        patient_key: what tells patients apart; to compare only, never written, never shown.
    """

    source: Source
    boxes: tuple[Box, ...]
    lung_box: Box | None
    height: int
    width: int
    digest: str
    thumbnail: NDArray[np.uint8]
    patient_key: str = field(repr=False)

    @property
    def image_id(self) -> str:
        return self.source.row.image_id

    @property
    def study_id(self) -> str:
        return self.source.row.study_id


def examine_films(
    tree: Path, sources: Sequence[Source], tables: Tables, decisions: Decisions, workers: int = 2, **options: bool
) -> list[Film]:
    """Read every film, in order, in child processes; a refused one is noted with its reason code.

    Args:
        tree, sources, tables, decisions: as they were listed.
        workers: processes that decode.
        options: of `read_radiograph`.

    Raises:
        InputError: where a box leaves its film, or no film can be read.
    """
    films = []
    read = read_radiographs([tree / source.image for source in sources], workers=workers, **options)
    for source, (_, film) in tqdm(zip(sources, read, strict=True), "films", len(sources), unit="film"):
        if isinstance(film, RefusedFilm):
            decisions.add("refused", source.row, f"{film.reason}: {film.detail}")
        else:
            films.append(_examine_film(source, film, tables, decisions))
    if not films:
        refused = [row[-1] for row in decisions.rows if row[0] == "refused"]
        advice = f"the first was refused as {refused[0]}" if refused else "check that tables and tree belong together"
        raise InputError("at least one film that can be read", f"none among {len(sources)} in {tree}", advice)
    return films


def _examine_film(source: Source, film: Radiograph, tables: Tables, decisions: Decisions) -> Film:
    height, width = film.pixels.shape[-2:]
    row, lungs = source.row, tables.lung_boxes.get(source.row.image_id)
    boxes = fit_boxes(row.boxes, height, width, row.where)
    lung_boxes = fit_boxes([lungs.box], height, width, lungs.where) if lungs else ()
    if boxes != row.boxes or (lungs and lung_boxes != (lungs.box,)):
        decisions.add("boxes clipped", row, f"to the film's {width} x {height} pixels")
    return Film(
        source,
        boxes,
        lung_boxes[0] if lung_boxes else None,
        height,
        width,
        hash_pixels(film.pixels),
        make_thumbnail(film.pixels),
        # What the tables say goes before the header: exports often give all films one number, or each its own.
        row.patient or film.facts.patient or f"study {row.study_id}",
    )
