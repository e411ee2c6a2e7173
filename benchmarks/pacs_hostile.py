"""Hostile input to the PACS loop, and what became of it: `python -m benchmarks.pacs_hostile`.

Every row is tried against a running service with the bundle's own weights; after each, a sound image must be taken.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pynetdicom import AE, _config, evt
from scripts.errors import InputError
from scripts.files import write_text
from scripts.synthetic import BREAKAGES, ImageStyle, derive_uid, write_broken_image

from apps.pacs.processes import SENDER, SERVICE, Service, open_copy, run_loop, send_by_dimse
from apps.pacs.queue import WAITING, Queue
from benchmarks.commandline import run_command
from benchmarks.pacs import Images, measure_memory

GIGABYTE = 2**30
FLOOD = 200


def measure(out: str = "runs/pacs/hostile") -> str:
    """Try everything, and give the table."""
    folder, images = Path(out), Images("hostile")
    with run_loop(folder, receiver={"timeout_seconds": 5}) as (_, service):
        queue = open_copy(service)
        sound = iter(range(10_000, 20_000))
        rows = ["| input | what the sender gets | what becomes of it |", "|---|---|---|"]
        for name, attack in _list_attacks(service, queue, images, folder):
            before, seen = {row["study_id"] for row in queue.list_studies()}, attack()
            outcome = _describe_studies(queue, before)
            if send_by_dimse(service.dicom_port, images.make(next(sound))) != 0x0000 or not service.is_ready():
                raise InputError("a service that goes on", f"none after {name}", f"see {service.log}")
            rows.append(f"| {name} | {seen} | {outcome} |")
        memory = measure_memory(service)
        rows.append(f"\nmemory at the end: service {memory[0]:.0f} MB, worker and decoder {memory[1]:.0f} MB")
        rows.append(f"tracebacks in the log: {service.log.read_text().count('Traceback')}")
    write_text(folder / "hostile.md", "\n".join(rows) + "\n")
    return "\n".join(rows)


def _list_attacks(
    service: Service, queue: Queue, images: Images, folder: Path
) -> Iterator[tuple[str, Callable[[], str]]]:
    port, (values, style) = service.dicom_port, images.stored[0]
    for breakage in BREAKAGES:
        uids = {name: derive_uid(breakage, name) for name in ("study_uid", "series_uid", "sop_uid")}
        path = write_broken_image(folder / f"{breakage}.dcm", values, ImageStyle(kind=style.kind, **uids), breakage)
        yield breakage.replace("_", " "), lambda path=path: send_file(port, path)  # type: ignore[misc]
    yield "an object of 1 GB", lambda: send_file(port, _write_gigabyte(folder / "gigabyte.dcm", images))
    yield "a stranger's AE title", lambda: _associate(port, "STRANGER", SERVICE)
    yield "another called AE title", lambda: _associate(port, SENDER, "SOMEBODY")
    yield f"{FLOOD} associations at once", lambda: _flood(port)
    yield f"{FLOOD} connections that say nothing", lambda: _open_many(port)
    yield "an object that is half sent", lambda: _send_half(port, images)
    yield "a PDU that says it has 4 GB", lambda: _write_raw(port, struct.pack(">BBI", 1, 0, 2**32 - 1) + bytes(2**20))
    yield "1 MB of random bytes", lambda: _write_raw(port, os.urandom(2**20))


def send_file(port: int, path: Path) -> str:
    """Send a file's data set by C-STORE as it is, without reading it; the status in words."""
    _config.STORE_SEND_CHUNKED_DATASET = True
    try:
        meta = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"]).file_meta
    except InvalidDicomError:
        return "no DICOM file: a sender cannot send it"
    entity = AE(SENDER)
    entity.dimse_timeout = entity.network_timeout = 60
    entity.add_requested_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", port, ae_title=SERVICE)
    if not association.is_established:
        return "no association: its SOP class or syntax is not accepted"
    try:
        return _name(association.send_c_store(path))
    except (RuntimeError, ValueError, OSError) as error:
        return f"the connection ends ({type(error).__name__})"
    finally:
        association.release()
        _config.STORE_SEND_CHUNKED_DATASET = False


def _name(response: Dataset) -> str:
    return f"0x{response.Status:04X}" if "Status" in response else "the connection ends"


def _describe_studies(queue: Queue, before: set[str]) -> str:
    """States and reasons of studies that were not there before."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        rows = [row for row in queue.list_studies() if row["study_id"] not in before]
        if not any(row["state"] in WAITING for row in rows):
            break
        time.sleep(0.2)
    states = (f"{row['state']} ({row['reason']})" if row["reason"] else row["state"] for row in rows)
    return "; ".join(states) or "nothing stays"


def _write_gigabyte(path: Path, images: Images) -> Path:
    """An image whose pixel data is 1 GB of zeros, in a file with a hole."""
    images.make(1).save_as(path, enforce_file_format=True)
    content = path.read_bytes()
    start = content.index(b"\xe0\x7f\x10\x00OW\0\0") + 8
    with path.open("r+b") as file:
        file.seek(start)
        file.write(GIGABYTE.to_bytes(4, "little"))
        file.truncate(start + 4 + GIGABYTE)
    return path


def _associate(port: int, calling: str, called: str) -> str:
    entity = AE(calling)
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate("127.0.0.1", port, ae_title=called)
    if association.is_established:
        association.release()
        return "an association"
    return "A-ASSOCIATE-RJ" if association.is_rejected else "no association"


def _flood(port: int) -> str:
    entity, held, outcomes = AE(SENDER), [], {"accepted": 0, "A-ASSOCIATE-RJ": 0, "closed": 0}
    entity.add_requested_context("1.2.840.10008.1.1")
    for _ in range(FLOOD):
        association = entity.associate("127.0.0.1", port, ae_title=SERVICE)
        kind = "accepted" if association.is_established else "A-ASSOCIATE-RJ" if association.is_rejected else "closed"
        outcomes[kind] += 1
        held.append(association)
    for association in held:
        if association.is_established:
            association.release()
    return ", ".join(f"{number} {kind}" for kind, number in outcomes.items())


def _open_many(port: int) -> str:
    held = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(FLOOD)]
    time.sleep(1)
    closed = sum(_is_closed(each) for each in held)
    time.sleep(8)
    late = sum(_is_closed(each) for each in held) - closed
    for each in held:
        each.close()
    return f"{closed} closed at once, {late} after 5 s"


def _is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _send_half(port: int, images: Images) -> str:
    def cut_off(event: evt.Event) -> None:
        if len(event.data) > 60_000:  # the first of several PDUs
            event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)

    entity, image = AE(SENDER), images.make(9999)
    entity.add_requested_context(image.SOPClassUID, image.file_meta.TransferSyntaxUID)
    handlers = [(evt.EVT_DATA_SENT, cut_off)]
    association = entity.associate("127.0.0.1", port, ae_title=SERVICE, evt_handlers=handlers)  # type: ignore[arg-type]
    return _name(association.send_c_store(image))


def _write_raw(port: int, content: bytes) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            connection.sendall(content)
            connection.settimeout(20)
            reply = connection.recv(64)
        except OSError:
            return "the connection ends"
        return "A-ABORT" if reply[:1] == b"\x07" else "the connection ends"


if __name__ == "__main__":
    run_command(measure, "benchmarks.pacs_hostile")
