"""The DICOM images that every integration predicts: two polarities, modalities, three shapes, one inverse-stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from scripts.synthetic import ImageStyle, draw_chest, store_picture, write_image

#: Name -> height, width, class, seed, style. The twins show one picture, once stored as its negative.
IMAGES: dict[str, tuple[int, int, str, int, ImageStyle]] = {
    "cr-monochrome1": (512, 420, "typical", 11, ImageStyle(kind="CR", photometric="MONOCHROME1")),
    "cr-monochrome2": (512, 420, "typical", 11, ImageStyle(kind="CR")),
    "dx-wide": (384, 512, "indeterminate", 12, ImageStyle(kind="DX", bits_stored=14)),
    "dx-monochrome1": (460, 460, "negative", 13, ImageStyle(kind="DX", photometric="MONOCHROME1")),
    "cr-jpeg-ls": (500, 364, "atypical", 14, ImageStyle(kind="CR", syntax="jpeg_ls")),
}


def write_images(folder: str | Path) -> dict[str, Path]:
    """Write every image as `<folder>/<study>/<series>/<name>.dcm`, a study each, and give their paths by name."""
    written = {}
    for name, (height, width, study_class, seed, style) in IMAGES.items():
        drawing = draw_chest(height, width, study_class, (seed, seed, seed))
        # whole steps, so that a negative is stored without rounding
        pixels = np.round(drawing.pixels * (top := 2**style.bits_stored - 1)) / top
        values, style = store_picture(pixels, replace(style, patient_id=f"SYNTHETIC-{name}"), "full")
        written[name] = write_image(Path(folder) / f"study-{name}" / "series" / f"{name}.dcm", values, style)
    return written
