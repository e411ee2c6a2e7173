"""The DICOM images that every integration predicts: two polarities, modalities, three shapes, one inverse-stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from scripts.synthetic import ImageStyle, draw_chest, store_picture, write_image

#: The twins: one picture, once stored as its negative. Names are such as the challenge has, so they are ids everywhere.
INVERSE, PLAIN = "c00000000001", "c00000000002"

#: Name -> height, width, class, seed, style.
IMAGES: dict[str, tuple[int, int, str, int, ImageStyle]] = {
    INVERSE: (512, 420, "typical", 11, ImageStyle(kind="CR", photometric="MONOCHROME1")),
    PLAIN: (512, 420, "typical", 11, ImageStyle(kind="CR")),
    "d00000000001": (384, 512, "indeterminate", 12, ImageStyle(kind="DX", bits_stored=14)),
    "d00000000002": (460, 460, "negative", 13, ImageStyle(kind="DX", photometric="MONOCHROME1")),
    "c00000000003": (500, 364, "atypical", 14, ImageStyle(kind="CR", syntax="jpeg_ls")),
}


def write_images(folder: str | Path) -> dict[str, Path]:
    """Write every image as `<folder>/<study>/<series>/<name>.dcm`, a study each, and give their paths by name."""
    written = {}
    for name, (height, width, study_class, seed, style) in IMAGES.items():
        drawing = draw_chest(height, width, study_class, (seed, seed, seed))
        # whole steps, so that a negative is stored without rounding
        pixels = np.round(drawing.pixels * (top := 2**style.bits_stored - 1)) / top
        values, style = store_picture(pixels, replace(style, patient_id=f"SYNTHETIC-{name}"), "full")
        written[name] = write_image(Path(folder) / name[::-1] / name[::-1] / f"{name}.dcm", values, style)
    return written
