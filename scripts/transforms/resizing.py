"""Resizing of pictures: MONAI's antialiased `Resized`, as two products of matrices."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.networks.layers import gaussian_1d
from monai.transforms import MapTransform
from torch.nn.functional import interpolate


class AntialiasedResized(MapTransform):
    """Resize pictures as MONAI's `Resized` does with `mode="bilinear"`, `align_corners=False`, `anti_aliasing=True`.

    MONAI smooths the whole picture by a Gaussian and then samples it: of 2,000 x 2,000 pixels it computes 60 times as
    many as it keeps. Both steps are linear and separable, so one matrix a side gives the same picture, within the
    rounding of 32-bit floats. Where no side shrinks nothing is smoothed, and the picture is MONAI's to the bit.

    Args:
        keys: pictures `(C, H, W)`.
        spatial_size: height and width in pixels.
    """

    def __init__(self, keys: KeysCollection, spatial_size: Sequence[int], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.spatial_size = (int(spatial_size[0]), int(spatial_size[1]))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = resize_antialiased(torch.as_tensor(out[key]), *self.spatial_size)
        return out


def resize_antialiased(picture: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Resize a picture (C, H, W) to (C, height, width), float32; see `AntialiasedResized`."""
    picture = picture.float()
    if height >= picture.shape[1] and width >= picture.shape[2]:
        return interpolate(picture[None], size=(height, width), mode="bilinear", align_corners=False)[0]
    rows = weigh_pixels(picture.shape[1], height).to(picture.device)
    columns = weigh_pixels(picture.shape[2], width).to(picture.device)
    return rows @ picture @ columns.T


def weigh_pixels(size: int, wanted: int) -> torch.Tensor:
    """Weights (wanted, size) with which a line of `size` pixels makes one of `wanted`: smoothed, then interpolated.

    The Gaussian is MONAI's for this factor, (size / wanted - 1) / 2 pixels wide; beyond the border is black.
    """
    kernel = gaussian_1d(torch.tensor(max(0.0, (size / wanted - 1) / 2)))
    reach = len(kernel) // 2
    place = ((torch.arange(wanted, dtype=torch.float64) + 0.5) * (size / wanted) - 0.5).clamp(min=0)
    first = place.floor().long().clamp(max=size - 1)
    second, fraction = (first + 1).clamp(max=size - 1), (place - first).float()[:, None]
    offsets = torch.arange(len(kernel))
    weights = torch.zeros(wanted, size + 2 * reach)
    weights.scatter_add_(1, first[:, None] + offsets, (1 - fraction) * kernel)
    weights.scatter_add_(1, second[:, None] + offsets, fraction * kernel)
    return weights[:, reach : reach + size]
