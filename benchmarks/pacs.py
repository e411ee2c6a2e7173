"""The PACS loop measured: kills, thousands of studies, every transfer syntax (`python -m benchmarks.pacs kills`).

Orthanc and the service run as processes on loopback, the bundle's own weights score, images are synthetic.
"""

from __future__ import annotations

import json
import random
import statistics
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from scripts.errors import InputError
from scripts.files import write_text
from scripts.synthetic import TRANSFER_SYNTAXES, ImageStyle, derive_uid, draw_chest, make_image, store_picture

from apps.pacs.processes import Orthanc, Program, Service, open_copy, run_loop, send_by_dimse, send_by_web
from apps.pacs.queue import SENT, Queue
from benchmarks.commandline import run_command

#: Files of a version by the SOP classes that Orthanc reports.
KINDS = {
    "1.2.840.10008.5.1.4.1.1.88.33": "report",
    "1.2.840.10008.5.1.4.1.1.11.1": "presentation",
    "1.2.840.10008.5.1.4.1.1.66.4": "segmentation",
    "1.2.840.10008.5.1.4.1.1.7": "capture",
}
_CLASSES = ("negative", "typical", "indeterminate", "atypical")


class Images:
    """Synthetic images, a few pictures under ever new UIDs.

    Args:
        name: goes into the UIDs: another name gives others.
        side: of a picture, pixels.
        pictures: that are generated.
    """

    def __init__(self, name: str, side: int = 256, pictures: int = 12) -> None:
        self.name = name
        drawings = [draw_chest(side, side - 16 * (n % 3), _CLASSES[n % 4], (n, n, n)) for n in range(pictures)]
        styles = [ImageStyle(kind="DX" if n % 2 else "CR") for n in range(pictures)]
        self.stored = [store_picture(each.pixels, style, "full") for each, style in zip(drawings, styles, strict=True)]

    def make(self, study: int, image: int = 0, **changes: Any) -> Dataset:
        """One image of a study, by their numbers."""
        values, style = self.stored[(study + image) % len(self.stored)]
        study_uid = derive_uid(self.name, "study", study)
        named = {
            "study_uid": study_uid,
            "series_uid": derive_uid(study_uid, "series"),
            "sop_uid": derive_uid(study_uid, image),
            "patient_id": f"SYNTHETIC-{study}",
        }
        return make_image(_fit(values, style, changes), style, **{**named, **changes})


def kills(out: str = "runs/pacs/kills", studies: int = 200, times: int = 20, seed: int = 0) -> str:
    """Send studies by both ways while service and Orthanc are killed (-9) at random, and count what came of each."""
    folder, chance, images = Path(out), random.Random(seed), Images(f"kills {seed}")
    sections = {"watcher": {"interval_seconds": 1}, "scoring": {"quiet_seconds": 2, "max_pause_seconds": 10}}
    with run_loop(folder, **sections) as (orthanc, service):
        queue, again = open_copy(service), Counter[str]()
        sending = threading.Thread(target=_send_all, args=(images, studies, orthanc, service, queue, again))
        sending.start()
        killed: Counter[str] = Counter()
        for number in sorted(chance.sample(range(2, studies - 5), times)):
            while queue.count_states()[SENT] < number:
                time.sleep(0.1)
            time.sleep(chance.uniform(0, 2))
            victim: Program = chance.choice([orthanc, service])
            victim.kill()
            killed[type(victim).__name__] += 1
            victim.start(wait=False)
        sending.join()
        service.wait_until(lambda: queue.count_states()[SENT] == studies, 900)
        table = _count_objects(orthanc, queue, images, studies)
        table = {"killed": dict(killed), "sent again": dict(again), **table}
    write_text(folder / "kills.json", json.dumps(table, indent=1) + "\n")
    return _tabulate(table)


def _list_images(study: int) -> range:
    """Every tenth study has two images."""
    return range(2 if study % 10 == 0 else 1)


def _send_all(
    images: Images, studies: int, orthanc: Orthanc, service: Service, queue: Queue, again: Counter[str]
) -> None:
    """Send as a modality does: what got no success is sent again. A few studies wait at a time."""
    for study in range(studies):
        while study - queue.count_states()[SENT] > 6:
            time.sleep(0.1)
        for image in _list_images(study):
            dataset = images.make(study, image)
            while True:
                by_web = study % 2
                status = send_by_web(orthanc, dataset) if by_web else send_by_dimse(service.dicom_port, dataset)
                if status in (0x0000, 200):
                    break
                again["DICOMweb" if by_web else "C-STORE"] += 1
                time.sleep(0.5)


def _count_objects(orthanc: Orthanc, queue: Queue, images: Images, studies: int) -> dict[str, Any]:
    """Compare what Orthanc holds with what every study must have."""
    time.sleep(3)
    orthanc.wait_until(orthanc.is_ready)
    held = [(study, KINDS[kind], uid) for study, kind, uid in orthanc.find_instances() if kind in KINDS]
    counts = Counter((study, kind) for study, kind, _ in held)
    rows = queue.list_studies()
    files = {each.sop_uid: each.file for row in rows for each in queue.list_results(row["study_id"])}
    uids = {images.make(study).StudyInstanceUID: len(_list_images(study)) for study in range(studies)}
    once = ("presentation", "capture")  # of every image one, whatever the version; reports are one for each version
    return {
        "studies sent": studies,
        "studies that the queue calls sent": sum(row["state"] == SENT for row in rows),
        "studies without a report": sum(not counts[uid, "report"] for uid in uids),
        "studies that lack an object": sum(counts[uid, kind] < number for uid, number in uids.items() for kind in once),
        "studies with an object twice": sum(
            counts[uid, kind] > number for uid, number in uids.items() for kind in once
        ),
        "objects in Orthanc": len(held),
        "of them twice": len(held) - len({uid for _, _, uid in held}),
        "of them unknown to the queue": sum(uid not in files for _, _, uid in held),
        "objects of the queue that Orthanc lacks": len(files.keys() - {uid for _, _, uid in held}),
        "objects with other bytes": sum(not is_same(orthanc.read_file(uid), files[uid]) for _, _, uid in held),
        "studies of more than one version": sum(row["version"] > 1 for row in rows),
    }


def is_same(stored: bytes, file: str) -> bool:
    """Compare data sets; an archive writes file meta information of its own."""
    return _cut_meta(stored) == _cut_meta(Path(file).read_bytes())


def _cut_meta(content: bytes) -> bytes:
    return content[144 + int.from_bytes(content[140:144], "little") :]


def endurance(out: str = "runs/pacs/endurance", studies: int = 2000, in_flight: int = 4) -> str:
    """Send studies one after the other, a few in flight; memory, studies per minute, and the seconds of each step."""
    folder, images = Path(out), Images("endurance")
    with run_loop(folder, **{"": {"keep_days": 0.02}}) as (orthanc, service):
        queue, memory, start = open_copy(service), [], time.monotonic()
        for study in range(studies):
            while study - queue.count_states()[SENT] >= in_flight:
                time.sleep(0.05)
            while send_by_dimse(service.dicom_port, images.make(study)) != 0x0000:
                time.sleep(0.5)
            if study % 20 == 0:
                memory.append((study, *measure_memory(service)))
        service.wait_until(lambda: queue.count_states()[SENT] == studies, 900)
        seconds = time.monotonic() - start
        rows = [dict(row) for row in queue.list_studies()]
        table = {"studies": studies, "studies per minute": round(60 * studies / seconds, 1), **_describe_steps(rows)}
        table |= _describe_memory(memory)
        found = Counter(KINDS.get(kind, "image") for _, kind, _ in orthanc.find_instances())
        table["objects in Orthanc"] = dict(found)
    write_text(folder / "endurance.json", json.dumps({**table, "memory": memory}, indent=1) + "\n")
    return _tabulate(table)


def measure_memory(service: Service) -> tuple[float, float]:
    """Resident memory of the service and of all its children, MB."""
    assert service.process is not None
    children = _list_children(service.process.pid)
    return _read_memory(service.process.pid), sum(map(_read_memory, children))


def _list_children(process: int) -> list[int]:
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    direct = [int(child) for task in tasks for child in task.read_text().split()]
    return [*direct, *(each for child in direct for each in _list_children(child))]


def _read_memory(process: int) -> float:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def _describe_memory(memory: list[Any]) -> dict[str, Any]:
    """Mean of the second tenth of the studies, when all is loaded, and of the last."""
    tenth = max(1, len(memory) // 10)
    described = {}
    for column, name in ((1, "service"), (2, "worker and decoder")):
        parts = (memory[tenth : 2 * tenth], memory[-tenth:])
        first, last = (statistics.mean(row[column] for row in part) for part in parts)
        described[f"memory of {name}, MB"] = f"{first:.1f} -> {last:.1f} ({100 * (last / first - 1):+.1f} %)"
    return described


def _describe_steps(rows: list[dict[str, Any]]) -> dict[str, Any]:
    times = ("last_image_at", "quiet_at", "scoring_at", "scored_at", "sending_at", "sent_at")
    steps = ("until quiet", "until the worker is free", "scoring", "until the sender is free", "sending")
    pairs = zip(steps, times, times[1:], strict=False)
    spans = {step: [row[end] - row[begin] for row in rows] for step, begin, end in pairs}
    spans["last image to the last object"] = [row["sent_at"] - row["last_image_at"] for row in rows]
    return {
        f"{step}, s": f"median {statistics.median(values):.2f}, 95th percentile {np.percentile(values, 95):.2f}"
        for step, values in spans.items()
    }


def syntaxes(out: str = "runs/pacs/syntaxes", images: int = 10) -> str:
    """Compare probabilities with `monai.bundle run`, for images of every transfer syntax, sent as they are."""
    from apps.integrations import read_images, run_bundle

    folder, made = Path(out), Images("syntaxes", 320)
    with run_loop(folder) as (_, service):
        queue, numbers = open_copy(service), {}
        for position, syntax in enumerate(TRANSFER_SYNTAXES):
            for number in range(images):
                numbers[study := position * images + number] = syntax
                bits = {"bits_stored": 8} if syntax == "jpeg_baseline" else {}
                dataset = made.make(study, syntax=syntax, **bits)
                path = folder / "images" / syntax / f"{study}.dcm"
                path.parent.mkdir(parents=True, exist_ok=True)
                dataset.save_as(path, enforce_file_format=True)
                if (status := send_by_dimse(service.dicom_port, dataset)) != 0x0000:
                    raise InputError("status 0x0000", f"{status} for {syntax}", "see the log of the service")
        service.wait_until(lambda: queue.count_states()[SENT] == len(numbers), 900)
        found: dict[str, Any] = {}
        for path in service.folder.glob("results/*/1"):
            found |= read_images(path)
    table: dict[str, Any] = {}
    for syntax in TRANSFER_SYNTAXES:
        run_bundle(folder / "images" / syntax, folder / "runs" / syntax, "dist/chest_xray_covid19")
        reference = read_images(folder / "runs" / syntax)
        differences = [
            abs(image["probabilities"][name] - found[image_id]["probabilities"][name])
            for image_id, image in reference.items()
            for name in image["probabilities"]
        ]
        table[syntax] = f"{len(reference)} images, largest difference {max(differences):.1e}"
        if len(reference) != images or max(differences) > 1e-6:
            raise InputError("equal probabilities", f"{syntax}: {table[syntax]}", "find out which is wrong")
    write_text(folder / "syntaxes.json", json.dumps(table, indent=1) + "\n")
    return _tabulate(table)


def _fit(values: NDArray[Any], style: ImageStyle, changes: dict[str, Any]) -> NDArray[Any]:
    """Stored values with as many bits as the changed style has."""
    bits = changes.get("bits_stored", style.bits_stored)
    return values >> max(0, style.bits_stored - bits)


def _tabulate(table: dict[str, Any]) -> str:
    rows = [f"| {name} | {value if not isinstance(value, dict) else _join(value)} |" for name, value in table.items()]
    return "\n".join(["| | |", "|---|---|", *rows])


def _join(counts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items())


if __name__ == "__main__":
    verbs = {"kills": kills, "endurance": endurance, "syntaxes": syntaxes}
    run_command(verbs, "benchmarks.pacs")
