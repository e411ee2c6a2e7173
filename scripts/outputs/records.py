"""One film's findings with its ids: what every output is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FilmFindings:
    """What was found on a film.

    Args:
        image_id, study_id: ids of the datalist, never a patient's.
        probabilities: class -> probability of this film alone.
        boxes: `[xmin, ymin, xmax, ymax]` in film pixels, best first.
        scores: a confidence for each box.
        none: confidence that the film shows no opacity.
        crop_box: what the network saw, film pixels.
        flags: what a reader should know, such as "whole_film".
    """

    image_id: str
    study_id: str
    probabilities: Mapping[str, float]
    boxes: tuple[tuple[float, ...], ...]
    scores: tuple[float, ...]
    none: float
    crop_box: tuple[float, ...]
    flags: tuple[str, ...] = ()

    @classmethod
    def from_result(cls, image_id: str, study_id: str, result: Mapping[str, Any]) -> FilmFindings:
        """From the `result` that `scripts.findings.LogitsToFindingsd` leaves."""
        return cls(
            image_id=image_id,
            study_id=study_id,
            probabilities={name: float(value) for name, value in result["probabilities"].items()},
            boxes=tuple(tuple(float(edge) for edge in box) for box in result["boxes"]),
            scores=tuple(float(score) for score in result["scores"]),
            none=float(result["none"]),
            crop_box=tuple(float(edge) for edge in result["crop_box"]),
            flags=tuple(result["flags"]),
        )
