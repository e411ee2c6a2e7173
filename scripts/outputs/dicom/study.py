"""Findings of a whole study, beside those of one image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StudyFindings:
    """Findings of a study.

    Args:
        probabilities: study class -> mean of its images.
        paths: the images that the mean is over.
        num_rejected: images of the study that were not scored.
    """

    probabilities: Mapping[str, float]
    paths: tuple[str | Path, ...] = ()
    num_rejected: int = 0
