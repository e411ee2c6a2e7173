"""First checks, on bytes: size, preamble, inflation, nesting, and that every element ends inside the file.

The data set is walked in a loop, never by recursion, and nothing of it is interpreted here but lengths. pydicom's own
parser is not used on files from outside: it recurses into every sequence, inflates without bound, and quotes values in
its warnings. PS3.10 7.1 (file), PS3.5 7.1 (elements), 7.5 (sequences), A.4 (encapsulated pixel data).
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass, replace
from functools import cached_property

from scripts.radiographs.rejection import Rejection

#: 8192 x 8192 pixels of 16 bits, and half as much again for everything else.
MAX_BYTES = 192 * 2**20
#: An image has some hundred elements, and sequences in sequences about four levels deep; every level counts twice.
MAX_ELEMENTS = 20_000
MAX_OPEN = 32
#: Zeros behind what is declared that are taken for padding (PS3.5 8.1.1): archives align values to up to 16 bytes.
MAX_PADDING = 16

PIXEL_DATA = 0x7FE00010
ITEM = 0xFFFEE000
_ITEM_END, _SEQUENCE_END = 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_DIGITAL_SIGNATURES, _TRAILING_PADDING = 0xFFFAFFFA, 0xFFFCFFFC
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
#: Implicit VR Little Endian, Explicit VR Little Endian, Deflated Explicit VR Little Endian, Explicit VR Big Endian.
NATIVE_SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
_IMPLICIT, _, _DEFLATED, _BIG_ENDIAN = NATIVE_SYNTAXES
#: Compressed pixel data in Explicit VR Little Endian (PS3.5 A.4), but for the two that deflate the data set as well.
_ENCAPSULATED = re.compile(r"1\.2\.840\.10008\.1\.2\.(5|4\.(?!95$|205$)\d+)")
#: How archives and compressed files begin.
_ARCHIVES = {
    b"\x1f\x8b": "gzip",
    b"PK\3\4": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar",
    b"\x28\xb5\x2f\xfd": "zstd",
}


@dataclass(frozen=True)
class Coding:
    """Encoding of elements: without VR or with, least significant byte first or last."""

    implicit: bool
    little: bool

    @property
    def order(self) -> str:
        """The byte order as `struct` and numpy spell it."""
        return "<" if self.little else ">"


@dataclass(frozen=True)
class Element:
    """One element: its tag, its VR (b"" in implicit VR) and where its value stands; `stop` is -1 before a delimiter."""

    tag: int
    vr: bytes
    start: int
    stop: int

    def choose_coding(self, around: Coding) -> Coding:
        """Choose the encoding of elements inside it: UN hides Implicit VR Little Endian (PS3.5 6.2.2 note 2)."""
        return Coding(implicit=True, little=True) if self.vr == b"UN" else around


@dataclass(frozen=True)
class ImageBytes:
    """A data set whose structure is sound.

    Args:
        data: the data set, inflated, without preamble and file meta information.
        coding: how its elements are written.
        transfer_syntax: UID.
        media_sop_class: SOP class UID of the file meta information; "" where it says none.
        elements: the top-level elements before the pixel data, by tag.
        pixels: the pixel data element; `None` where the object has none.
        fragments: start and stop of each fragment of encapsulated pixel data; empty for native pixel data.
    """

    data: bytes
    coding: Coding
    transfer_syntax: str
    media_sop_class: str
    elements: dict[int, Element]
    pixels: Element | None
    fragments: tuple[tuple[int, int], ...]

    @property
    def is_native(self) -> bool:
        """True where the transfer syntax leaves pixel data uncompressed."""
        return self.transfer_syntax in NATIVE_SYNTAXES

    @cached_property
    def codestream(self) -> bytes:
        """The compressed picture, its fragments joined."""
        return b"".join(self.data[start:stop] for start, stop in self.fragments)


def open_image_bytes(file: bytes) -> ImageBytes:
    """The sound structure of a DICOM file.

    Raises:
        Rejection: not_dicom, too_large, truncated, malformed, or unsupported_syntax where the elements themselves are
            encoded in another way than any that is read.
    """
    check_size(len(file))
    if len(file) < 132 or file[128:132] != b"DICM":
        raise Rejection("not_dicom", _describe_other_file(file))
    syntax, media_sop_class, start = _read_file_meta(file)
    data = _inflate(file[start:]) if syntax == _DEFLATED else file[start:]
    coding = Coding(implicit=syntax == _IMPLICIT, little=syntax != _BIG_ENDIAN)
    try:
        elements, pixels = walk_elements(data, coding)
    except Rejection:
        if syntax in NATIVE_SYNTAXES or _ENCAPSULATED.fullmatch(syntax):
            raise
        raise Rejection(
            "unsupported_syntax", f"transfer syntax {syntax}, whose elements are encoded otherwise"
        ) from None
    fragments: tuple[tuple[int, int], ...] = ()
    if pixels is not None:
        end = pixels.stop
        if end < 0:
            fragments, end = _walk_fragments(data, pixels.start, coding)
        _check_rest(data, end, coding)
    return ImageBytes(data, coding, syntax, media_sop_class, elements, pixels, fragments)


def check_size(size: int) -> None:
    """Reject what is larger than any image."""
    if size > MAX_BYTES:
        raise Rejection("too_large", f"{size} bytes, at most {MAX_BYTES} are read")


def _describe_other_file(file: bytes) -> str:
    found = next((name for start, name in _ARCHIVES.items() if file.startswith(start)), None)
    if found is None and file[257:262] == b"ustar":
        found = "tar"
    return f"a {found} archive: unpack it" if found else "no DICM after a preamble of 128 bytes"


def is_padding(value: bytes) -> bool:
    """Check that bytes beyond what is declared are padding: at most `MAX_PADDING` zeros."""
    return len(value) <= MAX_PADDING and not any(value)


def walk_elements(
    data: bytes, coding: Coding, start: int = 0, stop: int | None = None
) -> tuple[dict[int, Element], Element | None]:
    """The elements of a data set, or of an item from `start`, by tag, and its pixel data, where the walk ends.

    Raises:
        Rejection: truncated or malformed.
    """
    walk = _Walk(data, coding, len(data) if stop is None else stop, start)
    while walk.step():
        pass
    return walk.found, walk.pixels


class _Walk:
    """A walk through nested elements with a list of what is open instead of recursion."""

    def __init__(self, data: bytes, coding: Coding, stop: int, position: int) -> None:
        self.data, self.coding, self.stop, self.position = data, coding, stop, position
        self.found: dict[int, Element] = {}
        self.pixels: Element | None = None
        self.open_levels: list[tuple[Element, Coding]] = []
        self.count = 0

    def step(self) -> bool:
        """Read one element; whether there is more."""
        self._close_finished()
        if self.position >= self.stop and not self.open_levels:
            return False
        self.count += 1
        if self.count > MAX_ELEMENTS or len(self.open_levels) > MAX_OPEN:
            raise Rejection("malformed", f"over {MAX_ELEMENTS} elements or {MAX_OPEN // 2} levels of sequences")
        coding = self.open_levels[-1][1] if self.open_levels else self.coding
        element = read_header(self.data, self.position, self.stop, coding)
        if element.tag in (_ITEM_END, _SEQUENCE_END):
            return self._close_delimited(element)
        if not self.open_levels:
            if element.tag == PIXEL_DATA:
                self.pixels = element
                return False
            self._keep_once(element)
        self._enter_or_skip(element, coding)
        return True

    def _close_finished(self) -> None:
        while self.open_levels and 0 <= self.open_levels[-1][0].stop <= self.position:
            if self.position > self.open_levels.pop()[0].stop:
                raise Rejection("malformed", "an element is longer than the sequence around it")

    def _close_delimited(self, delimiter: Element) -> bool:
        if not self.open_levels:
            if delimiter.tag == _ITEM_END:  # of the item that this walk started in
                return False
            raise Rejection("malformed", "a delimiter without the sequence that it ends")
        element = self.open_levels.pop()[0]
        if element.stop >= 0:
            raise Rejection("malformed", "a delimiter without the sequence that it ends")
        if not self.open_levels:
            self.found[element.tag] = replace(element, stop=self.position)
        self.position = delimiter.start
        return True

    def _keep_once(self, element: Element) -> None:
        if element.tag in self.found:
            raise Rejection("malformed", "an element stands twice in the data set")
        self.found[element.tag] = element

    def _enter_or_skip(self, element: Element, coding: Coding) -> None:
        """Go on inside a sequence or item, behind anything else."""
        if element.stop < 0 and (element.vr in (b"OB", b"OW") or element.tag == PIXEL_DATA):
            self.position = _walk_fragments(self.data, element.start, coding)[1]  # an icon's pixel data
        elif element.tag == ITEM or element.stop < 0 or element.vr == b"SQ":
            self.open_levels.append((element, element.choose_coding(coding)))
            self.position = element.start
        else:
            self.position = element.stop


def read_header(data: bytes, position: int, stop: int, coding: Coding) -> Element:
    """The element at `position`, which ends by `stop`.

    Raises:
        Rejection: truncated or malformed.
    """
    try:
        group, number = struct.unpack_from(f"{coding.order}HH", data, position)
        tag, vr = group << 16 | number, b""
        if coding.implicit or group == 0xFFFE:
            length, start = struct.unpack_from(f"{coding.order}I", data, position + 4)[0], position + 8
        else:
            vr = data[position + 4 : position + 6]
            length, start = _read_explicit_length(data, position, vr, coding.order)
    except struct.error:
        raise Rejection("truncated", "the file ends inside an element's header") from None
    if length == _UNDEFINED:
        return Element(tag, vr, start, -1)
    if start + length > stop:
        raise Rejection("truncated", f"element ({tag >> 16:04x},{tag & 0xFFFF:04x}) is longer than what is left")
    return Element(tag, vr, start, start + length)


def _read_explicit_length(data: bytes, position: int, vr: bytes, order: str) -> tuple[int, int]:
    if vr in _SHORT_VRS:
        return struct.unpack_from(f"{order}H", data, position + 6)[0], position + 8
    if vr in _LONG_VRS:
        return struct.unpack_from(f"{order}I", data, position + 8)[0], position + 12
    if len(vr) < 2:
        raise Rejection("truncated", "the file ends inside an element's header")
    raise Rejection("malformed", "an element has no value representation of DICOM")


def _walk_fragments(data: bytes, position: int, coding: Coding) -> tuple[tuple[tuple[int, int], ...], int]:
    """Start and stop of each fragment but the offset table, and where the element ends."""
    fragments: list[tuple[int, int]] = []
    for _ in range(MAX_ELEMENTS):
        item = read_header(data, position, len(data), coding)
        if item.tag == _SEQUENCE_END:
            return tuple(fragments[1:]), item.start
        if item.tag != ITEM or item.stop < 0:
            raise Rejection("malformed", "encapsulated pixel data holds something else than fragments")
        fragments.append((item.start, item.stop))
        position = item.stop
    raise Rejection("malformed", f"over {MAX_ELEMENTS} fragments")


def _check_rest(data: bytes, position: int, coding: Coding) -> None:
    """Reject what stands behind the pixel data, but digital signatures, trailing padding and private elements.

    Where bytes were inserted into pixel data, or its length says less than there is, its last bytes stand here.
    """
    if position == len(data):
        return
    tag = _read_tag(data, position, coding)
    if _may_follow_pixels(tag):
        elements, pixels = walk_elements(data, coding, position)
        if pixels is None and all(map(_may_follow_pixels, elements)):
            return
    raise Rejection("malformed", "behind the pixel data stands something else than padding or digital signatures")


def _read_tag(data: bytes, position: int, coding: Coding) -> int:
    """Read a tag; 0, which stands for no element of a data set, where there are fewer than four bytes."""
    if position + 4 > len(data):
        return 0
    group, number = struct.unpack_from(f"{coding.order}HH", data, position)
    return group << 16 | number


def _may_follow_pixels(tag: int) -> bool:
    """Elements stand in the order of their tags (PS3.5 7.1), private ones in odd groups (PS3.5 7.8)."""
    group = tag >> 16
    return tag in (_DIGITAL_SIGNATURES, _TRAILING_PADDING) or (PIXEL_DATA >> 16 < group < 0xFFFC and group % 2 == 1)


def _read_file_meta(file: bytes) -> tuple[str, str, int]:
    """UIDs of transfer syntax and SOP class, and where the data set starts (PS3.10 7.1: Explicit VR Little Endian)."""
    coding, position, uids = Coding(implicit=False, little=True), 132, {0x00020010: "", 0x00020002: ""}
    while file[position : position + 2] == b"\x02\x00":
        element = read_header(file, position, len(file), coding)
        if element.stop < 0:
            raise Rejection("malformed", "the file meta information holds a sequence")
        uid = file[element.start : element.stop].rstrip(b"\0 ")
        if element.tag in uids and re.fullmatch(rb"[0-9.]{1,64}", uid):
            uids[element.tag] = uid.decode()
        position = element.stop
    syntax, media_sop_class = uids.values()
    if not syntax:
        raise Rejection("malformed", "the file meta information names no transfer syntax")
    return syntax, media_sop_class, position


def _inflate(deflated: bytes) -> bytes:
    """The data set of the deflated transfer syntax (PS3.5 A.5), at most `MAX_BYTES` of it, and nothing behind it."""
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(deflated, MAX_BYTES + 1)
    except zlib.error:
        raise Rejection("malformed", "the deflated data set does not inflate") from None
    check_size(len(data))
    if not inflater.eof:
        raise Rejection("truncated", "the deflated data set ends too early")
    if not is_padding(inflater.unused_data):
        raise Rejection("malformed", "behind the deflated data set stands something else than padding")
    return data
