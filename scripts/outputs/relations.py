"""Relations of a run's images: the same one twice, one identifier over two, and a study's name over two studies.

The reason for a module of its own: a study's mean is as right as the images that it is made of. What belongs to other
studies, or to other patients, is never averaged, whatever it is called, and a copy counts once.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from scripts.outputs.journal import Entry
from scripts.predictions import DUPLICATE, OTHER_STUDY, SAME_UID, TWO_PATIENTS, ImageFindings
from scripts.radiographs import hash_words, name_study

_log = logging.getLogger(__name__)


class Relations:
    """Images of a run by pixels, identifiers and patients, in the order in which they come."""

    def __init__(self) -> None:
        self._seen: dict[str, Entry] = {}
        self._studies: dict[str, str] = {}
        self._patients: dict[str, str] = {}

    def keep(self, entry: Entry) -> None:
        """Know an image from now on."""
        for digest in filter(None, (entry.sop_uid, entry.pixels and f"{entry.findings.study_id} {entry.pixels}")):
            self._seen.setdefault(digest, entry)
        if entry.study_uid:
            self._studies.setdefault(entry.findings.study_id, hash_words(entry.study_uid, entry.patient))
            self._patients.setdefault(entry.study_uid, entry.patient)

    def describe(self, entry: Entry, item: Mapping[str, Any], pixels_key: str) -> Entry:
        """The entry with its identity, flags for relations to those before it, and a study of its own where it must.

        Args:
            entry: of the image as it was predicted.
            item: of the batch, with the image's pixels `(1, H, W)`, and its identifiers where its header says them.
            pixels_key: key of the pixels.
        """
        pixels = np.ascontiguousarray(item[pixels_key])
        image_uid, study_uid, series_uid = (
            str(item.get(f"{name}_instance_uid", "")) for name in ("sop", "study", "series")
        )
        entry = replace(
            entry,
            pixels=hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest(),
            sop_uid=image_uid,
            study_uid=study_uid,
            series_uid=series_uid,
            # with the study's UID in it nobody can try all numbers of patients
            patient=hash_words(study_uid, item["patient"]) if item.get("patient") else "",
        )
        return self._relate(self._part_studies(entry, str(item.get("patient", ""))))

    def _part_studies(self, entry: Entry, patient: str) -> Entry:
        """A study of its own for an image whose header says another study or patient than those of the same name."""
        image = entry.findings
        if not entry.study_uid:
            return entry
        if self._patients.get(entry.study_uid, entry.patient) != entry.patient:
            message = "%s: its Study Instance UID is another patient's too: the two are kept apart"
            _log.warning(message, image.image_id)
            image = _flag(image, TWO_PATIENTS)
        identity = hash_words(entry.study_uid, entry.patient)
        if self._studies.get(image.study_id, identity) != identity:
            message = "%s: study %s holds images of other studies or patients: it is scored in one of its own"
            _log.warning(message, image.image_id, image.study_id)
            image = replace(_flag(image, OTHER_STUDY), study_id=name_study(entry.study_uid, patient))
        return replace(entry, findings=image)

    def _relate(self, entry: Entry) -> Entry:
        """Flags where an image before it in its study has the same pixels, or another one the same UID."""
        image = entry.findings
        same = self._seen.get(f"{image.study_id} {entry.pixels}")
        other = self._seen.get(entry.sop_uid)
        if same is not None:
            message = "%s and %s are one image: it counts once in the mean of study %s"
            _log.warning(message, same.findings.image_id, image.image_id, image.study_id)
            return replace(entry, findings=_flag(image, DUPLICATE))
        if other is not None and other.pixels != entry.pixels:
            message = "%s and %s are different images of one SOP Instance UID: both are scored"
            _log.warning(message, other.findings.image_id, image.image_id)
            return replace(entry, findings=_flag(image, SAME_UID))
        return entry


def _flag(image: ImageFindings, flag: str) -> ImageFindings:
    return replace(image, flags=tuple(sorted({*image.flags, flag})))
