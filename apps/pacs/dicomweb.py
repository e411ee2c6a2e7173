"""Client of a DICOMweb server: bounded in what it takes, and quiet."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import requests
from dicomweb_client import DICOMwebClient
from scripts.errors import InputError

from apps.pacs.admission import MB

#: dicomweb-client asks for parts of any type where bytes are wanted. Servers want it named (PS3.18 8.7.3), and
#: transcode an image unless every transfer syntax is welcome.
_ANY_PARTS = 'multipart/related; type="*/*"'
_AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'


class TooLarge(requests.RequestException):
    """A response larger than allowed."""


class BoundedSession(requests.Session):
    """Session that takes no response beyond a number of bytes.

    Args:
        max_bytes: of a response.
    """

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self.max_bytes = max_bytes

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        if request.headers.get("Accept") == _ANY_PARTS:
            request.headers["Accept"] = _AS_STORED
        response = super().send(request, **{**options, "stream": True})
        content = bytearray()
        for chunk in response.iter_content(MB):
            content += chunk
            if len(content) > self.max_bytes:
                response.close()
                raise TooLarge("a response larger than allowed")
        response._content = bytes(content)
        return response


def connect(url: str, authorization_file: str, max_mb: int, timeout_seconds: float, authority: str) -> DICOMwebClient:
    """Client of the server at `url`.

    Args:
        url: of the server.
        authorization_file: holds the value of the header Authorization; empty sends none.
        max_mb: of a response.
        timeout_seconds: of a request.
        authority: PEM file by which a server with https is verified; empty takes the system's.

    Raises:
        InputError: where the file is missing.
    """
    session = BoundedSession(max_mb * MB)
    session.trust_env = False  # no proxy and no password of the environment
    if authority:
        session.verify = authority
    if authorization_file:
        try:
            session.headers["Authorization"] = Path(authorization_file).read_text(encoding="utf-8").strip()
        except OSError as error:
            found = f"{authorization_file}: {error.strerror}"
            raise InputError("a file with the header Authorization", found, "correct the path") from None
    logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL + 1)  # it logs UIDs
    client = DICOMwebClient(url.rstrip("/"), session=session, timeout=timeout_seconds)
    client.set_http_retry_params(retry=False)  # the service has its own pauses
    return client
