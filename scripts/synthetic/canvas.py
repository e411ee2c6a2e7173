"""Canvas for curves and shapes with smooth edges: bones, vessels, wires, outlines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw
from scipy.interpolate import CubicSpline
from scripts.synthetic.body import Field, Frame, Points


class Canvas:
    """One layer of an image, drawn at twice its resolution where that is cheap; values 0 to 1.

    Args:
        frame: where body points lie.
        step: the layer's pixels are blocks of `step` image pixels.
    """

    def __init__(self, frame: Frame, step: int = 1) -> None:
        self._frame = frame
        self._over = 2 if max(frame.height, frame.width) / step <= 700 else 1
        self._zoom = self._over / step
        self._shape = (-(-frame.height // step), -(-frame.width // step))
        rows, columns = self._shape
        self._image = Image.new("L", (columns * self._over, rows * self._over))
        self._pen = ImageDraw.Draw(self._image)

    def fill(self, points: ArrayLike, value: float) -> None:
        """A polygon through body points `(N, 2)`."""
        self._pen.polygon(self._flatten(points), fill=round(255 * value))

    def stroke(self, points: ArrayLike, width: float, value: float) -> None:
        """A line of even width (body units) through body points `(N, 2)`; never thinner than a pixel of the pen."""
        pixels = max(1, round(width * self._frame.scale * self._zoom))
        self._pen.line(
            self._flatten(points), fill=round(255 * value), width=pixels, joint="curve" if pixels > 2 else None
        )

    def stroke_all(self, lines: ArrayLike, widths: Sequence[float], values: Sequence[float]) -> None:
        """Draw many lines of the same number of points, `(N, K, 2)`, each with its width and value."""
        pixels = (self._frame.to_image(lines) * self._zoom).reshape(len(widths), -1).tolist()
        zoom = self._frame.scale * self._zoom
        for line, width, value in zip(pixels, widths, values, strict=True):
            self._pen.line(line, fill=round(255 * value), width=max(1, round(width * zoom)))

    def dot(self, centre: tuple[float, float], radius: float, value: float) -> None:
        """A disc."""
        turn = np.linspace(0, 2 * np.pi, 24)
        self.fill(np.column_stack([centre[0] + radius * np.cos(turn), centre[1] + radius * np.sin(turn)]), value)

    def finish(self) -> Field:
        """The layer, `(H / step, W / step)`."""
        image = self._image.reduce(self._over) if self._over > 1 else self._image
        return np.asarray(image, dtype=np.float32) / np.float32(255)

    def _flatten(self, points: ArrayLike) -> list[float]:
        pixels: list[float] = (self._frame.to_image(points) * self._zoom).ravel().tolist()
        return pixels


def bend(points: Iterable[tuple[float, float]], number: int = 40, closed: bool = False) -> Points:
    """A smooth curve `(number, 2)` through a few points."""
    knots = np.asarray(list(points), dtype=float)
    if closed:
        knots = np.vstack([knots, knots[:1]])
    ends = "periodic" if closed else "natural"
    way = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(knots, axis=0).T))])
    curve: Points = CubicSpline(way, knots, bc_type=ends)(np.linspace(0, way[-1], number))
    return curve


def bend_alike(points: ArrayLike, number: int) -> NDArray[np.float64]:
    """Smooth curves `(N, number, 2)` through few points each, `(N, K, 2)`, of which the curves are alike in shape.

    One spline for all of them, on their mean way: many times faster than one each.
    """
    points = np.asarray(points, dtype=float)
    steps = np.linalg.norm(np.diff(points, axis=1), axis=2).mean(axis=0)
    way = np.concatenate([[0], np.cumsum(steps)])
    curves: NDArray[np.float64] = CubicSpline(way, points, axis=1, bc_type="natural")(np.linspace(0, way[-1], number))
    return curves


def widen(curve: Points, widths: ArrayLike) -> Points:
    """The outline `(2 N, 2)` of a band round a curve `(N, 2)` with a width at each point."""
    along = np.gradient(curve, axis=0)
    normal = np.column_stack([-along[:, 1], along[:, 0]]) / np.maximum(np.hypot(*along.T), 1e-9)[:, None]
    half = np.broadcast_to(np.asarray(widths, dtype=float) / 2, len(curve))[:, None]
    return np.concatenate([curve + normal * half, (curve - normal * half)[::-1]])


def enlarge(field: Field, frame: Frame, step: int) -> Field:
    """A layer of blocks of `step` pixels brought to the image's size, bicubic."""
    if step == 1:
        return field
    size, box = (frame.width, frame.height), (0, 0, frame.width / step, frame.height / step)
    image = Image.fromarray(field).resize(size, Image.Resampling.BICUBIC, box=box)
    return np.asarray(image, dtype=np.float32)
