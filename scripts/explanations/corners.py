"""Corners of an image, where markers, collimator edges and black borders lie: a test for shortcuts."""

from __future__ import annotations

import torch
from scripts.boxes import Boxes, as_boxes
from scripts.errors import InputError

UNTOUCHED, BLACK, WHITE, MOVED, EXCHANGED = "untouched", "black", "white", "moved", "exchanged"

#: What is done to the four corners: filled, moved on by one corner clockwise, or taken from another image. A network
#: that pools over the whole picture may not notice what is moved; what is exchanged looks like an image.
CHANGES: tuple[str, ...] = (BLACK, WHITE, MOVED, EXCHANGED)


def find_corner_boxes(height: int, width: int, fraction: float = 0.15) -> Boxes:
    """The corners `(4, 4)` clockwise from the top left, each `fraction` of height and width, in whole pixels.

    Raises:
        InputError: where the fraction is not above 0 and at most one half.
    """
    if not 0 < fraction <= 0.5:
        raise InputError(
            "a fraction of the image above 0 and at most 0.5", f"{fraction}", "choose such a corner_fraction"
        )
    down, across = max(1, round(fraction * height)), max(1, round(fraction * width))
    right, low = width - across, height - down
    return as_boxes(
        [(0, 0, across, down), (right, 0, width, down), (right, low, width, height), (0, low, across, height)]
    )


def change_corners(image: torch.Tensor, donor: torch.Tensor, change: str, fraction: float = 0.15) -> torch.Tensor:
    """A copy of an image `(C, H, W)` in [0, 1] with other corners.

    Args:
        image: the image as it was read, before any region of it is cut out.
        donor: another image `(C, H', W')`, whose corners are given to this one by "exchanged".
        change: one of `CHANGES`.
        fraction: of height and width, for each corner.
    """
    out = image.clone()
    places = _find_slices(image, fraction)
    if change in (BLACK, WHITE):
        for rows, columns in places:
            out[:, rows, columns] = float(change == WHITE)
        return out
    giver, turn = (image, 1) if change == MOVED else (donor, 0)
    sources = _find_slices(giver, fraction)
    for number, (rows, columns) in enumerate(sources):
        to_rows, to_columns = places[(number + turn) % len(places)]
        size = (to_rows.stop - to_rows.start, to_columns.stop - to_columns.start)
        corner = giver[None, :, rows, columns]
        out[:, to_rows, to_columns] = torch.nn.functional.interpolate(corner, size=size, mode="bilinear")[0]
    return out


def _find_slices(image: torch.Tensor, fraction: float) -> list[tuple[slice, slice]]:
    boxes = find_corner_boxes(image.shape[1], image.shape[2], fraction).astype(int).tolist()
    return [(slice(ymin, ymax), slice(xmin, xmax)) for xmin, ymin, xmax, ymax in boxes]
