"""Pictures of findings: the mask as an 8-bit PNG, and the image with mask, boxes and classes drawn on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from scripts.files import write_png
from scripts.labels import STUDY_CLASSES
from scripts.predictions import ImageFindings

#: On every output that a person may take for a report.
RESEARCH_USE = "Research use only. Not a medical device."

OPACITY_COLOUR, CROP_COLOUR = (255, 176, 0), (100, 143, 255)
TEXT_COLOUR, REMARK_COLOUR = (255, 255, 255), (170, 170, 170)
#: Of a score on its label, which is filled with the colour of the box.
LABEL_COLOUR, LABEL_HEIGHT = (27, 18, 0), 17

#: Overlays are at least this wide, so that the caption can be read, and at most so wide: a quick look at the findings.
SMALLEST_WIDTH, LARGEST_WIDTH = 512, 1024
CAPTION_HEIGHT = 62

#: xmin, ymin, xmax, ymax in pixels of a picture.
Edges = tuple[int, int, int, int]


def write_mask(mask: NDArray[np.uint8], path: str | Path) -> None:
    """Write a mask `(H, W)` of zeros and ones as an 8-bit PNG of 0 and 255, in the image's own pixels."""
    write_png(path, Image.fromarray((np.asarray(mask) > 0).astype(np.uint8) * 255))


def draw_overlay(pixels: NDArray[np.float32], mask: NDArray[np.uint8], image: ImageFindings, path: str | Path) -> None:
    """Write what `paint_overlay` paints as a PNG."""
    write_overlay(paint_overlay(pixels, mask, image), path)


def write_overlay(picture: NDArray[np.uint8], path: str | Path) -> None:
    """Write an overlay that was painted as a PNG."""
    write_png(path, Image.fromarray(picture))


def paint_overlay(pixels: NDArray[np.float32], mask: NDArray[np.uint8], image: ImageFindings) -> NDArray[np.uint8]:
    """Paint what was found on an image, and what the network saw of it, as RGB `(height, width, 3)`.

    Args:
        pixels: the image `(H, W)` in [0, 1].
        mask: `(H, W)` of zeros and ones.
        image: its findings; boxes in image pixels.
    """
    height, width = pixels.shape
    scale = min(max(width, SMALLEST_WIDTH), LARGEST_WIDTH) / width
    size = (round(width * scale), round(height * scale))
    picture = _tint(_resize(pixels, size), _resize(mask.astype(np.float32), size) >= 0.5)
    canvas = Image.new("RGB", (size[0], size[1] + CAPTION_HEIGHT))
    canvas.paste(Image.fromarray(picture), (0, 0))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=13)
    draw.rectangle([edge * scale for edge in image.crop_box], outline=CROP_COLOUR)
    boxes = [[edge * scale for edge in box] for box in image.boxes]
    for box in boxes:
        draw.rectangle(box, outline=OPACITY_COLOUR, width=2)
    _draw_labels(draw, font, boxes, [f"{score:.2f}" for score in image.scores], size)
    for number, (line, colour) in enumerate(_list_captions(image)):
        draw.text((8, size[1] + 4 + 18 * number), line, fill=colour, font=font)
    return np.asarray(canvas)


def _draw_labels(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    boxes: Sequence[Sequence[float]],
    texts: Sequence[str],
    size: tuple[int, int],
) -> None:
    """Draw a filled label into each box, above all lines."""
    labels: list[Edges] = []
    for box, text in zip(boxes, texts, strict=True):
        label = (round(draw.textlength(text, font=font)) + 8, LABEL_HEIGHT)
        xmin, ymin, xmax, ymax = edges = place_label(box, label, size, labels)
        labels.append(edges)
        # Pillow's rectangles hold both of their edges
        draw.rectangle([xmin, ymin, xmax - 1, ymax - 1], fill=OPACITY_COLOUR)
        draw.text(((xmin + xmax) / 2, (ymin + ymax) / 2), text, fill=LABEL_COLOUR, font=font, anchor="mm")


def place_label(
    box: Sequence[float], label: tuple[int, int], picture: tuple[int, int], others: Sequence[Edges] = ()
) -> Edges:
    """Place a label in a corner of its box, inside of the picture, and off other labels where a corner is free.

    Args:
        box: xmin, ymin, xmax, ymax.
        label, picture: width and height.
        others: labels that stand.
    """
    (xmin, ymin, xmax, ymax), (width, height) = map(round, box), label
    places: list[Edges] = []
    for y in (ymin, ymax - height + 1):
        for x in (xmin, xmax - width + 1):
            left, top = max(0, min(x, picture[0] - width)), max(0, min(y, picture[1] - height))
            places.append((left, top, left + width, top + height))
    free = (place for place in places if not any(_overlap(place, other) for other in others))
    return next(free, places[0])


def _overlap(one: Edges, other: Edges) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _list_captions(image: ImageFindings) -> list[tuple[str, tuple[int, int, int]]]:
    return [
        (_describe_classes(image), TEXT_COLOUR),
        ("orange: suspected opacity   blue: seen by the network", REMARK_COLOUR),
        (RESEARCH_USE, REMARK_COLOUR),
    ]


def _describe_classes(image: ImageFindings) -> str:
    return "   ".join(f"{name} {image.probabilities[name]:.2f}" for name in STUDY_CLASSES)


def _resize(pixels: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    picture = Image.fromarray(np.ascontiguousarray(pixels, dtype=np.float32))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR))


def _tint(pixels: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Grey image -> RGB with the mask's outline and a faint wash: the image stays readable."""
    picture = np.repeat(np.clip(pixels, 0, 1)[..., None] * 255, 3, axis=2)
    outline = ndimage.binary_dilation(mask, iterations=2) & ~mask
    picture[mask] = 0.82 * picture[mask] + 0.18 * np.array(OPACITY_COLOUR)
    picture[outline] = OPACITY_COLOUR
    return picture.astype(np.uint8)
