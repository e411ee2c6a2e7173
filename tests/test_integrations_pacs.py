"""The PACS loop without a PACS: configuration, queue, receiver, versions and sender, on loopback."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from pydicom import Dataset, dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, Verification
from scripts.errors import InputError
from scripts.files import write_text
from scripts.synthetic import BREAKAGES, ImageStyle, make_image, write_broken_image

from apps.pacs import admission
from apps.pacs.__main__ import forget, retry, status
from apps.pacs.admission import FULL, OWN, Archive, identify
from apps.pacs.configuration import Configuration, Receiver, Scoring, Sender, read_configuration
from apps.pacs.page import draw_page, start_page
from apps.pacs.processes import find_port
from apps.pacs.queue import (
    DIFFERENT,
    FAILED,
    KNOWN,
    NEW,
    QUIET,
    RECEIVED,
    REJECTED,
    SCORED,
    SENT,
    Queue,
    Result,
    _make_study,
)
from apps.pacs.receiver import Server, list_syntaxes, start_receiver
from apps.pacs.scoring import Scorer
from apps.pacs.sender import SOP_CLASSES
from apps.pacs.sender import Sender as ResultSender
from apps.pacs.service import QUEUE_FILE
from apps.pacs.versions import collect_results, refer_to_predecessors

ROOT = Path(__file__).resolve().parents[1]
CALLER, CALLED = "MODALITY", "CXRCOVID19"
CANARY = "Canary^Patient"

#: Breakages that an object cannot have once it is sent by C-STORE: a file that is none has no data set.
NO_OBJECT = {"text_file", "no_preamble"}
#: Those that only decoding or the scope shows: they are taken, and the study is rejected for them.
LATER = {"garbled_codestream", "slope_of_zero", "constant", "child", "lateral", "mirrored"}


def configure(folder: Path, **changes: Any) -> Configuration:
    receiver = Receiver(port=find_port(), calling_ae_titles=(CALLER,), max_object_mb=1, timeout_seconds=2.0)
    settings = {"folder": folder, "page_port": 0, "min_free_mb": 1, "receiver": receiver, **changes}
    return Configuration(**{"scoring": Scoring(attempts=3, first_pause_seconds=0.0), **settings})


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    queue = Queue(tmp_path / QUEUE_FILE, 3, (0.0, 0.0))
    yield Archive(configure(tmp_path), queue)
    queue.close()


@pytest.fixture
def receiver(archive: Archive) -> Iterator[Server]:
    server = start_receiver(archive.configuration, archive)
    yield server
    server.stop()


def make_pixels(seed: int = 0, side: int = 96) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4096, (side, side)).astype(np.uint16)


def make_study(study: int = 1, image: int = 1, **changes: Any) -> FileDataset:
    uids = {"study_uid": f"1.2.{study}", "series_uid": f"1.2.{study}.1", "sop_uid": f"1.2.{study}.1.{image}"}
    return make_image(make_pixels(image), ImageStyle(patient_name=CANARY, patient_id="CANARY-ID", **uids), **changes)


def encode(dataset: FileDataset, path: Path) -> bytes:
    dataset.save_as(path, enforce_file_format=True)
    return path.read_bytes()


def send(port: int, dataset: Dataset, calling: str = CALLER, called: str = CALLED) -> int | None:
    """Status of one C-STORE; None without an association."""
    entity = AE(calling)
    entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    if not association.is_established:
        return None
    try:
        return association.send_c_store(dataset).get("Status")
    finally:
        association.release()


def list_states(queue: Queue) -> dict[str, str]:
    return {row["study_id"]: row["state"] for row in queue.list_studies()}


def add_result(queue: Queue, file: Path, uid: str = "2.25.1") -> None:
    """Bring the one study of a queue to where its object is to be sent."""
    queue.add_image("s", "i", "d")
    queue.settle(0)
    study = queue.take(QUIET)
    assert study is not None and queue.finish_scoring(study, 1, [Result(uid, "2.25.9", "report", str(file))])


def make_report(path: Path, uid: str) -> Path:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = ComprehensiveSRStorage, uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.Modality = "1.2.1", "2.25.9", "SR"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


# ---- configuration


def test_the_documented_configuration_is_read_and_is_the_default():
    assert read_configuration(ROOT / "apps/pacs/pacs.toml") == Configuration(
        receiver=Receiver(calling_ae_titles=("ORTHANC",))
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("folder = ", "in TOML"),
        ("foldr = 'x'", "did you mean folder"),
        ("[receiver]\ncalling_ae_titles = []", "name the AE titles"),
        ("[receiver]\nport = 0", "a receiver's port or a watcher's url"),
        ("[receiver]\nport = 'x'", "port as int"),
        ("[receiver]\ncalling_ae_titles = ['A']\nhost = '0.0.0.0'", "on loopback or with TLS"),
        ("[receiver]\ncalling_ae_titles = ['A name that is too long']", "1 to 16 characters"),
        ("[receiver]\ncalling_ae_titles = ['A']\nmax_associations = 0", "max_associations above 0"),
        ("[receiver]\ncalling_ae_titles = ['A']\n[scoring]\nbundle = 'nowhere'", "a bundle with"),
    ],
)
def test_a_configuration_that_cannot_be_right_is_an_error_of_one_line(text: str, message: str, tmp_path: Path):
    write_text(tmp_path / "pacs.toml", text)
    with pytest.raises(InputError, match=message):
        read_configuration(tmp_path / "pacs.toml")


# ---- queue


def test_a_study_is_quiet_when_no_image_came_for_so_long(archive: Archive):
    archive.queue.add_image("s", "i", "d")
    assert archive.queue.settle(60) == 0 and archive.queue.take(QUIET) is None
    assert archive.queue.settle(0) == 1 and list_states(archive.queue) == {"s": QUIET}


def test_the_same_image_again_changes_nothing_and_another_content_of_its_uid_is_not_kept(archive: Archive):
    queue = archive.queue
    assert queue.add_image("s", "i", "d") == NEW
    queue.settle(0)
    assert queue.add_image("s", "i", "d", written=False) == KNOWN and queue.add_image("s", "i", "e", False) == DIFFERENT
    assert list_states(queue) == {"s": QUIET}


def test_what_was_scored_without_a_late_image_is_dropped(archive: Archive):
    queue = archive.queue
    queue.add_image("s", "i", "d")
    queue.settle(0)
    study = queue.take(QUIET)
    queue.add_image("s", "late", "e")
    assert study is not None and not queue.finish_scoring(study, 1, [Result("2.25.1", "2.25.9", "report", "f")])
    assert list_states(queue) == {"s": RECEIVED} and queue.list_results("s") == []


def test_an_object_of_two_versions_is_sent_once(archive: Archive, tmp_path: Path):
    queue = archive.queue
    add_result(queue, tmp_path / "f")
    queue.note_sent("2.25.1")
    assert queue.finish_sending(queue.take(SCORED)) and list_states(queue) == {"s": SENT}
    queue.add_image("s", "late", "e")
    queue.settle(0)
    both = [Result("2.25.1", "2.25.9", "report", "f"), Result("2.25.2", "2.25.9", "report", "g")]
    assert queue.finish_scoring(queue.take(QUIET), 2, both)
    assert [each.sop_uid for each in queue.list_unsent("s")] == ["2.25.2"]


def test_attempts_pause_longer_and_longer_then_the_study_is_failed_until_somebody_retries(tmp_path: Path):
    queue = Queue(tmp_path / "q", 3, (10.0, 15.0))
    queue.add_image("s", "i", "d")
    queue.settle(0)
    pauses = []
    for _ in range(3):
        (study,) = (_make_study(row) for row in queue.list_studies())
        before = time.time()
        queue.postpone(study, "no disk")
        pauses.append(round(queue.list_studies()[0]["due"] - before))
    assert pauses == [10, 15, 15] and list_states(queue) == {"s": FAILED}
    assert queue.retry("s") and list_states(queue) == {"s": QUIET} and not queue.retry("s")


def test_all_that_was_confirmed_is_there_when_the_file_is_opened_again(archive: Archive, tmp_path: Path):
    add_result(archive.queue, tmp_path / "f")
    again = Queue(tmp_path / QUEUE_FILE)  # the first one was never closed, as after a kill
    assert list_states(again) == {"s": SCORED} and [each.sop_uid for each in again.list_unsent("s")] == ["2.25.1"]


def test_files_of_finished_studies_expire_and_come_back(archive: Archive, tmp_path: Path):
    content = encode(make_study(), tmp_path / "x.dcm")
    assert archive.admit(content) == NEW
    (study_id,) = list_states(archive.queue)
    archive.queue.settle(0)
    archive.queue.reject(archive.queue.take(QUIET), "out_of_scope 1")
    assert archive.queue.list_expired(3600) == [] and archive.queue.list_expired(-1) == [study_id]
    archive.remove(study_id)
    archive.queue.note_removed(study_id)
    assert archive.queue.list_expired(-1) == [] and not archive.holds(identify(content).image_id)
    assert archive.admit(content) == KNOWN and list_states(archive.queue) == {study_id: RECEIVED}
    assert archive.holds(identify(content).image_id)


# ---- receiver


def test_an_image_is_on_disk_and_in_the_queue_when_its_sender_is_told_success(receiver: Server, archive: Archive):
    dataset = make_study()
    assert send(archive.configuration.receiver.port, dataset) == 0x0000
    (path,) = archive.images.rglob("*.dcm")
    assert dcmread(path).PixelData == dataset.PixelData and list(list_states(archive.queue).values()) == [RECEIVED]


@pytest.mark.parametrize("breakage", sorted(set(BREAKAGES) - NO_OBJECT - LATER))
def test_a_malformed_object_gets_a_failure_and_leaves_nothing(breakage: str, archive: Archive, tmp_path: Path):
    path = write_broken_image(tmp_path / "broken" / "x.dcm", make_pixels(), ImageStyle(), breakage)
    assert archive.admit(path.read_bytes()) == BREAKAGES[breakage]
    assert not list(archive.images.rglob("*.dcm")) and list_states(archive.queue) == {}


def test_an_object_whose_uid_is_not_what_its_sender_says_is_not_taken(archive: Archive, tmp_path: Path):
    assert archive.admit(encode(make_study(), tmp_path / "x.dcm"), "1.2.3.4") == "malformed"


@pytest.mark.parametrize(("calling", "called"), [("STRANGER", CALLED), (CALLER, "SOMEBODY")])
def test_a_stranger_and_a_wrong_address_get_no_association(
    calling: str, called: str, receiver: Server, archive: Archive
):
    assert send(archive.configuration.receiver.port, make_study(), calling, called) is None
    assert archive.counts == {}


def test_other_objects_than_radiographs_are_not_negotiated(receiver: Server, archive: Archive):
    entity = AE(CALLER)
    entity.add_requested_context(CTImageStorage)
    entity.add_requested_context(Verification)
    association = entity.associate("127.0.0.1", archive.configuration.receiver.port, ae_title=CALLED)
    assert [each.abstract_syntax for each in association.accepted_contexts] == [Verification]
    assert association.send_c_echo().Status == 0x0000
    association.release()


def test_every_syntax_that_the_reader_decodes_is_negotiated():
    assert {"1.2.840.10008.1.2", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90"} <= set(list_syntaxes())


def test_a_full_disk_and_a_full_queue_are_failures_not_silence(
    receiver: Server, archive: Archive, monkeypatch: pytest.MonkeyPatch
):
    def fail(path: Path) -> None:
        raise OSError(28, "No space left on device")

    port = archive.configuration.receiver.port
    with monkeypatch.context() as patched:
        patched.setattr(admission, "replace_file", fail)
        assert send(port, make_study()) == 0xA700
    with monkeypatch.context() as patched:
        patched.setattr(archive.queue, "count_waiting", lambda: 10**9)
        assert send(port, make_study()) == 0xA700
    assert archive.counts == {FULL: 2} and list_states(archive.queue) == {}
    assert send(port, make_study()) == 0x0000


def test_another_content_of_a_uid_is_a_warning_and_the_first_stays(receiver: Server, archive: Archive):
    port = archive.configuration.receiver.port
    assert send(port, make_study()) == 0x0000 and send(port, make_study()) == 0x0000
    assert send(port, make_study(view_position="PA")) == 0xB006
    assert archive.counts == {NEW: 1, KNOWN: 1, DIFFERENT: 1}


def test_an_object_beyond_the_limit_ends_its_connection_and_no_other(receiver: Server, archive: Archive):
    port = archive.configuration.receiver.port
    large = make_image(make_pixels(side=1800), ImageStyle())
    assert send(port, large) is None
    assert send(port, make_study()) == 0x0000 and archive.counts == {NEW: 1}


def test_connections_beyond_a_number_are_closed_and_silent_ones_end(receiver: Server, archive: Archive):
    port, number = archive.configuration.receiver.port, 2 * archive.configuration.receiver.max_associations
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(3 * number)]
    time.sleep(1)
    assert len(receiver.active_associations) <= number
    deadline = time.monotonic() + 20
    while receiver.active_associations and time.monotonic() < deadline:
        time.sleep(0.1)
    assert send(port, make_study()) == 0x0000
    for each in held:
        each.close()


def test_a_half_sent_object_leaves_nothing(receiver: Server, archive: Archive):
    port, cut = archive.configuration.receiver.port, threading.Event()
    entity = AE(CALLER)
    entity.add_requested_context(make_study().SOPClassUID, ExplicitVRLittleEndian)

    def cut_off(event: evt.Event) -> None:
        if len(event.data) > 60_000:  # the first of several PDUs
            cut.set()
            event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)

    handlers = [(evt.EVT_DATA_SENT, cut_off)]
    association = entity.associate("127.0.0.1", port, ae_title=CALLED, evt_handlers=handlers)
    association.send_c_store(make_image(make_pixels(side=400), ImageStyle()))
    assert cut.is_set() and not list(archive.images.rglob("*")) and list_states(archive.queue) == {}
    assert send(port, make_study()) == 0x0000


def test_a_result_that_comes_back_is_no_image(archive: Archive, tmp_path: Path):
    add_result(archive.queue, tmp_path / "f", "1.2.1.1.1")
    assert archive.admit(encode(make_study(), tmp_path / "x.dcm")) == OWN
    assert list_states(archive.queue) == {"s": SCORED}


def test_no_log_page_or_metric_names_a_patient(
    receiver: Server, archive: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    dataset = make_study()
    send(archive.configuration.receiver.port, dataset)
    send(archive.configuration.receiver.port, make_study(view_position="PA"))
    page = start_page(archive, port := find_port())
    shown = [requests.get(f"http://127.0.0.1:{port}/{path}", timeout=5).text for path in ("", "metrics")]
    page.shutdown()
    everything = "\n".join([caplog.text, *shown, draw_page(archive)])
    stored = (tmp_path / QUEUE_FILE).read_bytes() + (tmp_path / f"{QUEUE_FILE}-wal").read_bytes()
    for word in (CANARY, "CANARY-ID", dataset.SOPInstanceUID, dataset.StudyInstanceUID):
        assert word not in everything and word.encode() not in stored
    assert 'pacs_studies{state="received"} 1.0' in shown[1] and 'outcome="different"' in shown[1]


def test_the_page_replies_to_its_own_name_only(archive: Archive):
    page = start_page(archive, port := find_port())
    found = requests.get(f"http://127.0.0.1:{port}/", headers={"Host": "elsewhere.example"}, timeout=5)
    missing = requests.get(f"http://127.0.0.1:{port}/queue.sqlite", timeout=5)
    page.shutdown()
    assert (found.status_code, missing.status_code) == (403, 404)


# ---- scoring


class StandInWorker:
    """Writes a report for each image, as the bundle would, or does what `acts` say."""

    def __init__(self, folder: Path) -> None:
        self.output, self.acts = folder / "out", iter(())

    def ask(self, paths: list[Path]) -> dict[str, Any]:
        act = next(self.acts, None)
        if isinstance(act, Exception):
            raise act
        if act is not None:
            return act
        for number, path in enumerate(paths):
            make_report(self.output / "dicom" / path.stem / "report.dcm", f"2.25.{10 * len(paths) + number}")
        return {"images": len(paths), "rejected": {}, "dicom_results": {"images": len(paths)}}


@pytest.fixture
def scorer(archive: Archive, tmp_path: Path) -> Scorer:
    scorer = Scorer(archive.configuration, archive)
    scorer.worker = StandInWorker(tmp_path)  # type: ignore[assignment]
    return scorer


def receive(archive: Archive, folder: Path, image: int = 1) -> str:
    assert archive.admit(encode(make_study(image=image), folder / "x.dcm")) == NEW
    archive.queue.settle(0)
    (study_id,) = list_states(archive.queue)
    return study_id


def test_a_late_image_makes_a_new_version_whose_reports_name_the_old_ones(
    scorer: Scorer, archive: Archive, tmp_path: Path
):
    study_id = receive(archive, tmp_path)
    assert scorer.score_next() and not scorer.score_next()
    receive(archive, tmp_path, image=2)
    assert scorer.score_next()
    found = {each.sop_uid: each for each in archive.queue.list_results(study_id)}
    assert {uid: each.version for uid, each in found.items()} == {"2.25.10": 1, "2.25.20": 2, "2.25.21": 2}
    for uid in ("2.25.20", "2.25.21"):
        (study,) = dcmread(found[uid].file).PredecessorDocumentsSequence
        (series,) = study.ReferencedSeriesSequence
        assert study.StudyInstanceUID == "1.2.1" and series.SeriesInstanceUID == "2.25.9"
        assert [each.ReferencedSOPInstanceUID for each in series.ReferencedSOPSequence] == ["2.25.10"]
    assert "PredecessorDocumentsSequence" not in dcmread(found["2.25.10"].file)


def test_a_study_of_which_nothing_can_be_scored_is_rejected_with_the_reason(
    scorer: Scorer, archive: Archive, tmp_path: Path
):
    receive(archive, tmp_path)
    scorer.worker.acts = iter([{"images": 0, "rejected": {"out_of_scope": 1}}])  # type: ignore[attr-defined]
    scorer.score_next()
    (row,) = archive.queue.list_studies()
    assert (row["state"], row["reason"], row["objects"]) == (REJECTED, "out_of_scope 1", 0)


def test_a_worker_that_dies_is_asked_again_and_at_last_the_study_is_failed(
    scorer: Scorer, archive: Archive, tmp_path: Path
):
    receive(archive, tmp_path)
    scorer.worker.acts = iter(InputError("a reply", "a process that died", "again") for _ in range(3))  # type: ignore[attr-defined]
    while scorer.score_next():
        pass
    (row,) = archive.queue.list_studies()
    assert (row["state"], row["attempts"]) == (FAILED, 3) and "a process that died" in row["reason"]


def test_a_study_whose_images_are_no_longer_kept_is_not_scored_by_half(
    scorer: Scorer, archive: Archive, tmp_path: Path
):
    study_id = receive(archive, tmp_path)
    archive.remove(study_id)
    receive(archive, tmp_path, image=2)
    scorer.score_next()
    (row,) = archive.queue.list_studies()
    assert row["state"] == REJECTED and row["reason"].startswith("expired: 1 of 2 images")


def test_a_report_that_is_the_same_object_is_left_as_it_is(tmp_path: Path):
    path = make_report(tmp_path / "dicom" / "a" / "report.dcm", "2.25.1")
    before = path.read_bytes()
    refer_to_predecessors(tmp_path, collect_results(tmp_path))
    assert path.read_bytes() == before


# ---- sender


@pytest.fixture
def destination() -> Iterator[dict[str, Any]]:
    """A C-STORE SCP that keeps what it gets; `status` is what it says."""
    held: dict[str, Any] = {"status": 0x0000, "stored": [], "port": find_port()}

    def store(event: evt.Event) -> int:
        held["stored"].append(event.encoded_dataset(include_meta=False))
        return int(held["status"])

    entity = AE("ARCHIVE")
    for sop_class in SOP_CLASSES:
        entity.add_supported_context(sop_class, ExplicitVRLittleEndian)
    server = entity.start_server(("127.0.0.1", held["port"]), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    yield held
    server.shutdown()


def make_sender(archive: Archive, port: int) -> ResultSender:
    sender = Sender(port=port, ae_title="ARCHIVE", timeout_seconds=5.0)
    return ResultSender(configure(archive.configuration.folder, sender=sender), archive.queue)


def test_results_are_sent_byte_for_byte_and_once(archive: Archive, destination: dict[str, Any], tmp_path: Path):
    file = make_report(tmp_path / "report.dcm", "2.25.1")
    add_result(archive.queue, file)
    sender = make_sender(archive, destination["port"])
    assert sender.send_next() and not sender.send_next()
    assert destination["stored"] == [file.read_bytes()[-len(destination["stored"][0]) :]]
    assert list_states(archive.queue) == {"s": SENT}


@pytest.mark.parametrize(("answered", "state"), [(0xB000, SENT), (0xA700, FAILED), (0xC000, FAILED)])
def test_a_warning_is_stored_and_a_failure_is_tried_again(
    answered: int, state: str, archive: Archive, destination: dict[str, Any], tmp_path: Path
):
    add_result(archive.queue, make_report(tmp_path / "report.dcm", "2.25.1"))
    destination["status"] = answered
    sender = make_sender(archive, destination["port"])
    while sender.send_next():
        pass
    (row,) = archive.queue.list_studies()
    assert row["state"] == state and len(destination["stored"]) == (1 if state == SENT else 3)
    assert (f"0x{answered:04X}" in row["reason"]) == (state == FAILED)


def test_a_destination_that_is_away_is_waited_for(archive: Archive, destination: dict[str, Any], tmp_path: Path):
    add_result(archive.queue, make_report(tmp_path / "report.dcm", "2.25.1"))
    make_sender(archive, find_port()).send_next()
    (row,) = archive.queue.list_studies()
    assert (row["state"], row["attempts"]) == (SCORED, 1) and "no connection" in row["reason"]
    make_sender(archive, destination["port"]).send_next()
    assert list_states(archive.queue) == {"s": SENT}


# ---- command line


def test_status_retry_and_forget_act_on_the_queue(tmp_path: Path):
    text = f'folder = "{tmp_path}"\n[receiver]\ncalling_ae_titles = ["A"]\n[scoring]\nbundle = "{ROOT}/bundle"\n'
    write_text(tmp_path / "pacs.toml", text)
    config = str(tmp_path / "pacs.toml")
    queue = Queue(tmp_path / QUEUE_FILE, attempts=1)
    queue.add_image("abc", "i", "d")
    queue.settle(0)
    queue.postpone(queue.take(QUIET), "no disk")
    assert "abc    failed" in status(config) and "failed 1" in status(config, state="sent")
    assert retry(config) == "1 studies go on" and list_states(queue) == {"abc": QUIET}
    with pytest.raises(InputError, match="a failed or rejected study"):
        retry(config, study="abc")
    assert forget(config, study="abc") == "study abc is forgotten" and list_states(queue) == {}
    with pytest.raises(InputError, match="the id of a study"):
        forget(config, study="abc")
