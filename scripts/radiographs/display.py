"""Display attributes of an image (Modality LUT, VOI LUT, window, polarity), read from its header."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scripts.radiographs.decoding import sign_values
from scripts.radiographs.gates import Picture
from scripts.radiographs.grayscale import Display, LookupTable, Window
from scripts.radiographs.header import Header
from scripts.radiographs.rejection import Rejection


def read_display(header: Header, picture: Picture) -> tuple[Display, list[str]]:
    """The image's display, and flags.

    A VOI LUT says how to show values, and goes as a bad window does: left out, flagged "voi_lut". A Modality LUT says
    what the values mean, and may turn black to white, so that without it nothing is known: a bad one rejects the image.

    The photometric interpretation alone decides on the inversion. Presentation LUT Shape repeats it (PS3.3
    C.8.11.3.1.2: INVERSE with MONOCHROME1, IDENTITY with MONOCHROME2), so it never inverts a second time; where it says
    otherwise, the image is flagged "presentation_lut".

    Raises:
        Rejection: bad_lookup.
    """
    inverted, shape = picture.photometric == "MONOCHROME1", header.word("PresentationLUTShape")
    slope, intercept = _read_rescale(header)
    padding, lost = _read_padding(header, picture)
    contradicts = shape == ("IDENTITY" if inverted else "INVERSE")
    # A first input below zero makes sense only where values can be below zero.
    modality = _read_table(header, "ModalityLUTSequence", picture.signed)
    voi, broken = _read_voi_table(header, modality is None and (picture.signed or intercept < 0 or slope < 0))
    raised = {"presentation_lut": contradicts, "padding": lost, "voi_lut": broken}
    flags = [flag for flag, is_raised in raised.items() if is_raised]
    return Display(slope, intercept, modality, voi, _read_window(header), inverted, padding), flags


def _read_rescale(header: Header) -> tuple[float, float]:
    slope = _read_number(header, "RescaleSlope", 1.0)
    if slope == 0:
        raise Rejection("bad_lookup", "the rescale slope is 0")
    return slope, _read_number(header, "RescaleIntercept", 0.0)


def _read_number(header: Header, keyword: str, default: float) -> float:
    if not header.words(keyword):
        return default
    numbers = header.numbers(keyword)
    if not numbers:
        raise Rejection("bad_lookup", f"{keyword} is not a finite number")
    return numbers[0]


def _read_window(header: Header) -> Window | None:
    if not (header.words("WindowCenter") and header.words("WindowWidth")):
        return None
    center, width = header.numbers("WindowCenter"), header.numbers("WindowWidth")
    function = header.word("VOILUTFunction") or "LINEAR"
    valid = center and width and function in ("LINEAR", "LINEAR_EXACT", "SIGMOID")
    return Window(center[0], width[0], function) if valid else Window(0, 0)


def _read_padding(header: Header, picture: Picture) -> tuple[tuple[int, int] | None, bool]:
    """Stored values of padding, lowest and highest (PS3.3 C.7.5.1.1.2), and whether one of them means nothing."""
    stated = [keyword for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit") if header.value(keyword)]
    ends = [_fit_into_bits(header.integer(keyword), picture) for keyword in stated]
    if "PixelPaddingValue" not in stated or ends[0] is None:
        return None, "PixelPaddingValue" in stated
    known = [end for end in ends if end is not None]
    return (min(known), max(known)), len(known) < len(stated)


def _fit_into_bits(number: int | None, picture: Picture) -> int | None:
    """A header's number as a stored value; `None` where the stored bits cannot hold it. Its VR is often wrong."""
    if number is None:
        return None
    word, bits = number % 65536, picture.bits_stored
    holds = word < 1 << bits or (picture.signed and word - 65536 >= -(1 << (bits - 1)))
    return int(sign_values(np.array([word]), picture)[0]) if holds else None


def _read_voi_table(header: Header, signed: bool) -> tuple[LookupTable | None, bool]:
    """The VOI LUT, and whether there is one that cannot be used."""
    try:
        return _read_table(header, "VOILUTSequence", signed), False
    except Rejection:
        return None, True


def _read_table(header: Header, keyword: str, signed: bool) -> LookupTable | None:
    """The first item of a LUT sequence (PS3.3 C.11.1.1.1 and C.11.2.1.1)."""
    item = header.first_item(keyword)
    if item is None:
        return None
    descriptor = item.numbers("LUTDescriptor")
    if len(descriptor) != 3 or not 8 <= descriptor[2] <= 16:
        raise Rejection("bad_lookup", f"the descriptor of {keyword} is not three numbers with 8 to 16 bits")
    count, first = int(descriptor[0]) % 65536 or 65536, int(descriptor[1])
    entries = _read_entries(item, count)
    if len(entries) != count:
        raise Rejection("bad_lookup", f"{keyword} declares {count} entries and holds {len(entries)}")
    # The VR of the first input, US or SS, is ambiguous, and often wrong.
    first = (first + 32768) % 65536 - 32768 if signed else first % 65536
    return LookupTable(first, entries.astype(np.float64), int(descriptor[2]))


def _read_entries(item: Header, count: int) -> NDArray[np.unsignedinteger]:
    value = item.value("LUTData")
    if len(value) == count + count % 2:  # 8-bit entries, two in a word
        order = item.coding.order
        return np.frombuffer(value, dtype=f"{order}u2").astype("<u2").view("u1")[:count]
    return np.frombuffer(value[: len(value) // 2 * 2], dtype=f"{item.coding.order}u2")
