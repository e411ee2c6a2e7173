"""From a DICOM data set to stored values and the way to show them. numpy and pydicom only: this is where decoders run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from scripts.radiographs.facts import read_numbers, read_text
from scripts.radiographs.grayscale import BadLookup, Display, LookupTable, Window


def decode_stored_values(dataset: Dataset) -> NDArray[np.integer]:
    """The film's stored values `(H, W)`: signed where Pixel Representation says so, without unused high bits."""
    stored = np.asarray(dataset.pixel_array)
    return sign_stored_values(stored, int(dataset.BitsStored), int(dataset.PixelRepresentation))


def sign_stored_values(values: NDArray[np.integer], bits: int, representation: int) -> NDArray[np.integer]:
    """Integers of any type as the `bits` low bits say, two's complement where `representation` is 1."""
    values = values.astype(np.int32) & ((1 << bits) - 1)
    return np.where(values >= 1 << (bits - 1), values - (1 << bits), values) if representation else values


def read_display(dataset: Dataset) -> tuple[Display, list[str]]:
    """How the film wants to be shown, and flags.

    The photometric interpretation alone decides on the inversion. Presentation LUT Shape repeats it (PS3.3 C.8.11.3.1.2:
    INVERSE with MONOCHROME1, IDENTITY with MONOCHROME2), so it never inverts a second time; where it says otherwise, the
    film is flagged "presentation_lut".
    """
    inverted = read_text(dataset, "PhotometricInterpretation") == "MONOCHROME1"
    shape = read_text(dataset, "PresentationLUTShape").upper()
    flags = ["presentation_lut"] if shape and (shape == "INVERSE") != inverted else []
    modality = _read_table(dataset, "ModalityLUTSequence")
    slope, intercept = _read_rescale(dataset)
    voi = _read_table(dataset, "VOILUTSequence")
    padding = _read_padding(dataset)
    return Display(slope, intercept, modality, voi, _read_window(dataset), inverted, padding), flags


def _read_rescale(dataset: Dataset) -> tuple[float, float]:
    numbers = []
    for keyword, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)):
        given = read_text(dataset, keyword)
        found = read_numbers(dataset, keyword)[:1] if given else [default]
        if not found or (keyword == "RescaleSlope" and found[0] == 0):
            raise BadLookup(f"{keyword} is zero or not a finite number")
        numbers += found
    return numbers[0], numbers[1]


def _read_window(dataset: Dataset) -> Window | None:
    if not (read_text(dataset, "WindowCenter") and read_text(dataset, "WindowWidth")):
        return None
    center, width = read_numbers(dataset, "WindowCenter"), read_numbers(dataset, "WindowWidth")
    function = read_text(dataset, "VOILUTFunction").upper() or "LINEAR"
    valid = center and width and function in ("LINEAR", "LINEAR_EXACT", "SIGMOID")
    return Window(center[0], width[0], function) if valid else Window(0, 0)


def _read_padding(dataset: Dataset) -> tuple[int, int] | None:
    values = read_numbers(dataset, "PixelPaddingValue")
    if not values:
        return None
    values += read_numbers(dataset, "PixelPaddingRangeLimit")
    bits, representation = int(dataset.BitsStored), int(dataset.PixelRepresentation)
    signed = sign_stored_values(np.array(values).astype(np.int64), bits, representation)
    return int(signed.min()), int(signed.max())


def _read_table(dataset: Dataset, keyword: str) -> LookupTable | None:
    """The first item of a LUT sequence (PS3.3 C.11.1.1.1 and C.11.2.1.1)."""
    items = dataset.get(keyword)
    if not items:
        return None
    descriptor = read_numbers(items[0], "LUTDescriptor")
    if len(descriptor) != 3 or not 8 <= descriptor[2] <= 16:
        raise BadLookup(f"the descriptor of {keyword} is not three numbers with 8 to 16 bits")
    count = int(descriptor[0]) % 65536 or 65536
    entries = _read_entries(items[0], count)
    if len(entries) != count:
        raise BadLookup(f"{keyword} declares {count} entries and holds {len(entries)}")
    return LookupTable(_sign_first_input(int(descriptor[1]), dataset), entries.astype(np.float64))


def _read_entries(item: Dataset, count: int) -> NDArray[np.integer]:
    data = item.get("LUTData")
    if not isinstance(data, bytes):
        return np.atleast_1d(np.array([] if data is None else data)).astype(np.int64) & 0xFFFF
    packed = len(data) in (count, count + count % 2)  # 8-bit entries, two in a word
    order = ">" if item.is_little_endian is False else "<"
    entries = np.frombuffer(data, dtype="u1" if packed else f"{order}u2")
    return entries[:count] if packed else entries


def _sign_first_input(first: int, dataset: Dataset) -> int:
    """The first input's VR, US or SS, is ambiguous, and often wrong: what the film's values can be decides."""
    intercept = (read_numbers(dataset, "RescaleIntercept") or [0.0])[0]
    signed = int(dataset.PixelRepresentation) == 1 or intercept < 0
    return (first + 32768) % 65536 - 32768 if signed else first % 65536
