"""What preparation must know of each film's pixels and header, and no more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from scripts.duplicates import hash_pixels, make_thumbnail
from scripts.errors import RefusedFilm
from scripts.radiographs import read_radiographs


@dataclass(frozen=True)
class ExaminedFilm:
    """One readable film.

    Args:
        digest: of the decoded pixels.
        thumbnail: `(128, 128)`.
        height, width: pixels.
        patient_id: PatientID of the header, to compare only: never written, never shown.
    """

    digest: str
    thumbnail: NDArray[np.uint8]
    height: int
    width: int
    patient_id: str | None = field(repr=False)


def examine_films(paths: Sequence[Path], workers: int = 2) -> Iterator[ExaminedFilm | RefusedFilm]:
    """Read every film, in order; decoding happens in child processes."""
    for path, film in read_radiographs(paths, workers=workers):
        if isinstance(film, RefusedFilm):
            yield film
        else:
            height, width = film.pixels.shape[-2:]
            yield ExaminedFilm(
                hash_pixels(film.pixels), make_thumbnail(film.pixels), height, width, _read_patient_id(path)
            )


def _read_patient_id(path: str | Path) -> str | None:
    """PatientID (0010,0020) with its issuer (0010,0021): numbers of two hospitals may be equal."""
    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["PatientID", "IssuerOfPatientID"])
    patient_id = str(header.get("PatientID") or "").strip()
    issuer = str(header.get("IssuerOfPatientID") or "").strip()
    return f"{issuer}\\{patient_id}" if patient_id else None
