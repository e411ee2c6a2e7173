"""Content of the pages: findings of a run in the order and the words in which a reader is shown them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from scripts.errors import REASONS
from scripts.files import escape_cell
from scripts.outputs.operating_point import OperatingPoint
from scripts.outputs.study_pages.words import FlagWords, describe_flags
from scripts.predictions import ImageFindings, average_studies

#: Folders of the layers, below that of the study pages.
IMAGES, MASKS = "images", "masks"
_PLAIN_NAME = re.compile(r"(?!index$)[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class ImageContent:
    """An image: its size, its layers' files, the box that was seen, boxes with confidences, and flags in words."""

    image_id: str
    width: int
    height: int
    suspicion: float
    crop_box: tuple[float, ...]
    boxes: tuple[tuple[tuple[float, ...], float], ...]
    flags: tuple[FlagWords, ...]

    @property
    def image_file(self) -> str:
        return f"{IMAGES}/{self.image_id}.png"

    @property
    def mask_file(self) -> str:
        return f"{MASKS}/{self.image_id}.png"

    @property
    def seen_whole(self) -> bool:
        return tuple(map(round, self.crop_box)) == (0, 0, self.width, self.height)


@dataclass(frozen=True)
class RejectedContent:
    """An image that was not scored: ids, the reason's code, the reason in words, and what was found in it."""

    image_id: str
    study_id: str
    reason: str
    words: str
    detail: str


@dataclass(frozen=True)
class StudyContent:
    """A study.

    Args:
        study_id: of the datalist or the header's hash, never a patient's.
        classes: each class with its probability.
        suspicion: 1 - probability of negative.
        threshold: the operating point, None where there is none.
        call: positive or not at the operating point, in words; empty where there is none.
        images, rejected: those that were scored, and those that were not.
    """

    study_id: str
    classes: tuple[tuple[str, float], ...]
    suspicion: float
    threshold: float | None
    call: str
    images: tuple[ImageContent, ...]
    rejected: tuple[RejectedContent, ...]

    @property
    def name(self) -> str:
        """Name of its files: the id, or its hash where the id is no plain name."""
        plain = _PLAIN_NAME.fullmatch(self.study_id)
        return self.study_id if plain else hashlib.sha256(self.study_id.encode("utf-8", "replace")).hexdigest()[:16]

    @property
    def best_class(self) -> tuple[str, float]:
        return max(self.classes, key=lambda each: each[1])

    @property
    def best_box(self) -> float | None:
        return max((score for image in self.images for _, score in image.boxes), default=None)

    @property
    def flags(self) -> list[str]:
        """Titles of all flags of its images, each once."""
        return sorted({flag.title for image in self.images for flag in image.flags})


def gather_studies(
    images: Sequence[ImageFindings], rejected: Sequence[RejectedContent], folder: Path, point: OperatingPoint | None
) -> list[StudyContent]:
    """Gather the studies, the most suspicious first, and of equal ones by id.

    Args:
        images: all findings of the run.
        rejected: all images that were not scored.
        folder: with a mask of each image, in its own pixels.
        point: where a study is called positive, if it is called.
    """
    of_study: dict[str, list[ImageContent]] = {}
    for image in images:
        of_study.setdefault(image.study_id, []).append(_describe_image(image, folder))
    missed: dict[str, list[RejectedContent]] = {}
    for row in rejected:
        missed.setdefault(row.study_id, []).append(row)
    studies = [
        StudyContent(
            study_id,
            tuple(probabilities.items()),
            1 - probabilities["negative"],
            None if point is None else point.threshold,
            _describe_call(point, probabilities),
            tuple(of_study[study_id]),
            tuple(missed.get(str(escape_cell(study_id)), ())),  # as the table has it
        )
        for study_id, probabilities in average_studies(images).items()
    ]
    return sorted(studies, key=lambda study: (-study.suspicion, study.study_id))


def describe_rejected(rows: Sequence[Mapping[str, str]]) -> list[RejectedContent]:
    """Rows of rejected.csv with the reasons in words, and without the paths: these may say where somebody lies."""
    return [
        RejectedContent(
            row["image_id"], row["study_id"], row["reason"], REASONS.get(row["reason"], ""), row["detail"]
        )
        for row in rows
    ]  # fmt: skip


def _describe_image(image: ImageFindings, folder: Path) -> ImageContent:
    shown = image.keep_shown()
    with Image.open(folder / f"{image.image_id}.png") as mask:
        width, height = mask.size
    return ImageContent(
        image.image_id,
        width,
        height,
        1 - image.probabilities["negative"],
        image.crop_box,
        tuple(zip(shown.boxes, shown.scores, strict=True)),
        tuple(describe_flags(image.flags)),
    )


def _describe_call(point: OperatingPoint | None, probabilities: Mapping[str, float]) -> str:
    if point is None:
        return ""
    side = "positive: at or above" if point.is_positive(probabilities) else "negative: below"
    return f"{side} the operating point {point.threshold:.4g} ({point.option})"
