"""Contact sheets of images with detected and annotated lung boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from scripts.files import write_png
from scripts.radiographs import READER_OPTIONS, read_isolated

DETECTED_COLOUR, ANNOTATED_COLOUR = (255, 176, 0), (100, 143, 255)
_MARGIN, _CAPTION = 4, 16


@dataclass(frozen=True)
class LungCase:
    """An image with its lung boxes.

    Args:
        path: the image.
        annotated, found: boxes in image pixels, or None.
        caption: a few words.
    """

    path: Path
    annotated: Sequence[float] | None
    found: Sequence[float] | None
    caption: str


def draw_lung_sheet(cases: Sequence[LungCase], path: str | Path, columns: int = 6, size: int = 240) -> None:
    """Draw images in rows, each as a square of `size` pixels: blue the annotated box, orange the detected one.

    A sheet shows the images themselves: of patients' images it is as confidential as they are.
    """
    rows, step = -(-len(cases) // columns), size + _MARGIN
    sheet = Image.new("RGB", (columns * step + _MARGIN, rows * (step + _CAPTION) + _MARGIN))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for number, case in enumerate(cases):
        left, top = number % columns * step + _MARGIN, number // columns * (step + _CAPTION) + _MARGIN
        sheet.paste(_draw_case(case, size), (left, top))
        pen.text((left, top + size), case.caption, fill=(235, 235, 235), font=font)
    write_png(path, sheet)


def _draw_case(case: LungCase, size: int) -> Image.Image:
    accepted = dict.fromkeys(READER_OPTIONS, True)  # a case was read before, with the options of its datalist
    pixels = read_isolated(case.path, **accepted).pixels[0]
    picture = Image.fromarray((pixels * 255).astype("uint8")).resize((size, size)).convert("RGB")
    pen = ImageDraw.Draw(picture)
    across, along = size / pixels.shape[1], size / pixels.shape[0]
    for box, colour in ((case.annotated, ANNOTATED_COLOUR), (case.found, DETECTED_COLOUR)):
        if box is not None:
            xmin, ymin, xmax, ymax = box
            pen.rectangle([xmin * across, ymin * along, xmax * across, ymax * along], outline=colour, width=2)
    return picture
