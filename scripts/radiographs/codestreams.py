"""Compressed pixel data: supported transfer syntaxes, their decoders, and checks of a codestream before decoding."""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from importlib.util import find_spec

from pydicom.uid import UID
from scripts.radiographs.rejection import Rejection
from scripts.radiographs.structure import NATIVE_SYNTAXES

_JPEG_BASELINE, _JPEG_EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
RLE = "1.2.840.10008.1.2.5"
#: pydicom's plugins by transfer syntax, and what must be importable for each. One plugin a syntax, so that an image has
#: the same pixels wherever it is read: pydicom would go on to another decoder in silence.
PLUGINS: dict[str, tuple[str, str]] = {
    _JPEG_BASELINE: ("pillow", "PIL"),
    _JPEG_EXTENDED: ("pillow", "PIL"),
    "1.2.840.10008.1.2.4.57": ("gdcm", "gdcm"),  # JPEG Lossless, process 14
    "1.2.840.10008.1.2.4.70": ("gdcm", "gdcm"),  # JPEG Lossless, process 14, selection value 1
    "1.2.840.10008.1.2.4.80": ("pyjpegls", "jpeg_ls"),  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81": ("pyjpegls", "jpeg_ls"),  # JPEG-LS near lossless
    "1.2.840.10008.1.2.4.90": ("pylibjpeg", "openjpeg"),  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91": ("pylibjpeg", "openjpeg"),  # JPEG 2000
    "1.2.840.10008.1.2.4.201": ("pylibjpeg", "openjpeg"),  # High-Throughput JPEG 2000 lossless
    "1.2.840.10008.1.2.4.202": ("pylibjpeg", "openjpeg"),  # High-Throughput JPEG 2000 lossless, RPCL
    "1.2.840.10008.1.2.4.203": ("pylibjpeg", "openjpeg"),  # High-Throughput JPEG 2000
    RLE: ("pydicom", "pydicom"),
}
_JPEG_2000 = tuple(syntax for syntax, plugin in PLUGINS.items() if plugin[0] == "pylibjpeg")
LOSSY = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 81, 91, 203))
#: Start of frame: 0xC0 to 0xCF without DHT, JPG and DAC (ITU-T T.81 B.1.1.3), and 0xF7 of JPEG-LS (ITU-T T.87 C.1.1).
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
#: End of image of JPEG and JPEG-LS (ITU-T T.81 B.1.1.3), end of codestream of JPEG 2000 (ITU-T T.800 A.4.4).
_END_MARKER = b"\xff\xd9"
_RLE_HEADER = struct.Struct("<16I")
MIN_BITS, MAX_BITS = 8, 16


@dataclass(frozen=True)
class Frame:
    """The picture as its codestream describes it, which decides where the header says otherwise (PS3.5 8.2).

    Args:
        rows, columns: its size.
        samples: of a pixel.
        bits: of a sample.
        signed: whether samples are; `None` where the codestream does not say: JPEG and JPEG-LS.
    """

    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool | None = None


def is_supported(transfer_syntax: str) -> bool:
    """Check that this program reads the syntax, and that its decoder is installed."""
    return transfer_syntax in NATIVE_SYNTAXES or (
        transfer_syntax in PLUGINS and _is_installed(PLUGINS[transfer_syntax][1])
    )


def list_undecodable() -> list[str]:
    """Names of the compressed transfer syntaxes that this program reads, but whose decoder is not installed."""
    return [UID(syntax).name for syntax in PLUGINS if not is_supported(syntax)]


def check_codestream(transfer_syntax: str, codestream: bytes, rows: int, columns: int, bits_allocated: int) -> None:
    """Reject a codestream that would inflate to something else than the header declares, or that was cut.

    Decoders of a cut codestream fill up the picture in silence, or take seconds to give up (JPEG-LS), so that the end
    is looked for before one runs.

    Raises:
        Rejection: bad_geometry, too_large, truncated, decode_error, or unsupported_syntax for 12-bit JPEG Extended.
    """
    if transfer_syntax == RLE:
        _check_rle(codestream, rows * columns, bits_allocated // 8)
        return
    frame = measure_frame(transfer_syntax, codestream)
    if (frame.rows, frame.columns, frame.samples) != (rows, columns, 1):
        found = f"{frame.rows} x {frame.columns} with {frame.samples} samples"
        raise Rejection("bad_geometry", f"the compressed picture has {found}, the header {rows} x {columns} with 1")
    if transfer_syntax in (_JPEG_BASELINE, _JPEG_EXTENDED) and frame.bits != 8:
        raise Rejection("unsupported_syntax", f"no decoder reads {frame.bits}-bit JPEG Extended")
    if not MIN_BITS <= frame.bits <= MAX_BITS:
        raise Rejection(
            "bad_geometry", f"the compressed picture has {frame.bits} bits, {MIN_BITS} to {MAX_BITS} are read"
        )
    # Fragments are padded with zeros to an even length (PS3.5 A.4).
    if not codestream.rstrip(b"\0").endswith(_END_MARKER):
        raise Rejection("truncated", "the compressed picture ends without its end marker")


def measure_frame(transfer_syntax: str, codestream: bytes) -> Frame:
    """The picture as a codestream of JPEG, JPEG-LS or JPEG 2000 describes it.

    Raises:
        Rejection: decode_error.
    """
    try:
        return (_measure_jpeg_2000 if transfer_syntax in _JPEG_2000 else _measure_jpeg)(codestream)
    except (struct.error, IndexError, ZeroDivisionError):
        raise Rejection("decode_error", "the compressed picture ends inside its header") from None


def _check_rle(codestream: bytes, pixels: int, segments: int) -> None:
    """Check the header of RLE and that every segment holds one byte of each pixel, and no more (PS3.5 G.3 to G.5)."""
    # A run of 128 bytes is 2 bytes of RLE, so what is longer than the picture holds more than the picture.
    if len(codestream) > _RLE_HEADER.size + 4 * pixels:
        raise Rejection("too_large", "the RLE data is longer than twice the picture")
    if len(codestream) < _RLE_HEADER.size:
        raise Rejection("decode_error", "the compressed picture ends inside its header")
    count, *offsets = _RLE_HEADER.unpack_from(codestream)
    bounds = [*offsets[:segments], len(codestream)]
    if count != segments or any(offsets[segments:]) or bounds[0] != _RLE_HEADER.size or bounds != sorted(bounds):
        raise Rejection("decode_error", f"the RLE header does not describe {segments} segments one behind the other")
    for start, stop in itertools.pairwise(bounds):
        _check_rle_segment(codestream[start:stop], pixels)


def _check_rle_segment(segment: bytes, pixels: int) -> None:
    position = decoded = 0
    while decoded < pixels and position < len(segment):
        code = segment[position]
        if code < 128:  # so many bytes and one, as they are
            position, decoded = position + code + 2, decoded + code + 1
        elif code > 128:  # one byte, repeated
            position, decoded = position + 2, decoded + 257 - code
        else:
            position += 1
    if decoded < pixels or position > len(segment):
        raise Rejection("truncated", f"an RLE segment ends too early, {pixels} bytes are declared")
    if decoded > pixels or segment[position:] not in (b"", b"\0"):
        raise Rejection("bad_geometry", f"an RLE segment holds more than the {pixels} bytes that are declared")


def _is_installed(module: str) -> bool:
    return find_spec(module) is not None


def _measure_jpeg(codestream: bytes) -> Frame:
    """Measure a JPEG or JPEG-LS picture by its frame header."""
    position = 2 if codestream[:2] == b"\xff\xd8" else len(codestream)
    while codestream[position] == 0xFF:
        marker = codestream[position + 1]
        if marker in _FRAME_MARKERS:
            bits, height, width, samples = struct.unpack_from(">BHHB", codestream, position + 4)
            return Frame(height, width, samples, bits)
        fill = marker == 0xFF
        position += 1 if fill else 2 + struct.unpack_from(">H", codestream, position + 2)[0]
    raise Rejection("decode_error", "the compressed picture has no frame header")


def _measure_jpeg_2000(codestream: bytes) -> Frame:
    """Measure a JPEG 2000 picture (ITU-T T.800 A.5.1), with or without its file format, by its first component."""
    start = codestream.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start < 0:
        raise Rejection("decode_error", "the compressed picture has no frame header")
    right, lower, left, upper = struct.unpack_from(">IIII", codestream, start + 8)
    samples, bits, across, down = struct.unpack_from(">HBBB", codestream, start + 40)
    rows, columns = -(-lower // down) - -(-upper // down), -(-right // across) - -(-left // across)
    return Frame(rows, columns, samples, (bits & 0x7F) + 1, bits >= 0x80)
