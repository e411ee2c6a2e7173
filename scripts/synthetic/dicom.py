"""Writer of synthetic DICOM images that keep to the standard's CR, DX or Secondary Capture module tables.

Sources: DICOM PS3.3 A.2 (CR), A.26 (DX), A.8 (Secondary Capture), C.7.6.3 (Image Pixel), C.11.1 and C.11.2 (Modality
and VOI LUT); PS3.5 8.2 and A.4 (encapsulated transfer syntaxes).
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate

#: SOP class of each kind of object that `write_image` writes.
SOP_CLASSES: dict[str, uid.UID] = {
    "CR": uid.ComputedRadiographyImageStorage,
    "DX": uid.DigitalXRayImageStorageForPresentation,
    "DX_FOR_PROCESSING": uid.DigitalXRayImageStorageForProcessing,
    "SC": uid.SecondaryCaptureImageStorage,
}

#: Transfer syntaxes by a short name, as tables and tests spell them.
TRANSFER_SYNTAXES: dict[str, uid.UID] = {
    "explicit": uid.ExplicitVRLittleEndian,
    "implicit": uid.ImplicitVRLittleEndian,
    "big_endian": uid.ExplicitVRBigEndian,
    "deflated": uid.DeflatedExplicitVRLittleEndian,
    "rle": uid.RLELossless,
    "jpeg_lossless": uid.JPEGLosslessSV1,
    "jpeg_ls": uid.JPEGLSLossless,
    "jpeg_2000": uid.JPEG2000Lossless,
    "jpeg_baseline": uid.JPEGBaseline8Bit,
}

#: The syntaxes that keep every stored value.
LOSSLESS_SYNTAXES: tuple[str, ...] = tuple(name for name in TRANSFER_SYNTAXES if name != "jpeg_baseline")

# Named, because pydicom would try GDCM first, which aborts the whole process on some sizes with RLE.
_ENCODERS = {"rle": "pydicom", "jpeg_ls": "pyjpegls", "jpeg_2000": "pylibjpeg"}

_IMPLEMENTATION_UID = "2.25.190146791183187905110838377026302914377"


@dataclass(frozen=True)
class ImageStyle:
    """Storage of one image, and the metadata in its header; None or "" leaves an element out (or empty, for type 2).

    Args:
        kind: a key of `SOP_CLASSES`.
        modality: Modality; by default that of the kind (a Secondary Capture says "CR" or "DX" if reported so).
        photometric: MONOCHROME1 (a low value is bright) or MONOCHROME2.
        bits_stored: 8 to 16; up to 8 they are stored in a byte each, else in two.
        syntax: a key of `TRANSFER_SYNTAXES`.
        rescale: slope and intercept (C.11.1).
        window: centre and width in rescaled values, or several such pairs: the first is the image's main one (C.11.2).
        window_function: LINEAR, LINEAR_EXACT or SIGMOID; "" writes no VOI LUT Function, which means LINEAR.
        voi_lut: first stored value mapped, then the table `(N,)` of 16-bit outputs.
        pixel_spacing, imager_pixel_spacing: row and column distance, mm.
        aspect_ratio: vertical and horizontal size of a pixel, as two integers.
        padding: Pixel Padding Value, in stored values.
        patient_age: an Age String such as "054Y".
        character_set: Specific Character Set.
        patient_orientation: direction of the rows and of the columns, such as ("L", "F").
        study_id, sop_uid, series_uid, study_uid: identifiers; by default derived from the content, so that the same
            image has the same UIDs.
    """

    kind: str = "CR"
    modality: str = ""
    photometric: str = "MONOCHROME2"
    bits_stored: int = 12
    syntax: str = "explicit"
    rescale: tuple[float, float] | None = None
    window: tuple[float, float] | Sequence[tuple[float, float]] | None = None
    window_function: str = ""
    voi_lut: tuple[int, ArrayLike] | None = None
    pixel_spacing: tuple[float, float] | None = None
    imager_pixel_spacing: tuple[float, float] | None = None
    aspect_ratio: tuple[int, int] | None = None
    padding: int | None = None
    patient_name: str = "Synthetic^Image"
    patient_id: str = "SYNTHETIC"
    patient_sex: str = ""
    patient_age: str = ""
    manufacturer: str = ""
    view_position: str = ""
    body_part: str = "CHEST"
    character_set: str = "ISO_IR 100"
    patient_orientation: tuple[str, str] | None = ("L", "F")
    study_id: str = ""
    sop_uid: str = ""
    series_uid: str = ""
    study_uid: str = ""


def derive_uid(*parts: object) -> str:
    """A UID under 2.25 (PS3.5 B.2) that depends on nothing but `parts`."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, chr(31).join(map(str, parts))).int}"


def write_image(path: str | Path, pixels: ArrayLike, style: ImageStyle | None = None, **changes: Any) -> Path:
    """Write one single-frame grey image; the file appears whole or not at all.

    Args:
        path: the file; its folder is made where it is missing.
        pixels: `(H, W)` integers, the stored values as they are: for MONOCHROME1 the caller inverts.
        style: how the image is stored; `changes` are fields of `ImageStyle` that differ from it.

    Raises:
        ValueError: where the pixels do not fit the style.
    """
    path = Path(path)
    dataset = make_image(pixels, style, **changes)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    os.close(handle)
    try:
        dataset.save_as(temporary, enforce_file_format=True)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def make_image(pixels: ArrayLike, style: ImageStyle | None = None, **changes: Any) -> FileDataset:
    """The data set that `write_image` saves, with its file meta information.

    Raises:
        ValueError: where the pixels do not fit the style.
    """
    style = replace(style or ImageStyle(), **changes)
    array = _check_pixels(pixels, style)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = TRANSFER_SYNTAXES[style.syntax]
    meta.ImplementationClassUID = uid.UID(_IMPLEMENTATION_UID)
    order = {"is_implicit_VR": style.syntax == "implicit", "is_little_endian": style.syntax != "big_endian"}
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128), **order)
    dataset.SpecificCharacterSet = style.character_set
    _add_identity(dataset, array, style)
    _add_image_attributes(dataset, style)
    _add_display(dataset, style)
    _add_pixels(dataset, array, style)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    return dataset


def _check_pixels(pixels: ArrayLike, style: ImageStyle) -> NDArray[np.integer[Any]]:
    array = np.asarray(pixels)
    if array.ndim != 2 or array.dtype.kind not in "ui":
        raise ValueError(f"expected integers of shape (H, W), got {array.dtype} of shape {array.shape}")
    if style.kind not in SOP_CLASSES or style.syntax not in TRANSFER_SYNTAXES:
        raise ValueError(f"expected a known kind and syntax, got {style.kind} and {style.syntax}")
    if not 1 <= style.bits_stored <= 16 or array.min() < 0 or array.max() >= 1 << style.bits_stored:
        raise ValueError(f"expected values of {style.bits_stored} bits, got {array.min()} to {array.max()}")
    if style.syntax == "jpeg_baseline" and style.bits_stored != 8:
        raise ValueError(f"expected 8 bits for JPEG Baseline, got {style.bits_stored}")
    return array.astype(np.uint8 if style.bits_stored <= 8 else np.uint16)


def _add_identity(dataset: Dataset, array: NDArray[np.integer[Any]], style: ImageStyle) -> None:
    """Patient, General Study and General Series modules, C.7.1 to C.7.3."""
    content = hashlib.sha256(array.tobytes() + repr(style).encode()).hexdigest()
    dataset.SOPClassUID = SOP_CLASSES[style.kind]
    dataset.SOPInstanceUID = style.sop_uid or derive_uid("image", content)
    dataset.SeriesInstanceUID = style.series_uid or derive_uid("series", content)
    dataset.StudyInstanceUID = style.study_uid or derive_uid("study", content)
    dataset.PatientName, dataset.PatientID = style.patient_name, style.patient_id
    dataset.PatientBirthDate, dataset.PatientSex = "", style.patient_sex
    if style.patient_age:
        dataset.PatientAge = style.patient_age
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "", "", style.study_id
    dataset.AccessionNumber, dataset.ReferringPhysicianName = "", ""
    dataset.SeriesNumber, dataset.InstanceNumber, dataset.AcquisitionNumber = 1, 1, 1
    dataset.Modality = style.modality or {"SC": "OT", "DX_FOR_PROCESSING": "DX"}.get(style.kind, style.kind)
    dataset.Manufacturer = style.manufacturer


def _add_image_attributes(dataset: Dataset, style: ImageStyle) -> None:
    """General Image, CR Series, DX Image, DX Anatomy Imaged and SC Equipment modules, as the kind demands."""
    dataset.ImageType = ["DERIVED", "SECONDARY"] if style.kind == "SC" else ["ORIGINAL", "PRIMARY"]
    dataset.PatientOrientation = list(style.patient_orientation or ()) or ""
    dataset.BodyPartExamined, dataset.ViewPosition = style.body_part, style.view_position
    if style.pixel_spacing:
        dataset.PixelSpacing = list(style.pixel_spacing)
    if style.imager_pixel_spacing:
        dataset.ImagerPixelSpacing = list(style.imager_pixel_spacing)
    if style.aspect_ratio:
        dataset.PixelAspectRatio = [str(number) for number in style.aspect_ratio]
    if style.kind == "SC":
        dataset.ConversionType = "WSD"
    if style.kind.startswith("DX"):
        _add_dx_attributes(dataset, style)


def _add_dx_attributes(dataset: Dataset, style: ImageStyle) -> None:
    """C.8.11.1 to C.8.11.4: what a DX image must say beyond a CR one."""
    processing = style.kind == "DX_FOR_PROCESSING"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.PresentationIntentType = "FOR PROCESSING" if processing else "FOR PRESENTATION"
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = 1 if style.photometric == "MONOCHROME1" else -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.PresentationLUTShape = "INVERSE" if style.photometric == "MONOCHROME1" else "IDENTITY"
    dataset.ImageLaterality, dataset.BurnedInAnnotation, dataset.LossyImageCompression = "U", "YES", "00"
    dataset.AcquisitionContextSequence, dataset.DetectorType = [], "SCINTILLATOR"
    dataset.ImagerPixelSpacing = list(style.imager_pixel_spacing or style.pixel_spacing or (0.2, 0.2))
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "43799004", "SCT", "Chest"
    dataset.AnatomicRegionSequence = [region]


def _add_display(dataset: Dataset, style: ImageStyle) -> None:
    """Modality LUT and VOI LUT modules, C.11.1 and C.11.2."""
    if style.rescale:
        dataset.RescaleSlope, dataset.RescaleIntercept = (f"{number:.10g}" for number in style.rescale)
        dataset.RescaleType = "US"
    if style.window:
        pairs = np.asarray(style.window, dtype=float).reshape(-1, 2)
        dataset.WindowCenter = [f"{centre:.10g}" for centre in pairs[:, 0]]
        dataset.WindowWidth = [f"{width:.10g}" for width in pairs[:, 1]]
        if style.window_function:
            dataset.VOILUTFunction = style.window_function
    if style.voi_lut:
        first, order = style.voi_lut[0], ">u2" if style.syntax == "big_endian" else "<u2"
        table = np.asarray(style.voi_lut[1]).astype(order)
        item = Dataset()
        # 65,536 entries are written as 0 (C.11.2.1.1).
        item.add_new("LUTDescriptor", "US", [table.size % 65536, first, 16])
        item.add_new("LUTData", "OW", table.tobytes())
        item.LUTExplanation = "synthetic"
        dataset.VOILUTSequence = [item]


def _add_pixels(dataset: Dataset, array: NDArray[np.integer[Any]], style: ImageStyle) -> None:
    """Image Pixel module, C.7.6.3, in the wanted transfer syntax."""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, style.photometric
    dataset.Rows, dataset.Columns = array.shape
    dataset.BitsAllocated, dataset.BitsStored = 8 * array.itemsize, style.bits_stored
    dataset.HighBit, dataset.PixelRepresentation = style.bits_stored - 1, 0
    if style.padding is not None:
        dataset.add_new("PixelPaddingValue", "US", style.padding)
    syntax = TRANSFER_SYNTAXES[style.syntax]
    if not syntax.is_compressed or syntax.is_deflated:
        _set_native(dataset, array, style.syntax)
    elif style.syntax == "jpeg_baseline":
        _set_encapsulated(dataset, _encode_baseline(array))
        _format_loss(dataset, array.nbytes)
    elif style.syntax == "jpeg_lossless":
        _set_encapsulated(dataset, _encode_jpeg_lossless(array, style))
    else:
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        dataset.compress(syntax, array, encoding_plugin=_ENCODERS[style.syntax], generate_instance_uid=False)


def _set_native(dataset: Dataset, array: NDArray[np.integer[Any]], syntax: str) -> None:
    data = array.astype(array.dtype.newbyteorder(">" if syntax == "big_endian" else "<")).tobytes()
    word = array.itemsize == 2 or syntax == "implicit"
    dataset.add_new("PixelData", "OW" if word else "OB", data + bytes(len(data) % 2))


def _set_encapsulated(dataset: Dataset, frame: bytes) -> None:
    dataset.add_new("PixelData", "OB", encapsulate([frame]))
    dataset["PixelData"].is_undefined_length = True


def _format_loss(dataset: Dataset, size: int) -> None:
    dataset.LossyImageCompression, dataset.LossyImageCompressionMethod = "01", "ISO_10918_1"
    dataset.LossyImageCompressionRatio = f"{size / len(dataset.PixelData):.4g}"


def _encode_baseline(array: NDArray[np.integer[Any]]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "JPEG", quality=92)
    return stream.getvalue()


def _encode_jpeg_lossless(array: NDArray[np.integer[Any]], style: ImageStyle) -> bytes:
    """Process 14, selection value 1, by GDCM: the only encoder at hand that has it; it works from file to file."""
    import gdcm

    with tempfile.TemporaryDirectory() as folder:
        source = write_image(Path(folder) / "native.dcm", array, ImageStyle(bits_stored=style.bits_stored))
        reader = gdcm.ImageReader()
        reader.SetFileName(str(source))
        reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        if not change.Change():
            raise ValueError(
                f"expected an even number of bytes for GDCM to encode, got a picture of shape {array.shape}"
            )
        writer = gdcm.ImageWriter()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(Path(folder) / "lossless.dcm"))
        writer.Write()
        encoded = pydicom.dcmread(Path(folder) / "lossless.dcm")
        return next(pydicom.encaps.generate_frames(encoded.PixelData, number_of_frames=1))
