"""PNG and JPEG renderings of radiographs, by option: annotation tools hand those over."""

from __future__ import annotations

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scripts.radiographs.gates import MAX_SIDE, MIN_SIDE
from scripts.radiographs.grayscale import Display, render_brightness
from scripts.radiographs.image_metadata import ImageMetadata, Radiograph
from scripts.radiographs.rejection import Rejection

_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_EXIF_ORIENTATION = 0x0112
#: JPEG turns a gray picture that was saved in colour into one that is gray within rounding.
_COLOUR_TOLERANCE = 3


def is_rendering(file: bytes) -> bool:
    """True where the file starts as PNG or JPEG."""
    return file.startswith(_SIGNATURES)


def read_rendering(file: bytes) -> Radiograph:
    """A gray picture of 8 or 16 bits, upright, 64 to 8192 pixels a side, as it is shown: bones bright.

    Raises:
        Rejection: bad_geometry, not_gray, multiframe, out_of_scope, decode_error or bad_values.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(file), formats=("PNG", "JPEG"))
            _check_image(image)
            stored = _read_gray(image)
    except (Rejection, MemoryError):
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError and others on broken pictures
        raise Rejection("decode_error", f"the decoder gave up with {type(error).__name__}") from None
    brightness, flags = render_brightness(stored, Display())
    bits_stored = 16 if image.mode.startswith("I") else 8
    metadata = ImageMetadata(
        bits_stored=bits_stored, rows=image.height, columns=image.width, flags=tuple(flags), rendering=True
    )
    return Radiograph(brightness[np.newaxis], metadata)


def _check_image(image: Image.Image) -> None:
    width, height = image.size
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
        raise Rejection("bad_geometry", f"{height} rows and {width} columns, {MIN_SIDE} to {MAX_SIDE} are read")
    if getattr(image, "n_frames", 1) != 1:
        raise Rejection("multiframe", "the picture is animated")
    if image.getexif().get(_EXIF_ORIENTATION, 1) != 1:
        raise Rejection("out_of_scope", "the picture is to be rotated or mirrored, says its Exif orientation")


def _read_gray(image: Image.Image) -> NDArray[np.int32]:
    if image.mode == "L" or image.mode.startswith("I"):
        return np.asarray(image).astype(np.int32)
    if image.mode not in ("RGB", "RGBA", "LA", "P"):
        raise Rejection("not_gray", "the picture is not gray with 8 or 16 bits")
    channels = np.asarray(image.convert("RGB")).astype(np.int32)
    if np.ptp(channels, axis=2).max() > _COLOUR_TOLERANCE:
        raise Rejection("not_gray", "the picture is coloured")
    return channels[..., 1]
