"""A synthetic frontal chest radiograph: body, findings and exposure brought together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scripts.boxes import Boxes, clip_boxes, compute_areas
from scripts.synthetic.body import SIDES, Body, Field, Frame, draw_body, draw_frame
from scripts.synthetic.bones import draw_skeleton, draw_vessels
from scripts.synthetic.canvas import enlarge
from scripts.synthetic.devices import draw_devices
from scripts.synthetic.exposure import TONES, burn_letters, collimate, develop
from scripts.synthetic.findings import fill_lungs, plan_opacities
from scripts.synthetic.tissue import AIR, draw_layers


@dataclass(frozen=True)
class Look:
    """Attributes that an image's header holds and its pixels show.

    Args:
        sex: "F", "M" or "" (drawn as "M").
        view: "PA", or "AP" for a portable image: arms down, less contrast, devices.
        tone: index into `TONES`, the maker's post-processing.
        aspect: height of a pixel by its width.
    """

    sex: str = ""
    view: str = "PA"
    tone: int = 0
    aspect: float = 1.0


@dataclass(frozen=True)
class SyntheticImage:
    """One synthetic image.

    Args:
        pixels: `(H, W)` float32 in [0, 1]; dense is bright, as in MONOCHROME2.
        boxes: `(N, 4)` opacity boxes in image pixels.
        lung_box: `(4,)` one box round both lungs in image pixels.
    """

    pixels: NDArray[np.float32]
    boxes: Boxes
    lung_box: NDArray[np.float64]


def draw_chest(
    height: int, width: int, study_class: str, seeds: tuple[int, int, int], look: Look | None = None
) -> SyntheticImage:
    """One image of `height` x `width` pixels.

    Args:
        study_class: one of `STUDY_CLASSES`; it decides the opacities.
        seeds: of the patient's body, of the study's findings and of the exposure: images of one patient share the
            first, images of one study the first two.
        look: what the image's header reports too.
    """
    look = look or Look()
    portable, exposure = look.view == "AP", np.random.default_rng(seeds[2])
    # How deep a breath was taken belongs to the study, so that its images agree.
    breath = float(np.random.default_rng([seeds[1], 3]).uniform(0.03, 0.28 if portable else 0.1))
    body = draw_body(np.random.default_rng(seeds[0]), look.sex, breath)
    frame = draw_frame(exposure, height, width, look.aspect, 2.2 if portable else 1.2)
    lung_box = _bound_lungs(body, frame)
    absorption, boxes = _draw_absorption(body, frame, study_class, seeds[1], portable)
    greys = develop(absorption, TONES[look.tone], frame, portable, exposure)
    greys = burn_letters(collimate(greys, lung_box, exposure), look.view, exposure)
    boxes = np.clip(boxes, np.tile(lung_box[:2], 2), np.tile(lung_box[2:], 2))
    return SyntheticImage(greys.astype(np.float32), boxes[compute_areas(boxes) > 0], lung_box)


def _draw_absorption(body: Body, frame: Frame, study_class: str, seed: int, portable: bool) -> tuple[Field, Boxes]:
    """Everything in the beam added up, `(H, W)`, and the opacity boxes."""
    # Soft tissue has no edge that a half or quarter of the resolution would lose.
    step = 1 if max(frame.height, frame.width) < 256 else max(2, round(frame.scale / 100))
    layers = draw_layers(body, frame, step, portable)
    opacities = plan_opacities(study_class, body, np.random.default_rng([seed, 0]))
    clear, boxes = fill_lungs(opacities, body, frame, step, layers, np.random.default_rng([seed, 1]))
    air = layers.air * clear
    # Vessels are silhouetted by air: where the air is gone they are not seen.
    seen = enlarge(0.15 * np.clip(1.6 * air, 0, 1), frame, step)
    total = enlarge(layers.tissue - AIR * air, frame, step) + seen * draw_vessels(body, frame)
    total += draw_skeleton(body, frame, portable) * enlarge(1 - 0.55 * layers.belly, frame, step)
    if portable:
        total += draw_devices(body, frame, np.random.default_rng([seed, 2]))
    return total, boxes


def _bound_lungs(body: Body, frame: Frame) -> NDArray[np.float64]:
    points = frame.to_image(np.concatenate([body.outline(side) for side in SIDES]))
    box = np.concatenate([points.min(axis=0), points.max(axis=0)])
    return clip_boxes([box], frame.height, frame.width)[0]
