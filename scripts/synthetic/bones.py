"""Bones and vessels: ribs, clavicles, scapulae, humeri, spine; the lungs' vessels."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter
from scripts.synthetic.body import SIDES, Body, Field, Frame, Points
from scripts.synthetic.canvas import Canvas, bend, bend_alike, widen


def draw_skeleton(body: Body, frame: Frame, arms_down: bool) -> Field:
    """Draw the absorption of all bones, `(H, W)`."""
    behind, before = Canvas(frame), Canvas(frame)
    _draw_ribs(body, behind, before)
    # The spine shares the front ribs' layer: they do not meet.
    _draw_spine(body, before)
    layers = 0.11 * behind.finish() + 0.1 * before.finish() + _draw_shoulders(body, frame, arms_down)
    return gaussian_filter(layers, max(0.4, 0.0075 * frame.scale), truncate=3)


def _draw_ribs(body: Body, behind: Canvas, before: Canvas) -> None:
    """The flat parts from the spine to the side, then the fainter ones that fall forward to the cartilage."""
    rng = np.random.default_rng([body.seed, 3])
    ribs = [(side, number) for number in range(11) for side in SIDES]
    points = [_place_rib(body, side, number, rng) for side, number in ribs]
    for (_, number), curve in zip(ribs, bend_alike(points, 64), strict=True):
        half = int(np.abs(curve[:, 0]).argmax())
        width = (0.066 if number == 0 else 0.078) * np.interp(np.arange(64), [0, 12, half, 63], [0.75, 1, 0.85, 1.12])
        _draw_tube(behind, curve[: half + 1], width[: half + 1], 0.65)
        # The lowest ribs end in the flank.
        if number < 8:
            _draw_tube(before, curve[half:], width[half:], 0.4, 0.6)


def _place_rib(body: Body, side: int, number: int, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Eight points of one rib, from the spine over the side to the cartilage."""
    start = -1.09 + body.rib_step * number + rng.normal(0, 0.006)
    drop = body.rib_drop * (0.62 + 0.05 * number) * (0.55 if number == 0 else 1)
    turn = start + drop
    wall = float(body.lateral_edge(turn)) + 0.02 if number else 0.56
    end = 0.36 + 0.045 * number + rng.normal(0, 0.015)
    fall = 0.34 + 0.035 * number if number else 0.14
    points = [
        (0.11, start + 0.015), (0.32, start - 0.035), (0.45 * wall + 0.12, start + 0.03 * drop),
        (0.86 * wall, start + 0.5 * drop), (wall, turn), (0.95 * wall, turn + 0.4 * fall),
        (0.45 * wall + 0.5 * end, turn + 0.84 * fall), (end, turn + fall),
    ]  # fmt: skip
    return [(side * x + 0.4 * body.lean, y) for x, y in points]


def _draw_tube(canvas: Canvas, curve: Points, widths: float | Points, inner: float, shell: float = 1.0) -> None:
    """A bone seen from the side: the shell is hit along its length and is brighter than the middle."""
    canvas.fill(widen(curve, widths), shell)
    canvas.fill(widen(curve, 0.66 * np.asarray(widths)), inner)


def _draw_shoulders(body: Body, frame: Frame, arms_down: bool) -> Field:
    """Clavicles, scapulae and upper arms; with the arms forward the scapulae leave the lungs."""
    rng = np.random.default_rng([body.seed, 4])
    lift, out = rng.uniform(-0.08, 0.06), 0.0 if arms_down else 0.14
    blade, limb = Canvas(frame), Canvas(frame)
    corners = [
        (1.3, -1.05), (1.12 + out, -1.07), (0.9 + out, -1.0), (0.88 + out, -0.75), (0.98 + out, -0.27),
        (1.05 + out, -0.18), (1.12 + out, -0.4), (1.24, -0.78),
    ]  # fmt: skip
    scapula, ridge = bend(corners, 56, closed=True), bend([(0.92 + out, -0.92), (1.2, -1.08), (1.4, -1.16)], 20)
    head, elbow = np.array([1.42, -0.95]), np.array([1.6 + body.fat, 1.5] if arms_down else [2.15, 0.1])
    shaft = head + np.linspace(0, 1, 8)[:, None] * (elbow - head)
    for side in SIDES:
        mirror = np.array([side, 1.0])
        blade.fill(mirror * scapula, 0.55)
        blade.stroke(mirror * scapula[34:], 0.03, 1)
        _draw_tube(blade, mirror * ridge, 0.07, 0.7)
        _draw_tube(limb, mirror * shaft, 0.16, 0.55)
        limb.dot(tuple(mirror * head), 0.165, 0.95)
        limb.dot(tuple(mirror * (head + 0.01)), 0.14, 0.72)
        inner, outer = -0.84 + lift, -1.1 + lift + rng.normal(0, 0.02)
        shape = [(0.14, inner), (0.42, inner - 0.02), (0.8, 0.4 * inner + 0.6 * outer - 0.04), (1.14, outer)]
        curve = mirror * bend(shape, 30) + [body.lean, 0]
        _draw_tube(limb, curve, np.interp(np.arange(30), [0, 6, 18, 29], [0.12, 0.085, 0.075, 0.085]), 0.45, 0.75)
        limb.dot(tuple(curve[-1]), 0.042, 0.7)
    return (0.08 if arms_down else 0.06) * blade.finish() + 0.17 * limb.finish()


def _draw_spine(body: Body, canvas: Canvas) -> None:
    """Vertebral bodies with their plates, pedicles and spinous processes, growing downwards."""
    rng = np.random.default_rng([body.seed, 5])
    y, bow = -1.9, rng.normal(0, 0.02)
    while y < 1.7:
        half, step = np.interp(y, [-1.9, -1.1, 1.2], [0.095, 0.115, 0.15]), np.interp(y, [-1.9, 1.2], [0.13, 0.23])
        middle = 0.4 * body.lean + bow * np.sin(1.5 * y)
        disc = 0.1 * step
        corners = [
            (-half, y + disc),
            (half, y + disc),
            (0.9 * half, y + step / 2),
            (half, y + step - disc),
            (-half, y + step - disc),
            (-0.9 * half, y + step / 2),
        ]
        canvas.fill([(middle + x, at) for x, at in corners], 0.8)
        for at in (y + disc, y + step - disc):
            canvas.stroke([(middle - half, at), (middle + half, at)], 0.018, 0.95)
        for side in SIDES:
            canvas.dot((middle + 0.62 * half * side, y + 0.4 * step), 0.026, 0.9)
        canvas.stroke([(middle, y + 0.45 * step), (middle + rng.normal(0, 0.006), y + 0.85 * step)], 0.03, 0.95)
        y += float(step)


def draw_vessels(body: Body, frame: Frame) -> Field:
    """Hila and branching vessels, `(H, W)`, 0 to about 1; they are seen where the lungs hold air."""
    rng = np.random.default_rng([body.seed, 6])
    canvas = Canvas(frame)
    for side in SIDES:
        root = np.array([side * 0.2 + body.lean, 0.02 if side < 0 else -0.05])
        lines, widths = _grow_branches(rng, side, root)
        # Thin ones first, so that thick ones lie over them.
        order = np.argsort(widths)
        canvas.stroke_all(lines[order], widths[order].tolist(), np.minimum(0.95, 0.26 + 13 * widths[order]).tolist())
        _draw_hilum(canvas, rng, side, root)
    return gaussian_filter(canvas.finish(), max(0.45, 0.009 * frame.scale), truncate=3)


def _grow_branches(rng: np.random.Generator, side: int, root: Points) -> tuple[Points, Points]:
    """Bent lines `(N, 3, 2)` and their widths `(N,)`: trunks that leave the hilum and halve themselves four times."""
    trunks = 10
    angle = np.linspace(-1.3, 1.45, trunks) + rng.normal(0, 0.09, trunks)
    # Vessels of the lower lobes are the thick ones: blood sinks.
    width = rng.uniform(0.034, 0.052, trunks) * np.where(angle > 0.3, 1.25, 0.8)
    start = root + rng.normal(0, 0.03, (trunks, 2))
    lines, widths = [], []
    for depth in range(5):
        length = rng.uniform(0.07, 0.14, len(angle)) * (1.15 - 0.1 * depth)
        points = [start]
        for turn in (angle, angle + rng.normal(0, 0.28, len(angle))):
            points.append(points[-1] + length[:, None] * np.column_stack([side * np.cos(turn), np.sin(turn)]))
        lines.append(np.stack(points, axis=1))
        widths.append(width)
        forks = np.concatenate([rng.uniform(0.1, 0.55, len(angle)), -rng.uniform(0.1, 0.55, len(angle))])
        start, angle = np.tile(points[-1], (2, 1)), np.tile(angle, 2) + forks
        width = np.tile(width, 2) * rng.uniform(0.58, 0.8, len(angle))
    return np.concatenate(lines), np.concatenate(widths)


def _draw_hilum(canvas: Canvas, rng: np.random.Generator, side: int, root: Points) -> None:
    """The comma of the descending pulmonary artery, and some nodes and vessels seen end on."""
    bow = [(root[0] + side * x, root[1] + y) for x, y in ((-0.02, -0.14), (0.05, -0.06), (0.1, 0.06), (0.12, 0.24))]
    curve = bend(bow, 20)
    canvas.fill(widen(curve, np.linspace(0.13, 0.05, 20)), 0.62)
    for _ in range(5):
        canvas.dot(tuple(root + rng.normal(0, 1, 2) * (0.03, 0.08)), rng.uniform(0.025, 0.05), rng.uniform(0.55, 0.9))
