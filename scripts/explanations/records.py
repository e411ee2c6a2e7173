"""Record of one explained image, in image pixels, from which figures, tables and pictures are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scripts.boxes import Boxes
from scripts.explanations.corners import UNTOUCHED
from scripts.explanations.figures import Fraction

#: Class -> probability.
Response = Mapping[str, float]


@dataclass(frozen=True)
class ExplainedImage:
    """An image with its map.

    Args:
        image_id, study_id, patient: ids of the datalist.
        label: the study's class; empty where it is not known.
        explained: the class that the map speaks for.
        predictions: what the network reports of the image by what was done to its corners, "untouched" first.
        crop_box: what the network saw, `(4,)`.
        lungs, opacities, corners: boxes `(N, 4)`, at most one of lungs, four of corners.
        fractions: of the map, by region: "lungs", "opacities", "corners". NaN where a region has no box, or the map is
            empty; opacities are not asked of a map for "negative".
        points_at_opacity: 1 where the map's maximum lies in an opacity box, 0 where not, NaN as for fractions.
        corners_seen: fraction of the corners' area that the network sees.
        pixels: the image `(H, W)` in [0, 1].
        heat: the map `(H, W)`, at least 0.
    """

    image_id: str
    study_id: str
    patient: str
    label: str
    explained: str
    predictions: Mapping[str, Response]
    crop_box: NDArray[np.float64]
    lungs: Boxes
    opacities: Boxes
    corners: Boxes
    fractions: Mapping[str, Fraction]
    points_at_opacity: float
    corners_seen: float
    pixels: NDArray[np.float32] = field(repr=False)
    heat: NDArray[np.float32] = field(repr=False)

    @property
    def probabilities(self) -> Response:
        """Predicted probabilities of the unchanged image."""
        return self.predictions[UNTOUCHED]

    @property
    def is_empty(self) -> bool:
        """True where the map is zero everywhere."""
        return bool(np.isnan(self.fractions["corners"].energy))

    def drop_pictures(self) -> ExplainedImage:
        """All but pixels and map: many images are kept for the tables."""
        none = np.zeros((0, 0), dtype=np.float32)
        return replace(self, pixels=none, heat=none)

    def measure_change(self, change: str) -> CornerChange:
        """Measure the change of the prediction with the corners."""
        return measure_change(self.probabilities, self.predictions[change])


@dataclass(frozen=True)
class CornerChange:
    """Change of the prediction when the corners of an image are changed.

    Args:
        mean, largest: of the absolute changes of the probabilities.
        top: the most probable class afterwards.
        moved: whether it was another before.
    """

    mean: float
    largest: float
    top: str
    moved: bool


def measure_change(before: Response, after: Response) -> CornerChange:
    """Measure the distance between two predictions; both name the same classes."""
    differences = [abs(after[name] - before[name]) for name in before]
    top = find_top(after)
    return CornerChange(sum(differences) / len(differences), max(differences), top, top != find_top(before))


def find_top(prediction: Response) -> str:
    """The most probable class; of equal ones the first."""
    return max(prediction, key=prediction.__getitem__)
