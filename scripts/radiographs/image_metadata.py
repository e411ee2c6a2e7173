"""Metadata of an image that identify nobody.

Texts of an image are free: a name may stand in any of them. So a text becomes metadata only as a word of a known list,
a UID only when it is made of digits and dots, and the patient only as a hash.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scripts.radiographs.ages import read_age
from scripts.radiographs.header import Header
from scripts.radiographs.identity import hash_patient, read_uid
from scripts.radiographs.views import UNSURE, find_view

#: Modalities of a projection image, and what makers of Secondary Captures write instead (PS3.3 C.7.3.1.1.1).
PROJECTIONS = ("CR", "DX", "RG")
UNSAID_MODALITIES = ("", "OT", "SC")
_MODALITIES = PROJECTIONS + ("OT", "SC", "RF", "XA", "MG", "CT", "MR", "US", "NM", "PT")
#: View Position: PS3.3 C.8.7.1.1.1 (CR) and C.8.11.5.1.1 (DX).
FRONTAL_VIEWS = ("PA", "AP")
_VIEWS = FRONTAL_VIEWS + ("LL", "RL", "LLO", "RLO", "LATERAL", "LAT", "LLD", "RLD", "XTL", "OTHER")
CHEST_PARTS = ("CHEST", "THORAX", "LUNG", "PORT CHEST", "RIB", "RIBS")
_BODY_PARTS = CHEST_PARTS + (
    "ABDOMEN", "ANKLE", "CSPINE", "CLAVICLE", "ELBOW", "EXTREMITY", "FOOT", "HAND", "HEAD", "HIP", "KNEE", "LEG",
    "LSPINE", "NECK", "PELVIS", "SHOULDER", "SKULL", "SPINE", "TSPINE", "WHOLEBODY", "WRIST",
)  # fmt: skip
_MANUFACTURERS = (
    "agfa", "canon", "carestream", "del medical", "drtech", "duerr", "fuji", "ge", "hologic", "imaging dynamics",
    "kodak", "konica", "lodox", "philips", "rayence", "samsung", "shimadzu", "siemens", "sedecal", "swissray",
    "toshiba", "varian", "vieworks",
)  # fmt: skip


#: Flags of an image that is read all the same.
FLAGS: dict[str, str] = {
    "age": "the age, or the birth date, is a placeholder: 0 years, the day of the examination, over 120 years",
    "bits_stored": "values go beyond the bits stored: of a compressed picture they were kept, else cut to these bits",
    "body_part": "the header names another body part than the chest; portables are often mislabelled",
    "burned_in_annotation": "by the header, annotations are burned into the pixels: letters, or a person's name",
    "modality": "the modality is neither CR, DX nor RG",
    "outliers": "a few pixels far darker or brighter than all others, a defect or letters, were left out of the scale",
    "padding": "a pixel padding value that holds no number, or none of the stored bits, was left out",
    "presentation_lut": "the presentation LUT shape contradicts the photometric interpretation, which was followed",
    "spacing": "the pixel spacing is not two positive numbers",
    "view": "the view may be lateral, oblique or decubitus: what the image says of it is unclear or contradicts itself",
    "voi_lut": "the VOI LUT is malformed, or hides most of the image, and was left out",
    "window": "the first window is invalid, or hides most of the image, and was left out",
}


@dataclass(frozen=True)
class ImageMetadata:
    """Metadata of one image; an empty text or `None` stands for what the image does not say.

    Args:
        sop_instance_uid, study_instance_uid, series_instance_uid: digits and dots.
        patient: 12 hex digits, a hash of the patient's number (SHA-256); never the number.
        modality, photometric, view_position, body_part, patient_sex: words of DICOM's lists, else "OTHER".
        bits_stored, rows, columns: as stored.
        pixel_aspect_ratio: height of a pixel over its width.
        spacing_mm: (row, column) distance of pixel centres, on the patient if known, else on the detector.
        patient_age_years: from the age, else from the dates of birth and examination; `None` for a placeholder.
        manufacturer: one of a list of makers, lower case, else "other".
        transfer_syntax: its UID; "" for a rendering.
        flags: keys of `FLAGS`, sorted.
        rendering: whether the image came as PNG or JPEG instead of DICOM.
    """

    sop_instance_uid: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    patient: str = ""
    modality: str = ""
    photometric: str = ""
    bits_stored: int = 8
    rows: int = 0
    columns: int = 0
    pixel_aspect_ratio: float = 1.0
    spacing_mm: tuple[float, float] | None = None
    view_position: str = ""
    body_part: str = ""
    patient_sex: str = ""
    patient_age_years: float | None = None
    manufacturer: str = ""
    transfer_syntax: str = ""
    flags: tuple[str, ...] = ()
    rendering: bool = False


@dataclass(frozen=True)
class Radiograph:
    """An image: `pixels` `(1, H, W)` float32 in [0, 1], rows first, bones bright, and its `metadata`."""

    pixels: NDArray[np.float32]
    metadata: ImageMetadata


def collect_metadata(header: Header, transfer_syntax: str) -> ImageMetadata:
    """The metadata of an image whose rows, columns and bits were checked before."""
    spacing_mm = _read_spacing(header)
    return ImageMetadata(
        sop_instance_uid=read_uid(header, "SOPInstanceUID"),
        study_instance_uid=read_uid(header, "StudyInstanceUID"),
        series_instance_uid=read_uid(header, "SeriesInstanceUID"),
        patient=hash_patient(header),
        modality=_read_word(header, "Modality", _MODALITIES),
        photometric=header.word("PhotometricInterpretation"),
        bits_stored=header.integer("BitsStored") or 0,
        rows=header.integer("Rows") or 0,
        columns=header.integer("Columns") or 0,
        pixel_aspect_ratio=_read_aspect_ratio(header, spacing_mm),
        spacing_mm=spacing_mm,
        view_position=_read_word(header, "ViewPosition", _VIEWS),
        body_part=_read_word(header, "BodyPartExamined", _BODY_PARTS),
        patient_sex=_read_word(header, "PatientSex", ("F", "M", "O")),
        patient_age_years=read_age(header)[0],
        manufacturer=_read_manufacturer(header),
        transfer_syntax=transfer_syntax,
        flags=_flag_header(header),
    )


def _flag_header(header: Header) -> tuple[str, ...]:
    """Flag header attributes that deserve a look and reject nothing."""
    part, spacings = header.word("BodyPartExamined"), ("PixelSpacing", "ImagerPixelSpacing")
    flags = {
        "age": read_age(header)[1],
        "body_part": bool(part) and part not in CHEST_PARTS,
        "burned_in_annotation": header.word("BurnedInAnnotation") == "YES",
        "modality": header.word("Modality") not in PROJECTIONS,
        "spacing": _read_spacing(header) is None and any(header.words(keyword) for keyword in spacings),
        "view": find_view(header) == UNSURE,
    }
    return tuple(sorted(flag for flag, raised in flags.items() if raised))


def _read_spacing(header: Header) -> tuple[float, float] | None:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        numbers = header.numbers(keyword)
        if len(numbers) == 2 and min(numbers) > 0:
            return numbers[0], numbers[1]
    return None


def _read_word(header: Header, keyword: str, words: Sequence[str]) -> str:
    text = header.word(keyword)
    return text if text in words or not text else "OTHER"


def _read_manufacturer(header: Header) -> str:
    text = header.word("Manufacturer").lower()
    found = [maker for maker in _MANUFACTURERS if re.match(rf"{maker}\b" if maker == "ge" else maker, text)]
    return found[0] if found else "other" if text else ""


def _read_aspect_ratio(header: Header, spacing_mm: tuple[float, float] | None) -> float:
    numbers = header.numbers("PixelAspectRatio")
    if len(numbers) == 2 and min(numbers) > 0:
        return numbers[0] / numbers[1]
    return spacing_mm[0] / spacing_mm[1] if spacing_mm else 1.0
