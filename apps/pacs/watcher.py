"""Watch of a DICOMweb server: studies that grew are searched for CR and DX images, and new ones are retrieved."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import requests
from scripts.radiographs import hash_words

from apps.pacs.admission import FULL, Archive
from apps.pacs.configuration import Configuration
from apps.pacs.dicomweb import TooLarge, connect
from apps.pacs.queue import KNOWN, NEW
from apps.pacs.receiver import list_sop_classes

_log = logging.getLogger(__name__)

_STUDY_UID, _SERIES_UID, _SOP_UID, _SOP_CLASS = "0020000D", "0020000E", "00080018", "00080016"
_NUM_INSTANCES = "00201208"


class Watcher:
    """Search after search; which studies were dealt with, and at what size, stands in the queue.

    Args:
        configuration: of the service.
        archive: takes what is retrieved.
    """

    def __init__(self, configuration: Configuration, archive: Archive) -> None:
        settings = configuration.watcher
        self.archive, self.page_size = archive, settings.page_size
        self.sop_classes = set(list_sop_classes(configuration.scoring.accept_secondary_capture))
        self.modalities = ("CR", "DX") if len(self.sop_classes) == 2 else ("CR", "DX", "OT")
        timeout, authority = configuration.sender.timeout_seconds, configuration.tls.authority
        self.client = connect(
            settings.url, settings.authorization_file, configuration.receiver.max_object_mb, timeout, authority
        )

    def search(self) -> int:
        """Search once, and retrieve what is new; the number of images that were admitted.

        Raises:
            requests.RequestException: where the server cannot be reached.
        """
        admitted = 0
        for study_uid, instances in dict(self._list_studies()).items():
            study = hash_words(study_uid)
            if instances == self.archive.queue.find_watched(study):
                continue
            try:
                outcomes = [self._retrieve(study_uid, *uids) for uids in self._list_images(study_uid)]
            except requests.ConnectionError:
                raise
            except (requests.RequestException, ValueError) as error:  # one study must not hold up the others
                _log.warning("study %s cannot be retrieved: %s", study, type(error).__name__)
                continue
            admitted += outcomes.count(NEW)
            if FULL in outcomes:
                break  # it is found again by the next search
            self.archive.queue.note_watched(study, instances)
        return admitted

    def _list_studies(self) -> Iterator[tuple[str, int]]:
        for modality in self.modalities:
            offset = 0
            while True:
                found = self.client.search_for_studies(
                    search_filters={"ModalitiesInStudy": modality},
                    fields=[_NUM_INSTANCES],
                    limit=self.page_size,
                    offset=offset,
                )
                yield from ((_first(study, _STUDY_UID), int(_first(study, _NUM_INSTANCES) or -1)) for study in found)
                offset += len(found)
                if len(found) < self.page_size:
                    break

    def _list_images(self, study_uid: str) -> list[tuple[str, str]]:
        """UIDs of series and instance of a study's radiographs."""
        found = self.client.search_for_instances(study_uid, fields=[_SOP_CLASS])
        return [
            (_first(each, _SERIES_UID), _first(each, _SOP_UID))
            for each in found
            if _first(each, _SOP_CLASS) in self.sop_classes
        ]

    def _retrieve(self, study_uid: str, series_uid: str, sop_uid: str) -> str:
        if self.archive.holds(hash_words(sop_uid)):
            return KNOWN
        if not self.archive.has_space():
            return FULL
        url = f"{self.client.base_url}/studies/{study_uid}/series/{series_uid}/instances/{sop_uid}"
        try:
            (content,) = self.client.retrieve_bulkdata(url)
        except TooLarge:
            self.archive.counts["too_large"] += 1
            return "too_large"
        return self.archive.admit(bytes(content), sop_uid)


def _first(dataset: dict[str, Any], tag: str) -> str:
    values = dataset.get(tag, {}).get("Value") or [""]
    return str(values[0])
