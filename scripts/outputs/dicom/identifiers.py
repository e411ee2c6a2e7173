"""Identifiers of derived objects: UIDs that a second run gives again, and the numbers of their series."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

#: Kinds of objects, with the number of their series: above what scanners count to, so that they stand last in a study.
SERIES_NUMBERS: dict[str, int] = {"report": 9101, "presentation": 9102, "segmentation": 9103, "capture": 9104}


@dataclass(frozen=True)
class Algorithm:
    """Name, version and weights of the algorithm that computed the findings.

    Args:
        version: of the bundle.
        weights_sha256: name of each network -> SHA-256 of its weights, as hex digits.
    """

    version: str
    weights_sha256: Mapping[str, str] = field(hash=False)

    @property
    def weights(self) -> tuple[str, ...]:
        """`name=hash` for each network, sorted."""
        return tuple(f"{name}={digest}" for name, digest in sorted(self.weights_sha256.items()))

    @property
    def build(self) -> str:
        """16 hex digits that stand for the version and all weights together."""
        return _hash((self.version, *self.weights)).hex()[:16]


def make_uid(kind: str, sources: Sequence[str], algorithm: Algorithm, settings: Sequence[object] = ()) -> str:
    """A UID that depends on its arguments and on nothing else: what is made again is the same object.

    `2.25.` and a number of 128 bits (PS3.5 B.2), taken from a SHA-256 and marked as a UUID of version 8 (RFC 9562), at
    most 44 characters.

    Args:
        kind: what the UID names.
        sources: SOP Instance UIDs of the images, or the Study Instance UID for a series; their order does not count.
        algorithm: version and weights.
        settings: what else changes the object's content.
    """
    digest = _hash((kind, *sorted(sources), algorithm.version, *algorithm.weights, *map(str, settings)))
    number = int.from_bytes(digest[:16], "big")
    number = number & ~(0xF << 76) | 0x8 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return f"2.25.{number}"


def make_series_uid(kind: str, study_uid: str, algorithm: Algorithm) -> str:
    """The series of all objects of a kind in a study."""
    return make_uid(f"{kind} series", [study_uid], algorithm)


def _hash(parts: Sequence[str]) -> bytes:
    return hashlib.sha256("\n".join(parts).encode()).digest()
