"""Typed reading of the few elements that the reader needs; everything else in a header is never read."""

from __future__ import annotations

import functools
import math
import struct
from dataclasses import dataclass

from pydicom.datadict import dictionary_VR, tag_for_keyword
from scripts.radiographs.rejection import Rejection
from scripts.radiographs.structure import ITEM, Coding, Element, ImageBytes, read_header, walk_elements

#: How `struct` spells the numeric value representations.
_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}


@dataclass(frozen=True)
class Header:
    """Elements of a data set or of a sequence's item, read by DICOM keyword."""

    data: bytes
    coding: Coding
    elements: dict[int, Element]

    @classmethod
    def of_image(cls, image: ImageBytes) -> Header:
        """The top level of an image's data set."""
        return cls(image.data, image.coding, image.elements)

    def value(self, keyword: str) -> bytes:
        """The value as it is stored; b"" where the element is absent."""
        element = self.elements.get(_find_tag(keyword))
        return self.data[element.start : element.stop] if element and element.stop >= 0 else b""

    def words(self, keyword: str) -> list[str]:
        """The values of a text element, stripped, in capitals; [] where it is absent or empty."""
        text = self.value(keyword).decode("latin-1").strip(" \0")
        return [word.strip().upper() for word in text.split("\\")] if text else []

    def word(self, keyword: str) -> str:
        """The first of `words`, or ""."""
        return (self.words(keyword) or [""])[0]

    def numbers(self, keyword: str) -> list[float]:
        """The values of a numeric element; [] where it is absent or holds anything else than finite numbers."""
        code = _BINARY.get(self._find_vr(keyword))
        try:
            numbers = self._unpack(self.value(keyword), code) if code else [float(word) for word in self.words(keyword)]
        except (ValueError, struct.error):
            return []
        return numbers if all(math.isfinite(number) for number in numbers) else []

    def integer(self, keyword: str) -> int | None:
        """The first of `numbers`, where it is whole."""
        numbers = self.numbers(keyword)
        return int(numbers[0]) if numbers and numbers[0].is_integer() else None

    def first_item(self, keyword: str) -> Header | None:
        """The first item of a sequence.

        Raises:
            Rejection: where the item is malformed.
        """
        sequence = self.elements.get(_find_tag(keyword))
        if sequence is None or sequence.stop <= sequence.start:
            return None
        coding = sequence.choose_coding(self.coding)
        item = read_header(self.data, sequence.start, sequence.stop, coding)
        if item.tag != ITEM:
            raise Rejection("malformed", "a sequence holds something else than items")
        stop = item.stop if item.stop >= 0 else sequence.stop
        return Header(self.data, coding, walk_elements(self.data, coding, item.start, stop)[0])

    def _unpack(self, value: bytes, code: str) -> list[float]:
        return [float(number) for (number,) in struct.iter_unpack(f"{self.coding.order}{code}", value)]

    def _find_vr(self, keyword: str) -> str:
        element = self.elements.get(_find_tag(keyword))
        vr = element.vr.decode("latin-1") if element else ""
        # "US or SS" is read as US: what is signed is decided where the value is used.
        return vr if vr and vr != "UN" else dictionary_VR(keyword)[:2]


@functools.cache
def _find_tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(f"{keyword} is not a DICOM keyword")
    return tag
