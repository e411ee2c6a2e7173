"""Broken images that a reader must reject, each made from a good one, with the reason code that it must give."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from scripts.synthetic.dicom import ImageStyle, make_image

#: How an image is broken -> the reason code (a key of `errors.REASONS`) with which it must be rejected.
BREAKAGES: dict[str, str] = {
    "text_file": "not_dicom",
    "no_preamble": "not_dicom",
    "ct_slice": "unsupported_sop",
    "secondary_capture": "unsupported_sop",
    "no_pixel_data": "no_pixels",
    "cut_file": "truncated",
    "short_pixel_data": "truncated",
    "jpeg_extended": "unsupported_syntax",
    "unknown_syntax": "unsupported_syntax",
    "colour": "not_gray",
    "palette": "not_gray",
    "two_frames": "multiframe",
    "long_pixel_data": "bad_geometry",
    "no_rows": "bad_geometry",
    "many_bits": "bad_geometry",
    "inflating": "too_large",
    "garbled_codestream": "decode_error",
    "slope_of_zero": "bad_lookup",
    "constant": "bad_values",
    "child": "out_of_scope",
    "for_processing": "out_of_scope",
    "lateral": "out_of_scope",
    "mirrored": "out_of_scope",
}

#: What an `inflating` file becomes when it is inflated, in bytes.
_INFLATED = 256 * 2**20


def write_broken_image(path: str | Path, pixels: NDArray[np.uint16], style: ImageStyle, breakage: str) -> Path:
    """Write one image that must be rejected with the reason `BREAKAGES[breakage]`.

    Args:
        path: the file; its folder is made where it is missing.
        pixels: `(H, W)` stored values of a good image.
        style: of the good image; its patient and UIDs are kept.
        breakage: a key of `BREAKAGES`.

    Raises:
        KeyError: for another breakage.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    _write(temporary, pixels, style, breakage)
    os.replace(temporary, path)
    return path


def _write(path: Path, pixels: NDArray[np.uint16], style: ImageStyle, breakage: str) -> None:
    if breakage == "text_file":
        path.write_text("This file bears the name of an image, and is a text.\n")
        return
    changes = _STYLES.get(breakage, {})
    if breakage == "constant":
        pixels = np.full_like(pixels, 100)
    image = make_image(pixels, style, **{"syntax": "explicit", **changes})
    _CHANGES.get(breakage, _leave)(image)
    image.save_as(path, enforce_file_format=True)
    data = path.read_bytes()
    if breakage == "inflating":
        path.write_bytes(_append_zeros(data))
    elif breakage == "cut_file":
        path.write_bytes(data[: len(data) * 6 // 10])
    elif breakage == "no_preamble":
        path.write_bytes(data[132:])


def _append_zeros(data: bytes) -> bytes:
    """A deflated image with one more, private element of `_INFLATED` zeros, which cost a thousandth of that.

    A block that ends in a full flush depends on nothing before it, so that it need not be deflated again and again.
    """
    start = 144 + int.from_bytes(data[140:144], "little")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    header = b"\xe1\x7f\x01\x10OB\0\0" + _INFLATED.to_bytes(4, "little")
    head = deflate.compress(zlib.decompress(data[start:], -15) + header) + deflate.flush(zlib.Z_FULL_FLUSH)
    block = deflate.compress(bytes(2**20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    return data[:start] + head + block * (_INFLATED // 2**20) + deflate.flush()


_STYLES: dict[str, dict[str, object]] = {
    "secondary_capture": {"kind": "SC"},
    "slope_of_zero": {"kind": "CR", "rescale": (0.0, 0.0)},
    "inflating": {"syntax": "deflated"},
    "garbled_codestream": {"syntax": "jpeg_2000"},
    "child": {"patient_age": "007Y"},
    "for_processing": {"kind": "DX_FOR_PROCESSING"},
    "lateral": {"view_position": "LL"},
    "mirrored": {"patient_orientation": ("R", "F")},
}


def _leave(image: FileDataset) -> None:
    """The style did it, or the file is broken after it was written."""


def _make_ct(image: FileDataset) -> None:
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = uid.CTImageStorage
    image.Modality = "CT"


def _drop_pixels(image: FileDataset) -> None:
    del image.PixelData


def _shorten_pixels(image: FileDataset) -> None:
    image["PixelData"].value = image.PixelData[: len(image.PixelData) // 4 * 2]


def _lengthen_pixels(image: FileDataset) -> None:
    image["PixelData"].value = image.PixelData + bytes(64)


def _pretend_extended(image: FileDataset) -> None:
    """A frame header of 12-bit JPEG Extended (process 4), for which there is no decoder, and nothing to decode."""
    image.file_meta.TransferSyntaxUID = uid.JPEGExtended12Bit
    size = image.Rows.to_bytes(2, "big") + image.Columns.to_bytes(2, "big")
    frame = (
        b"\xff\xd8\xff\xc1\x00\x0b\x0c" + size + b"\x01\x01\x11\x00\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + bytes(64)
    )
    _encapsulate(image, frame + b"\xff\xd9")
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11


def _name_unknown_syntax(image: FileDataset) -> None:
    image.file_meta.TransferSyntaxUID = uid.MPEG2MPML
    _encapsulate(image, bytes(128))


def _make_colour(image: FileDataset) -> None:
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PlanarConfiguration = 3, "RGB", 0
    image["PixelData"].value = image.PixelData * 3


def _make_palette(image: FileDataset) -> None:
    image.PhotometricInterpretation = "PALETTE COLOR"
    for colour in ("Red", "Green", "Blue"):
        image.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        image.add_new(f"{colour}PaletteColorLookupTableData", "OW", bytes(512))


def _double_frames(image: FileDataset) -> None:
    image.NumberOfFrames = 2
    image["PixelData"].value = image.PixelData * 2


def _flatten_rows(image: FileDataset) -> None:
    image.Rows = 0


def _raise_bits(image: FileDataset) -> None:
    image.BitsStored, image.HighBit = image.BitsAllocated + 4, image.BitsAllocated + 3


def _garble(image: FileDataset) -> None:
    """The codestream's header and its end stay, so that only the decoder finds out."""
    frame = bytearray(next(pydicom.encaps.generate_frames(image.PixelData, number_of_frames=1)))
    start, stop = frame.index(b"\xff\x5c") + 2, frame.rindex(b"\xff\xd9")
    frame[start:stop] = np.random.default_rng(0).bytes(stop - start)
    _encapsulate(image, bytes(frame))


def _encapsulate(image: FileDataset, frame: bytes) -> None:
    image.add_new("PixelData", "OB", encapsulate([frame]))
    image["PixelData"].is_undefined_length = True


_CHANGES: dict[str, Callable[[FileDataset], None]] = {
    "ct_slice": _make_ct,
    "no_pixel_data": _drop_pixels,
    "short_pixel_data": _shorten_pixels,
    "jpeg_extended": _pretend_extended,
    "unknown_syntax": _name_unknown_syntax,
    "colour": _make_colour,
    "palette": _make_palette,
    "two_frames": _double_frames,
    "long_pixel_data": _lengthen_pixels,
    "no_rows": _flatten_rows,
    "many_bits": _raise_bits,
    "garbled_codestream": _garble,
}
