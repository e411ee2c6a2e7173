"""The way from one file to a `Radiograph`, gate after gate."""

from __future__ import annotations

from pathlib import Path

import pydicom

from scripts.errors import RefusedFilm
from scripts.radiographs.decoding import decode_stored_values, read_display
from scripts.radiographs.facts import Radiograph, collect_facts
from scripts.radiographs.grayscale import render_brightness


def read_radiograph(
    path: str | Path, *, accept_secondary_capture: bool = False, accept_renderings: bool = False
) -> Radiograph:
    """Read one film in this process.

    Args:
        path: a DICOM file.
        accept_secondary_capture: also read films stored as Secondary Capture.
        accept_renderings: also read PNG and JPEG pictures of films.

    Raises:
        RefusedFilm: where the file is not a film that can be read, with its reason code.
    """
    try:
        dataset = pydicom.dcmread(path)
        display, flags = read_display(dataset)
        brightness, more_flags = render_brightness(decode_stored_values(dataset), display)
        facts = collect_facts(dataset, str(dataset.file_meta.TransferSyntaxUID), flags + more_flags)
    except Exception as error:
        raise RefusedFilm("decode_error", path, type(error).__name__) from None
    return Radiograph(brightness[None], facts)
