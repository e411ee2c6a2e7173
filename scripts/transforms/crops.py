"""Crops of an image for a network: its lungs, all of it, or, as a negative control, all but the lungs.

Each of the three regions leaves `crop_box` (`(4,)`, image pixels) and `original_size` (height and width in pixels)
beside the picture, so that whatever is found in it can be brought back to the image.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import ArrayLike, NDArray
from scripts.boxes import as_boxes, clip_boxes

CROP_BOX, ORIGINAL_SIZE, LUNG_BOX = "crop_box", "original_size", "lung_box"


def find_crop(lung_box: ArrayLike | None, height: int, width: int, margin: float = 0.0) -> NDArray[np.int64]:
    """Whole pixels `(4,)` to cut out: the lung box widened by `margin` of its size on every side, within the image.

    Without a lung box, or with one that leaves less than two pixels of the image, it is the whole image.
    """
    image = np.array([0, 0, width, height])
    if lung_box is None:
        return image
    xmin, ymin, xmax, ymax = as_boxes([lung_box])[0]
    across, along = margin * (xmax - xmin), margin * (ymax - ymin)
    crop = clip_boxes([[xmin - across, ymin - along, xmax + across, ymax + along]], height, width)[0]
    whole = np.concatenate([np.floor(crop[:2]), np.ceil(crop[2:])]).astype(np.int64)
    return whole if (whole[2:] - whole[:2] >= 2).all() else image


class CropToLungsd(MapTransform):
    """Cut images to their lung box; an image without one stays whole. It reads `lung_box` and runs no network.

    Args:
        keys: images `(C, H, W)`.
        margin: widening on every side, as a fraction of the box's size.
    """

    def __init__(self, keys: KeysCollection, margin: float = 0.0, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.margin = margin

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            crop = find_crop(out.get(LUNG_BOX), out[key].shape[1], out[key].shape[2], self.margin)
            xmin, ymin, xmax, ymax = crop.tolist()
            out[CROP_BOX], out[ORIGINAL_SIZE] = crop.astype(np.float32), np.array(out[key].shape[1:])
            out[key] = out[key][:, ymin:ymax, xmin:xmax]
        return out


class KeepWholeImaged(MapTransform):
    """The twin of `CropToLungsd` that cuts nothing."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            out[CROP_BOX] = find_crop(None, *out[key].shape[1:]).astype(np.float32)
            out[ORIGINAL_SIZE] = np.array(out[key].shape[1:])
        return out


class BlackOutLungsd(KeepWholeImaged):
    """The negative control: the whole image with its lung box filled black. What is scored on it is a shortcut."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = super().__call__(data)
        for key in self.key_iterator(out):
            xmin, ymin, xmax, ymax = find_crop(out.get(LUNG_BOX), *out[key].shape[1:]).tolist()
            out[key] = out[key].clone() if isinstance(out[key], torch.Tensor) else out[key].copy()
            out[key][:, ymin:ymax, xmin:xmax] = 0
        return out
