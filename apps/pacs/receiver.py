"""C-STORE SCP on pynetdicom: who may send, how much, and which status says what became of an object."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from socketserver import TCPServer
from typing import Any

from pydicom import uid
from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import AssociationServer
from scripts.radiographs.codestreams import PLUGINS, is_supported
from scripts.radiographs.structure import NATIVE_SYNTAXES

from apps.pacs.admission import FULL, MB, STORED, Archive
from apps.pacs.configuration import Configuration, make_tls
from apps.pacs.queue import DIFFERENT

_log = logging.getLogger(__name__)

#: Statuses of C-STORE (PS3.4 B.2.3): out of resources, no such SOP class, cannot understand, and a warning where
#: another content of a known UID was not kept.
SUCCESS, OUT_OF_RESOURCES, WRONG_CLASS, CANNOT_UNDERSTAND, DISCARDED = 0x0000, 0xA700, 0xA900, 0xC000, 0xB006

#: Bytes that a message has beside its data set: command set, headers of its fragments.
_OVERHEAD = 2 * MB


def find_status(outcome: str) -> int:
    """The status that reports the outcome of an admission."""
    if outcome in (FULL, "too_large"):
        return OUT_OF_RESOURCES
    if outcome in ("unsupported_sop", "out_of_scope"):
        return WRONG_CLASS
    if outcome == DIFFERENT:
        return DISCARDED
    return SUCCESS if outcome in STORED else CANNOT_UNDERSTAND


class _Bounded:
    """Socket that ends its connection where more comes than `limit` bytes without a message being complete.

    Counted here, below pynetdicom: it takes a PDU of any declared length, and keeps a data set in memory.
    """

    limit, received = 0, 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        content: bytes = super().recv(size, flags)  # type: ignore[misc]
        self.received += len(content)
        if self.received > self.limit:
            _log.warning("a connection was ended: an object larger than allowed")
            raise ConnectionAbortedError
        return content


class _BoundedSocket(_Bounded, socket.socket):
    """Plain connection."""


class _BoundedTlsSocket(_Bounded, ssl.SSLSocket):  # type: ignore[misc]
    """TLS connection."""


class Server(AssociationServer):
    """Server that holds few connections open, and waits for nobody's TLS handshake.

    An association has a thread of its own, which is there before the next connection is counted.
    """

    max_connections, max_bytes, timeout_seconds = 8, 0, 30.0

    def stop(self) -> None:
        """Listen no longer, and end what is going on; a sender that got no status sends again."""
        TCPServer.shutdown(self)
        self.server_close()
        for association in self.active_associations:
            association.abort()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return len(self.active_associations) < self.max_connections

    def get_request(self) -> tuple[socket.socket, Any]:
        accepted, address = self.socket.accept()  # type: ignore[union-attr]
        accepted.settimeout(self.timeout_seconds)  # a client that stops in the middle of a PDU
        if self.ssl_context:
            bounded: Any = self.ssl_context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        else:
            bounded = _BoundedSocket(accepted.family, accepted.type, accepted.proto, accepted.detach())
            bounded.settimeout(self.timeout_seconds)
        bounded.limit = self.max_bytes
        return bounded, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """No traceback of a connection that broke."""


def start_receiver(configuration: Configuration, archive: Archive) -> Server:
    """Listen, in threads of its own, until `stop` of what is returned.

    Raises:
        OSError: where the port is taken.
        InputError: where TLS is wanted, and a file for it is missing.
    """
    keep_quiet()
    settings = configuration.receiver
    entity = AE(settings.ae_title)
    entity.maximum_associations = settings.max_associations
    entity.maximum_pdu_size = settings.max_pdu_bytes
    entity.require_called_aet, entity.require_calling_aet = True, list(settings.calling_ae_titles)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = settings.timeout_seconds
    for sop_class in list_sop_classes(configuration.scoring.accept_secondary_capture):
        entity.add_supported_context(sop_class, list_syntaxes())
    entity.add_supported_context(Verification)
    context = None
    if settings.tls:
        context = make_tls(configuration.tls, server=True)
        context.sslsocket_class = _BoundedTlsSocket
    Server.max_connections, Server.timeout_seconds = 2 * settings.max_associations, settings.timeout_seconds
    Server.max_bytes = settings.max_object_mb * MB + _OVERHEAD
    address, handlers = (settings.host, settings.port), [(evt.EVT_C_STORE, _store, [archive])]
    server = entity.make_server(address, ssl_context=context, evt_handlers=handlers, server_class=Server)  # type: ignore[arg-type]
    threading.Thread(target=server.serve_forever, name="receiver", daemon=True).start()
    return server  # type: ignore[return-value]


def list_sop_classes(accept_secondary_capture: bool) -> list[str]:
    """Images that are received."""
    captures = [uid.SecondaryCaptureImageStorage] if accept_secondary_capture else []
    return [uid.ComputedRadiographyImageStorage, uid.DigitalXRayImageStorageForPresentation, *captures]


def list_syntaxes() -> list[str]:
    """Transfer syntaxes that the bundle's reader decodes, explicit little endian first."""
    native = sorted(NATIVE_SYNTAXES, key=lambda syntax: syntax != uid.ExplicitVRLittleEndian)
    return [*native, *filter(is_supported, PLUGINS)]


def keep_quiet() -> None:
    """Let pynetdicom log nothing: requests hold UIDs, and its errors quote what was sent."""
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)


def _store(event: evt.Event, archive: Archive) -> int:
    """Deal with one object; success means that it is on disk and in the queue."""
    try:
        event.assoc.dul.socket.socket.received = 0  # type: ignore[union-attr]
        return find_status(archive.admit(event.encoded_dataset(), str(event.request.AffectedSOPInstanceUID)))  # type: ignore[union-attr]
    except Exception as error:  # whatever was sent: the sender gets a failure, and the log the error's type
        _log.error("an object could not be taken: %s", type(error).__name__)
        return CANNOT_UNDERSTAND
