"""Opacities whose number, position and kind follow the study class, and the boxes that fit them.

The rules are those of the classes themselves (Litmanovich et al. 2020, doi:10.1097/RTI.0000000000000541): typical is
bilateral, peripheral, lower, rounded or ground glass; indeterminate is unilateral, or central and diffuse; atypical is
one lobe, an effusion, nodules or a cavity; negative has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scripts.boxes import Boxes, as_boxes
from scripts.synthetic.body import SIDES, Body, Field, Frame
from scripts.synthetic.tissue import Layers

# A finding ends, for its box, where it takes away less than this fraction of what its densest point does.
_EDGE = 0.3


@dataclass(frozen=True)
class Opacity:
    """One patch that replaces air.

    Args:
        kind: "ground_glass", "consolidation", "nodule", "cavity" or "effusion".
        side: -1 the patient's right, 1 the left.
        centre, radii: (x, y) in body units; an effusion reads only the centre's y, its level.
        density: fraction of the air that it takes away in its middle.
        box: patches with one number share a box.
        fissure: y at which a lobe ends, and on which side the patch lies of it (-1 above, 1 below); 0 for none.
    """

    kind: str
    side: int
    centre: tuple[float, float]
    radii: tuple[float, float]
    density: float
    box: int
    fissure: tuple[float, int] = (0.0, 0)


def plan_opacities(study_class: str, body: Body, rng: np.random.Generator) -> list[Opacity]:
    """The opacities of one study."""
    if study_class == "negative":
        return []
    if study_class == "typical":
        return [patch for box, side in enumerate(SIDES) for patch in _plan_peripheral(body, rng, side, box)]
    if study_class == "indeterminate":
        return _plan_unilateral(body, rng) if rng.random() < 0.55 else _plan_perihilar(body, rng)
    return [_plan_lobe, _plan_effusion, _plan_nodules, _plan_cavity][rng.integers(4)](body, rng)


def _plan_peripheral(body: Body, rng: np.random.Generator, side: int, box: int) -> list[Opacity]:
    """Typical, one side: rounded ground glass along the wall of the lower lung."""
    patches = []
    for down in rng.uniform(0.56, 0.86, rng.integers(2, 5)):
        centre = body.place(side, rng.uniform(0.66, 0.92), down)
        radii = rng.uniform(0.13, 0.22), rng.uniform(0.16, 0.3)
        patches.append(Opacity("ground_glass", side, centre, radii, rng.uniform(0.3, 0.55), box))
    return patches


def _plan_unilateral(body: Body, rng: np.random.Generator) -> list[Opacity]:
    """Indeterminate: a faint patch or two in one lung, neither at its wall nor in one lobe."""
    side = int(rng.choice(SIDES))
    down = rng.uniform(0.35, 0.75)
    patches = []
    for _ in range(rng.integers(1, 3)):
        centre = body.place(side, rng.uniform(0.35, 0.6), down + rng.uniform(-0.08, 0.08))
        patches.append(
            Opacity("ground_glass", side, centre, tuple(rng.uniform(0.17, 0.28, 2)), rng.uniform(0.35, 0.5), 0)
        )
    return patches


def _plan_perihilar(body: Body, rng: np.random.Generator) -> list[Opacity]:
    """Indeterminate: diffuse haze round both hila."""
    return [
        Opacity(
            kind="ground_glass",
            side=side,
            centre=body.place(side, rng.uniform(0.2, 0.34), rng.uniform(0.5, 0.6)),
            radii=(rng.uniform(0.2, 0.28), rng.uniform(0.32, 0.46)),
            density=rng.uniform(0.35, 0.5),
            box=box,
        )
        for box, side in enumerate(SIDES)
    ]


def _plan_lobe(body: Body, rng: np.random.Generator) -> list[Opacity]:
    """Atypical: one lobe, dense, with a straight edge at its fissure."""
    side, upper = int(rng.choice(SIDES)), bool(rng.random() < 0.6)
    down = rng.uniform(0.24, 0.32) if upper else rng.uniform(0.72, 0.8)
    centre = body.place(side, rng.uniform(0.45, 0.65), down)
    fissure = (centre[1] + 0.22, -1) if upper else (centre[1] - 0.2, 1)
    radii = rng.uniform(0.3, 0.4), rng.uniform(0.34, 0.44)
    return [Opacity("consolidation", side, centre, radii, rng.uniform(0.85, 0.97), 0, fissure)]


def _plan_effusion(body: Body, rng: np.random.Generator) -> list[Opacity]:
    """Atypical: fluid on one side, rising along the wall."""
    side = int(rng.choice(SIDES))
    level = body.domes[SIDES.index(side)] - rng.uniform(0.05, 0.45)
    return [Opacity("effusion", side, (0.0, level), (1.0, 1.0), rng.uniform(0.92, 0.98), 0)]


def _plan_nodules(body: Body, rng: np.random.Generator) -> list[Opacity]:
    """Atypical: some round, sharp nodules, a box for each."""
    patches = []
    for box in range(rng.integers(3, 7)):
        side = int(rng.choice(SIDES))
        centre = body.place(side, rng.uniform(0.4, 0.8), rng.uniform(0.25, 0.85))
        patches.append(
            Opacity(
                "nodule",
                side,
                centre,
                tuple(rng.uniform(0.06, 0.1) * rng.uniform(0.85, 1.15, 2)),
                rng.uniform(0.42, 0.65),
                box,
            )
        )
    return patches


def _plan_cavity(body: Body, rng: np.random.Generator) -> list[Opacity]:
    """Atypical: a ring with air in it, high in one lung."""
    side = int(rng.choice(SIDES))
    centre = body.place(side, rng.uniform(0.45, 0.65), rng.uniform(0.25, 0.4))
    return [
        Opacity(
            "cavity",
            side,
            centre,
            tuple(rng.uniform(0.15, 0.22) * rng.uniform(0.85, 1.2, 2)),
            rng.uniform(0.55, 0.7),
            0,
        )
    ]


def fill_lungs(
    opacities: Sequence[Opacity], body: Body, frame: Frame, step: int, layers: Layers, rng: np.random.Generator
) -> tuple[Field, Boxes]:
    """Compute the air that is left, `(h, w)` in [0, 1], and the opacity boxes `(N, 4)` in image pixels."""
    x, y = frame.body_grid(step)
    clear = np.ones_like(x)
    if not opacities:
        return clear, as_boxes([])
    cloud, grain = _draw_cloud(x, y, rng, 8.0), _draw_cloud(x, y, rng, 30.0)
    taken: dict[int, Field] = {}
    for patch in opacities:
        fraction = patch.density * _draw_shape(patch, body, x, y, cloud, grain)
        clear *= 1 - fraction
        visible = fraction * layers.air * (np.sign(x) == patch.side)
        taken[patch.box] = np.maximum(taken.get(patch.box, 0), visible)
    return clear, as_boxes([_bound(taken[box], step, frame) for box in sorted(taken)])


def _draw_shape(patch: Opacity, body: Body, x: Field, y: Field, cloud: Field, grain: Field) -> Field:
    """One patch, 0 to 1."""
    if patch.kind == "effusion":
        return _draw_fluid(patch, body, x, y, cloud)
    across, down = (x - patch.centre[0]) / patch.radii[0], (y - patch.centre[1]) / patch.radii[1]
    distance = np.hypot(across, down)
    if patch.kind == "nodule":
        return _fall(distance + 0.07 * cloud, 9)
    if patch.kind == "cavity":
        return _fall(distance + 0.12 * cloud, 8) * (1 - 0.8 * _fall(distance / 0.62 + 0.12 * cloud, 9))
    if patch.kind == "consolidation":
        edge = _fall(1 + patch.fissure[1] * (patch.fissure[0] + 0.02 * cloud - y), 60)
        return _fall(distance + 0.12 * cloud, 8) * edge * np.clip(0.95 + 0.1 * grain, 0, 1)
    return np.clip(_fall(distance + 0.2 * cloud, 4.5) * (0.9 + 0.09 * cloud + 0.1 * grain), 0, 1)


def _draw_fluid(patch: Opacity, body: Body, x: Field, y: Field, cloud: Field) -> Field:
    """Fluid below a meniscus that climbs the chest wall."""
    climb = 0.34 * np.clip(np.abs(x) / np.maximum(body.lateral_edge(y), 0.1), 0, 1.1) ** 5
    return _fall(1 + patch.centre[1] - climb + 0.015 * cloud - y, 26) * (np.sign(x) == patch.side)


def _fall(distance: Field, steepness: float) -> Field:
    """1 well inside 1, 0 well outside, half at 1."""
    fraction: Field = 1 / (1 + np.exp(np.clip(steepness * (distance - 1), -30, 30)))
    return fraction


def _draw_cloud(x: Field, y: Field, rng: np.random.Generator, frequency: float) -> Field:
    """Smooth noise of about unit spread that is fixed to the body, so that a second image of the study has the same."""
    total = np.zeros_like(x)
    for _ in range(5):
        rate, angle, phase = rng.uniform([0.6 * frequency, 0, 0], [1.5 * frequency, 2 * np.pi, 2 * np.pi])
        total += np.cos(float(rate * np.cos(angle)) * x + float(rate * np.sin(angle)) * y + float(phase))
    return total * float(np.sqrt(2 / 5))


def _bound(visible: Field, step: int, frame: Frame) -> NDArray[np.float64]:
    """The box `(4,)` round what is seen of a finding; all zeros where nothing is."""
    inside = visible > _EDGE * max(float(visible.max()), 0.05)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return np.zeros(4)
    box = step * np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=float)
    return np.minimum(box, [frame.width, frame.height, frame.width, frame.height])
