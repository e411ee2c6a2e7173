"""Checks between a sound file and its decoder: kind of object, geometry of its pixels, scope.

Each gate is a plain function that returns nothing or raises a `Rejection`. Details name what this program knows
(numbers and words of DICOM's lists), never a text of the file.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.uid import UID_dictionary
from scripts.radiographs.codestreams import check_codestream, is_supported
from scripts.radiographs.header import Header
from scripts.radiographs.image_metadata import PROJECTIONS, UNSAID_MODALITIES, ImageMetadata
from scripts.radiographs.rejection import Rejection
from scripts.radiographs.structure import MAX_PADDING, Element, ImageBytes, is_padding
from scripts.radiographs.views import SIDE, find_view

COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"
DIGITAL_XRAY = "1.2.840.10008.5.1.4.1.1.1.1"
DIGITAL_XRAY_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
MIN_SIDE, MAX_SIDE = 64, 8192
ADULT_YEARS = 18


@dataclass(frozen=True)
class Picture:
    """The stored picture, checked: one frame of gray, 64 to 8192 pixels a side, 8 to 16 bits in 8 or 16.

    Args:
        rows, columns: its size.
        bits_allocated, bits_stored: of a pixel.
        signed: whether stored values are two's complement.
        photometric: MONOCHROME1 or MONOCHROME2.
    """

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    photometric: str

    @property
    def length(self) -> int:
        """Bytes of its native pixel data, without the padding to an even number."""
        return self.rows * self.columns * self.bits_allocated // 8


def check_object(header: Header, image: ImageBytes, accept_secondary_capture: bool) -> None:
    """CR or DX for presentation; Secondary Capture by option. What the data set does not say is not guessed.

    Raises:
        Rejection: unsupported_sop, or out_of_scope for DX For Processing.
    """
    sop_class = header.word("SOPClassUID")
    if sop_class == DIGITAL_XRAY_FOR_PROCESSING or header.word("PresentationIntentType") == "FOR PROCESSING":
        raise Rejection("out_of_scope", "the image is stored for processing, not for presentation")
    if sop_class == SECONDARY_CAPTURE and not accept_secondary_capture:
        raise Rejection("unsupported_sop", "Secondary Capture is read by option only")
    if sop_class not in (COMPUTED_RADIOGRAPHY, DIGITAL_XRAY, SECONDARY_CAPTURE):
        raise Rejection("unsupported_sop", _describe_sop_class(sop_class, image.media_sop_class))


def _describe_sop_class(sop_class: str, media_sop_class: str) -> str:
    """Describe a SOP class by the name that DICOM gives it, which is no text of the file."""
    if not sop_class:
        meta = f"; the file meta information says {UID_dictionary[media_sop_class][0]}"
        return f"no SOP Class UID in the data set{meta if media_sop_class in UID_dictionary else ''}"
    return UID_dictionary[sop_class][0] if sop_class in UID_dictionary else "a SOP class that DICOM does not list"


def check_picture(header: Header, image: ImageBytes) -> Picture:
    """The picture's description, free of contradictions.

    Raises:
        Rejection: no_pixels, not_gray, multiframe or bad_geometry.
    """
    if image.pixels is None:
        raise Rejection("no_pixels", "no Pixel Data element")
    photometric = header.word("PhotometricInterpretation")
    if header.integer("SamplesPerPixel") != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise Rejection("not_gray", "another photometric interpretation or number of samples")
    frames = header.integer("NumberOfFrames") if header.words("NumberOfFrames") else 1
    if frames is None or frames < 1:
        raise Rejection("bad_geometry", f"the number of frames is {'no whole number' if frames is None else frames}")
    if frames > 1:
        raise Rejection("multiframe", f"{frames} frames")
    return _check_bits(header, *_check_size(header), photometric)


def _check_size(header: Header) -> tuple[int, int]:
    rows, columns = header.integer("Rows") or 0, header.integer("Columns") or 0
    if not (MIN_SIDE <= rows <= MAX_SIDE and MIN_SIDE <= columns <= MAX_SIDE):
        raise Rejection("bad_geometry", f"{rows} rows and {columns} columns, {MIN_SIDE} to {MAX_SIDE} are read")
    return rows, columns


def _check_bits(header: Header, rows: int, columns: int, photometric: str) -> Picture:
    allocated, stored = header.integer("BitsAllocated") or 0, header.integer("BitsStored") or 0
    if allocated not in (8, 16) or not 8 <= stored <= allocated:
        raise Rejection("bad_geometry", f"{stored} bits stored in {allocated}, 8 to 16 in 8 or 16 are read")
    if header.integer("HighBit") not in (None, stored - 1):
        raise Rejection("bad_geometry", f"the high bit is not {stored - 1}")
    representation = header.integer("PixelRepresentation")
    if representation not in (0, 1):
        raise Rejection("bad_geometry", "the pixel representation is neither 0 nor 1")
    return Picture(rows, columns, allocated, stored, representation == 1, photometric)


def check_pixel_data(image: ImageBytes, picture: Picture) -> None:
    """Pixel data of a syntax that is read, as long or as large as the header declares.

    Raises:
        Rejection: unsupported_syntax, truncated, bad_geometry, malformed or decode_error.
    """
    if not is_supported(image.transfer_syntax):
        raise Rejection("unsupported_syntax", f"transfer syntax {image.transfer_syntax}")
    if image.pixels is None or image.is_native != (image.pixels.stop >= 0):
        raise Rejection("malformed", "the pixel data is not encapsulated as the transfer syntax says")
    if image.is_native:
        _check_length(image, image.pixels, picture.length)
    else:
        check_codestream(image.transfer_syntax, image.codestream, picture.rows, picture.columns, picture.bits_allocated)


def _check_length(image: ImageBytes, pixels: Element, declared: int) -> None:
    """Reject another length than the declared one; what makes it even may hold anything, further padding is zeros."""
    found = f"{pixels.stop - pixels.start} bytes of pixel data, {declared} declared"
    if pixels.stop - pixels.start < declared:
        raise Rejection("truncated", found)
    if not is_padding(image.data[pixels.start + declared + declared % 2 : pixels.stop]):
        raise Rejection("bad_geometry", f"{found}, and the rest is not padding of at most {MAX_PADDING} zeros")


def check_scope(header: Header, metadata: ImageMetadata) -> None:
    """An adult's frontal projection, upright and not mirrored.

    What an image does not say does not reject it, and neither does a body part: portables are often mislabelled.

    Raises:
        Rejection: out_of_scope.
    """
    if metadata.modality not in PROJECTIONS + UNSAID_MODALITIES:
        raise Rejection("out_of_scope", "the modality is not that of a projection image")
    if metadata.patient_age_years is not None and metadata.patient_age_years < ADULT_YEARS:
        raise Rejection("out_of_scope", f"the patient is under {ADULT_YEARS} years old")
    if find_view(header) == SIDE:
        raise Rejection("out_of_scope", "the view is lateral or oblique")
    # PS3.3 C.7.6.1.1.1: a frontal image shown as usual runs to the patient's left along rows, to the feet along
    # columns.
    orientation = [direction[:1] for direction in header.words("PatientOrientation")]
    known = len(orientation) == 2 and all(letter and letter in "LRAPHF" for letter in orientation)
    if known and orientation != ["L", "F"]:
        raise Rejection("out_of_scope", "by its patient orientation the image is rotated, mirrored or lateral")
