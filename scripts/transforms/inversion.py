"""Base of the intensity augmentations, and the simplest of them: inversion."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import convert_to_dst_type, convert_to_tensor


class RandIntensityd(RandomizableTransform, MapTransform):
    """Base of intensity augmentations: they act or not on all keys at once, and other keys stay as they are."""

    def __init__(self, keys: KeysCollection, prob: float = 0.5, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        self.randomize(None)
        if self._do_transform:
            for key in self.key_iterator(out):
                changed = self._change(convert_to_tensor(out[key], track_meta=False))
                out[key] = convert_to_dst_type(changed, dst=out[key])[0]
        return out

    def _change(self, picture: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class RandInvertd(RandIntensityd):
    """Swap black and white, as in an image whose photometric interpretation is wrong: [0, 1] -> [1, 0]."""

    def __init__(self, keys: KeysCollection, prob: float = 0.1, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, prob, allow_missing_keys)

    def _change(self, picture: torch.Tensor) -> torch.Tensor:
        return 1 - picture
