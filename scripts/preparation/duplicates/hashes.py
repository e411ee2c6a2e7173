"""Fingerprints of an image: a thumbnail, and a perceptual hash of that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage

#: Side of the square thumbnails that are compared, in pixels.
THUMBNAIL_SIZE = 128

#: Thumbnail pixels: keeps ribs, vessels, letters and lines, drops what windowing changes.
_SIGMA = 4.0
#: Lowest rows and columns of the DCT that are hashed. 8 x 8, usual for photographs, does not report chest radiographs
#: apart.
_HASH_SIZE = 24

_NUM_AT_ONCE = 1024  # thumbnails that are hashed together, which bounds the memory

Picture = NDArray[np.float32]
Thumbnails = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]


def make_thumbnail(pixels: ArrayLike) -> NDArray[np.uint8]:
    """Image `(1, H, W)` or `(H, W)` in [0, 1] -> `(128, 128)` uint8, each the mean of its area; aspect is not kept."""
    image = np.asarray(pixels, dtype=np.float32).reshape(np.shape(pixels)[-2:])
    thumbnail = _average_rows(_average_rows(image).T).T
    return np.rint(255 * np.clip(thumbnail, 0, 1)).astype(np.uint8)


def hash_thumbnails(thumbnails: Thumbnails) -> NDArray[np.bool_]:
    """Perceptual hashes `(N, 575)` of N thumbnails `(128, 128)`.

    Signs, about their median, of low DCT coefficients without the constant one (Zauner 2010, Implementation and
    Benchmarking of Perceptual Image Hash Functions), here of the picture with its contrast flattened.
    """
    hashes = np.zeros((len(thumbnails), _HASH_SIZE**2 - 1), dtype=np.bool_)
    for start in range(0, len(thumbnails), _NUM_AT_ONCE):
        part = thumbnails[start : start + _NUM_AT_ONCE]
        flat = np.stack([flatten_contrast(halve(thumbnail), _SIGMA / 2) for thumbnail in part])
        low = fft.dctn(flat, axes=(1, 2), norm="ortho")[:, :_HASH_SIZE, :_HASH_SIZE].reshape(len(flat), -1)[:, 1:]
        hashes[start : start + _NUM_AT_ONCE] = low > np.median(low, axis=1, keepdims=True)
    return hashes


def flatten_contrast(picture: ArrayLike, sigma: float = _SIGMA) -> Picture:
    """Local mean 0 and deviation 1 of `(H, W)`: the same for every window, edge enhancement or exposure of one image.

    Args:
        picture: grey values of 0 to 255.
        sigma: pixels of the neighbourhood.
    """
    picture = np.asarray(picture, dtype=np.float32)
    detail = picture - ndimage.gaussian_filter(picture, sigma)
    spread = np.sqrt(ndimage.gaussian_filter(detail**2, sigma))
    return np.asarray(detail / (spread + 2), dtype=np.float32)  # 2 grey values: noise of flat regions stays small


def halve(picture: ArrayLike) -> Picture:
    """`(H, W)` -> `(H / 2, W / 2)`, means of 2 x 2 pixels."""
    array = np.asarray(picture, dtype=np.float32)
    return array.reshape(array.shape[0] // 2, 2, array.shape[1] // 2, 2).mean(axis=(1, 3))


def _average_rows(image: Picture) -> Picture:
    """`(H, W)` -> `(128, W)`, by integration, so that any height is averaged without aliasing."""
    height = len(image)
    edges = np.linspace(0, height, THUMBNAIL_SIZE + 1)
    sums = np.concatenate([np.zeros((1, image.shape[1])), np.cumsum(image, axis=0, dtype=np.float64)])
    whole = np.minimum(edges.astype(int), height - 1)
    at_edges = sums[whole] + (edges - whole)[:, None] * image[whole]
    return (np.diff(at_edges, axis=0) * (THUMBNAIL_SIZE / height)).astype(np.float32)
