"""Identity of an image by its header: hashes from which nobody's number or name can be found.

The reason for a module of its own: names of files and folders say nothing for sure. Two patients share a folder's name
on a CD, visits of one patient share a folder, and a name may be a person's. So an image is its SOP Instance UID, and a
study its Study Instance UID; a path leads to an image, and is no id of it.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path

from scripts.radiographs.header import Header
from scripts.radiographs.rejection import Rejection
from scripts.radiographs.structure import check_size, open_image_bytes

#: Study, series and image of the challenge, in folders and files of these names: they are its ids, and no words.
_CHALLENGE_NAME = re.compile(r"[0-9a-f]{12}")
_SUFFIXES = (".dcm", ".png", ".jpg", ".jpeg")


def name_image(path: str | Path) -> tuple[str, str]:
    """Ids of an image and of its study, 12 hexadecimal digits each; they depend on the image alone.

    The image's is a hash of its SOP Instance UID, the study's as of `name_study`. Where a file says no UID, it is a
    hash of the file's content; a study that is not said is the image's own. Files in the challenge's layout,
    <study>/<series>/<image>.dcm (or .png, .jpg) with names of 12 hexadecimal digits, keep these names.
    """
    path = Path(path)
    study, series, name = ("", "", *path.absolute().parts)[-3:]
    stem, suffix = os.path.splitext(name)
    if suffix in _SUFFIXES and all(_CHALLENGE_NAME.fullmatch(each) for each in (study, series, stem)):
        return stem, study
    header, content = _read_header(path)
    image_uid, study_uid, patient = read_uids(header) if header else ("", "", "")
    image_id = hash_words(image_uid) if image_uid else content
    return image_id, name_study(study_uid, patient) if study_uid else image_id


def number_id(name: str, ids: set[str]) -> str:
    """The id, which joins those of a run; a second file of one image gets -2 behind it, and so on."""
    numbered, number = name, 1
    while numbered in ids:
        number += 1
        numbered = f"{name}-{number}"
    ids.add(numbered)
    return numbered


def name_study(study_uid: str, patient: str) -> str:
    """Id of a study by its Study Instance UID and the hash of its PatientID: two patients never share one."""
    return hash_words(study_uid, patient)


def hash_words(*words: str) -> str:
    """12 hexadecimal digits of a SHA-256."""
    return hashlib.sha256("\0".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def read_uids(header: Header) -> tuple[str, str, str]:
    """SOP Instance UID, Study Instance UID and `hash_patient` of a header; empty where not said."""
    return read_uid(header, "SOPInstanceUID"), read_uid(header, "StudyInstanceUID"), hash_patient(header)


def read_uid(header: Header, keyword: str) -> str:
    """A UID, "" where something else stands there: a name is none."""
    text = header.word(keyword)
    return text if re.fullmatch(r"[0-9.]{1,64}", text) else ""


def hash_patient(header: Header) -> str:
    """12 hexadecimal digits of a PatientID; "" without one."""
    number = header.value("PatientID").strip(b" \0")
    return hashlib.sha256(number).hexdigest()[:12] if number else ""


def _read_header(path: Path) -> tuple[Header | None, str]:
    """The header, None where there is none that can be read, and a hash of the content.

    Through the reader's gates: files are of any kind, and none may blow up or be taken for an image.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return None, hash_words(str(path))
        check_size(status.st_size)
        data = path.read_bytes()
    except (Rejection, OSError):  # whatever is wrong with the file, the reader names it later
        return None, hash_words(str(path))
    content = hashlib.sha256(data).hexdigest()[:12]
    try:
        return Header.of_image(open_image_bytes(data)), content
    except Rejection:
        return None, content
