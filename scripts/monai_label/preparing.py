"""Preparation of a corrected image from MONAI Label as the datalist's images are prepared."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform
from scripts.inferers import LungInferer, read_lung_inferer
from scripts.monai_label.corrections import Correction, find_correction
from scripts.radiographs import read_isolated
from scripts.transforms import find_image

Item = Mapping[Hashable, Any]


class PrepareCorrection(Transform):
    """`{"image": path, "label": path of a mask}`, a record of MONAI Label -> what `preparation` makes of an image.

    An item whose label is no path was prepared before, and passes through. The class is the one that was saved with
    the mask, or `UNKNOWN_CLASS`; so are the lungs, or they are detected: a network that detects lungs must not
    be trained on whole images.

    Args:
        preparation: dictionary transform that reads the image and makes the picture and its mask.
        config_file: config that describes the lung inferer; None: images without a saved lung box are seen whole.
        lung_weights: weights of that inferer.

    Raises:
        InputError: where the mask is not of its image, or the class is unknown.
    """

    def __init__(
        self,
        preparation: Callable[[Item], Item],
        config_file: str | Path | None = None,
        lung_weights: str | Path | None = None,
    ) -> None:
        self.preparation, self.config_file, self.lung_weights = preparation, config_file, lung_weights

    def __call__(self, data: Item) -> Item:
        if not isinstance(data.get("label"), str | Path):
            return data
        correction = find_correction(data["image"], data["label"])
        lung_box = correction.lung_box or self._find_lungs(correction)
        return self.preparation(
            {
                "image": str(correction.image),
                "image_id": correction.image_id,
                "study_id": correction.image_id,
                "label": correction.label,
                "boxes": np.zeros((0, 4), dtype=np.float32),
                "boxes_known": True,
                "mask": str(correction.mask),
                "lung_box": None if lung_box is None else np.asarray(lung_box, dtype=np.float32),
            }
        )

    def _find_lungs(self, correction: Correction) -> tuple[float, ...] | None:
        if self.config_file is None:
            return None
        pixels = read_isolated(find_image(correction.image)).pixels
        return self._lung_inferer([torch.from_numpy(pixels)])[0].box

    @cached_property
    def _lung_inferer(self) -> LungInferer:
        assert self.config_file is not None
        return read_lung_inferer(self.config_file, self.lung_weights)
