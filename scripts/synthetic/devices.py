"""Devices on or in a bedridden patient: electrodes with wires, tubes, lines, a pacemaker."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter
from scripts.synthetic.body import Body, Field, Frame
from scripts.synthetic.canvas import Canvas, bend


def draw_devices(body: Body, frame: Frame, rng: np.random.Generator) -> Field:
    """Draw the absorption of the devices, `(H, W)`; each of them is there or not."""
    canvas = Canvas(frame)
    if rng.random() < 0.7:
        _draw_electrodes(canvas, rng)
    if rng.random() < 0.4:
        _draw_airway_tube(canvas, body, rng)
    if rng.random() < 0.35:
        _draw_stomach_tube(canvas, body, rng)
    if rng.random() < 0.4:
        _draw_central_line(canvas, body, rng)
    if rng.random() < 0.12:
        _draw_pacemaker(canvas, body, rng)
    return 0.7 * gaussian_filter(canvas.finish(), 0.5, truncate=3)


def _draw_electrodes(canvas: Canvas, rng: np.random.Generator) -> None:
    places = [(-0.75, -0.75), (0.78, -0.72), (-0.9, 0.45), (0.85, 0.5), (0.2, 0.3)]
    for x, y in places[: rng.integers(3, 6)]:
        x, y = x + rng.normal(0, 0.08), y + rng.normal(0, 0.08)
        canvas.dot((x, y), 0.05, 0.1)
        canvas.dot((x, y), 0.022, 0.9)
        end = (np.sign(x) * rng.uniform(1.2, 1.7), rng.uniform(-0.2, 1.3))
        middle = [(x + rng.uniform(0.1, 0.35) * np.sign(end[0]), y + rng.uniform(-0.1, 0.5))]
        canvas.stroke(bend([(x, y), *middle, end], 40), 0.012, 0.3)


def _draw_airway_tube(canvas: Canvas, body: Body, rng: np.random.Generator) -> None:
    tip = rng.uniform(-0.62, -0.45)
    for wall in (-0.022, 0.022):
        points = [(body.lean + wall + 0.03, -1.7), (body.lean + wall - 0.01, -1.1), (body.lean + wall + 0.01, tip)]
        canvas.stroke(bend(points, 30), 0.01, 0.22)


def _draw_stomach_tube(canvas: Canvas, body: Body, rng: np.random.Generator) -> None:
    end = (rng.uniform(0.25, 0.5), body.domes[1] + rng.uniform(0.25, 0.45))
    points = [(0.05, -1.8), (0.03 + body.lean, -0.9), (0.06 + body.lean, -0.1), (0.1, body.domes[1] + 0.05), end]
    canvas.stroke(bend(points, 60), 0.014, 0.22)


def _draw_central_line(canvas: Canvas, body: Body, rng: np.random.Generator) -> None:
    start = (-0.55, -1.02) if rng.random() < 0.5 else (-0.3, -1.5)
    points = [
        start,
        (-0.22 + body.lean, -0.92),
        (-0.13 + body.lean, -0.55),
        (-0.13 + body.lean, rng.uniform(-0.3, 0.0)),
    ]
    canvas.stroke(bend(points, 50), 0.014, 0.24)


def _draw_pacemaker(canvas: Canvas, body: Body, rng: np.random.Generator) -> None:
    middle = np.array([rng.uniform(0.68, 0.82), rng.uniform(-0.75, -0.62)])
    corners = [(-0.11, -0.07), (0.0, -0.1), (0.11, -0.07), (0.12, 0.03), (0.0, 0.08), (-0.11, 0.05)]
    canvas.fill(bend([tuple(middle + corner) for corner in corners], 40, closed=True), 0.5)
    # Through the subclavian vein and the upper caval vein to the tip of the right ventricle.
    lead = [
        tuple(middle + (-0.08, -0.05)), (0.48, -0.87), (0.15, -0.84), (-0.06 + body.lean, -0.7),
        (-0.13 + body.lean, -0.4), (-0.13, 0.05), (-0.02, 0.38), (0.22, 0.5),
    ]  # fmt: skip
    canvas.stroke(bend(lead, 80), 0.016, 0.35)
