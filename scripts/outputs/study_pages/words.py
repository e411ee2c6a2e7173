"""Flags of an image in plain words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from scripts.inferers import LUNG_FLAGS
from scripts.predictions import RELATIONS
from scripts.radiographs import FLAGS

#: The networks saw all of an image, and the flags that say why.
WHOLE_IMAGE = "whole_image"
WHY_WHOLE = {"no_lungs": "no lungs found", "unsure_lungs": "lungs unsure"}
_SEEN_WHOLE = "the networks saw the whole image, and not the lungs alone: expect less of them"


@dataclass(frozen=True)
class FlagWords:
    """A flag for a reader: a few words, and a sentence without its stop."""

    title: str
    sentence: str


def describe_flags(flags: Iterable[str]) -> list[FlagWords]:
    """Describe flags of an image, sorted; the whole image and the reason for it are one remark."""
    left = sorted(set(flags))
    described: list[FlagWords] = []
    if WHOLE_IMAGE in left:
        causes = [words for flag, words in WHY_WHOLE.items() if flag in left]
        left = [flag for flag in left if flag != WHOLE_IMAGE and flag not in WHY_WHOLE]
        described.append(FlagWords(": ".join(["seen whole", *causes]), _SEEN_WHOLE))
    known = {**FLAGS, **LUNG_FLAGS, **RELATIONS}
    return described + [FlagWords(flag.replace("_", " "), known.get(flag, flag.replace("_", " "))) for flag in left]
