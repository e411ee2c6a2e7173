"""A frontal chest film as one picture: thorax, lungs, bones, heart, and the opacities of a study class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scripts.boxes import Boxes, as_boxes


@dataclass(frozen=True)
class Drawing:
    """One drawn film.

    Args:
        pixels: `(H, W)` float32 in [0, 1]; dense is bright, as in MONOCHROME2.
        boxes: `(N, 4)` opacity boxes in film pixels.
        lung_box: `(4,)` one box round both lungs in film pixels.
    """

    pixels: NDArray[np.float32]
    boxes: Boxes
    lung_box: NDArray[np.float64]


def draw_chest(height: int, width: int, study_class: str, seeds: tuple[int, int, int]) -> Drawing:
    """One film; `seeds` are those of the patient, of the study's findings and of the exposure."""
    patient, finding, exposure = (np.random.default_rng(seed) for seed in seeds)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y, x = (y + 0.5) / height, (x + 0.5) / width
    shift = patient.uniform(-0.03, 0.03, 2)

    def blob(centre_y: float, centre_x: float, half_y: float, half_x: float, power: float = 2) -> NDArray[np.float32]:
        distance = np.abs((y - centre_y) / half_y) ** power + np.abs((x - centre_x) / half_x) ** power
        return np.clip(1.2 * (1.1 - distance), 0, 1)

    lungs = [(0.47 + shift[0], centre + shift[1], 0.32, 0.17) for centre in (0.29, 0.71)]
    picture = 0.15 + 0.6 * blob(0.6, 0.5, 0.6, 0.5, 4)
    for lung in lungs:
        picture -= 0.45 * blob(*lung, 2.5)
    picture += 0.25 * blob(0.62 + shift[0], 0.56 + shift[1], 0.17, 0.17)
    places = {
        "negative": [],
        "typical": [(0, 0.15, -0.07), (1, 0.15, 0.07)],
        "indeterminate": [(int(finding.integers(2)), 0.0, 0.0)],
        "atypical": [(int(finding.integers(2)), -0.18, 0.0)],
    }[study_class]
    boxes = []
    for side, down, out in places:
        centre_y, centre_x = lungs[side][0] + down, lungs[side][1] + out
        half_y, half_x = finding.uniform(0.06, 0.1), finding.uniform(0.05, 0.08)
        picture += 0.3 * blob(centre_y, centre_x, half_y, half_x)
        boxes.append([centre_x - half_x, centre_y - half_y, centre_x + half_x, centre_y + half_y])
    picture += exposure.normal(0, 0.02, picture.shape) + exposure.uniform(-0.03, 0.03)
    frame = np.array([width, height, width, height])
    lung_box = [lungs[0][1] - 0.18, lungs[0][0] - 0.33, lungs[1][1] + 0.18, lungs[1][0] + 0.33]
    return Drawing(np.clip(picture, 0, 1).astype(np.float32), as_boxes(boxes) * frame, np.array(lung_box) * frame)
