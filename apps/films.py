"""The films that every door is asked about: two signs, two modalities, three shapes, one of them inverse-stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from scripts.synthetic import FilmStyle, draw_chest, store_picture, write_film

#: Name -> height, width, class, seed, style. The twins show one picture, once stored as its negative.
FILMS: dict[str, tuple[int, int, str, int, FilmStyle]] = {
    "cr-monochrome1": (512, 420, "typical", 11, FilmStyle(kind="CR", photometric="MONOCHROME1")),
    "cr-monochrome2": (512, 420, "typical", 11, FilmStyle(kind="CR")),
    "dx-wide": (384, 512, "indeterminate", 12, FilmStyle(kind="DX", bits_stored=14)),
    "dx-monochrome1": (460, 460, "negative", 13, FilmStyle(kind="DX", photometric="MONOCHROME1")),
    "cr-jpeg-ls": (500, 364, "atypical", 14, FilmStyle(kind="CR", syntax="jpeg_ls")),
}


def draw_films(folder: str | Path) -> dict[str, Path]:
    """Write every film as `<folder>/<study>/<series>/<name>.dcm`, a study each, and give their paths by name."""
    written = {}
    for name, (height, width, study_class, seed, style) in FILMS.items():
        drawing = draw_chest(height, width, study_class, (seed, seed, seed))
        # whole steps, so that a negative is stored without rounding
        pixels = np.round(drawing.pixels * (top := 2**style.bits_stored - 1)) / top
        values, style = store_picture(pixels, replace(style, patient_id=f"DRAWN-{name}"), "full")
        written[name] = write_film(Path(folder) / f"study-{name}" / "series" / f"{name}.dcm", values, style)
    return written
