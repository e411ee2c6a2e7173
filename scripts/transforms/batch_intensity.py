"""Random changes of grey values of a whole batch on its device: what archives and makers do to radiographs.

Each image has its own draw. What goes in and comes out is in [0, 1]; masks and boxes stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

#: Grey levels of a histogram.
LEVELS = 256


class _RandIntensityBatchd:
    """Change the images of a batch that a draw chooses, each with chance `prob`.

    On a CPU the others are left alone; a GPU is faster with one shape for all batches, and changes the others in vain.
    """

    def __init__(self, prob: float) -> None:
        self.prob = prob

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        image = batch["image"]
        chosen = torch.rand(len(image)) < self.prob
        if image.device.type != "cpu":
            there = chosen.reshape(-1, 1, 1, 1).to(image.device)
            return {**batch, "image": torch.where(there, self.change(image).clamp(0, 1), image)}
        rows = chosen.nonzero().flatten()
        if not len(rows):
            return batch
        return {**batch, "image": image.index_copy(0, rows, self.change(image[rows]).clamp(0, 1))}

    def change(self, image: torch.Tensor) -> torch.Tensor:
        """Change every image (B, 1, H, W) of a batch by a draw of its own."""
        raise NotImplementedError


def _sample(bounds: Sequence[float], image: torch.Tensor) -> torch.Tensor:
    """Draw a value for each image, evenly between two bounds, as (B, 1, 1, 1) on its device."""
    low, high = bounds
    return (low + (high - low) * torch.rand(len(image), 1, 1, 1)).to(image.device)


class RandGammaBatchd(_RandIntensityBatchd):
    """Raise grey values to a power, drawn evenly on a logarithmic scale between the bounds `gamma`."""

    def __init__(self, prob: float = 0.5, gamma: Sequence[float] = (0.6, 1.6)) -> None:
        super().__init__(prob)
        self.bounds = tuple(math.log(edge) for edge in gamma)

    def change(self, image: torch.Tensor) -> torch.Tensor:
        return image.clamp_min(1e-6) ** _sample(self.bounds, image).exp()


class RandWindowBatchd(_RandIntensityBatchd):
    """Cut to a window: a fraction `width` of all grey values, brighter or darker; what lies outside is 0 or 1."""

    def __init__(self, prob: float = 0.25, width: Sequence[float] = (0.5, 1.0)) -> None:
        super().__init__(prob)
        self.width = tuple(width)

    def change(self, image: torch.Tensor) -> torch.Tensor:
        width = _sample(self.width, image)
        return (image - (1 - width) * _sample((0.0, 1.0), image)) / width


class RandSigmoidBatchd(_RandIntensityBatchd):
    """Apply a sigmoid VOI function (PS3.3 C.11.2.1.3.1) of random steepness and centre, stretched to [0, 1]."""

    def __init__(
        self, prob: float = 0.2, steepness: Sequence[float] = (3.0, 10.0), centre: Sequence[float] = (0.35, 0.65)
    ) -> None:
        super().__init__(prob)
        self.steepness, self.centre = tuple(steepness), tuple(centre)

    def change(self, image: torch.Tensor) -> torch.Tensor:
        steepness, centre = _sample(self.steepness, image), _sample(self.centre, image)
        low, high = torch.sigmoid(-steepness * centre), torch.sigmoid(steepness * (1 - centre))
        return (torch.sigmoid(steepness * (image - centre)) - low) / (high - low)


class RandSharpenBatchd(_RandIntensityBatchd):
    """Add `amount` x the difference to a Gaussian blur: the unsharp mask that makers apply; sigma in pixels."""

    def __init__(
        self, prob: float = 0.25, amount: Sequence[float] = (0.5, 2.5), sigma: Sequence[float] = (1.0, 4.0)
    ) -> None:
        super().__init__(prob)
        self.amount, self.sigma = tuple(amount), tuple(sigma)

    def change(self, image: torch.Tensor) -> torch.Tensor:
        return image + _sample(self.amount, image) * (image - blur(image, _sample(self.sigma, image)))


class RandBlurBatchd(_RandIntensityBatchd):
    """Blur by a Gaussian; sigma in pixels."""

    def __init__(self, prob: float = 0.15, sigma: Sequence[float] = (0.3, 1.5)) -> None:
        super().__init__(prob)
        self.sigma = tuple(sigma)

    def change(self, image: torch.Tensor) -> torch.Tensor:
        return blur(image, _sample(self.sigma, image))


class RandNoiseBatchd(_RandIntensityBatchd):
    """Add Gaussian noise, whose standard deviation is drawn between the bounds `std`."""

    def __init__(self, prob: float = 0.25, std: Sequence[float] = (0.0, 0.04)) -> None:
        super().__init__(prob)
        self.std = tuple(std)

    def change(self, image: torch.Tensor) -> torch.Tensor:
        return image + _sample(self.std, image) * torch.randn_like(image)


class RandEqualizeBatchd(_RandIntensityBatchd):
    """Blend an image with its histogram-equalised twin; the twin's fraction is drawn between the bounds `amount`."""

    def __init__(self, prob: float = 0.2, amount: Sequence[float] = (0.3, 1.0)) -> None:
        super().__init__(prob)
        self.amount = tuple(amount)

    def change(self, image: torch.Tensor) -> torch.Tensor:
        return torch.lerp(image, equalise(image), _sample(self.amount, image))


class RandCutoutBatchd(_RandIntensityBatchd):
    """Fill one rectangle with one grey value; its sides are drawn between fractions `size` of the image."""

    def __init__(self, prob: float = 0.2, size: Sequence[float] = (0.05, 0.25)) -> None:
        super().__init__(prob)
        self.size = tuple(size)

    def change(self, image: torch.Tensor) -> torch.Tensor:
        inside = torch.ones_like(image, dtype=torch.bool)
        for axis in (-2, -1):
            length = image.shape[axis]
            side, start = _sample(self.size, image) * length, _sample((0.0, 1.0), image)
            steps = torch.arange(length, device=image.device).reshape((1, 1, -1, 1) if axis == -2 else (1, 1, 1, -1))
            first = start * (length - side)
            inside = inside & (steps >= first) & (steps < first + side)
        return torch.where(inside, _sample((0.0, 1.0), image), image)


def blur(image: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Blur images (B, 1, H, W) by Gaussians with their own sigma (B, 1, 1, 1), in pixels; edges are continued."""
    radius = 8  # two standard deviations of the largest sigma in use
    steps = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (steps / sigma.reshape(-1, 1)).square())
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    planes = functional.pad(image, [radius] * 4, mode="replicate").transpose(0, 1)  # an image is a channel of its own
    planes = functional.conv2d(planes, kernel[:, None, None, :], groups=len(image))
    return functional.conv2d(planes, kernel[:, None, :, None], groups=len(image)).transpose(0, 1)


def equalise(image: torch.Tensor) -> torch.Tensor:
    """Equalise the histograms of images (B, 1, H, W) in [0, 1], in 256 levels."""
    count = len(image)
    levels = (image.flatten(1) * (LEVELS - 1)).round().long().clamp(0, LEVELS - 1)
    owners = torch.arange(count, device=image.device)[:, None] * LEVELS
    histogram = torch.zeros(count * LEVELS, device=image.device)
    histogram.scatter_add_(0, (levels + owners).flatten(), torch.ones(levels.numel(), device=image.device))
    below = histogram.reshape(count, LEVELS).cumsum(dim=1) / levels.shape[1]
    return below.gather(1, levels).reshape(image.shape).to(image.dtype)
