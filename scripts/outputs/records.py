"""Findings of one image with its ids, from which every output is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

#: What every output that a person may take for a report says.
RESEARCH_USE = "Research use only. Not a medical device."

#: A person is shown the boxes from this score on: on fold 0 they find 53 % of the opacities, 1.1 wrong ones an image.
#: Tables, JSON and submission keep all: an average precision counts the faint ones too.
MIN_SHOWN_SCORE = 0.5


@dataclass(frozen=True)
class ImageFindings:
    """Findings of one image.

    Args:
        image_id, study_id: ids of the datalist, never a patient's.
        probabilities: class -> probability of this image alone.
        boxes: `[xmin, ymin, xmax, ymax]` in image pixels, best first.
        scores: a confidence for each box.
        none: confidence that the image shows no opacity, by this image alone.
        crop_box: what the network saw, image pixels.
        flags: what a reader should know, such as "whole_image".
        none_weight: weight of the probability of negative in `none`; the rest is 1 - the best score.
    """

    image_id: str
    study_id: str
    probabilities: Mapping[str, float]
    boxes: tuple[tuple[float, ...], ...]
    scores: tuple[float, ...]
    none: float
    crop_box: tuple[float, ...]
    flags: tuple[str, ...] = ()
    none_weight: float = 1.0

    def keep_shown(self) -> ImageFindings:
        """The findings as a person is shown them: without the boxes that are less sure than `MIN_SHOWN_SCORE`."""
        kept = [index for index, score in enumerate(self.scores) if score >= MIN_SHOWN_SCORE]
        boxes = tuple(self.boxes[index] for index in kept)
        return replace(self, boxes=boxes, scores=tuple(self.scores[index] for index in kept))

    @classmethod
    def from_result(cls, image_id: str, study_id: str, result: Mapping[str, Any]) -> ImageFindings:
        """Build from the `result` that `scripts.findings.LogitsToFindingsd` leaves."""
        return cls(
            image_id=image_id,
            study_id=study_id,
            probabilities={name: float(value) for name, value in result["probabilities"].items()},
            boxes=tuple(tuple(float(edge) for edge in box) for box in result["boxes"]),
            scores=tuple(float(score) for score in result["scores"]),
            none=float(result["none"]),
            crop_box=tuple(float(edge) for edge in result["crop_box"]),
            flags=tuple(result["flags"]),
            none_weight=float(result.get("none_weight", 1.0)),
        )
