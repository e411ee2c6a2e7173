"""Source image of a derived object: its header, and the part of it that is passed on.

Two forms of one header. The stand-in is what highdicom builds from: checked UIDs, size, and nothing of the patient, so
that no library sees, evaluates or logs a name. The patient's elements are passed on byte for byte afterwards, with the
character set that they are written in, whether or not they keep to the standard.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from scripts.errors import InputError
from scripts.radiographs import Display, ImageMetadata, Radiograph, read_image_display, read_radiograph

#: Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1): what names the case, and no more.
IDENTITY: tuple[str, ...] = (
    "SpecificCharacterSet",
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
    "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber", "StudyDescription",
)  # fmt: skip
#: The elements of `IDENTITY` and of the stand-in that are there even if empty (type 2).
_TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber",
)  # fmt: skip
_UIDS = {
    "SOPInstanceUID": "sop_instance_uid",
    "StudyInstanceUID": "study_instance_uid",
    "SeriesInstanceUID": "series_instance_uid",
}


@dataclass(frozen=True)
class Source:
    """An image that was read.

    Args:
        header: its data set without pixels, as stored.
        stand_in: the same image without a patient, for highdicom.
        radiograph: its pixels and metadata.
        display: how it wants its stored values shown.
    """

    header: Dataset
    stand_in: Dataset
    radiograph: Radiograph
    display: Display

    @property
    def metadata(self) -> ImageMetadata:
        return self.radiograph.metadata


def read_source(path: str | Path, **reader_options: bool) -> Source | None:
    """An image by our reader, and its header by pydicom; None for a rendering, which has no header.

    Args:
        path: the image.
        reader_options: options of `read_radiograph`.

    Raises:
        RejectedImage: where our reader rejects the image; its header is not read then.
        InputError: where it has no UIDs to refer to.
    """
    radiograph = read_radiograph(path, **reader_options)
    if radiograph.metadata.rendering:
        return None
    accepted = {key: value for key, value in reader_options.items() if key != "accept_renderings"}
    header = _read_header(path)
    _check_uids(path, header, radiograph.metadata)
    stand_in = _make_stand_in(header, radiograph.metadata)
    return Source(header, stand_in, radiograph, read_image_display(path, **accepted))


def read_references(paths: Iterable[str | Path], study_uid: str) -> list[Dataset]:
    """UIDs alone of images of one study that were read before; what is no such image is left out.

    Args:
        paths: the images.
        study_uid: their Study Instance UID.
    """
    references: dict[str, Dataset] = {}
    for path in paths:
        try:
            found = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", *_UIDS])
        except (pydicom.errors.InvalidDicomError, OSError):  # a rendering, or a file that is gone
            continue
        if all(found.get(keyword) for keyword in ("SOPClassUID", *_UIDS)) and found.StudyInstanceUID == study_uid:
            references[found.SOPInstanceUID] = found
    return list(references.values())


def copy_elements(header: Dataset, target: Dataset, keywords: Iterable[str]) -> None:
    """Elements of text as their bytes and sequences as they are; what the header lacks is left as it is."""
    for keyword in keywords:
        element: Any = header.get_item(keyword)  # raw where nobody asked for its value
        if element is None:
            continue
        vr = dictionary_VR(keyword)
        if vr == "SQ" or not isinstance(element, RawDataElement):
            target[keyword] = header[keyword]
        else:
            value = element.value or b""
            value += b" " * (len(value) % 2)
            target[keyword] = element._replace(VR=vr, length=len(value), value=value)


def _read_header(path: str | Path) -> Dataset:
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, force=True)
    except Exception as error:  # what pydicom raises on a header that only the reader's own parser takes is open
        found = f"one that gives {type(error).__name__} in {path}"
        raise InputError("a header that pydicom reads", found, "leave DICOM results out for this image") from None


def _check_uids(path: str | Path, header: Dataset, metadata: ImageMetadata) -> None:
    missing = [keyword for keyword, name in _UIDS.items() if not getattr(metadata, name)]
    if not missing and str(header.get("SOPInstanceUID", "")).strip(" \0") != metadata.sop_instance_uid:
        missing = ["SOPInstanceUID"]
    if missing:
        raise InputError(
            "an image with SOP, Series and Study Instance UID, for DICOM results that refer to it",
            f"no valid {' and '.join(missing)} in {path}",
            "write DICOM results of images as the scanner stored them only",
        )


def _make_stand_in(header: Dataset, metadata: ImageMetadata) -> Dataset:
    stand_in = Dataset()
    described: dict[str, Any] = {keyword: getattr(metadata, name) for keyword, name in _UIDS.items()}
    described.update(dict.fromkeys(_TYPE_2))
    described.update(
        SOPClassUID=header.SOPClassUID,
        Modality=metadata.modality if metadata.modality in ("CR", "DX") else "OT",
        Rows=metadata.rows,
        Columns=metadata.columns,
        SamplesPerPixel=1,
        PhotometricInterpretation=metadata.photometric,
    )
    for keyword, value in described.items():
        setattr(stand_in, keyword, value)
    stand_in.file_meta = pydicom.dataset.FileMetaDataset()
    stand_in.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    return stand_in
