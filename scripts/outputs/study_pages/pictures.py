"""Layers of a study page's pictures, and the study as one PNG."""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from scripts.files import write_png
from scripts.outputs.pictures import CROP_COLOUR, OPACITY_COLOUR, REMARK_COLOUR, RESEARCH_USE, TEXT_COLOUR
from scripts.outputs.study_pages.content import ImageContent, StudyContent

#: Pixels of the longer side of a picture, at most: a screen's worth, of images of ten times as many.
LONGEST_SIDE = 768
#: Of the study's PNG: height of its pictures, of a line, and the least width.
PANEL_HEIGHT, LINE_HEIGHT, SMALLEST_WIDTH, GAP = 512, 22, 640, 12
BACKGROUND, TRACK = (16, 18, 21), (52, 58, 66)


def write_layers(pixels: NDArray[np.float32], mask: NDArray[np.uint8], image_path: Path, mask_path: Path) -> None:
    """Write an image `(H, W)` in [0, 1] as a grey PNG, and its mask as a transparent one of the same size."""
    height, width = pixels.shape
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    grey = Image.fromarray((np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    write_png(image_path, grey.resize(size, Image.Resampling.BOX) if scale < 1 else grey)
    covered = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)) >= 128
    write_png(mask_path, Image.fromarray(_colour_mask(covered)))


def _colour_mask(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A mask `(H, W)` as RGBA: a line round it, and a faint wash that the image shows through."""
    layer = np.zeros((*mask.shape, 4), dtype=np.uint8)
    layer[mask] = (*OPACITY_COLOUR, 60)
    layer[ndimage.binary_dilation(mask) & ~mask] = (*OPACITY_COLOUR, 255)
    return layer


def write_study_picture(study: StudyContent, folder: Path, path: Path, provenance: str) -> None:
    """Write a study as one PNG: its images with what was found, its probabilities, its flags.

    Args:
        study: its content.
        folder: of the layers that the content names.
        path: the file.
        provenance: a line on version and weights.
    """
    panels = [_paint_panel(image, folder) for image in study.images]
    width = max(SMALLEST_WIDTH, sum(panel.width + GAP for panel in panels) + GAP)
    lines = _list_lines(study, width, provenance)
    top = PANEL_HEIGHT + 2 * GAP
    canvas = Image.new("RGB", (width, top + LINE_HEIGHT * (len(study.classes) + 1 + len(lines)) + GAP), BACKGROUND)
    left = GAP
    for panel in panels:
        canvas.paste(panel, (left, GAP))
        left += panel.width + GAP
    draw = ImageDraw.Draw(canvas)
    bars = [("suspicion", study.suspicion, TEXT_COLOUR), *((name, p, REMARK_COLOUR) for name, p in study.classes)]
    for row, (name, value, colour) in enumerate(bars):
        _draw_bar(draw, top + row * LINE_HEIGHT, (name, value), colour, study.threshold if row == 0 else None)
    for row, (line, colour) in enumerate(lines):
        draw.text((GAP, top + (len(bars) + row) * LINE_HEIGHT), line, fill=colour, font=ImageFont.load_default(14))
    write_png(path, canvas)


def _list_lines(study: StudyContent, width: int, provenance: str) -> list[tuple[str, tuple[int, int, int]]]:
    letters = (width - 2 * GAP) // 8
    remarks = [f"{image.image_id}: {flag.title}: {flag.sentence}" for image in study.images for flag in image.flags]
    remarks += [f"{row.image_id}: rejected: {row.words}" for row in study.rejected]
    remarked = [(line, OPACITY_COLOUR) for remark in remarks for line in wrap(remark, letters)]
    calls = [(study.call, TEXT_COLOUR)] if study.call else []
    return [
        *calls,
        *remarked,
        *((line, REMARK_COLOUR) for line in (f"study {study.study_id}", provenance, RESEARCH_USE)),
    ]


def _draw_bar(
    draw: ImageDraw.ImageDraw, top: int, named: tuple[str, float], colour: tuple[int, int, int], threshold: float | None
) -> None:
    name, value = named
    font, start, length = ImageFont.load_default(14), 130, 400
    draw.text((GAP, top), name, fill=colour, font=font)
    draw.rectangle((start, top + 5, start + length, top + 14), fill=TRACK)
    draw.rectangle((start, top + 5, start + round(value * length), top + 14), fill=colour)
    draw.text((start + length + 12, top), f"{value:.2f}", fill=colour, font=font)
    if threshold is not None:
        mark = start + round(threshold * length)
        draw.rectangle((mark - 1, top + 1, mark + 1, top + 18), fill=OPACITY_COLOUR)


def _paint_panel(image: ImageContent, folder: Path) -> Image.Image:
    scale = PANEL_HEIGHT / image.height
    size = (max(1, round(image.width * scale)), PANEL_HEIGHT)
    with Image.open(folder / image.image_file) as grey, Image.open(folder / image.mask_file) as mask:
        panel = grey.convert("RGBA")
        panel.alpha_composite(mask.convert("RGBA"))
    panel = panel.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(panel)
    draw.rectangle([edge * scale for edge in image.crop_box], outline=CROP_COLOUR)
    for (xmin, ymin, xmax, ymax), score in image.boxes:
        draw.rectangle([xmin * scale, ymin * scale, xmax * scale, ymax * scale], outline=OPACITY_COLOUR, width=2)
        corner = (xmin * scale + 5, ymin * scale + 3)
        draw.text(
            corner, f"{score:.2f}", fill=OPACITY_COLOUR, font=ImageFont.load_default(15), stroke_width=2, stroke_fill=0
        )
    return panel
