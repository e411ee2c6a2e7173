"""What a film says about itself, without what it says about a person.

Texts of a film are free: a name may stand in any of them. So a text becomes a fact only as a word of a known list, a
UID only when it is made of digits and dots, and the patient only as a hash.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

_MODALITIES = ("CR", "DX", "OT", "RG", "XA", "RF", "MG", "CT", "MR", "US", "SC")
#: View Position: PS3.3 C.8.7.1.1.1 (CR) and C.8.11.5.1.1 (DX).
FRONTAL_VIEWS = ("PA", "AP")
LATERAL_VIEWS = ("LL", "RL", "LLO", "RLO", "LATERAL", "LAT")
_VIEWS = FRONTAL_VIEWS + LATERAL_VIEWS + ("LLD", "RLD", "XTL", "OTHER")
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


@dataclass(frozen=True)
class RadiographFacts:
    """Facts of one film; an empty text or `None` stands for what the film does not say.

    Args:
        sop_instance_uid, study_instance_uid, series_instance_uid: digits and dots.
        patient: 12 hex digits, a hash of the patient's number (SHA-256); never the number.
        modality, photometric, view_position, body_part, patient_sex: words of DICOM's lists, else "OTHER".
        bits_stored, rows, columns: as stored.
        pixel_aspect_ratio: height of a pixel over its width.
        spacing_mm: (row, column) distance of pixel centres, on the patient if known, else on the detector.
        patient_age_years: from the age, else from the dates of birth and study.
        manufacturer: one of a list of makers, lower case, else "other".
        transfer_syntax: its UID; "" for a rendering.
        flags: what a reader should know, such as "body_part" or "spacing"; sorted.
        rendering: whether the film came as PNG or JPEG instead of DICOM.
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
    """A film: `pixels` `(1, H, W)` float32 in [0, 1], rows first, bones bright, and its `facts`."""

    pixels: NDArray[np.float32]
    facts: RadiographFacts


def collect_facts(dataset: Dataset, transfer_syntax: str, flags: Iterable[str]) -> RadiographFacts:
    """The facts of a film whose rows, columns, bits and photometric interpretation were checked before."""
    spacing_mm = read_spacing(dataset)
    return RadiographFacts(
        sop_instance_uid=_read_uid(dataset, "SOPInstanceUID"),
        study_instance_uid=_read_uid(dataset, "StudyInstanceUID"),
        series_instance_uid=_read_uid(dataset, "SeriesInstanceUID"),
        patient=_hash_patient(dataset),
        modality=_read_word(dataset, "Modality", _MODALITIES),
        photometric=read_text(dataset, "PhotometricInterpretation"),
        bits_stored=int(dataset.BitsStored),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        pixel_aspect_ratio=_read_aspect_ratio(dataset, spacing_mm),
        spacing_mm=spacing_mm,
        view_position=_read_word(dataset, "ViewPosition", _VIEWS),
        body_part=_read_word(dataset, "BodyPartExamined", _BODY_PARTS),
        patient_sex=_read_word(dataset, "PatientSex", ("F", "M", "O")),
        patient_age_years=read_age_years(dataset),
        manufacturer=_read_manufacturer(dataset),
        transfer_syntax=transfer_syntax,
        flags=tuple(sorted(set(flags))),
    )


def read_text(dataset: Dataset, keyword: str) -> str:
    """The first value of an element as stripped text, "" where it is absent or empty."""
    value = dataset.get(keyword)
    if isinstance(value, (list, tuple)) or (value is not None and not isinstance(value, str) and _is_listed(value)):
        value = value[0] if len(value) else ""
    return "" if value is None else str(value).strip().strip("\0")


def read_numbers(dataset: Dataset, keyword: str) -> list[float]:
    """The values of an element as floats; empty where it is absent or holds anything else than finite numbers."""
    value = dataset.get(keyword)
    values = list(value) if _is_listed(value) else [value]
    try:
        numbers = [float(item) for item in values]
    except (TypeError, ValueError):
        return []
    return numbers if all(math.isfinite(number) for number in numbers) else []


def read_spacing(dataset: Dataset) -> tuple[float, float] | None:
    """Pixel Spacing, else Imager Pixel Spacing, in mm as (row, column); `None` where absent or not positive."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        numbers = read_numbers(dataset, keyword)
        if len(numbers) == 2 and min(numbers) > 0:
            return numbers[0], numbers[1]
    return None


def read_age_years(dataset: Dataset) -> float | None:
    """Age in years from Patient's Age (PS3.5 6.2, AS), else from the dates of birth and study; `None` if unknown."""
    match = re.fullmatch(r"(\d{1,3})([DWMY]?)", read_text(dataset, "PatientAge").upper())
    if match:
        return int(match[1]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1, "": 1}[match[2]]
    birth, study = (re.fullmatch(r"(\d{4})(\d\d)(\d\d)", read_text(dataset, key)) for key in _DATES)
    if not (birth and study):
        return None
    days = sum((int(study[i]) - int(birth[i])) * length for i, length in ((1, 365.25), (2, 30.44), (3, 1)))
    # Dates that an anonymiser set to a placeholder give ages that nobody has.
    return days / 365.25 if 0 <= days / 365.25 <= 120 else None


_DATES = ("PatientBirthDate", "StudyDate")


def _is_listed(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes)) or type(value).__name__ == "MultiValue"


def _read_uid(dataset: Dataset, keyword: str) -> str:
    text = read_text(dataset, keyword)
    return text if re.fullmatch(r"[0-9.]{1,64}", text) else ""


def _read_word(dataset: Dataset, keyword: str, words: Sequence[str]) -> str:
    text = read_text(dataset, keyword).upper()
    return text if text in words or not text else "OTHER"


def _read_manufacturer(dataset: Dataset) -> str:
    text = read_text(dataset, "Manufacturer").lower()
    found = [maker for maker in _MANUFACTURERS if re.match(rf"{maker}\b" if maker == "ge" else maker, text)]
    return found[0] if found else "other" if text else ""


def _hash_patient(dataset: Dataset) -> str:
    text = read_text(dataset, "PatientID")
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else ""


def _read_aspect_ratio(dataset: Dataset, spacing_mm: tuple[float, float] | None) -> float:
    numbers = read_numbers(dataset, "PixelAspectRatio")
    if len(numbers) == 2 and min(numbers) > 0:
        return numbers[0] / numbers[1]
    return spacing_mm[0] / spacing_mm[1] if spacing_mm else 1.0
