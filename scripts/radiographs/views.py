"""View of an image, frontal or from the side, from every attribute that says it.

Only words and codes of the lists below are looked for; no text of an image comes out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from scripts.radiographs.header import Header
from scripts.radiographs.rejection import Rejection

#: Lateral and oblique views. Words of archives beside those of View Position (PS3.3 C.8.7.1.1.1 and C.8.11.5.1.1).
_SIDE = frozenset((
    "LL", "RL", "LAT", "LLAT", "RLAT", "LATL", "LATR", "XTL", "XTLAT", "XLAT", "XTABLE", "SEITLICH", "PROFIL",
    "PROFILE", "PERFIL",
))  # fmt: skip
#: Beginnings and ends of words: LATERALE, LATEROMEDIAL; LLATERAL, MEDIOLATERAL, but not BILATERAL.
_SIDE_PARTS = re.compile(r"^LATER[AO]|(?<!^BI)(?<!^UNI)LATERAL$")
_OBLIQUE = re.compile(r"^(LPO|RPO|LAO|RAO|LLO|RLO|OBL|OBLI[QC]\w*|SCHRAEG)$")
_FRONTAL = frozenset((
    "PA", "AP", "FRONTAL", "FRONT", "ANTERO", "POSTERO", "ANTEROPOSTERIOR", "POSTEROANTERIOR",
))  # fmt: skip
#: Words of views that may be either, and of a patient who lies on the side.
_UNSURE = re.compile(r"^(LLD|RLD|DECUB\w*|LORDOTIC|APICAL|SWIMMERS?)$")
#: Short words that mean a view in View Position alone, where a description may mean a side or a limb by them.
_SHORT = frozenset(("LL", "RL", "L", "R", "LA", "RA", "PROFILE"))

#: View Code Sequence (PS3.16 CID 4010): codes of SNOMED CT and of its former identifiers.
_FRONTAL_CODES = frozenset(["399348003", "272479007", "399033003", "R-10206", "R-10214", "R-40888", "R-10202"])
_SIDE_CODES = frozenset((
    "399067008", "399173006", "399198007", "399135007", "399356000", "399006002", "399038007", "399184004",
    "399236003", "399182000", "399312000", "399059000", "399160007", "260427002", "260426006", "399352003",
    "399260004", "399368009", "399099002", "30730003", "399132005", "399004004", "R-102CD", "R-10236",
    "R-10232", "R-10220", "R-40985", "R-10212", "R-10210", "R-10238", "R-10234", "R-102C1", "R-10208",
    "R-10216", "R-10204", "R-40783", "R-40782", "R-10228", "R-10224", "R-10226", "R-10230", "G-A145",
    "R-10252", "R-10246",
))  # fmt: skip
_DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription")

FRONTAL, SIDE, UNSURE, BOTH = "frontal", "side", "unsure", "both"


def find_view(header: Header) -> str:
    """FRONTAL, SIDE (lateral or oblique), UNSURE, or "" where the image says nothing.

    View Position and View Code Sequence decide; where they contradict each other, it is unsure. What describes the
    series or the protocol was chosen for a study or by a machine, so that it raises no more than a doubt.
    """
    stated = {_name_position(header), _read_view_code(header)} - {""}
    hints = {_name_view(_list_words(header.words(keyword), _SHORT)) for keyword in _DESCRIPTIONS} - {"", FRONTAL}
    if len(stated) == 1 and stated <= {FRONTAL}:
        hints.discard(BOTH)  # PA and lateral, of which this is the first
    if stated == {SIDE}:
        return SIDE
    if stated - {FRONTAL} or hints or _is_turned(header):
        return UNSURE
    return "".join(stated)


def _list_words(texts: Iterable[str], without: frozenset[str] = frozenset()) -> list[str]:
    words = re.findall(r"[A-Z]+", " ".join(texts))
    return [word for word in words if word not in without]


def _name_position(header: Header) -> str:
    words = _list_words(header.words("ViewPosition"))
    # Of one letter or two nobody knows whether a view or a side of the body is meant.
    return UNSURE if words and set(words) <= _SHORT - _SIDE else _name_view(words)


def _name_view(words: list[str]) -> str:
    """Name the view that words mean. An oblique one is never frontal; frontal and lateral together are two images."""
    if any(_UNSURE.match(word) for word in words):
        return UNSURE
    if any(_OBLIQUE.match(word) for word in words):
        return SIDE
    side = any(word in _SIDE or _SIDE_PARTS.search(word) for word in words)
    frontal = not _FRONTAL.isdisjoint(words)
    return BOTH if side and frontal else SIDE if side else FRONTAL if frontal else ""


def _read_view_code(header: Header) -> str:
    """The view by its code, else by the code's meaning, with its modifier."""
    try:
        item = header.first_item("ViewCodeSequence")
        modifier = item.first_item("ViewModifierCodeSequence") if item else None
    except Rejection:
        return UNSURE
    if item is None:
        return ""
    meanings = [text for each in (item, modifier) if each for text in each.words("CodeMeaning")]
    named, code = _name_view(_list_words(meanings)), item.word("CodeValue")
    if code in _SIDE_CODES or named == SIDE:
        return SIDE
    return named if named == UNSURE else FRONTAL if code in _FRONTAL_CODES else named


def _is_turned(header: Header) -> bool:
    """Check if rows run to the left and also to the front or back: between frontal and lateral (PS3.3 C.7.6.1.1.1)."""
    return re.fullmatch(r"L[HF]?[AP][HF]?", header.word("PatientOrientation")) is not None
