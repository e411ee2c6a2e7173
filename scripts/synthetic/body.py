"""The body of one patient as numbers and curves, and the frame that puts it on an image.

Body coordinates: the inner half width of the rib cage is 1; x grows towards the patient's left, which is the right of
the image; y grows downwards; (0, 0) lies near the hila. Lungs reach from about y = -1.1 to y = 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

Field = NDArray[np.float32]
Points = NDArray[np.float64]
# What the curves of a body are asked for: one number or an array of any shape.
Heights = float | NDArray[np.floating]

#: The two sides: the patient's right lung has negative x and stands on the left of the image.
SIDES = (-1, 1)

_SAMPLES = 160


@dataclass(frozen=True)
class Body:
    """Anatomy that differs from patient to patient.

    Args:
        sex: "F" or "M".
        apex, base: y of the lungs' tops and of their lowest angles.
        domes: y of the right and the left hemidiaphragm's top.
        bulge: how far the chest wall bends outwards, about 0.
        fat: thickness of the soft tissue outside the ribs.
        heart: size of the heart, 1 is usual.
        lean: how far the mediastinum is shifted by a turned patient.
        rib_drop: how far a rib falls from the spine to the side.
        rib_step: distance of neighbouring ribs at the spine.
        breast: size of the breasts; 0 for none.
        seed: of what is small and many: vessels, vertebrae, texture.
    """

    sex: str
    apex: float
    base: float
    domes: tuple[float, float]
    bulge: float
    fat: float
    heart: float
    lean: float
    rib_drop: float
    rib_step: float
    breast: float
    seed: int

    @cached_property
    def _edges(self) -> dict[str, tuple[Points, Points]]:
        height = self.base - self.apex
        down = self.apex + height * np.array([0, 0.015, 0.05, 0.11, 0.2, 0.36, 0.55, 0.75, 0.92, 1.0, 1.1])
        lateral = np.array([0.34, 0.44, 0.54, 0.65, 0.76, 0.89, 0.97, 1.0, 0.99, 0.965, 0.9])
        lateral[3:9] += self.bulge * np.array([0.3, 0.7, 1, 1, 0.6, 0.2])
        medial = np.array([0.29, 0.21, 0.155, 0.125, 0.12, 0.16, 0.19, 0.16, 0.13, 0.12, 0.12])
        return {"lateral": sample_curve(down, lateral), "medial": sample_curve(down, medial)}

    @cached_property
    def _dome_edges(self) -> dict[int, tuple[Points, Points]]:
        across = np.array([0.0, 0.14, 0.28, 0.45, 0.62, 0.78, 0.9, 0.97, 1.05])
        fraction = np.array([0.30, 0.22, 0.06, 0.0, 0.07, 0.28, 0.62, 0.95, 1.25])
        return {
            side: sample_curve(across, top + fraction * (self.base - top))
            for side, top in zip(SIDES, self.domes, strict=True)
        }

    def lateral_edge(self, y: Heights) -> Field:
        """Distance of a lung's outer edge from the midline at height y, any shape."""
        return np.asarray(np.interp(y, *self._edges["lateral"]), dtype=np.float32)

    def medial_edge(self, y: Heights) -> Field:
        """Distance of a lung's inner edge from the midline at height y, any shape."""
        return np.asarray(np.interp(y, *self._edges["medial"]), dtype=np.float32)

    def dome(self, side: int, distance: Heights) -> Field:
        """Y of a hemidiaphragm at a distance from the midline, any shape."""
        return np.asarray(np.interp(distance, *self._dome_edges[side]), dtype=np.float32)

    def outline(self, side: int) -> Points:
        """A lung's outline, `(N, 2)` of x, y; the one of the left lung runs behind the heart."""
        # The topmost tip is so thin that nobody sees it.
        y = np.linspace(self.apex + 0.04, self.base, 120)
        lateral, medial = self.lateral_edge(y), self.medial_edge(y)
        across = np.linspace(0.13, 0.97, 60)
        down = lateral >= _inverse_dome(self, side, y)
        inner = y <= self.dome(side, medial)
        pieces = [
            np.column_stack([medial[inner], y[inner]])[::-1],
            np.column_stack([lateral[down], y[down]]),
            np.column_stack([across, self.dome(side, across)])[::-1],
        ]
        points = np.concatenate(pieces)
        return np.column_stack([side * points[:, 0] + self.lean * lean_fraction(points[:, 0]), points[:, 1]])

    def place(self, side: int, across: float, down: float) -> tuple[float, float]:
        """A point in a lung: `across` 0 (mediastinum) to 1 (chest wall), `down` 0 (apex) to 1 (diaphragm)."""
        y = self.apex + 0.06 + down * (float(self.dome(side, 0.3 + 0.5 * across)) - self.apex - 0.06)
        medial, lateral = float(self.medial_edge(y)), float(self.lateral_edge(y))
        x = medial + across * (lateral - medial)
        return side * x + self.lean * float(lean_fraction(x)), y


def draw_body(rng: np.random.Generator, sex: str = "M", breath: float = 0.0) -> Body:
    """The random parameters of one patient.

    Args:
        breath: how far the diaphragm stands above full inspiration: in bed one breathes in less.
    """
    right = rng.uniform(0.44, 0.72) - breath
    return Body(
        sex=sex,
        apex=-1.1 + rng.uniform(-0.1, 0.1),
        base=right + rng.uniform(0.24, 0.42),
        domes=(right, right + rng.uniform(-0.02, 0.12)),
        bulge=rng.uniform(-0.07, 0.06),
        fat=float(np.clip(rng.gamma(2.2, 0.075), 0.04, 0.5)),
        heart=rng.uniform(0.84, 1.2) + 0.5 * breath,
        lean=rng.normal(0, 0.028),
        rib_drop=rng.uniform(0.3, 0.55),
        rib_step=rng.uniform(0.18, 0.215) - 0.03 * breath,
        breast=rng.uniform(0.3, 0.58) if sex == "F" and rng.random() < 0.8 else 0.0,
        seed=int(rng.integers(1 << 31)),
    )


@dataclass(frozen=True)
class Frame:
    """Position of the body on an image of `height` x `width` pixels: image = matrix @ body + offset, both as (x, y)."""

    height: int
    width: int
    matrix: Points
    offset: Points

    @cached_property
    def scale(self) -> float:
        """Pixels per body unit, the mean of both directions."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix))))

    def to_image(self, points: ArrayLike) -> Points:
        """Body points `(N, 2)` -> image pixels `(N, 2)`."""
        return np.asarray(points) @ self.matrix.T + self.offset

    def body_grid(self, step: int) -> tuple[Field, Field]:
        """Body x and y at the centres of blocks of `step` pixels, each `(H / step, W / step)`."""
        rows, columns = -(-self.height // step), -(-self.width // step)
        x = (np.arange(columns) + 0.5) * step - self.offset[0]
        y = (np.arange(rows) + 0.5) * step - self.offset[1]
        inverse = np.linalg.inv(self.matrix)
        body_x = inverse[0, 0] * x[None, :] + inverse[0, 1] * y[:, None]
        body_y = inverse[1, 0] * x[None, :] + inverse[1, 1] * y[:, None]
        return body_x.astype(np.float32), body_y.astype(np.float32)


def draw_frame(rng: np.random.Generator, height: int, width: int, aspect: float, tilt: float) -> Frame:
    """A frame that holds the lungs, turned by about `tilt` degrees.

    Args:
        aspect: height of a pixel by its width; other than 1 in images that were squeezed into a square.
    """
    angle = np.deg2rad(np.clip(rng.normal(0, tilt), -2.5 * tilt, 2.5 * tilt))
    scale = min(width / 2.6, height * aspect / 2.42) * rng.uniform(0.86, 1.06)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * scale
    matrix = np.diag([1.0, 1.0 / aspect]) @ turn
    centre = np.array([rng.normal(0, 0.03), rng.normal(-0.03, 0.05)])
    return Frame(height, width, matrix, np.array([width, height]) / 2 - matrix @ centre)


def sample_curve(knots: ArrayLike, values: ArrayLike) -> tuple[Points, Points]:
    """A smooth monotone curve through the knots as a dense table for np.interp."""
    knots = np.asarray(knots, dtype=float)
    dense = np.linspace(knots[0], knots[-1], _SAMPLES)
    return dense, PchipInterpolator(knots, np.asarray(values, dtype=float))(dense)


def lean_fraction(distance: ArrayLike) -> NDArray[np.float64]:
    """The mediastinum moves by all of `lean`, the chest wall by nothing."""
    return np.clip(1 - np.asarray(distance, dtype=float), 0, 1)


def _inverse_dome(body: Body, side: int, y: Points) -> Points:
    """Position at which the outer part of a hemidiaphragm has sunk to y: further in there is no lung at this height."""
    across = np.linspace(0.45, 1.05, 80)
    return np.interp(y, body.dome(side, across), across, left=0.0)
