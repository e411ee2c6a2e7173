"""Digest of an image's pixels: the same for every lossless form of one image."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike

#: Name of this digest in a datalist and in an image's record.
PIXELS_SHA256 = "pixels_sha256"


def hash_pixels(pixels: ArrayLike) -> str:
    """SHA-256 of decoded pixels `(1, H, W)` or `(H, W)`, shape included, as 64 hex digits."""
    array = np.ascontiguousarray(pixels, dtype=np.float32)
    return hashlib.sha256(repr(array.shape[-2:]).encode() + array.tobytes()).hexdigest()
