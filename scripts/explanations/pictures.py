"""Pictures of explanations: an image, the same image under its map, and the predictions beneath."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scripts.boxes import Boxes, fill_mask
from scripts.explanations.records import ExplainedImage
from scripts.explanations.summary import REGIONS
from scripts.files import write_png
from scripts.outputs import CROP_COLOUR, OPACITY_COLOUR, REMARK_COLOUR, RESEARCH_USE, SMALLEST_WIDTH, TEXT_COLOUR

#: How much of the colour covers the image grows with the map, so that an image stays an image where the map is low.
HEAT_COLOURS, HEAT_OPACITY = matplotlib.colormaps["inferno"], 0.8
#: Beneath a map an image is darker, or white bone would pass for heat; darker still where the network does not see it.
SEEN_LIGHT, UNSEEN_LIGHT = 0.7, 0.3
BACKGROUND, BAR_COLOUR, CORNER_COLOUR, CASING = (16, 16, 16), (90, 90, 90), (190, 190, 190), (0, 0, 0)

#: At the smallest width, in pixels.
GAP, HEAD, LINE, LETTER = 12, 28, 19, 14

Colour = tuple[int, int, int]


def draw_explanation(image: ExplainedImage, path: str | Path, title: str = "Grad-CAM") -> None:
    """Write what `paint_explanation` paints as a PNG."""
    write_png(path, Image.fromarray(paint_explanation(image, title)))


def paint_explanation(image: ExplainedImage, title: str = "Grad-CAM") -> NDArray[np.uint8]:
    """Paint an explained image as RGB `(height, width, 3)`: the image, the image under its map, and a caption.

    Args:
        image: with its pixels and its map.
        title: how the map was made.
    """
    height, width = image.pixels.shape
    scale = max(1.0, SMALLEST_WIDTH / width)
    size = (round(width * scale), round(height * scale))
    sheet = _Sheet(size, scale)
    sheet.show(0, _colour_image(image.pixels, size), f"image, labelled {image.label}" if image.label else "image")
    sheet.show(1, _colour_heat(image, size), f"{title} of {image.explained}")
    sheet.outline(1, image.corners, CORNER_COLOUR)
    for panel in (0, 1):
        sheet.outline(panel, image.lungs, CROP_COLOUR)
        sheet.outline(panel, image.opacities, OPACITY_COLOUR)
    for line, (name, probability) in enumerate(image.probabilities.items()):
        sheet.draw_bar(line, name, probability, TEXT_COLOUR if name == image.explained else REMARK_COLOUR)
    for line, cells in enumerate(_list_fractions(image)):
        sheet.write_row(line, cells)
    sheet.write_foot()
    return np.asarray(sheet.canvas)


def crop_map(picture: Image.Image) -> Image.Image:
    """The right panel of a picture that `draw_explanation` wrote: the image under its map."""
    unit = picture.width / (3 * GAP + 2 * SMALLEST_WIDTH)
    gap, head, line = (round(pixels * unit) for pixels in (GAP, HEAD, LINE))
    width = (picture.width - 3 * gap) // 2
    return picture.crop((2 * gap + width, head, 2 * gap + 2 * width, picture.height - gap - round(5.6 * line)))


class _Sheet:
    """Two panels of one size beside each other, with a line above and six lines below.

    Args:
        size: width and height of a panel in pixels.
        scale: panel pixels an image pixel.
    """

    def __init__(self, size: tuple[int, int], scale: float) -> None:
        self.size, self.scale = size, scale
        self.unit = size[0] / SMALLEST_WIDTH  # letters and lines grow with large images
        gap, head, self.line = (round(pixels * self.unit) for pixels in (GAP, HEAD, LINE))
        self.lefts, self.top = (gap, 2 * gap + size[0]), head
        self.below = head + size[1] + gap
        self.canvas = Image.new("RGB", (3 * gap + 2 * size[0], self.below + round(5.6 * self.line)), BACKGROUND)
        self.draw = ImageDraw.Draw(self.canvas)
        self.font = ImageFont.load_default(size=round(LETTER * self.unit))

    def show(self, panel: int, picture: NDArray[np.uint8], title: str) -> None:
        self.canvas.paste(Image.fromarray(picture), (self.lefts[panel], self.top))
        self.write(self.lefts[panel], round(5 * self.unit), title, TEXT_COLOUR)

    def outline(self, panel: int, boxes: Boxes, colour: Colour) -> None:
        """Boxes in image pixels, in a dark casing: they are to be seen on bright and dark alike."""
        line = max(1, round(self.unit))
        for box in boxes * self.scale + np.tile([self.lefts[panel], self.top], 2):
            xmin, ymin, xmax, ymax = (round(edge) for edge in box)
            for inset, width, shade in ((0, 4 * line, CASING), (line, 2 * line, colour)):
                frame = (xmin + inset, ymin + inset, xmax - 1 - inset, ymax - 1 - inset)
                self.draw.rectangle(frame, outline=shade, width=width)

    def draw_bar(self, line: int, name: str, fraction: float, colour: Colour) -> None:
        """A line below the left panel: a word, a bar from 0 to 1, a number."""
        left, top = self.lefts[0], self.below + line * self.line
        start, length = left + round(110 * self.unit), self.size[0] - round(170 * self.unit)
        self.write(left, top, name, colour)
        foot = top + round(13 * self.unit)
        self.draw.rectangle((start, top + round(4 * self.unit), start + length, foot), fill=(40, 40, 40))
        self.draw.rectangle((start, top + round(4 * self.unit), start + round(fraction * length), foot), fill=colour)
        self.write(left + self.size[0], top, f"{fraction:.2f}", colour, anchor="ra")

    def write_row(self, line: int, cells: tuple[str, str, str, Colour]) -> None:
        """A line below the right panel: words in a colour, then two cells."""
        name, value, even, colour = cells
        left, top = self.lefts[1], self.below + line * self.line
        self.write(left, top, name, colour)
        self.write(left + round(0.48 * self.size[0]), top, value, TEXT_COLOUR, anchor="ra")
        self.write(left + round(0.82 * self.size[0]), top, even, REMARK_COLOUR, anchor="ra")

    def write_foot(self) -> None:
        for left, text in zip(self.lefts, (RESEARCH_USE, "dark: not seen by the network"), strict=True):
            self.write(left, self.below + round(4.3 * self.line), text, REMARK_COLOUR)

    def write(self, left: int, top: int, text: str, colour: Colour, anchor: str = "la") -> None:
        self.draw.text((left, top), text, fill=colour, font=self.font, anchor=anchor)


def _list_fractions(image: ExplainedImage) -> list[tuple[str, str, str, Colour]]:
    """Rows of words, the map's fraction, what an even map would have, and the colour of the region's outline."""
    colours = {"lungs": CROP_COLOUR, "opacities": OPACITY_COLOUR, "corners": CORNER_COLOUR}
    rows = [("fraction of the map in the", "", "if it were even", REMARK_COLOUR)]
    for region, title in REGIONS.items():
        fraction = image.fractions[region]
        known = not np.isnan(fraction.energy)
        rows.append(
            (
                title,
                f"{fraction.energy:.0%}" if known else "-",
                f"{fraction.seen:.0%}" if known else "-",
                colours[region],
            )
        )
    return rows


def _colour_image(pixels: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
    grey = np.clip(_resize(pixels, size), 0, 1)
    return np.repeat((grey * 255)[..., None], 3, axis=2).astype(np.uint8)


def _colour_heat(image: ExplainedImage, size: tuple[int, int]) -> NDArray[np.uint8]:
    seen = fill_mask([image.crop_box], *image.pixels.shape) > 0
    beneath = _colour_image(image.pixels * np.where(seen, np.float32(SEEN_LIGHT), np.float32(UNSEEN_LIGHT)), size)
    heat = np.clip(_resize(image.heat / max(float(image.heat.max()), 1e-12), size), 0, 1)
    cover = HEAT_OPACITY * heat[..., None]
    return ((1 - cover) * beneath + cover * 255 * HEAT_COLOURS(heat)[..., :3]).astype(np.uint8)


def _resize(pixels: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    picture = Image.fromarray(np.ascontiguousarray(pixels, dtype=np.float32))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
