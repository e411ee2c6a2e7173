"""Operating point: from which probability on a study is called positive, in pages and DICOM results alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scripts.errors import InputError


@dataclass(frozen=True)
class OperatingPoint:
    """Threshold of a positive call: 1 - a study's probability of negative is at least the threshold.

    Args:
        threshold: 0 to 1.
        option: how it was chosen, in a few words.
    """

    threshold: float
    option: str = "given"

    @classmethod
    def of(cls, setting: Mapping[str, object] | OperatingPoint | None) -> OperatingPoint | None:
        """Build from a config's `{"threshold": ..., "option": ...}`.

        Raises:
            InputError: where it is anything else, or the threshold is not in 0 to 1.
        """
        if setting is None or isinstance(setting, OperatingPoint):
            return setting
        try:
            point = cls(float(str(setting["threshold"])), str(setting.get("option", cls.option)))
        except (TypeError, KeyError, ValueError, AttributeError):
            point = cls(-1.0)
        if not 0 <= point.threshold <= 1 or not point.option.isascii():
            expected = 'an operating point {"threshold": 0 to 1, "option": how it was chosen, in ASCII}'
            raise InputError(expected, repr(setting)[:80], "correct it, or set it to null")
        return point

    def is_positive(self, probabilities: Mapping[str, float]) -> bool:
        """Call a study of these probabilities positive or not."""
        return 1 - probabilities["negative"] >= self.threshold
