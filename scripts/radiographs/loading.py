"""`LoadRadiographd`: the reader as the first link of a transform chain."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from scripts.radiographs.reading import read_radiograph


class LoadRadiographd(MapTransform):
    """Replace paths by films: `(1, H, W)` float32 MetaTensors in [0, 1], affine identity, meta `filename_or_obj`.

    Args:
        keys: keys that hold a path.
        allow_missing_keys: whether a key may be absent.
        isolated: decode in a child process with memory and time limits; for films from outside. Without it films are
            decoded in this process: for a datalist whose films were all read by preparation.
        accept_secondary_capture, accept_renderings: as for `read_radiograph`.

    Raises:
        RefusedFilm: where a film cannot be read.
    """

    def __init__(
        self,
        keys: KeysCollection = "image",
        allow_missing_keys: bool = False,
        isolated: bool = False,
        accept_secondary_capture: bool = False,
        accept_renderings: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.isolated = isolated
        self.options = {"accept_secondary_capture": accept_secondary_capture, "accept_renderings": accept_renderings}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The same dictionary with the films in place of their paths."""
        loaded = dict(data)
        for key in self.key_iterator(loaded):
            loaded[key] = self._load_film(loaded[key])
        return loaded

    def _load_film(self, path: str | Path) -> MetaTensor:
        radiograph = read_radiograph(path, **self.options)
        meta = {"filename_or_obj": str(path), "original_channel_dim": 0}
        return MetaTensor(torch.from_numpy(radiograph.pixels), affine=torch.eye(4), meta=meta)
