"""Benchmark of the lung detector on images as other sources store them, with its time: `python -m benchmarks.lungs`.

Copies of validation images that no training saw: inverted, with black borders, rotated, squeezed to other shapes; and
pictures without lungs. For each kind the mean overlap with the annotated box, and the fraction of images that are
either right (IoU >= 0.85) or flagged.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from scripts.boxes import Boxes, as_boxes, compute_paired_iou
from scripts.datalist import validation_images
from scripts.inferers import LungInferer, read_lung_inferer
from scripts.radiographs import read_radiograph
from scripts.transforms import RandHideLungsd
from torch.nn import functional

from benchmarks.commandline import run_command

Image = tuple[torch.Tensor, Boxes]

#: Overlap from which a box is right, and fraction of images that should be right or flagged.
RIGHT = 0.85


def keep(image: torch.Tensor, box: Boxes) -> Image:
    """The image as it is."""
    return image, box


def invert(image: torch.Tensor, box: Boxes) -> Image:
    """Black and white swapped."""
    return 1 - image, box


def add_borders(image: torch.Tensor, box: Boxes) -> Image:
    """Black borders, of a fifth of the image on two sides and a tenth on the others."""
    height, width = image.shape[1:]
    left, top, right, bottom = width // 5, height // 5, width // 10, height // 10
    return functional.pad(image, (left, right, top, bottom)), box + [left, top, left, top]


def rotation(quarters: int) -> Callable[[torch.Tensor, Boxes], Image]:
    """So many counter-clockwise quarter turns."""

    def rotate_image(image: torch.Tensor, box: Boxes) -> Image:
        for _ in range(quarters):
            width = image.shape[2]
            xmin, ymin, xmax, ymax = box[0]
            image, box = torch.rot90(image, 1, (1, 2)), as_boxes([[ymin, width - xmax, ymax, width - xmin]])
        return image, box

    return rotate_image


def squeeze(across: float, along: float) -> Callable[[torch.Tensor, Boxes], Image]:
    """Another shape: resized by a factor for columns and one for rows."""

    def squeeze_image(image: torch.Tensor, box: Boxes) -> Image:
        size = [round(image.shape[1] * along), round(image.shape[2] * across)]
        resized = functional.interpolate(image[None], size=size, mode="bilinear", antialias=True)[0]
        scale = np.array([size[1] / image.shape[2], size[0] / image.shape[1]] * 2)
        return resized, box * scale

    return squeeze_image


COPIES: dict[str, Callable[[torch.Tensor, Boxes], Image]] = {
    "as they are": keep,
    "inverted": invert,
    "black borders": add_borders,
    "rotated by 90 degrees": rotation(1),
    "rotated by 180 degrees": rotation(2),
    "rotated by 270 degrees": rotation(3),
    "wider, 4 to 3": squeeze(4 / 3, 1),
    "higher, 3 to 4": squeeze(1, 4 / 3),
}


def measure(
    datalist: str = "runs/prepared/datalist.json",
    tree: str = "runs/images",
    fold: int = 0,
    weights: str | None = None,
    num_images: int = 200,
    config: str = "bundle/configs/inference.json",
) -> str:
    """Table of copies, then pictures without lungs, then the time for an image."""
    lung_inferer = read_lung_inferer(config, weights)
    images = [image for image in validation_images(datalist, tree, fold) if image["lung_box"] is not None][:num_images]
    known = [
        (torch.from_numpy(read_radiograph(image["image"]).pixels), as_boxes([image["lung_box"]])) for image in images
    ]
    lines = [
        f"{len(known)} images of fold {fold}",
        "copies                  mean IoU  median  smallest  right or flagged  flagged",
    ]
    for name, change in COPIES.items():
        lines.append(f"{name:<23} {_measure_copies(lung_inferer, [change(*image) for image in known])}")
    lines.append(_measure_without_lungs(lung_inferer, known))
    lines.append(_time_images(lung_inferer, known))
    return "\n".join(lines)


def _measure_copies(lung_inferer: LungInferer, images: list[Image]) -> str:
    found = [
        lungs
        for start in range(0, len(images), 16)
        for lungs in lung_inferer([f for f, _ in images[start : start + 16]])
    ]
    overlaps = np.array(
        [
            compute_paired_iou([lungs.box], box)[0] if lungs.box is not None else np.nan
            for lungs, (_, box) in zip(found, images, strict=True)
        ]
    )
    flagged = np.array([bool(lungs.flags) for lungs in found])
    good = np.mean((np.nan_to_num(overlaps) >= RIGHT) | flagged)
    smallest, middle = np.nanmin(overlaps), np.nanmedian(overlaps)
    return f"{np.nanmean(overlaps):8.3f}  {middle:6.3f}  {smallest:8.3f}  {good:16.3f}  {flagged.mean():7.3f}"


def _measure_without_lungs(lung_inferer: LungInferer, images: list[Image]) -> str:
    hide = RandHideLungsd("image", prob=1.0)
    hide.set_random_state(seed=0)
    hidden = [hide({"image": image, "boxes": torch.from_numpy(box)})["image"] for image, box in images]
    found = [lungs for start in range(0, len(hidden), 16) for lungs in lung_inferer(hidden[start : start + 16])]
    fraction = np.mean([lungs.box is None for lungs in found])
    return (
        f"without lungs (tiles in another order, the image beside the lungs, random fields): no box in {fraction:.3f}"
    )


def _time_images(lung_inferer: LungInferer, images: list[Image]) -> str:
    alone, together = time.perf_counter(), 0.0
    for image, _ in images[:64]:
        lung_inferer([image])
    alone = (time.perf_counter() - alone) / len(images[:64])
    start = time.perf_counter()
    for first in range(0, 64, 16):
        lung_inferer([image for image, _ in images[first : first + 16]])
    together = (time.perf_counter() - start) / len(images[:64])
    times = f"{alone * 1000:.1f} ms alone, {together * 1000:.1f} ms in batches of 16"
    return f"an image that was read: {times}, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    run_command(measure, "benchmarks.lungs")
