"""Lung detection for a batch of images of any sizes, with the reasons to reject a box."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from scripts.boxes import scale_boxes
from scripts.errors import InputError, find_input_error
from scripts.inferers.tta import AutocastInferer, check_finite, stack_pictures
from torch import nn

#: Neighbouring pixels of noise do not correlate; of 1,056 radiographs the lowest correlation measured is 0.93.
MIN_NEIGHBOUR_CORRELATION = 0.5

#: An image is called inverted where its spine and its upper abdomen are so much darker than its lungs. Of 6,334
#: radiographs with annotated lungs one is below it, of their inverted copies 0.988.
MAX_INVERTED_CONTRAST = -0.1
#: Parts of a lung box, as fractions of it: xmin, ymin, xmax, ymax.
_BOTH_LUNGS = ((0.12, 0.2, 0.35, 0.6), (0.65, 0.2, 0.88, 0.6))
_SPINE_AND_ABDOMEN = ((0.46, 0.2, 0.54, 0.6), (0.2, 0.9, 0.8, 1.0))

#: Flags of an image's lungs. With one of the first two there is no box.
LUNG_FLAGS: dict[str, str] = {
    "no_lungs": "no lungs were found",
    "unsure_lungs": "the box round the lungs is too uncertain, too small or too odd in shape to be accepted",
    "noise": "neighbouring pixels differ as in noise, as those of no radiograph do",
    "rotated": "the image seems to be rotated by a quarter or a half",
    "inverted": "the lungs are brighter than spine and abdomen: black and white seem to be exchanged",
}


@dataclass(frozen=True)
class Lungs:
    """Detected lungs of one image.

    Args:
        box: xmin, ymin, xmax, ymax round both lungs in image pixels, or None where it is not to be accepted.
        score: probability that the image shows lungs.
        edge_std: how unsure the box is: the largest standard deviation of its edges, as a fraction of the image.
        flags: keys of `LUNG_FLAGS`, sorted.
    """

    box: tuple[float, float, float, float] | None
    score: float
    edge_std: float
    flags: tuple[str, ...]


class LungInferer:
    """Finds the lungs of images, batched on the device; where it is unsure it says so instead of giving a wrong box.

    Args:
        network: a `LungDetector` with its weights.
        preparation: dictionary transform that brings "image", an image `(1, H, W)` in [0, 1], to the network's size.
        device: where the network runs.
        dtype: as for `AutocastInferer`.
        min_score: a smaller probability means no lungs.
        max_edge_std: a more uncertain box is not accepted; of 1,052 validation images one is above it, and 0.03 is
            usual.
        min_side: nor is a box of which a side is a smaller fraction of the image: the smallest annotated one is 0.35.
        max_ratio: nor one whose sides, in fractions of the image, are in a larger ratio: the largest annotated one is
            1.9.
        min_rotation: probability from which an image is called rotated.
    """

    def __init__(
        self,
        network: nn.Module,
        preparation: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        device: str | torch.device = "cpu",
        dtype: str | None = None,
        min_score: float = 0.5,
        max_edge_std: float = 0.1,
        min_side: float = 0.15,
        max_ratio: float = 2.5,
        min_rotation: float = 0.5,
    ) -> None:
        self.network, self.preparation, self.device = network.eval(), preparation, torch.device(device)
        self.inferer = AutocastInferer(dtype)
        self.min_score, self.max_edge_std, self.min_rotation = min_score, max_edge_std, min_rotation
        self.min_side, self.max_ratio = min_side, max_ratio

    @torch.no_grad()
    def __call__(self, images: Sequence[torch.Tensor]) -> list[Lungs]:
        """The lungs of each image `(1, H, W)`."""
        pictures = stack_pictures([self.preparation({"image": image}) for image in images]).to(self.device)
        output = check_finite(self.inferer(pictures, self.network), self.network)
        found = {name: value.cpu() for name, value in output.items()}
        scores, edge_stds, rotations = found["lungs"].sigmoid(), found["edge_std"], found["rotation"].softmax(dim=1)
        return [
            self._evaluate(box, score.item(), edge_std.item(), 1 - rotation[0].item(), image)
            for box, score, edge_std, rotation, image in zip(
                found["box"], scores, edge_stds, rotations, images, strict=True
            )
        ]

    def _evaluate(self, box: torch.Tensor, score: float, edge_std: float, rotated: float, image: torch.Tensor) -> Lungs:
        width, height = (box[2:] - box[:2]).tolist()
        fits = self.min_side <= width <= self.max_ratio * height and self.min_side <= height <= self.max_ratio * width
        shown, sure = score >= self.min_score, fits and edge_std <= self.max_edge_std
        flags = {
            "no_lungs": not shown,
            "noise": not shown and correlate_neighbours(image) < MIN_NEIGHBOUR_CORRELATION,
            "unsure_lungs": shown and not sure,
            "rotated": shown and rotated >= self.min_rotation,
        }
        in_image = scale_boxes([box.tolist()], float(image.shape[-2]), float(image.shape[-1]))[0].round(3)
        upright = shown and sure and not flags["rotated"]
        flags["inverted"] = upright and measure_contrast(image, in_image.tolist()) < MAX_INVERTED_CONTRAST
        raised = tuple(sorted(flag for flag, is_raised in flags.items() if is_raised))
        return Lungs(tuple(in_image.tolist()) if shown and sure else None, score, edge_std, raised)


def measure_contrast(image: torch.Tensor, box: Sequence[float]) -> float:
    """Brightness of spine and upper abdomen over that of the lungs, of an upright image `(1, H, W)` in [0, 1].

    Args:
        image: bones bright, as the reader gives it.
        box: xmin, ymin, xmax, ymax round both lungs in image pixels.
    """
    lungs, others = (
        sum(_measure_median(image, box, part) for part in parts) / len(parts)
        for parts in (_BOTH_LUNGS, _SPINE_AND_ABDOMEN)
    )
    return others - lungs


def _measure_median(image: torch.Tensor, box: Sequence[float], part: tuple[float, float, float, float]) -> float:
    (left, top, right, bottom), (height, width) = box, image.shape[-2:]
    x = [int(min(max(left + fraction * (right - left), 0), width - 1)) for fraction in part[::2]]
    y = [int(min(max(top + fraction * (bottom - top), 0), height - 1)) for fraction in part[1::2]]
    pixels = torch.as_tensor(image, dtype=torch.float32)[0, y[0] : y[1] + 1, x[0] : x[1] + 1]
    # A grid of at most 64 x 64 pixels is as good, and as fast on a large image as on a small one.
    return pixels[:: -(-pixels.shape[0] // 64), :: -(-pixels.shape[1] // 64)].median().item()


def correlate_neighbours(image: torch.Tensor) -> float:
    """Correlation of neighbouring pixels of an image `(1, H, W)`, along rows or columns, whichever is higher.

    Every fourth row and column is taken. Anatomy is smooth on the scale of a pixel, and noise that comes with it is
    small beside it: white noise of whatever distribution has 0, a radiograph nearly 1.
    """
    pixels = torch.as_tensor(image, dtype=torch.float32)[0]
    pairs = ((pixels[::4, :-1], pixels[::4, 1:]), (pixels[:-1, ::4], pixels[1:, ::4]))
    return max(_correlate(first.double(), second.double()) for first, second in pairs)


def _correlate(first: torch.Tensor, second: torch.Tensor) -> float:
    """Pearson's correlation; 1 where one of them is constant, and so follows the other."""
    first, second = first - first.mean(), second - second.mean()
    scale = (first.square().sum() * second.square().sum()).sqrt().item()
    return (first * second).sum().item() / scale if scale else 1.0


def read_lung_inferer(config_file: str | Path, weights: str | Path | None = None) -> LungInferer:
    """The lung inferer that a config describes, as inference.json does, with other weights by option.

    Raises:
        InputError: where the config is not there, describes none, or the weights are not right.
    """
    config_file = Path(config_file)
    meta_file = config_file.with_name("metadata.json")
    for file, what in ((config_file, "a config with a lung_inferer"), (meta_file, "the config's metadata beside it")):
        if not file.is_file():
            raise InputError(what, f"no file {file}", "check the path")
    parser = ConfigParser()
    parser.read_config(config_file)
    parser.read_meta(meta_file)
    if "lung_inferer" not in (parser.config or {}):  # type: ignore[operator]
        raise InputError("a config with a lung_inferer", f"none in {config_file.name}", "use inference.json")
    if weights is not None:
        parser["lung_weights"] = str(weights)
    try:
        return parser.get_parsed_content("lung_inferer")
    except RuntimeError as error:  # MONAI's word for whatever a component raises
        if (bad_input := find_input_error(error)) is None:
            raise
        raise bad_input from None
