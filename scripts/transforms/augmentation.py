"""Augmentations that MONAI lacks: affine maps with boxes, hidden lungs.

Each draws its random parameters in `randomize` and applies them apart from it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from scripts.transforms.targets import BOXES
from torch.nn import functional

#: How many counter-clockwise quarter turns a picture was given.
ROTATION = "rotation"


class RandAffineWithBoxesd(RandomizableTransform, MapTransform):
    """Mirror, turn, stretch, rotate and shift a picture together with its boxes, in one resampling.

    A box stands for the ellipse inside it: the box of a rotated ellipse is much nearer to a rotated opacity, or lung,
    than the box of the rotated corners (Kalra et al. 2021, arXiv:2109.13488).

    Args:
        keys: pictures `(C, H, W)`; `boxes` `(N, 4)` in their pixels goes with them.
        prob: chance that a picture is stretched, rotated and shifted.
        flip_prob: chance that left and right are swapped.
        quarter_rotation_prob: chance of one to three quarter turns; their number, counter-clockwise, is left under
            `rotation`.
        rotate: largest angle either way, degrees.
        scale: smallest and largest size, sampled for both axes together, with `stretch` between the axes.
        stretch: largest ratio of the axes' scales.
        shift: largest shift either way, as a fraction of the picture.
        min_visible: a box of which less than this fraction stays inside is left out.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.8,
        flip_prob: float = 0.5,
        quarter_rotation_prob: float = 0.0,
        rotate: float = 8.0,
        scale: Sequence[float] = (0.85, 1.15),
        stretch: float = 1.1,
        shift: float = 0.06,
        min_visible: float = 0.3,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.flip_prob, self.quarter_rotation_prob, self.rotate = flip_prob, quarter_rotation_prob, rotate
        self.scale, self.stretch, self.shift, self.min_visible = tuple(scale), stretch, shift, min_visible

    def randomize(self, data: Any = None) -> None:
        """Draw the matrix `(2, 3)`, from places before to places after, both in [-1, 1] with x along columns."""
        super().randomize(None)
        mirror = -1.0 if self.R.random() < self.flip_prob else 1.0
        self.rotation = int(self.R.randint(1, 4)) if self.R.random() < self.quarter_rotation_prob else 0
        angle, size, ratio, shift = 0.0, 1.0, 1.0, torch.zeros(2, 1)
        if self._do_transform:
            angle = math.radians(self.R.uniform(-self.rotate, self.rotate))
            size = math.exp(self.R.uniform(math.log(self.scale[0]), math.log(self.scale[1])))
            ratio = math.exp(self.R.uniform(-math.log(self.stretch), math.log(self.stretch)) / 2)
            shift = torch.tensor(self.R.uniform(-2 * self.shift, 2 * self.shift, size=(2, 1)), dtype=torch.float32)
        scaled = torch.diag(torch.tensor([mirror * size * ratio, size / ratio]))
        # exact for whole quarters, so that what is only rotated keeps its pixels
        rotated = torch.tensor([[0.0, 1.0], [-1.0, 0.0]]).matrix_power(self.rotation)
        cosine, sine = math.cos(angle), math.sin(angle)
        self.matrix = torch.cat([torch.tensor([[cosine, sine], [-sine, cosine]]) @ rotated @ scaled, shift], dim=1)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        self.randomize()
        for key in self.key_iterator(out):
            height, width = out[key].shape[1:]
            boxes = warp_boxes(torch.as_tensor(data[BOXES]).float(), self.matrix, height, width, self.min_visible)
            out[key], out[BOXES], out[ROTATION] = warp_picture(out[key], self.matrix), boxes, self.rotation
        return out


def warp_picture(picture: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """A picture `(C, H, W)` under a matrix `(2, 3)` in [-1, 1]; what comes from outside is 0."""
    inverse = torch.linalg.inv(matrix[:, :2])
    backwards = torch.cat([inverse, -inverse @ matrix[:, 2:]], dim=1)
    grid = functional.affine_grid(backwards[None], [1, *picture.shape], align_corners=False)
    return functional.grid_sample(picture[None], grid, align_corners=False)[0]


def warp_boxes(
    boxes: torch.Tensor, matrix: torch.Tensor, height: int, width: int, min_visible: float = 0.0
) -> torch.Tensor:
    """Boxes `(N, 4)` round the ellipses in `boxes` under a matrix `(2, 3)` in [-1, 1], clipped to the picture."""
    half = torch.tensor([width / 2, height / 2])
    centre = (boxes[:, :2] + boxes[:, 2:]) / (2 * half) - 1
    radius = (boxes[:, 2:] - boxes[:, :2]) / (2 * half)
    moved = (centre @ matrix[:, :2].T + matrix[:, 2] + 1) * half
    reach = (matrix[:, :2].square() @ radius.T.square()).sqrt().T * half
    whole = torch.cat([moved - reach, moved + reach], dim=1)
    visible = whole.clamp(torch.zeros(4), torch.tensor([width, height, width, height], dtype=torch.float32))
    return visible[_measure_areas(visible) > min_visible * _measure_areas(whole)]


def _measure_areas(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)


class RandHideLungsd(RandomizableTransform, MapTransform):
    """Make pictures without lungs of an image, so that a lung detector learns to find none; `boxes` becomes empty.

    One of three, equally often: the image's tiles in another order; the widest part of the image outside of the lungs
    (neck and shoulders, abdomen, or a side); a smooth random field.

    Args:
        keys: pictures `(C, H, W)`, whole images with `boxes` `(1, 4)`, the box round both lungs.
        prob: chance.
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.1, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)

    def randomize(self, data: Any = None) -> None:
        """Draw which of the three, the number of tiles on a side and a seed for their order or the field."""
        super().randomize(None)
        self.kind, self.tiles = int(self.R.randint(3)), int(self.R.choice([4, 8]))
        self.seed = int(self.R.randint(2**31 - 1))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        self.randomize()
        if self._do_transform and len(out[BOXES]):
            generator = torch.Generator().manual_seed(self.seed)
            for key in self.key_iterator(out):
                out[key] = self._hide(out[key], torch.as_tensor(out[BOXES])[0], generator)
            out[BOXES] = torch.zeros(0, 4)
        return out

    def _hide(self, picture: torch.Tensor, lung_box: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        if self.kind == 0:
            return shuffle_tiles(picture, self.tiles, generator)
        if self.kind == 1:
            return cut_beside(picture, lung_box.tolist())
        field = torch.rand(1, picture.shape[0], self.tiles, self.tiles, generator=generator)
        return functional.interpolate(field, size=picture.shape[1:], mode="bicubic", align_corners=False)[0].clamp(0, 1)


def shuffle_tiles(picture: torch.Tensor, tiles: int, generator: torch.Generator) -> torch.Tensor:
    """A picture `(C, H, W)` cut into `tiles` x `tiles` parts that are put together in another order."""
    channels, height, width = picture.shape
    rows, columns = height // tiles, width // tiles
    parts = picture[:, : rows * tiles, : columns * tiles].reshape(channels, tiles, rows, tiles, columns)
    parts = parts.permute(1, 3, 0, 2, 4).reshape(tiles * tiles, channels, rows, columns)
    parts = parts[torch.randperm(tiles * tiles, generator=generator)]
    joined = parts.reshape(tiles, tiles, channels, rows, columns).permute(2, 0, 3, 1, 4)
    return _resize(joined.reshape(channels, rows * tiles, columns * tiles), height, width)


def cut_beside(picture: torch.Tensor, box: Sequence[float]) -> torch.Tensor:
    """The widest strip of a picture `(C, H, W)` above, below or beside a box, resized to the picture's size."""
    height, width = picture.shape[1:]
    xmin, ymin, xmax, ymax = (round(edge) for edge in box)
    strips = [picture[:, :ymin], picture[:, ymax:], picture[:, :, :xmin], picture[:, :, xmax:]]
    widest = max(strips, key=lambda strip: min(strip.shape[1:]))
    # where lungs fill the image nothing is left: an empty exposure shows no lungs either
    return _resize(widest, height, width) if min(widest.shape[1:]) > 1 else torch.zeros_like(picture)


def _resize(picture: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return functional.interpolate(picture[None], size=(height, width), mode="bilinear", align_corners=False)[0]
