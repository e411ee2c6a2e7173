"""The PACS loop with Debian's Orthanc and the bundle's own weights: `make test-pacs`.

Where INTEGRATIONS names a folder, `pacs/` and `pacs.json` in it are what `python -m apps.integrations report` looks
for.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pynetdicom import AE
from scripts.radiographs import hash_words
from scripts.radiographs.header import Header
from scripts.radiographs.identity import read_uids
from scripts.radiographs.structure import open_image_bytes

from apps.integrations import REFERENCE, compare_results, write_cost
from apps.pacs.configuration import Tls, make_tls
from apps.pacs.processes import SENDER, SERVICE, Orthanc, Service, open_copy, run_loop, send_by_dimse, send_by_web
from apps.pacs.queue import FAILED, REJECTED, SCORED, SENT, Queue
from benchmarks.pacs import KINDS, Images, is_same
from tests.validators import run_dciodvfy, run_dsrdump

INTEGRATIONS = Path(os.environ.get("INTEGRATIONS", "runs/integrations")).resolve()
Loop = tuple[Orthanc, Service, Queue]


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """Orthanc and a service that also watches it."""
    sections = {"watcher": {"interval_seconds": 1}, "scoring": {"quiet_seconds": 2, "max_pause_seconds": 5}}
    with run_loop(tmp_path_factory.mktemp("loop"), **sections) as (orthanc, service):
        yield orthanc, service, open_copy(service)


@pytest.fixture(scope="module")
def images() -> Images:
    return Images("tests", 320)


def wait_for(loop: Loop, dataset: Dataset, version: int = 1, state: str = SENT) -> dict[str, Any]:
    """Row of an image's study, once it stands in a state with a version of its results."""
    _, service, queue = loop
    image_id = hash_words(dataset.SOPInstanceUID)

    def find() -> list[dict[str, Any]]:
        studies = queue.find_studies(image_id)
        rows = [dict(row) for row in queue.list_studies() if row["study_id"] in studies]
        return [row for row in rows if row["state"] == state and row["version"] >= version]

    service.wait_until(lambda: bool(find()))
    return find()[0]


def fetch(orthanc: Orthanc, study_uid: str) -> dict[str, list[Dataset]]:
    """Results of a study in Orthanc, by kind."""
    found: dict[str, list[Dataset]] = {kind: [] for kind in KINDS.values()}
    for study, sop_class, sop_uid in orthanc.find_instances():
        if study == study_uid and sop_class in KINDS:
            found[KINDS[sop_class]].append(dcmread(BytesIO(orthanc.read_file(sop_uid))))
    return found


def test_the_images_of_all_integrations_get_the_predictions_of_the_bundle_run(loop: Loop):
    _, service, queue = loop
    paths = {path.stem: path for path in sorted((INTEGRATIONS / "images").rglob("*.dcm"))}
    assert paths, f"no images in {INTEGRATIONS}; python -m apps.integrations ask"
    rows = []
    for path in paths.values():
        dataset = dcmread(path)
        assert send_by_dimse(service.dicom_port, dataset) == 0x0000
        rows.append(wait_for(loop, dataset))
    target = INTEGRATIONS / "pacs"
    shutil.rmtree(target, ignore_errors=True)
    (target / "masks").mkdir(parents=True)
    found = []
    for name, path in paths.items():
        sop_uid, _, _ = read_uids(Header.of_image(open_image_bytes(path.read_bytes())))
        (mask,) = service.folder.glob(f"results/*/*/masks/{hash_words(sop_uid)}.png")
        shutil.copy(mask, target / "masks" / f"{name}.png")
        (image,) = json.loads((mask.parents[1] / "predictions.json").read_text())["images"]
        found.append({**image, "image_id": name})
    (target / "predictions.json").write_text(json.dumps({"images": found}))
    seconds = sorted(row["sent_at"] - row["quiet_at"] for row in rows)
    write_cost(INTEGRATIONS, "pacs", seconds_for_a_study=round(seconds[len(seconds) // 2], 2))
    assert compare_results(INTEGRATIONS / REFERENCE, target).agrees


@pytest.mark.parametrize("kind", ["CR", "DX"])
def test_what_came_back_from_the_archive_is_what_was_written_and_valid(
    kind: str, loop: Loop, images: Images, tmp_path: Path
):
    orthanc, service, queue = loop
    dataset = images.make({"CR": 1002, "DX": 1001}[kind])
    assert send_by_dimse(service.dicom_port, dataset) == 0x0000
    row = wait_for(loop, dataset)
    found = fetch(orthanc, dataset.StudyInstanceUID)
    assert {name: len(objects) for name, objects in found.items()} == dict.fromkeys(KINDS.values(), 1)
    for result in queue.list_results(row["study_id"]):
        stored = orthanc.read_file(result.sop_uid)
        assert is_same(stored, result.file)
        (tmp_path / "x.dcm").write_bytes(stored)
        assert run_dciodvfy(tmp_path / "x.dcm") == ([], [])
        if result.kind == "report":
            errors, warnings, text = run_dsrdump(tmp_path / "x.dcm")
            assert errors == warnings == [] and "Probability: typical appearance of COVID-19" in text


def test_an_image_that_is_found_in_a_dicomweb_server_is_scored_as_it_is_stored_there(loop: Loop, images: Images):
    orthanc, service, queue = loop
    dataset = images.make(2000, syntax="jpeg_ls")
    assert send_by_web(orthanc, dataset) == 200
    row = wait_for(loop, dataset)
    (path,) = (service.folder / "images" / row["study_id"]).glob("*.dcm")
    assert dcmread(path).file_meta.TransferSyntaxUID == dataset.file_meta.TransferSyntaxUID
    assert len(fetch(orthanc, dataset.StudyInstanceUID)["report"]) == 1
    assert queue.list_unsent(row["study_id"]) == []


def test_a_late_image_makes_a_report_that_names_the_one_before(loop: Loop, images: Images, tmp_path: Path):
    orthanc, service, _ = loop
    first, late = images.make(3000), images.make(3000, 1)
    assert send_by_dimse(service.dicom_port, first) == 0x0000
    wait_for(loop, first)
    (old,) = fetch(orthanc, first.StudyInstanceUID)["report"]
    assert send_by_dimse(service.dicom_port, late) == 0x0000
    wait_for(loop, late, version=2)
    found = fetch(orthanc, first.StudyInstanceUID)
    # one report for each image and version; of the first image nothing else is new
    assert {name: len(objects) for name, objects in found.items() if name != "segmentation"} == {
        "report": 3, "presentation": 2, "capture": 2,
    }  # fmt: skip
    for report in found["report"]:
        if report.SOPInstanceUID == old.SOPInstanceUID:
            continue
        (study,) = report.PredecessorDocumentsSequence
        (reference,) = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
        assert reference.ReferencedSOPInstanceUID == old.SOPInstanceUID
        report.save_as(tmp_path / "report.dcm")
        assert run_dciodvfy(tmp_path / "report.dcm") == ([], [])
        assert run_dsrdump(tmp_path / "report.dcm")[:2] == ([], [])


def test_a_study_out_of_scope_is_rejected_and_gets_no_object(loop: Loop, images: Images):
    orthanc, service, _ = loop
    dataset = images.make(4000, patient_age="007Y")
    assert send_by_dimse(service.dicom_port, dataset) == 0x0000
    assert wait_for(loop, dataset, 0, REJECTED)["reason"] == "out_of_scope 1"
    assert not any(fetch(orthanc, dataset.StudyInstanceUID).values())


def test_a_study_is_answered_once_though_the_service_is_killed_while_it_is_scored(loop: Loop, images: Images):
    orthanc, service, queue = loop
    datasets = [images.make(5000 + number) for number in range(4)]
    for dataset in datasets:
        assert send_by_dimse(service.dicom_port, dataset) == 0x0000
    service.wait_until(lambda: queue.count_states()[SCORED] + queue.count_states()["quiet"] > 0)
    service.kill()
    service.start()
    for dataset in datasets:
        wait_for(loop, dataset)
        counts = {name: len(objects) for name, objects in fetch(orthanc, dataset.StudyInstanceUID).items()}
        assert counts["report"] == counts["presentation"] == counts["capture"] == 1


def test_a_worker_that_is_killed_is_started_again(loop: Loop, images: Images):
    _, service, _ = loop
    dataset = images.make(6000)
    assert send_by_dimse(service.dicom_port, dataset) == 0x0000
    assert service.process is not None
    for child in Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split():
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(int(child), 9)
    wait_for(loop, dataset)


def test_results_also_go_by_stow_and_a_resend_is_the_same_object(images: Images, tmp_path: Path):
    with run_loop(tmp_path / "loop", sender={"url": "http://127.0.0.1:1/dicom-web", "port": 1}) as (orthanc, service):
        text = service.config.read_text().replace("http://127.0.0.1:1/", f"{orthanc.root}/")
        service.stop()
        service.config.write_text(text)
        service.start()
        loop, dataset = (orthanc, service, open_copy(service)), images.make(7000)
        assert send_by_dimse(service.dicom_port, dataset) == 0x0000
        row = wait_for(loop, dataset)
        before = orthanc.find_instances()
        assert Counter(KINDS[kind] for _, kind, _ in before)["report"] == 1
        # as if the service had been killed between an object's storage and its note
        with loop[2]._transaction() as database:
            database.execute("UPDATE objects SET sent_at = NULL")
            database.execute("UPDATE studies SET state = ?, due = 0", (SCORED,))
        wait_for(loop, dataset)
        assert sorted(orthanc.find_instances()) == sorted(before)
        for result in loop[2].list_results(row["study_id"]):
            assert is_same(orthanc.read_file(result.sop_uid), result.file)


def test_tls_wants_a_certificate_of_the_caller(images: Images, tmp_path: Path):
    for name in ("authority", "service", "stranger"):
        signer = ["-CA", f"{tmp_path}/authority.pem", "-CAkey", f"{tmp_path}/authority.key"]
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1", *(signer if name == "service" else [])]
        command += ["-keyout", f"{tmp_path}/{name}.key", "-out", f"{tmp_path}/{name}.pem"]
        subprocess.run(command, check=True, capture_output=True)
    own = Tls(f"{tmp_path}/service.pem", f"{tmp_path}/service.key", f"{tmp_path}/authority.pem")
    stranger = Tls(f"{tmp_path}/stranger.pem", f"{tmp_path}/stranger.key", f"{tmp_path}/authority.pem")
    with run_loop(tmp_path / "loop", receiver={"tls": True}, tls=vars(own)) as (_, service):
        entity, dataset = AE(SENDER), images.make(8000)
        entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
        statuses = []
        for tls in (own, stranger, None):
            secured = (make_tls(tls, server=False), "127.0.0.1") if tls else None
            association = entity.associate("127.0.0.1", service.dicom_port, ae_title=SERVICE, tls_args=secured)
            statuses.append(association.send_c_store(dataset).get("Status") if association.is_established else None)
            association.release()
        assert statuses == [0x0000, None, None]


def test_nothing_failed_and_the_log_names_no_patient(loop: Loop, images: Images):
    _, service, queue = loop
    time.sleep(1)
    log, dataset = service.log.read_text(), images.make(3000)
    assert queue.count_states()[FAILED] == 0 and "Traceback" not in log
    assert not any(
        word in log for word in ("SYNTHETIC", "Synthetic^", dataset.StudyInstanceUID, dataset.SOPInstanceUID)
    )
