"""Orthanc and the service as processes of a test or a demo, on loopback; neither outlives it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pynetdicom import AE

from apps.pacs.queue import Queue
from apps.pacs.receiver import keep_quiet
from apps.pacs.service import QUEUE_FILE

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
#: AE titles of the test's own sender, of Orthanc and of the service.
SENDER, ORTHANC, SERVICE = "SENDER", "ORTHANC", "CXRCOVID19"


def find_port() -> int:
    """A free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Program:
    """A program that can be killed and started again, with its log.

    Args:
        command: its command line.
        log: file of what it prints.
        url: answers once it is ready.
    """

    command: list[str]
    log: Path
    url: str
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self, wait: bool = True) -> None:
        """Start it, and wait until it answers."""
        with self.log.open("ab") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            self.process = subprocess.Popen(self.command, cwd=ROOT, stdout=log, stderr=log, env=environment)
        if wait:
            self.wait_until(self.is_ready)

    def wait_until(self, condition: Callable[[], bool], seconds: float = 600.0) -> None:
        """Wait for a condition while the program lives.

        Raises:
            RuntimeError: where it died, or the time is over.
        """
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end or self.process is None or self.process.poll() is not None:
                raise RuntimeError(f"{self.command[0]}: {self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)

    def is_ready(self) -> bool:
        """Report whether it answers."""
        try:
            return requests.get(self.url, timeout=10).ok
        except requests.RequestException:
            return False

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def stop(self) -> None:
        """Let it end."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()


@dataclass
class Orthanc(Program):
    """Debian's Orthanc with DICOMweb, storing below a folder."""

    http_port: int = 0
    dicom_port: int = 0

    @classmethod
    def below(cls, folder: Path, plugins: Sequence[str] = (), settings: Mapping[str, Any] | None = None) -> Orthanc:
        """Configure one, with further plugins and settings of Orthanc's."""
        folder.mkdir(parents=True, exist_ok=True)
        http_port, dicom_port = find_port(), find_port()
        config = {
            "HttpPort": http_port,
            "DicomPort": dicom_port,
            "DicomAet": ORTHANC,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [str(PLUGIN), *plugins],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            **(settings or {}),
        }
        (folder / "orthanc.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
        command = ["Orthanc", str(folder / "orthanc.json")]
        url = f"http://127.0.0.1:{http_port}/system"
        return cls(command, folder / "orthanc.log", url, http_port=http_port, dicom_port=dicom_port)

    @property
    def root(self) -> str:
        """Address of its REST interface."""
        return f"http://127.0.0.1:{self.http_port}"

    def find_instances(self) -> list[tuple[str, str, str]]:
        """Study Instance UID, SOP Class UID and SOP Instance UID of all that it holds, by QIDO-RS."""
        found = requests.get(f"{self.root}/dicom-web/instances?limit=1000000", timeout=300).json()
        tags = ("0020000D", "00080016", "00080018")
        return [tuple(each[tag]["Value"][0] for tag in tags) for each in found]

    def read_file(self, sop_uid: str) -> bytes:
        """One instance as a DICOM file."""
        (found,) = requests.post(f"{self.root}/tools/lookup", data=sop_uid, timeout=60).json()
        return requests.get(f"{self.root}/instances/{found['ID']}/file", timeout=60).content


@dataclass
class Service(Program):
    """The service, configured for an Orthanc."""

    folder: Path = Path()
    config: Path = Path()
    dicom_port: int = 0

    @classmethod
    def below(cls, folder: Path, orthanc: Orthanc, sections: Mapping[str, Mapping[str, Any]]) -> Service:
        """Configure one.

        Args:
            folder: for its configuration, log, queue and files.
            orthanc: gets the results.
            sections: values of pacs.toml beside those, by section; "" is the top level.
        """
        folder.mkdir(parents=True, exist_ok=True)
        dicom_port, page_port = find_port(), find_port()
        own: dict[str, dict[str, Any]] = {
            "": {"folder": str(folder / "pacs"), "page_port": page_port},
            "receiver": {"port": dicom_port, "ae_title": SERVICE, "calling_ae_titles": [SENDER, ORTHANC]},
            "sender": {"port": orthanc.dicom_port, "ae_title": ORTHANC},
            "scoring": {"quiet_seconds": 1},
        }
        tables = {name: {**own.get(name, {}), **sections.get(name, {})} for name in {**own, **sections}}
        config = folder / "pacs.toml"
        config.write_text("\n".join(_format(name, tables[name]) for name in sorted(tables)), encoding="utf-8")
        command = [sys.executable, "-W", "ignore", "-m", "apps.pacs", "serve", "--config", str(config)]
        url = f"http://127.0.0.1:{page_port}/metrics"
        return cls(command, folder / "service.log", url, folder=folder / "pacs", config=config, dicom_port=dicom_port)


def _format(name: str, table: Mapping[str, Any]) -> str:
    """A section of TOML; JSON writes its texts, numbers, lists and words alike."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join([*([f"[{name}]"] if name else []), *lines, ""])


@contextmanager
def run_loop(
    folder: Path, orthanc_options: Mapping[str, Any] | None = None, **sections: Any
) -> Iterator[tuple[Orthanc, Service]]:
    """Orthanc and the service, both ready, until the block ends; an empty `watcher` section watches Orthanc."""
    shutil.rmtree(folder, ignore_errors=True)
    keep_quiet()
    orthanc = Orthanc.below(folder / "orthanc", **(orthanc_options or {}))
    if "watcher" in sections:
        sections["watcher"] = {"url": f"{orthanc.root}/dicom-web", **sections["watcher"]}
    service = Service.below(folder, orthanc, sections)
    try:
        orthanc.start()
        service.start()
        yield orthanc, service
    finally:
        service.stop()
        orthanc.stop()


def open_copy(service: Service) -> Queue:
    """The service's queue, beside the service."""
    return Queue(service.folder / QUEUE_FILE)


def send_by_dimse(port: int, dataset: Dataset) -> int | None:
    """Status of one C-STORE, None without one."""
    entity = AE(SENDER)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
    entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", port, ae_title=SERVICE)
    if not association.is_established:
        return None
    try:
        return association.send_c_store(dataset).get("Status")
    except (RuntimeError, ValueError):
        return None
    finally:
        association.release()


def send_by_web(orthanc: Orthanc, dataset: Dataset) -> int | None:
    """HTTP status of an upload to Orthanc, None without one."""
    stream = DicomBytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    try:
        return requests.post(f"{orthanc.root}/instances", data=stream.getvalue(), timeout=30).status_code
    except requests.RequestException:
        return None
