"""Decoding of a checked image to stored values. numpy and pydicom only: this is where decoders run.

A decoder sees a data set made here, with the checked description of the picture and the codestream as one fragment,
so nothing else of the image reaches it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID
from scripts.radiographs.codestreams import LOSSY, PLUGINS, RLE, measure_frame
from scripts.radiographs.gates import Picture
from scripts.radiographs.rejection import Rejection
from scripts.radiographs.structure import Element, ImageBytes

StoredValues = NDArray[np.int32]

#: MONAI Label needs pydicom 2, everything else has 3.
_OLD_PYDICOM = int(pydicom.__version__.split(".")[0]) < 3


def decode_stored_values(image: ImageBytes, picture: Picture) -> tuple[StoredValues, list[str]]:
    """The image's stored values `(rows, columns)`, signed where it says so, and flags.

    Where values go beyond the bits stored, with the flag "bits_stored", the unused high bits of a native or RLE image
    are left out: older images keep overlays in them (PS3.5 8.1.1). Of any other one its codestream decides.

    Raises:
        Rejection: decode_error, or bad_geometry where header and codestream read the same values as others.
    """
    if image.is_native or image.transfer_syntax == RLE:
        as_allocated = replace(picture, bits_stored=picture.bits_allocated)  # else pydicom cuts the values
        values = _read_native(image, picture) if image.is_native else _run_decoder(image, as_allocated)
        stored = sign_values(values, picture)
        return stored, ["bits_stored"] if _has_other_bits(values, stored, picture) else []
    frame = measure_frame(image.transfer_syntax, image.codestream)
    signed = picture.signed if frame.signed is None else frame.signed
    allocated = 8 if frame.bits == 8 else 16
    coded = replace(picture, bits_allocated=allocated, bits_stored=frame.bits, signed=signed)
    decoded = _run_decoder(image, coded)
    # A lossy decoder may overshoot what the bits hold; masked, white would become black.
    lossy = image.transfer_syntax in LOSSY
    stored = _clip_values(decoded, coded) if lossy else sign_values(decoded, coded)
    return _compare_with_header(stored, coded, picture, (1 << picture.bits_stored) // 16 if lossy else 0)


def read_words(image: ImageBytes, element: Element, bits: int) -> NDArray[np.unsignedinteger]:
    """An element's value as unsigned numbers of 8 or 16 bits."""
    value = image.data[element.start : element.stop]
    if bits == 16:
        return np.frombuffer(value, dtype=f"{image.coding.order}u2")
    swapped = element.vr == b"OW" and not image.coding.little  # bytes stand in words, and words are swapped
    return np.frombuffer(value, dtype=">u2").astype("<u2").view("u1") if swapped else np.frombuffer(value, dtype="u1")


def sign_values(values: NDArray[np.integer], picture: Picture) -> StoredValues:
    """Interpret the stored bits of integers, two's complement where the image is signed."""
    bits = picture.bits_stored
    masked = values.astype(np.int32) & ((1 << bits) - 1)
    return masked - ((masked >> (bits - 1)) << bits) if picture.signed else masked


def _read_native(image: ImageBytes, picture: Picture) -> NDArray[np.unsignedinteger]:
    if image.pixels is None:
        raise Rejection("no_pixels", "no Pixel Data element")
    values = read_words(image, image.pixels, picture.bits_allocated)[: picture.rows * picture.columns]
    return values.reshape(picture.rows, picture.columns)


def _has_other_bits(values: NDArray[np.integer], stored: StoredValues, picture: Picture) -> bool:
    """Check whether high bits hold anything else than zeros or, of a signed image, its sign."""
    if picture.bits_stored == picture.bits_allocated:
        return False
    allocated = values.astype(np.int32) & ((1 << picture.bits_allocated) - 1)
    high = allocated >> picture.bits_stored
    sign = np.where(stored < 0, (1 << (picture.bits_allocated - picture.bits_stored)) - 1, 0)
    return bool(((high != 0) & (high != sign)).any())


def _compare_with_header(
    stored: StoredValues, coded: Picture, picture: Picture, overshoot: int
) -> tuple[StoredValues, list[str]]:
    """Stored values as the codestream has them, held against the bits and the sign of the header."""
    low, high = _find_limits(picture)
    least, greatest = int(stored.min()), int(stored.max())
    if coded.signed != picture.signed and (least < 0 if coded.signed else greatest > high):
        coded_as, stated = ("signed" if each.signed else "unsigned" for each in (coded, picture))
        found = f"{coded_as} with {coded.bits_stored} bits, in the header {stated} with {picture.bits_stored}"
        raise Rejection("bad_geometry", f"the compressed picture is {found}, and its values differ by that")
    if coded.signed and least >= 0 and high < greatest < 1 << picture.bits_stored < 1 << coded.bits_stored:
        # An encoder that knows no sign was given two's complement of the header's bits.
        return sign_values(stored, picture), []
    if low - overshoot <= least and greatest <= high + overshoot:
        return np.clip(stored, low, high), []
    return stored, ["bits_stored"]


def _find_limits(picture: Picture) -> tuple[int, int]:
    low = -(1 << (picture.bits_stored - 1)) if picture.signed else 0
    return low, low + (1 << picture.bits_stored) - 1


def _clip_values(values: NDArray[np.integer], picture: Picture) -> StoredValues:
    return np.clip(values.astype(np.int32), *_find_limits(picture))


def _run_decoder(image: ImageBytes, picture: Picture) -> NDArray[np.integer]:
    try:
        decoded = _decode_with_plugin(_build_data_set(image, picture), PLUGINS[image.transfer_syntax][0])
    except Exception as error:  # decoders raise whatever they like
        raise Rejection("decode_error", f"the decoder gave up with {type(error).__name__}") from None
    if decoded.shape != (picture.rows, picture.columns):
        raise Rejection("decode_error", f"the decoder gave an array of shape {decoded.shape}")
    return decoded


def _decode_with_plugin(dataset: Dataset, plugin: str) -> NDArray[Any]:
    if _OLD_PYDICOM:
        handler = {"pydicom": "rle", "pyjpegls": "gdcm"}.get(plugin, plugin)
        dataset.convert_pixel_data(handler)
        return dataset.pixel_array
    from pydicom.pixels import get_decoder

    return get_decoder(dataset.file_meta.TransferSyntaxUID).as_array(dataset, decoding_plugin=plugin)[0]


def _build_data_set(image: ImageBytes, picture: Picture) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(image.transfer_syntax)
    dataset.Rows, dataset.Columns = picture.rows, picture.columns
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, picture.photometric
    dataset.BitsAllocated, dataset.BitsStored = picture.bits_allocated, picture.bits_stored
    dataset.HighBit, dataset.PixelRepresentation = picture.bits_stored - 1, int(picture.signed)
    dataset.PixelData = encapsulate([image.codestream])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    if _OLD_PYDICOM:  # it asks the data set for its coding
        dataset.is_little_endian, dataset.is_implicit_VR = True, False
    return dataset
