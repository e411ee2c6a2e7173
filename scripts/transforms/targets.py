"""What a network is to find, in the frame of the cropped and resized picture: a mask, or boxes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from scripts.boxes import compute_areas, fill_mask, move_into_crop
from scripts.transforms.regions import CROP_BOX

BOXES = "boxes"


class BoxesToMaskd(MapTransform):
    """Draw `boxes` (film pixels) as a filled mask in the frame of the cropped and resized picture.

    Args:
        keys: pictures `(C, H, W)` that give the mask its size.
        mask_key: where the mask `(1, H, W)`, float32 zeros and ones, goes.
    """

    def __init__(self, keys: KeysCollection, mask_key: str = "mask", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            height, width = out[key].shape[1:]
            boxes = move_into_crop(out[BOXES], out[CROP_BOX], height, width)
            out[self.mask_key] = torch.from_numpy(fill_mask(boxes, height, width))[None]
        return out


class MoveBoxesToRegiond(MapTransform):
    """Replace `boxes` by those of the picture: film pixels -> pixels of the cropped and resized picture, clipped to it.

    Args:
        keys: pictures `(C, H, W)` that the boxes are moved into.
        box_key: where the film's boxes are, `(N, 4)`, or `(4,)` for one such as `lung_box`; None: there are none.

    `boxes` becomes `(N, 4)` float32; what lies outside of the picture is left out.
    """

    def __init__(self, keys: KeysCollection, box_key: str = BOXES, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.box_key = box_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            found = data.get(self.box_key)
            in_film = torch.zeros(0, 4) if found is None else torch.as_tensor(found).reshape(-1, 4)
            boxes = move_into_crop(in_film, out[CROP_BOX], *out[key].shape[1:])
            out[BOXES] = torch.from_numpy(boxes[compute_areas(boxes) > 0]).float()
        return out
