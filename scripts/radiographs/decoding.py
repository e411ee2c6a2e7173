"""Decoding of a checked image to stored values. numpy and pydicom only: this is where decoders run.

A decoder sees a data set made here, with the checked description of the picture and the codestream as one fragment,
so nothing else of the image reaches it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID
from scripts.radiographs.codestreams import LOSSY, PLUGINS
from scripts.radiographs.gates import Picture
from scripts.radiographs.rejection import Rejection
from scripts.radiographs.structure import Element, ImageBytes

StoredValues = NDArray[np.int32]

#: MONAI Label needs pydicom 2, everything else has 3.
_OLD_PYDICOM = int(pydicom.__version__.split(".")[0]) < 3


def decode_stored_values(image: ImageBytes, picture: Picture) -> StoredValues:
    """The image's stored values `(rows, columns)`, signed where it says so, without what unused high bits may hold.

    Raises:
        Rejection: decode_error.
    """
    if image.pixels is not None and image.is_native:
        values = read_words(image, image.pixels, picture.bits_allocated)[: picture.rows * picture.columns]
        return sign_values(values.reshape(picture.rows, picture.columns), picture)
    decoded = _run_decoder(image, picture)
    # A lossy decoder may overshoot what the bits hold; masked, white would become black.
    return _clip_values(decoded, picture) if image.transfer_syntax in LOSSY else sign_values(decoded, picture)


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


def _clip_values(values: NDArray[np.integer], picture: Picture) -> StoredValues:
    low = -(1 << (picture.bits_stored - 1)) if picture.signed else 0
    return np.clip(values.astype(np.int32), low, low + (1 << picture.bits_stored) - 1)


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
