"""Targets of a network in the frame of the cropped and resized image: a mask, or boxes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import ArrayLike, NDArray
from scripts.boxes import compute_areas, fill_mask, move_into_crop
from scripts.masks import read_mask
from scripts.transforms.crops import CROP_BOX, ORIGINAL_SIZE

BOXES = "boxes"


class BoxesToMaskd(MapTransform):
    """Draw `boxes` (image pixels) as a filled mask in the frame of the cropped and resized picture.

    Where a path stands under `mask_key`, the mask that a person drew there is cut and resized instead.

    Args:
        keys: pictures `(C, H, W)` that give the mask its size.
        mask_key: where the mask `(1, H, W)`, float32 zeros and ones, goes.

    Raises:
        InputError: where an annotated mask cannot be read, or is not of the image's size.
    """

    def __init__(self, keys: KeysCollection, mask_key: str = "mask", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            height, width = out[key].shape[1:]
            if isinstance(out.get(self.mask_key), str):
                annotated = read_mask(out[self.mask_key], [int(length) for length in out[ORIGINAL_SIZE]])
                out[self.mask_key] = cut_mask(annotated, out[CROP_BOX], height, width)
            else:
                boxes = move_into_crop(out[BOXES], out[CROP_BOX], height, width)
                out[self.mask_key] = torch.from_numpy(fill_mask(boxes, height, width))[None]
        return out


def cut_mask(mask: NDArray[np.bool_], crop_box: ArrayLike, height: int, width: int) -> torch.Tensor:
    """A mask `(H, W)` of an image -> `(1, height, width)` float32 zeros and ones of its crop, by the nearest pixel."""
    xmin, ymin, xmax, ymax = (int(round(float(edge))) for edge in np.asarray(crop_box))
    crop = torch.from_numpy(mask[ymin:ymax, xmin:xmax].astype(np.float32))[None, None]
    return torch.nn.functional.interpolate(crop, size=(height, width), mode="nearest-exact")[0]


class BoxesToCropd(MapTransform):
    """Replace `boxes` by those of the crop: image pixels -> pixels of the cropped and resized image, clipped to it.

    Args:
        keys: pictures `(C, H, W)` that the boxes are moved into.
        box_key: where the image's boxes are, `(N, 4)`, or `(4,)` for one such as `lung_box`; None: there are none.

    `boxes` becomes `(N, 4)` float32; what lies outside of the picture is left out.
    """

    def __init__(self, keys: KeysCollection, box_key: str = BOXES, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.box_key = box_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            found = data.get(self.box_key)
            in_image = torch.zeros(0, 4) if found is None else torch.as_tensor(found).reshape(-1, 4)
            boxes = move_into_crop(in_image, out[CROP_BOX], *out[key].shape[1:])
            out[BOXES] = torch.from_numpy(boxes[compute_areas(boxes) > 0]).float()
        return out
