"""Age of a patient, from the age or the dates that a header holds; placeholders of de-identification are no ages."""

from __future__ import annotations

import datetime
import re

from scripts.radiographs.header import Header

#: PS3.5 6.2, AS: three digits and a letter; archives write fewer digits, blanks, whole words, or no unit for years.
_AGE = re.compile(r"(\d{1,3})\s*(?:([DWMY])(?:AYS?|EEKS?|O|OS|ONTHS?|R|RS|EARS?)?\.?)?")
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}
#: DA, and the form of ACR-NEMA and of other standards that readers of DA meet.
_DATE = re.compile(r"(\d{4})([-./]?)(\d\d)\2(\d\d)")
_EXAMINATION_DATES = ("StudyDate", "AcquisitionDate", "SeriesDate", "ContentDate")
#: Before digital radiography a date of an examination is a placeholder.
_FIRST_YEAR = 1980
#: Older than anybody was.
_OLDEST = 120


def read_age(header: Header) -> tuple[float | None, bool]:
    """The patient's age in years, `None` where it is not known, and whether something else stands in its place.

    An age of 0 years is a placeholder: a newborn's is written in days, weeks or months. So is a birth date that is also
    the date of the examination, or that makes the patient unborn or older than anybody was.
    """
    match, text = _AGE.fullmatch(header.word("PatientAge")), header.word("PatientAge")
    if match and (int(match[1]) > 0 or match[2] in ("D", "W", "M")):
        age = int(match[1]) / _PER_YEAR[match[2] or "Y"]
        if age <= _OLDEST:
            return age, False
    years, is_placeholder = _count_years(header)
    return years, is_placeholder or bool(match or re.search("[A-Z0-9]", text))


def _count_years(header: Header) -> tuple[float | None, bool]:
    birth = _read_date(header, "PatientBirthDate")
    dates = [_read_date(header, keyword) for keyword in _EXAMINATION_DATES]
    examined = [date for date in dates if date is not None]
    if birth is None or not examined:
        return None, False
    possible = [date for date in examined if date.year >= _FIRST_YEAR]
    if birth in examined or not possible:
        return None, birth in examined
    years = (possible[0] - birth).days / 365.25
    return (years, False) if 0 <= years <= _OLDEST else (None, True)


def _read_date(header: Header, keyword: str) -> datetime.date | None:
    match = _DATE.fullmatch(header.word(keyword))
    try:
        return datetime.date(int(match[1]), int(match[3]), int(match[4])) if match else None
    except ValueError:
        return None
