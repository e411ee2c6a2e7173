"""Small DICOM images for the tests of the reader, valid or broken on purpose, written with pydicom, not by `synthetic`.

The reader is evaluated by another hand than the one that draws the project's images.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID
from scipy import ndimage
from scripts.errors import RejectedImage
from scripts.radiographs import Radiograph, read_radiograph

CR, DX = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1"
DX_FOR_PROCESSING, SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.1.1.1", "1.2.840.10008.5.1.4.1.1.7"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
RLE = "1.2.840.10008.1.2.5"
JPEG, JPEG_EXTENDED = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS_14, JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
NATIVE = (IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN)
LOSSLESS = (*NATIVE, RLE, JPEG_LOSSLESS_14, JPEG_LOSSLESS_SV1, JPEG_LS, JPEG_2000)


def draw_values(bits: int = 12, rows: int = 80, columns: int = 72, *, low: int = 0, seed: int = 0) -> NDArray[np.int64]:
    """Smooth stored values of all `bits` bits from `low` on, with a little noise, and no symmetry."""
    y, x = np.mgrid[0:rows, 0:columns] / max(rows, columns)
    wave = (
        np.sin(3 * x + 1) * np.cos(2 * y) + 0.5 * x * y + np.random.default_rng(seed).normal(0, 0.01, (rows, columns))
    )
    unit = (wave - wave.min()) / np.ptp(wave)
    return np.round(unit * (2**bits - 1)).astype(np.int64) + low


def make_image(values: NDArray[Any] | None = None, bits: int = 12, syntax: str = EXPLICIT, **elements: Any) -> Dataset:
    """A valid CR image of `values` `(H, W)`; `elements` are set or, where `None`, deleted at the end."""
    values = draw_values(bits) if values is None else np.asarray(values)
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = UID(EXPLICIT)
    image.SOPClassUID, image.SOPInstanceUID = CR, "2.25.111"
    image.StudyInstanceUID, image.SeriesInstanceUID = "2.25.222", "2.25.333"
    image.Modality, image.BodyPartExamined, image.ViewPosition = "CR", "CHEST", "PA"
    image.PatientID, image.PatientOrientation = "P1", ["L", "F"]
    image.Rows, image.Columns = values.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 8 if bits <= 8 else 16, bits, bits - 1
    image.PixelRepresentation = int(values.min() < 0)
    _set_pixels(image, values, syntax)
    for keyword, value in elements.items():
        if value is None:
            del image[keyword]
        else:
            setattr(image, keyword, value)
    return image


def _set_pixels(image: Dataset, values: NDArray[Any], syntax: str) -> None:
    kind = f"{'i' if image.PixelRepresentation else 'u'}{image.BitsAllocated // 8}"
    data = values.astype(f"{'>' if syntax == BIG_ENDIAN else '<'}{kind}")
    image.add_new("PixelData", "OW" if image.BitsAllocated == 16 or syntax == IMPLICIT else "OB", _pad(data.tobytes()))
    image.file_meta.TransferSyntaxUID = UID(syntax if syntax in NATIVE else EXPLICIT)
    if syntax in (RLE, JPEG_LS, JPEG_2000):
        plugin = {RLE: "pydicom", JPEG_LS: "pyjpegls", JPEG_2000: "pylibjpeg"}[syntax]
        image.compress(UID(syntax), encoding_plugin=plugin, generate_instance_uid=False)
    elif syntax in (JPEG_LOSSLESS_14, JPEG_LOSSLESS_SV1):
        encapsulate_codestream(image, _encode_with_gdcm(image, syntax), syntax)
    elif syntax == JPEG:
        encapsulate_codestream(image, encode_picture(values, "JPEG"), syntax)


def encapsulate_codestream(image: Dataset, codestream: bytes, syntax: str) -> Dataset:
    """The image with `codestream` as its pixel data, in two fragments."""
    image.file_meta.TransferSyntaxUID = UID(syntax)
    image.add_new("PixelData", "OB", encapsulate([codestream], fragments_per_frame=2))
    image["PixelData"].is_undefined_length = True
    return image


def encode_picture(values: NDArray[Any], form: str, **options: Any) -> bytes:
    """Values of 8 bits `(H, W)` or `(H, W, C)`, or of 16, as PNG or JPEG."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(values.astype(np.uint16 if values.max() > 255 else np.uint8)).save(stream, form, **options)
    return stream.getvalue()


def _encode_with_gdcm(image: Dataset, syntax: str) -> bytes:
    """GDCM is the only encoder of JPEG Lossless at hand; it works from file to file."""
    import gdcm

    kinds = {JPEG_LOSSLESS_14: "JPEGLosslessProcess14", JPEG_LOSSLESS_SV1: "JPEGLosslessProcess14_1"}
    with tempfile.TemporaryDirectory() as folder:
        native, lossless = Path(folder) / "native.dcm", Path(folder) / "lossless.dcm"
        native.write_bytes(to_bytes(image))
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(native))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, kinds[syntax])))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(lossless))
        assert writer.Write()
        encoded = pydicom.dcmread(lossless)
        assert encoded.file_meta.TransferSyntaxUID == syntax
        return next(generate_frames(encoded.PixelData, number_of_frames=1))


def make_lookup_table(first: int, entries: list[int], bits: int = 16) -> Dataset:
    """An item of a Modality or VOI LUT sequence; 8-bit entries stand two in a word."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries) % 65536, first % 65536, bits])
    words = np.array(entries, dtype="<u1" if bits == 8 else "<u2").tobytes()
    item.add_new("LUTData", "OW", _pad(words))
    return item


def to_bytes(image: Dataset) -> bytes:
    """The image as a file."""
    stream = io.BytesIO()
    image.file_meta.MediaStorageSOPClassUID, image.file_meta.MediaStorageSOPInstanceUID = CR, "2.25.111"
    image.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def write_image(path: Path, image: Dataset | bytes) -> Path:
    """Write an image, or the bytes of one, to `path`."""
    path.write_bytes(image if isinstance(image, bytes) else to_bytes(image))
    return path


def insert_elements(file: bytes, elements: bytes) -> bytes:
    """The file with raw elements in front of its data set; the reader asks for no order."""
    start = 132 + 12 + int.from_bytes(file[140:144], "little")
    return file[:start] + elements + file[start:]


def make_element(tag: int, vr: str, value: bytes) -> bytes:
    """One raw element in Explicit VR Little Endian, whatever its value; a length of 0xFFFFFFFF is written as it is."""
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + vr.encode()
    value = _pad(value)
    if vr in ("OB", "OW", "SQ", "UC", "UN", "UR", "UT"):
        return head + bytes(2) + len(value).to_bytes(4, "little") + value
    return head + len(value).to_bytes(2, "little") + value


def _pad(value: bytes) -> bytes:
    return value + bytes(len(value) % 2)


def draw_noise(seed: int, size: int = 96) -> NDArray[np.uint16]:
    """Smooth noise in which no two seeds look alike."""
    rng = np.random.default_rng(seed)
    image = sum(width * ndimage.gaussian_filter(rng.normal(size=(size, size)), width) for width in (2, 4, 10))
    return (4095 * (image - image.min()) / np.ptp(image)).astype(np.uint16)


def read_images_here(
    paths: Iterable[Path], workers: int, **options: bool
) -> Iterator[tuple[Path, Radiograph | RejectedImage]]:
    """`read_radiographs` without child processes, which take longer to start than a few images to read."""
    for path in paths:
        try:
            yield path, read_radiograph(path, **options)
        except RejectedImage as rejection:
            yield path, rejection
