"""Typed records of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scripts.errors import InputError

Box = tuple[float, float, float, float]

#: Boxes may leave their image by so many pixels: tables round, and are clipped. Beyond, the row is rejected.
BOX_TOLERANCE = 1.0


@dataclass(frozen=True)
class ImageRow:
    """One image of the tables.

    Args:
        image_id: the image's id.
        study_id: the study it belongs to.
        boxes: opacity boxes in image pixels, xmin, ymin, xmax, ymax.
        where: file, line and id of the row, for messages.
        image: path relative to the tree, or None where the id names the file.
        patient: what reports patients apart, or None where the image itself does. Never written anywhere.
        mask: path of a mask relative to the tree, or None.
        origin: where the row comes from, in words, or None.
        boxes_known: whether the boxes, or their absence, are known; None where the table does not say.
        size: width and height in pixels of the image that the boxes were made on, or None.
    """

    image_id: str
    study_id: str
    boxes: tuple[Box, ...]
    where: str
    image: str | None = None
    patient: str | None = field(default=None, repr=False)
    mask: str | None = None
    origin: str | None = None
    boxes_known: bool | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class LungRow:
    """One lung box of the tables, in image pixels, and where it stands."""

    box: Box
    where: str


@dataclass(frozen=True)
class Tables:
    """Records of the tables.

    Args:
        study_labels: class name of each labelled study.
        images: row of each image by image id; without a label in `study_labels` for the images to predict.
        lung_boxes: lung box by image id, of labelled and unlabelled images.
        own: whether this is a table of one's own images, which then names every image there is.
        by_name: whether an image may be named by its file alone, wherever it lies below the tree.
    """

    study_labels: Mapping[str, str]
    images: Mapping[str, ImageRow]
    lung_boxes: Mapping[str, LungRow]
    own: bool = False
    by_name: bool = False


def fit_boxes(boxes: Sequence[Box], height: int, width: int, where: str) -> tuple[Box, ...]:
    """Boxes clipped to their image of `height` x `width` pixels.

    Args:
        boxes: xmin, ymin, xmax, ymax in image pixels.
        where: file, line and id of the row, for the message.

    Raises:
        InputError: where a box leaves the image by more than `BOX_TOLERANCE` pixels, or is empty.
    """
    bounds = (width, height, width, height)
    fitted = []
    for box in boxes:
        clipped = tuple(min(max(value, 0.0), float(bound)) for value, bound in zip(box, bounds, strict=True))
        too_far = any(abs(value - inside) > BOX_TOLERANCE for value, inside in zip(box, clipped, strict=True))
        if too_far or clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
            raise InputError(
                f"boxes inside the image of {width} x {height} pixels (x, y)",
                f"{' '.join(f'{value:g}' for value in box)} at {where}",
                "correct the row: xmin ymin xmax ymax in pixels of the image",
            )
        fitted.append((clipped[0], clipped[1], clipped[2], clipped[3]))
    return tuple(fitted)
