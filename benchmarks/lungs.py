"""How the lung finder bears films as other places store them, and how long it takes: `python -m benchmarks.lungs`.

Copies of validation films that no training saw: inverted, with black borders, turned, squeezed to other shapes; and
pictures without lungs. For each kind the mean overlap with the drawn box, and the share of films that are either right
(IoU >= .85) or flagged.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import fire
import numpy as np
import torch
from torch.nn import functional

from scripts.boxes import Boxes, as_boxes, compute_paired_iou
from scripts.datalist import validation_films
from scripts.errors import tell_in_one_line
from scripts.inferers import LungFinder
from scripts.inferers.datalists import read_lung_finder
from scripts.radiographs import read_radiograph
from scripts.transforms import RandHideLungsd

Film = tuple[torch.Tensor, Boxes]

#: Overlap from which a box is right, and share of films that should be right or flagged.
RIGHT = 0.85


def keep(film: torch.Tensor, box: Boxes) -> Film:
    """The film as it is."""
    return film, box


def invert(film: torch.Tensor, box: Boxes) -> Film:
    """Black and white swapped."""
    return 1 - film, box


def add_borders(film: torch.Tensor, box: Boxes) -> Film:
    """Black borders, of a fifth of the film on two sides and a tenth on the others."""
    height, width = film.shape[1:]
    left, top, right, bottom = width // 5, height // 5, width // 10, height // 10
    return functional.pad(film, (left, right, top, bottom)), box + [left, top, left, top]


def turn(quarters: int) -> Callable[[torch.Tensor, Boxes], Film]:
    """So many counter-clockwise quarter turns."""

    def turn_film(film: torch.Tensor, box: Boxes) -> Film:
        for _ in range(quarters):
            width = film.shape[2]
            xmin, ymin, xmax, ymax = box[0]
            film, box = torch.rot90(film, 1, (1, 2)), as_boxes([[ymin, width - xmax, ymax, width - xmin]])
        return film, box

    return turn_film


def squeeze(across: float, along: float) -> Callable[[torch.Tensor, Boxes], Film]:
    """Another shape: resized by a factor for columns and one for rows."""

    def squeeze_film(film: torch.Tensor, box: Boxes) -> Film:
        size = [round(film.shape[1] * along), round(film.shape[2] * across)]
        resized = functional.interpolate(film[None], size=size, mode="bilinear", antialias=True)[0]
        scale = np.array([size[1] / film.shape[2], size[0] / film.shape[1]] * 2)
        return resized, box * scale

    return squeeze_film


COPIES: dict[str, Callable[[torch.Tensor, Boxes], Film]] = {
    "as they are": keep,
    "inverted": invert,
    "black borders": add_borders,
    "turned by 90 degrees": turn(1),
    "turned by 180 degrees": turn(2),
    "turned by 270 degrees": turn(3),
    "wider, 4 to 3": squeeze(4 / 3, 1),
    "higher, 3 to 4": squeeze(1, 4 / 3),
}


def measure(
    datalist: str = "runs/prepared/datalist.json",
    tree: str = "runs/films",
    fold: int = 0,
    weights: str | None = None,
    num_films: int = 200,
    config: str = "bundle/configs/inference.json",
) -> str:
    """Table of copies, then pictures without lungs, then the time for a film."""
    finder = read_lung_finder(config, weights)
    films = [film for film in validation_films(datalist, tree, fold) if film["lung_box"] is not None][:num_films]
    known = [(torch.from_numpy(read_radiograph(film["image"]).pixels), as_boxes([film["lung_box"]])) for film in films]
    lines = [
        f"{len(known)} films of fold {fold}",
        "copies                  mean IoU  median  smallest  right or flagged  flagged",
    ]
    for name, change in COPIES.items():
        lines.append(f"{name:<23} {_measure_copies(finder, [change(*film) for film in known])}")
    lines.append(_measure_without_lungs(finder, known))
    lines.append(_time_films(finder, known))
    return "\n".join(lines)


def _measure_copies(finder: LungFinder, films: list[Film]) -> str:
    found = [lungs for start in range(0, len(films), 16) for lungs in finder([f for f, _ in films[start : start + 16]])]
    overlaps = np.array(
        [
            compute_paired_iou([lungs.box], box)[0] if lungs.box is not None else np.nan
            for lungs, (_, box) in zip(found, films, strict=True)
        ]
    )
    flagged = np.array([bool(lungs.flags) for lungs in found])
    good = np.mean((np.nan_to_num(overlaps) >= RIGHT) | flagged)
    smallest, middle = np.nanmin(overlaps), np.nanmedian(overlaps)
    return f"{np.nanmean(overlaps):8.3f}  {middle:6.3f}  {smallest:8.3f}  {good:16.3f}  {flagged.mean():7.3f}"


def _measure_without_lungs(finder: LungFinder, films: list[Film]) -> str:
    hide = RandHideLungsd("image", prob=1.0)
    hide.set_random_state(seed=0)
    hidden = [hide({"image": film, "boxes": torch.from_numpy(box)})["image"] for film, box in films]
    found = [lungs for start in range(0, len(hidden), 16) for lungs in finder(hidden[start : start + 16])]
    share = np.mean([lungs.box is None for lungs in found])
    return f"without lungs (tiles in another order, the film beside the lungs, random fields): no box in {share:.3f}"


def _time_films(finder: LungFinder, films: list[Film]) -> str:
    alone, together = time.perf_counter(), 0.0
    for film, _ in films[:64]:
        finder([film])
    alone = (time.perf_counter() - alone) / len(films[:64])
    start = time.perf_counter()
    for first in range(0, 64, 16):
        finder([film for film, _ in films[first : first + 16]])
    together = (time.perf_counter() - start) / len(films[:64])
    times = f"{alone * 1000:.1f} ms alone, {together * 1000:.1f} ms in batches of 16"
    return f"a film that was read: {times}, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    tell_in_one_line()
    fire.Fire(measure)
