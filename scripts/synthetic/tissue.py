"""Soft tissue, air in the lungs, heart and mediastinum, abdomen: the smooth parts of a chest radiograph.

All layers are line integrals along the beam, in units in which the middle of the chest, without its air, absorbs 1:
an image shows about the logarithm of what comes through, so that layers add up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scripts.synthetic.body import SIDES, Body, Field, Frame, lean_fraction, sample_curve
from scripts.synthetic.canvas import Canvas, bend

#: How much of the chest's thickness full inspiration takes away in the middle of a lung.
AIR = 0.66


@dataclass(frozen=True)
class Layers:
    """Smooth layers of one image, each `(h, w)`.

    Args:
        tissue: soft tissue without the lungs.
        air: air in the lungs, 0 to 1; what fills a lung multiplies it.
        lungs: 1 in the lung fields that a reader sees, soft at their edges.
        heart: 1 in the heart's shadow.
        belly: 1 below the diaphragm.
    """

    tissue: Field
    air: Field
    lungs: Field
    heart: Field
    belly: Field


def draw_layers(body: Body, frame: Frame, step: int, arms_down: bool) -> Layers:
    """The smooth layers on a grid of blocks of `step` pixels."""
    x, y = frame.body_grid(step)
    heart = _draw_heart(body, frame, step)
    air, lungs, belly = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for side in SIDES:
        belly += _smooth((y - body.dome(side, np.abs(x))) / 0.1) * (np.sign(x) == side)
        one = _draw_lung(body, side, x, y)
        air, lungs = air + one, lungs + np.clip(one * 2.2, 0, 1)
    blur = max(0.4, 0.012 * frame.scale / step)
    soft_heart = gaussian_filter(heart, blur)
    bulk = np.sqrt(np.clip(gaussian_filter(heart, 0.09 * frame.scale / step) * heart, 0, 1))
    air *= 1 - 0.7 * soft_heart
    tissue = _draw_torso(body, x, y, arms_down) + 0.06 * bulk + _draw_abdomen(body, x, y)
    tissue += _draw_breasts(body, x, y) - _draw_airway(body, x, y)
    tissue += _draw_grain(body, x, y) * (0.012 * np.clip(2 * tissue, 0, 1) + 0.008 * air)
    return Layers(tissue, air, lungs * (1 - soft_heart), soft_heart, belly)


def _draw_lung(body: Body, side: int, x: Field, y: Field) -> Field:
    """Depth of air: flat in the middle, falling steeply at the wall, thin at the apex and behind the diaphragm."""
    distance = side * x - body.lean * np.clip(1 - np.abs(x), 0, 1) * side
    medial, lateral = body.medial_edge(y), body.lateral_edge(y)
    across = (distance - medial) / np.maximum(lateral - medial, 0.02)
    bell = np.clip(1 - np.abs(2 * across - 1) ** 2.6, 0, 1) ** 0.62
    down = np.clip((y - body.apex) / (body.base - body.apex), 0, 1.2)
    depth = bell * (0.4 + 0.6 * _smooth(down / 0.42)) * _smooth((y - body.apex) / 0.16)
    below = y - body.dome(side, np.abs(distance))
    # The lung reaches deep behind the dome, which is why the liver's upper part is not quite white.
    return depth * (
        _smooth(0.5 - below / 0.05) + 0.13 * _smooth(below / 0.05 + 0.5) * np.exp(-np.maximum(below, 0) / 0.14)
    )


def _draw_heart(body: Body, frame: Frame, step: int) -> Field:
    """Right atrium, great vessels, aortic knob, pulmonary trunk and left ventricle as one outline."""
    size, low = body.heart, body.domes[1] + 0.06
    right = -0.19 - 0.16 * (size - 0.85)
    points = [
        (-0.13, -0.95), (-0.145, -0.6), (-0.16, -0.35), (right, -0.1), (right - 0.09, 0.12), (right - 0.1, 0.33),
        (right - 0.02, low - 0.1), (0.1, low + 0.12), (0.42 * size, low + 0.1), (0.6 * size, low - 0.05),
        (0.61 * size, low - 0.2), (0.52 * size, 0.2), (0.39 * size, 0.0), (0.295, -0.14), (0.265, -0.24),
        (0.235, -0.32), (0.265, -0.42), (0.245, -0.52), (0.16, -0.6), (0.12, -0.95),
    ]  # fmt: skip
    canvas = Canvas(frame, step)
    curve = bend(points, 120, closed=True)
    canvas.fill(curve + np.column_stack([body.lean * lean_fraction(np.abs(curve[:, 0])), np.zeros(len(curve))]), 1)
    return canvas.finish()


def _draw_torso(body: Body, x: Field, y: Field, arms_down: bool) -> Field:
    """Neck, chest and belly as elliptic cylinders, shoulders and arms as capsules beside them."""
    fat = body.fat
    knots = [-2.2, -1.55, -1.38, -1.25, -1.1, -0.9, -0.6, -0.2, 0.4, 1.0, 1.8]
    half = [0.37, 0.38, 0.44, 0.62, 0.88, 1.04, 1.1, 1.1, 1.09, 1.06, 1.04]
    grown = np.array(half) + fat * np.array([0.25, 0.25, 0.35, 0.5, 0.7, 0.85, 0.95, 1.0, 1.1, 1.25, 1.4])
    depths = np.array([0.62, 0.62, 0.6, 0.58, 0.66, 0.82, 0.94, 1.0, 1.04, 1.08, 1.1]) * (0.92 + 0.5 * fat)
    table, depth = sample_curve(knots, grown), sample_curve(knots, depths)
    fraction = np.abs(x) / np.interp(y, *table).astype(np.float32)
    torso = np.clip(1 - fraction**2.4, 0, 1) ** 0.55 * np.interp(y, *depth).astype(np.float32)
    radius = 0.19 + 0.3 * fat
    elbow = (1.62 + fat, 1.5) if arms_down else (2.15, 0.1)
    arms = np.zeros_like(x)
    for side in SIDES:
        shoulder, hand = (side * 1.38, -0.93), (side * elbow[0], elbow[1])
        arms += _draw_capsule(x, y, shoulder, hand, radius) ** 2
        arms += _draw_capsule(x, y, (side * 0.75, -0.95), shoulder, 1.35 * radius) ** 4
        arms += _draw_capsule(x, y, (side * 0.3, -1.3), (side * 1.2, -1.02), 1.1 * radius) ** 4
    return np.sqrt(torso**2 + (0.42 + 0.4 * fat) ** 2 * np.minimum(arms, 1.6))


def _draw_capsule(x: Field, y: Field, start: tuple[float, float], end: tuple[float, float], radius: float) -> Field:
    """Thickness of a round limb from start to end, at most 1."""
    along_x, along_y = end[0] - start[0], end[1] - start[1]
    fraction = ((x - start[0]) * along_x + (y - start[1]) * along_y) / (along_x**2 + along_y**2)
    fraction = np.clip(fraction, 0, 1)
    square = (x - start[0] - fraction * along_x) ** 2 + (y - start[1] - fraction * along_y) ** 2
    return np.sqrt(np.clip(1 - square / radius**2, 0, 1))


def _draw_abdomen(body: Body, x: Field, y: Field) -> Field:
    """Liver, which is denser than what lies beside it, and gas in the stomach and the bowel."""
    rng = np.random.default_rng([body.seed, 1])
    top = body.domes[1]
    liver = 0.06 * _smooth((y - body.domes[0]) / 0.3) * _smooth(0.5 - x / 0.8)
    gas = np.zeros_like(x)
    if rng.random() < 0.7:
        gas += rng.uniform(0.12, 0.3) * _draw_bubble(
            x, y, rng.uniform(0.36, 0.55), top + rng.uniform(0.14, 0.2), rng.uniform(0.1, 0.19), 0.085
        )
    for _ in range(int(rng.integers(0, 4))):
        place = rng.uniform(0.2, 0.9), top + rng.uniform(0.3, 0.6)
        gas += rng.uniform(0.05, 0.15) * _draw_bubble(x, y, *place, rng.uniform(0.05, 0.12), rng.uniform(0.04, 0.09))
    return liver - gas


def _draw_bubble(x: Field, y: Field, centre_x: float, centre_y: float, half_x: float, half_y: float) -> Field:
    square = ((x - centre_x) / half_x) ** 2 + ((y - centre_y) / half_y) ** 2
    return np.sqrt(np.clip(1 - square, 0, 1))


def _draw_breasts(body: Body, x: Field, y: Field) -> Field:
    """A cap of tissue over each lower lung, with a sharp lower fold."""
    if not body.breast:
        return np.zeros_like(x)
    rng = np.random.default_rng([body.seed, 2])
    total = np.zeros_like(x)
    for side in SIDES:
        centre = side * (0.66 + rng.uniform(-0.05, 0.1)), 0.42 + rng.uniform(-0.08, 0.16)
        distance = np.hypot((x - centre[0]) / 1.1, (y - centre[1]) / np.where(y > centre[1], 0.85, 1.5)) / body.breast
        total += np.clip(1 - distance**3, 0, 1) ** 0.5
    return (0.07 + 0.12 * body.breast + 0.1 * body.fat) * total


def _draw_airway(body: Body, x: Field, y: Field) -> Field:
    """Trachea down to the carina, and the main bronchi."""
    middle = x - body.lean - 0.01
    trachea = _bar(middle, 0.062) * _smooth((-0.3 - y) / 0.1) * _smooth((y + 1.75) / 0.3)
    low = np.clip(y + 0.36, 0, 0.3)
    right, left = middle + 0.02 + 0.55 * low, middle - 0.02 - 0.95 * low
    ended = _smooth((y + 0.42) / 0.08) * _smooth((-0.12 - y) / 0.1)
    bronchi = _bar(right, 0.05) + 0.8 * _bar(left, 0.045)
    return 0.17 * trachea + 0.1 * bronchi * ended


def _draw_grain(body: Body, x: Field, y: Field) -> Field:
    """Muscle, fat and fine vessels as noise of about unit spread that is fixed to the body."""
    rng = np.random.default_rng([body.seed, 7])
    total, waves = np.zeros_like(x), 8
    for rate in np.geomspace(9, 75, waves):
        angle, phase = rng.uniform(0, 2 * np.pi, 2)
        total += np.cos(float(rate * np.cos(angle)) * x + float(rate * np.sin(angle)) * y + float(phase))
    return total * float(np.sqrt(2 / waves))


def _bar(distance: Field, half: float) -> Field:
    """1 near 0, falling to 0 beyond `half`."""
    square = np.square(distance / half)
    return np.exp(-square * square)


def _smooth(fraction: Field) -> Field:
    """0 below 0, 1 above 1, smooth between."""
    fraction = np.clip(fraction, 0, 1)
    return fraction * fraction * (3 - 2 * fraction)
