"""Admission of one object: checked by the bundle's own gates, safe on disk, then a row in the queue.

The reason for a module of its own: what comes by C-STORE and what is fetched from a DICOMweb server is treated alike.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from scripts.files import replace_file
from scripts.radiographs import hash_words, name_study
from scripts.radiographs.gates import check_object, check_picture, check_pixel_data
from scripts.radiographs.header import Header
from scripts.radiographs.identity import read_uids
from scripts.radiographs.rejection import Rejection
from scripts.radiographs.structure import open_image_bytes

from apps.pacs.configuration import Configuration
from apps.pacs.queue import DIFFERENT, KNOWN, NEW, Queue

_log = logging.getLogger(__name__)

#: Outcomes beside those of the queue: a result of this service that came back, no space left.
OWN, FULL = "own", "full"
STORED = (NEW, KNOWN, DIFFERENT, OWN)
MB = 2**20


@dataclass(frozen=True)
class Identifiers:
    """SOP Instance UID of an image as its data set says it, and the ids of image and study, which name nobody."""

    sop_uid: str
    image_id: str
    study_id: str


class Archive:
    """Files of images and results below the service's folder, and the way into it.

    Args:
        configuration: of the service.
        queue: of the service.

    `counts` holds how often each outcome was, for the metrics.
    """

    def __init__(self, configuration: Configuration, queue: Queue) -> None:
        self.configuration, self.queue = configuration, queue
        self.images, self.results = configuration.folder / "images", configuration.folder / "results"
        for folder in (self.images, self.results):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def admit(self, content: bytes, sop_uid: str = "") -> str:
        """Take a DICOM file, or leave nothing of it.

        Args:
            content: of the file, preamble and file meta information included.
            sop_uid: its SOP Instance UID as the sender names it; by default that of the data set.

        Returns:
            NEW, KNOWN, DIFFERENT (another content of this UID was first, and stays), OWN, FULL, or the reason code for
            which the bundle's reader rejects it (`scripts.errors.REASONS`).
        """
        outcome = self._admit(content, sop_uid)
        self.counts[outcome] += 1
        if outcome not in (NEW, KNOWN, OWN):
            _log.warning("an object was not taken: %s", outcome)
        return outcome

    def has_space(self) -> bool:
        """Report whether disk and queue take one more study."""
        free = shutil.disk_usage(self.configuration.folder).free
        if free < self.configuration.min_free_mb * MB:
            return False
        return self.queue.count_waiting() < self.configuration.max_waiting

    def find_image(self, study_id: str, image_id: str) -> Path:
        """Path of an image."""
        return self.images / study_id / f"{image_id}.dcm"

    def holds(self, image_id: str) -> bool:
        """Report whether an image came before and its file is still there."""
        return any(self.find_image(study_id, image_id).is_file() for study_id in self.queue.find_studies(image_id))

    def remove(self, study_id: str) -> None:
        """Remove the files of a study."""
        for folder in (self.images / study_id, self.results / study_id):
            shutil.rmtree(folder, ignore_errors=True)

    def _admit(self, content: bytes, sop_uid: str) -> str:
        if not self.has_space():
            return FULL
        try:
            found = identify(content, self.configuration.scoring.accept_secondary_capture)
        except Rejection as rejection:
            return rejection.reason
        except MemoryError:
            return FULL
        if sop_uid not in ("", found.sop_uid):
            return "malformed"
        if self.queue.is_own(found.sop_uid):
            return OWN
        try:
            return self._store(found, content)
        except OSError as error:
            _log.error("an object could not be written: %s", error.strerror or type(error).__name__)
            return FULL

    def _store(self, found: Identifiers, content: bytes) -> str:
        digest, path = hashlib.sha256(content).hexdigest(), self.find_image(found.study_id, found.image_id)
        with self._lock:
            known, missing = self.queue.find_digest(found.study_id, found.image_id), not path.is_file()
            if known not in (None, digest):
                return DIFFERENT
            if missing or known is None:
                path.parent.mkdir(exist_ok=True, mode=0o700)
                with replace_file(path) as temporary:
                    temporary.write_bytes(content)
            return self.queue.add_image(found.study_id, found.image_id, digest, missing)


def identify(content: bytes, accept_secondary_capture: bool = False) -> Identifiers:
    """Pass a file through the gates of the bundle's reader, up to its decoder, and read whose image it is.

    Raises:
        Rejection: as the reader rejects it, and as malformed where it lacks a UID.
    """
    image = open_image_bytes(content)
    header = Header.of_image(image)
    check_object(header, image, accept_secondary_capture)
    check_pixel_data(image, check_picture(header, image))
    sop_uid, study_uid, patient = read_uids(header)
    if not sop_uid or not study_uid:
        raise Rejection("malformed", "no SOP or Study Instance UID")
    return Identifiers(sop_uid, hash_words(sop_uid), name_study(study_uid, patient))
