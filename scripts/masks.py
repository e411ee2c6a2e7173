"""Annotated masks, read from the files that annotation tools write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scripts.errors import InputError

#: NRRD and NIfTI count x first, as MONAI Label and 3D Slicer write them; PNG rows first.
SUFFIXES = (".nrrd", ".nii", ".nii.gz", ".png")


def read_mask(path: str | Path, original_size: Sequence[int] | None = None) -> NDArray[np.bool_]:
    """An annotated mask `(H, W)`: whatever is not zero, in the image's own pixels.

    Args:
        path: an NRRD, NIfTI or PNG file.
        original_size: height and width that the mask must have.

    Raises:
        InputError: where it cannot be read, is no plane, or is of another size than its image.
    """
    path = Path(path)
    if not path.name.lower().endswith(SUFFIXES):
        raise InputError(f"a mask ({', '.join(SUFFIXES)})", path.name, "save it as one of these")
    try:
        plane = np.squeeze(_read_array(path))
    except Exception as error:  # each format has errors of its own for a broken file
        raise InputError("a mask that can be read", f"{path.name}: {type(error).__name__}", "save it again") from error
    if plane.ndim != 2:
        raise InputError("a mask of one plane", f"{plane.ndim} dimensions in {path.name}", "save one segment")
    mask = (plane != 0).T
    if original_size is not None and mask.shape != tuple(original_size):
        found = f"{mask.shape[0]} x {mask.shape[1]} in {path.name}"
        expected = f"a mask of the image's {original_size[0]} x {original_size[1]} pixels (rows x columns)"
        raise InputError(expected, found, "draw it on the image itself, not on a resized or cut copy")
    return mask


def _read_array(path: Path) -> NDArray[np.generic]:
    """As the file counts, x first."""
    name = path.name.lower()
    if name.endswith(".nrrd"):
        import nrrd  # both formats are read where a mask was corrected, which few runs meet

        return nrrd.read(str(path))[0]
    if name.endswith(".png"):
        return np.asarray(Image.open(path).convert("L")).T
    import nibabel

    return np.asarray(nibabel.load(path).dataobj)  # type: ignore[attr-defined]
