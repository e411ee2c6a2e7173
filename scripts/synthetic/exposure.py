"""Exposure: absorption -> grey values, with a maker's post-processing, noise, collimation, markers and letters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter
from scipy.special import expit
from scripts.synthetic.body import Field, Frame


@dataclass(frozen=True)
class Tone:
    """A maker's post-processing.

    Args:
        slope: contrast round the middle.
        middle: absorption that becomes middle grey.
        detail: how much local contrast is raised.
        low, high: the greys of nothing and of everything; flat images use a part of the scale.
    """

    slope: float
    middle: float
    detail: float
    low: float
    high: float


#: One for each maker of the cohort: plain, contrasty, flat and grey, edge-enhanced, dark.
TONES: tuple[Tone, ...] = (
    Tone(4.2, 0.52, 0.25, 0.0, 1.0),
    Tone(5.6, 0.5, 0.35, 0.0, 1.0),
    Tone(2.9, 0.42, 0.15, 0.08, 0.92),
    Tone(4.4, 0.55, 0.95, 0.0, 1.0),
    Tone(3.8, 0.62, 0.2, 0.0, 0.8),
)


def develop(absorption: Field, tone: Tone, frame: Frame, portable: bool, rng: np.random.Generator) -> Field:
    """Absorption `(H, W)` -> greys in [0, 1], dense is bright."""
    slope = tone.slope * rng.uniform(0.88, 1.12) * (0.88 if portable else 1)
    middle = tone.middle + rng.normal(0, 0.03) + (0.03 if portable else 0)
    sharp = absorption + tone.detail * (absorption - _blur(absorption, 0.13 * frame.scale))
    # Scattered light flattens what is dense: ribs over the belly are hardly seen.
    sharp = np.minimum(sharp, 0.85 + 0.45 * (sharp - 0.85))
    light = expit(slope * (sharp - middle))
    floor = float(expit(-slope * (middle + 0.02)))
    ceiling = float(expit(slope * (1.1 - middle)))
    grey = np.clip((light - floor) / (ceiling - floor), 0, 1)
    strength = rng.uniform(0.004, 0.012) * (1.6 if portable else 1)
    # Few quanta reach the plate behind dense tissue, and the plate itself is never silent.
    noise = rng.standard_normal(absorption.shape, dtype=np.float32) * (strength * (0.5 + 1.2 * grey))
    greys: Field = np.clip(tone.low + (tone.high - tone.low) * (grey + noise), 0, 1)
    return greys


def collimate(greys: Field, keep: NDArray[np.float64], rng: np.random.Generator) -> Field:
    """Blacken what the beam did not reach, or what a turned picture leaves free; never inside `keep`.

    Args:
        greys: `(H, W)`.
        keep: `(4,)` the lung box in image pixels.
    """
    mode = rng.choice(["none", "strips", "turned", "cut"], p=[0.42, 0.28, 0.18, 0.12])
    if mode == "none":
        return greys
    height, width = greys.shape
    free = np.maximum([keep[0], keep[1], width - keep[2], height - keep[3]], 0)
    left, top, right, bottom = free * rng.uniform(0.05, 0.6, 4) * (rng.random(4) < 0.75)
    corners = [(left, top), (width - right, top), (width - right, height - bottom), (left, height - bottom)]
    if mode == "turned":
        corners = _turn(corners, np.deg2rad(rng.uniform(1.5, 4) * rng.choice([-1, 1])), (width / 2, height / 2))
    if mode == "cut":
        corners = _cut_corners(corners, 0.6 * free.min() + 0.06 * min(height, width))
    image = Image.new("L", (2 * width, 2 * height))
    ImageDraw.Draw(image).polygon([(2 * x, 2 * y) for x, y in corners], fill=255)
    mask = np.asarray(image.reduce(2), dtype=np.float32) / np.float32(255)
    border: float = 0.0 if rng.random() < 0.9 else rng.uniform(0.85, 1.0) * float(greys.max())
    framed: Field = greys * mask + np.float32(border) * (1 - mask)
    return framed


def _turn(corners: list[tuple[float, float]], angle: float, centre: tuple[float, float]) -> list[tuple[float, float]]:
    cos, sin = np.cos(angle), np.sin(angle)
    moved = [(x - centre[0], y - centre[1]) for x, y in corners]
    return [(centre[0] + cos * x - sin * y, centre[1] + sin * x + cos * y) for x, y in moved]


def _cut_corners(corners: list[tuple[float, float]], cut: float) -> list[tuple[float, float]]:
    """A rectangle as an octagon."""
    points = []
    for index, corner in enumerate(corners):
        for other in (corners[index - 1], corners[(index + 1) % 4]):
            length = max(float(np.hypot(other[0] - corner[0], other[1] - corner[1])), 1.0)
            fraction = cut / length
            points.append(
                (corner[0] + fraction * (other[0] - corner[0]), corner[1] + fraction * (other[1] - corner[1]))
            )
    return points


def burn_letters(greys: Field, view: str, rng: np.random.Generator) -> Field:
    """Side markers and words, as radiographers leave them on the image; at times none, at times in a box."""
    height, width = greys.shape
    image = Image.new("L", (width, height))
    pen, size = ImageDraw.Draw(image), max(6, round(height * rng.uniform(0.03, 0.055)))
    if rng.random() < 0.75:
        _write_marker(pen, rng, size, height, width)
    if view == "AP" and rng.random() < 0.8:
        words = ["PORTABLE", ["SEMI-ERECT", "SUPINE", "AP ERECT", "AP"][rng.integers(4)]]
        for line, word in enumerate(words[: rng.integers(1, 3)]):
            _write(pen, word, (0.66 * width, (0.02 + 0.05 * line) * height), max(6, round(0.032 * height)), 235)
    ink = np.asarray(image, dtype=np.float32) / 255
    return np.maximum(greys, ink * max(0.75, float(greys.max())))


def _write_marker(pen: ImageDraw.ImageDraw, rng: np.random.Generator, size: int, height: int, width: int) -> None:
    """R stands on the left of a frontal image, L on its right."""
    letter = "RL"[int(rng.random() < 0.4)]
    x = width * (rng.uniform(0.02, 0.09) if letter == "R" else rng.uniform(0.86, 0.92))
    y = height * rng.uniform(0.03, 0.3)
    if rng.random() < 0.25:
        pen.rectangle([x - 0.3 * size, y - 0.1 * size, x + 0.9 * size, y + 1.15 * size], fill=90)
    if rng.random() < 0.2:
        pen.ellipse(
            [x - 0.35 * size, y - 0.15 * size, x + 1.0 * size, y + 1.2 * size], outline=230, width=max(1, size // 12)
        )
    _write(pen, letter, (x, y), size, 245)


def _write(pen: ImageDraw.ImageDraw, word: str, place: tuple[float, float], size: int, ink: int) -> None:
    pen.text(place, word, fill=ink, font=_load_font(size))


@lru_cache(maxsize=64)
def _load_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _blur(field: Field, spread: float) -> Field:
    """A wide blur, done on blocks of a quarter of its spread."""
    block = max(1, int(spread / 3))
    rows, columns = (-(-length // block) for length in field.shape)
    padded = np.pad(field, ((0, rows * block - field.shape[0]), (0, columns * block - field.shape[1])), mode="edge")
    small = padded.reshape(rows, block, columns, block).mean(axis=(1, 3))
    image = Image.fromarray(gaussian_filter(small, spread / block))
    size = (columns * block, rows * block)
    wide = np.asarray(image.resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
    return wide[: field.shape[0], : field.shape[1]]
