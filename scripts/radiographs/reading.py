"""The way from one file to a `Radiograph`, gate after gate."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from scripts.errors import RefusedFilm
from scripts.radiographs.decoding import decode_stored_values
from scripts.radiographs.display import read_display
from scripts.radiographs.facts import Radiograph, RadiographFacts, collect_facts
from scripts.radiographs.gates import check_object, check_picture, check_pixel_data, check_scope
from scripts.radiographs.grayscale import Display, render_brightness
from scripts.radiographs.header import Header
from scripts.radiographs.refusal import Refusal
from scripts.radiographs.structure import check_size, open_film_bytes

T = TypeVar("T")


def read_radiograph(
    path: str | Path, *, accept_secondary_capture: bool = False, accept_renderings: bool = False
) -> Radiograph:
    """Read one film in this process.

    Structure and header are checked before a decoder runs. A decoder is C code all the same, and may crash or hang on a
    file made for it: read films from outside with `read_radiographs`, or with `LoadRadiographd(isolated=True)`.

    Args:
        path: a DICOM file.
        accept_secondary_capture: also read films stored as Secondary Capture.
        accept_renderings: also read PNG and JPEG pictures of films; their facts say `rendering`.

    Raises:
        RefusedFilm: where the file is not a film that can be read, with its reason code.
    """
    read = partial(_read_picture, accept_secondary_capture, accept_renderings)
    return _run_gates(path, read)


def read_film_display(path: str | Path, *, accept_secondary_capture: bool = False) -> Display:
    """How a DICOM film wants its stored values shown, for what has to show it alike; no decoder runs.

    Raises:
        RefusedFilm: as `read_radiograph`.
    """
    return _run_gates(path, partial(_read_display, accept_secondary_capture))


def read_film_facts(path: str | Path, *, accept_secondary_capture: bool = False) -> RadiographFacts:
    """What a DICOM film says about itself; no decoder runs.

    Raises:
        RefusedFilm: as `read_radiograph`, but for what only its pixels or its scope would be refused for.
    """
    return _run_gates(path, partial(_read_facts, accept_secondary_capture))


def _run_gates(path: str | Path, read: Callable[[bytes], T]) -> T:
    try:
        return read(_read_file(path))
    except Refusal as refusal:
        refused = RefusedFilm(refusal.reason, path, refusal.detail)
    except MemoryError:
        refused = RefusedFilm("decode_error", path, "not enough memory")
    raise refused  # outside of the handler: no chain of causes that could quote the file


def _read_picture(accept_secondary_capture: bool, accept_renderings: bool, file: bytes) -> Radiograph:
    if accept_renderings:
        from scripts.radiographs.renderings import is_rendering, read_rendering

        if is_rendering(file):
            return read_rendering(file)
    return _read_dicom(file, accept_secondary_capture)


def _read_display(accept_secondary_capture: bool, file: bytes) -> Display:
    film = open_film_bytes(file)
    header = Header.of_film(film)
    check_object(header, accept_secondary_capture)
    return read_display(header, check_picture(header, film))[0]


def _read_facts(accept_secondary_capture: bool, file: bytes) -> RadiographFacts:
    film = open_film_bytes(file)
    header = Header.of_film(film)
    check_object(header, accept_secondary_capture)
    check_picture(header, film)
    return collect_facts(header, film.transfer_syntax)


def _read_file(path: str | Path) -> bytes:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise Refusal("unreadable", "not a regular file")
        check_size(status.st_size)
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise Refusal("unreadable", type(error).__name__) from None


def _read_dicom(file: bytes, accept_secondary_capture: bool) -> Radiograph:
    film = open_film_bytes(file)
    header = Header.of_film(film)
    check_object(header, accept_secondary_capture)
    picture = check_picture(header, film)
    check_pixel_data(film, picture)
    facts = collect_facts(header, film.transfer_syntax)
    check_scope(header, facts)
    display, display_flags = read_display(header, picture)
    brightness, window_flags = render_brightness(decode_stored_values(film, picture), display)
    flags = tuple(sorted({*facts.flags, *display_flags, *window_flags}))
    return Radiograph(brightness[np.newaxis], replace(facts, flags=flags))
