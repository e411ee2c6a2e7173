"""Images as preparation reads them: the part of pixels and header that a datalist needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scripts.errors import InputError, RejectedImage
from scripts.preparation.decisions import Decisions
from scripts.preparation.duplicates import make_thumbnail
from scripts.preparation.sources import Source
from scripts.radiographs import Radiograph, hash_pixels, read_radiographs
from scripts.tables import Box, Tables, fit_boxes
from tqdm import tqdm


@dataclass(frozen=True)
class Image:
    """An image that was read.

    Args:
        source: where it lies and what the tables say.
        boxes: opacity boxes in image pixels, inside the image.
        lung_box: the same for the lungs, or None.
        height, width: pixels.
        digest: of the decoded pixels.
        thumbnail: `(128, 128)`.
        patient_key: what reports patients apart; to compare only, never written, never shown.
        study_uid, header_patient: Study Instance UID and hashed patient of the header, or ""; to compare only too.
    """

    source: Source
    boxes: tuple[Box, ...]
    lung_box: Box | None
    height: int
    width: int
    digest: str
    thumbnail: NDArray[np.uint8]
    patient_key: str = field(repr=False)
    study_uid: str = field(repr=False, default="")
    header_patient: str = field(repr=False, default="")

    @property
    def image_id(self) -> str:
        return self.source.row.image_id

    @property
    def study_id(self) -> str:
        return self.source.row.study_id


def infer_images(
    tree: Path, sources: Sequence[Source], tables: Tables, decisions: Decisions, workers: int = 2, **options: bool
) -> list[Image]:
    """Read every image, in order, in child processes; a rejected one is noted with its reason code.

    Args:
        tree, sources, tables, decisions: as they were listed.
        workers: processes that decode.
        options: of `read_radiograph`.

    Raises:
        InputError: where a box leaves its image, or no image can be read.
    """
    images = []
    read = read_radiographs([tree / source.image for source in sources], workers=workers, **options)
    pairs = zip(sources, read, strict=True)
    for source, (_, image) in tqdm(pairs, "images", len(sources), unit="image", disable=None):
        if isinstance(image, RejectedImage):
            decisions.add("rejected", source.row, f"{image.reason}: {image.detail}")
        else:
            images.append(_infer_image(source, image, tables, decisions))
    if not images:
        rejected = [row[-1] for row in decisions.rows if row[0] == "rejected"]
        advice = (
            f"the first was rejected as {rejected[0]}" if rejected else "check that tables and tree belong together"
        )
        raise InputError("at least one image that can be read", f"none among {len(sources)} in {tree}", advice)
    return images


def _infer_image(source: Source, image: Radiograph, tables: Tables, decisions: Decisions) -> Image:
    height, width = image.pixels.shape[-2:]
    row, lungs = source.row, tables.lung_boxes.get(source.row.image_id)
    if row.size and row.size != (width, height):
        found = f"those of one of {row.size[0]} x {row.size[1]} at {row.where}"
        raise InputError(f"boxes in pixels of the image, {width} x {height}", found, "take the images of the boxes")
    boxes = fit_boxes(row.boxes, height, width, row.where)
    lung_boxes = fit_boxes([lungs.box], height, width, lungs.where) if lungs else ()
    if boxes != row.boxes or (lungs and lung_boxes != (lungs.box,)):
        decisions.add("boxes clipped", row, f"to the image's {width} x {height} pixels")
    return Image(
        source,
        boxes,
        lung_boxes[0] if lung_boxes else None,
        height,
        width,
        hash_pixels(image.pixels),
        make_thumbnail(image.pixels),
        # What the tables say goes before the header: exports often give all images one number, or each its own.
        row.patient or image.metadata.patient or f"study {row.study_id}",
        image.metadata.study_instance_uid,
        image.metadata.patient,
    )
