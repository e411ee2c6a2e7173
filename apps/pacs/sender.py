"""Sending of results by C-STORE or STOW-RS; each object is noted as it is stored, and only then."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import requests
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, _config
from pynetdicom.association import Association
from scripts.errors import InputError

from apps.pacs.configuration import Configuration, make_tls
from apps.pacs.dicomweb import connect
from apps.pacs.queue import SCORED, Queue, Result
from apps.pacs.receiver import keep_quiet

_log = logging.getLogger(__name__)

#: Basic Text SR and the like are not sent: Comprehensive SR, Grayscale Softcopy Presentation State, Segmentation,
#: Secondary Capture.
SOP_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.88.33",
    "1.2.840.10008.5.1.4.1.1.11.1",
    "1.2.840.10008.5.1.4.1.1.66.4",
    "1.2.840.10008.5.1.4.1.1.7",
)


class Sender:
    """Takes scored studies, one at a time.

    Args:
        configuration: of the service.
        queue: of the service.
    """

    def __init__(self, configuration: Configuration, queue: Queue) -> None:
        self.configuration, self.settings, self.queue = configuration, configuration.sender, queue
        keep_quiet()
        _config.STORE_SEND_CHUNKED_DATASET = True  # from the file, as its bytes are
        self._send: Callable[[Sequence[Result]], None] = self._send_by_dimse
        if self.settings.url:
            authority = configuration.tls.authority
            settings = self.settings
            self.client = connect(settings.url, settings.authorization_file, 64, settings.timeout_seconds, authority)
            self._send = self._send_by_web

    def send_next(self) -> bool:
        """Send what is left of the study that has waited longest; False where none waits."""
        study = self.queue.take(SCORED)
        if study is None:
            return False
        try:
            results = self.queue.list_unsent(study.study_id)
            if results:
                self._send(results)
            self.queue.finish_sending(study)
            _log.info("study %s: sent, %d objects", study.study_id, len(results))
        except (InputError, OSError, requests.RequestException, ValueError) as error:
            # a request's error quotes its address, which holds UIDs
            reason = str(error) if isinstance(error, InputError) else type(error).__name__
            state = self.queue.postpone(study, reason)
            _log.warning("study %s is not sent (%s): %s", study.study_id, state, reason)
        return True

    def _send_by_dimse(self, results: Sequence[Result]) -> None:
        with self._associate() as association:
            for result in results:
                status = association.send_c_store(Path(result.file)).get("Status")
                # a warning is a stored object (PS3.4 B.2.3)
                if status is None or not (status == 0x0000 or status >> 12 == 0xB):
                    found = "none" if status is None else f"0x{status:04X}"
                    raise InputError("status 0x0000 of C-STORE", found, "see the log of the destination")
                self.queue.note_sent(result.sop_uid)

    @contextmanager
    def _associate(self) -> Iterator[Association]:
        settings = self.settings
        entity = AE(self.configuration.receiver.ae_title)
        entity.acse_timeout = entity.dimse_timeout = settings.timeout_seconds
        entity.network_timeout = entity.connection_timeout = settings.timeout_seconds
        for sop_class in SOP_CLASSES:
            entity.add_requested_context(sop_class, ExplicitVRLittleEndian)
        secured = (make_tls(self.configuration.tls, server=False), settings.host) if settings.tls else None
        association = entity.associate(settings.host, settings.port, ae_title=settings.ae_title, tls_args=secured)
        if not association.is_established:
            found = "a rejection" if association.is_rejected else "no connection"
            raise InputError("an association with the destination", found, "check host, port and AE titles")
        try:
            if len(association.accepted_contexts) < len(SOP_CLASSES):
                found = f"{len(association.accepted_contexts)} of {len(SOP_CLASSES)} SOP classes"
                raise InputError("a destination that takes SR, GSPS, SEG and SC", found, "configure it")
            yield association
        finally:
            association.release()

    def _send_by_web(self, results: Sequence[Result]) -> None:
        for result in results:
            response = self.client.store_instances([dcmread(result.file)])
            if response.get("FailedSOPSequence"):
                reason = response.FailedSOPSequence[0].get("FailureReason", 0)
                raise InputError("an object stored by STOW-RS", f"0x{reason:04X}", "see the log of the destination")
            self.queue.note_sent(result.sop_uid)
