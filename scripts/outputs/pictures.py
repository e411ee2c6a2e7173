"""Pictures of findings: the mask as an 8-bit PNG, and the film with mask, boxes and classes drawn on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from scripts.files import replace_file
from scripts.labels import STUDY_CLASSES
from scripts.outputs.records import FilmFindings

OPACITY_COLOUR, CROP_COLOUR, TEXT_COLOUR = (255, 176, 0), (100, 143, 255), (255, 255, 255)

#: Films are shown at least this wide, so that the caption can be read.
SMALLEST_WIDTH = 512
CAPTION_HEIGHT = 44


def write_mask(mask: NDArray[np.uint8], path: str | Path) -> None:
    """Write a mask `(H, W)` of zeros and ones as an 8-bit PNG of 0 and 255, in the film's own pixels."""
    _save(Image.fromarray((np.asarray(mask) > 0).astype(np.uint8) * 255), Path(path))


def draw_overlay(pixels: NDArray[np.float32], mask: NDArray[np.uint8], film: FilmFindings, path: str | Path) -> None:
    """Draw what was found on a film, and what the network saw of it.

    Args:
        pixels: the film `(H, W)` in [0, 1].
        mask: `(H, W)` of zeros and ones.
        film: its findings; boxes in film pixels.
        path: the PNG to write.
    """
    height, width = pixels.shape
    scale = max(1.0, SMALLEST_WIDTH / width)
    size = (round(width * scale), round(height * scale))
    picture = _tint(_resize(pixels, size), _resize(mask.astype(np.float32), size) >= 0.5)
    canvas = Image.new("RGB", (size[0], size[1] + CAPTION_HEIGHT))
    canvas.paste(Image.fromarray(picture), (0, 0))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=13)
    draw.rectangle([edge * scale for edge in film.crop_box], outline=CROP_COLOUR, width=1)
    for box, score in zip(film.boxes, film.scores, strict=True):
        xmin, ymin, xmax, ymax = (edge * scale for edge in box)
        draw.rectangle([xmin, ymin, xmax, ymax], outline=OPACITY_COLOUR, width=2)
        draw.text((xmin + 4, ymin + 3), f"{score:.2f}", fill=OPACITY_COLOUR, font=font)
    draw.text((8, size[1] + 4), _describe_classes(film), fill=TEXT_COLOUR, font=font)
    draw.text((8, size[1] + 22), "orange: suspected opacity   blue: seen by the network   research use only",
              fill=(170, 170, 170), font=font)  # fmt: skip
    _save(canvas, Path(path))


def _describe_classes(film: FilmFindings) -> str:
    return "   ".join(f"{name} {film.probabilities[name]:.2f}" for name in STUDY_CLASSES)


def _resize(pixels: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    picture = Image.fromarray(np.ascontiguousarray(pixels, dtype=np.float32))
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR))


def _tint(pixels: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Grey film -> RGB with the mask's outline and a faint wash inside it: the film stays readable."""
    picture = np.repeat(np.clip(pixels, 0, 1)[..., None] * 255, 3, axis=2)
    outline = ndimage.binary_dilation(mask, iterations=2) & ~mask
    picture[mask] = 0.82 * picture[mask] + 0.18 * np.array(OPACITY_COLOUR)
    picture[outline] = OPACITY_COLOUR
    return picture.astype(np.uint8)


def _save(picture: Image.Image, path: Path) -> None:
    with replace_file(path) as temporary:
        picture.save(temporary, format="PNG")
