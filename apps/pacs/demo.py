"""Demo of the PACS loop: `make pacs-demo`. Orthanc and the service on loopback, synthetic studies in, results out."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import fire
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage
from scripts.errors import InputError, report_input_errors
from scripts.files import write_png

from apps.images import write_images
from apps.pacs.processes import Orthanc, open_copy, run_loop, send_by_dimse
from apps.pacs.queue import SENT


def demo(out: str = "runs/pacs/demo") -> str:
    """Send the synthetic images of `apps.images`, fetch their results from Orthanc, and show them.

    Args:
        out: folder for everything; `captures/` holds what a viewer shows.
    """
    folder = Path(out)
    with run_loop(folder) as (orthanc, service):
        queue, images = open_copy(service), write_images(folder / "images")
        for path in images.values():
            if (status := send_by_dimse(service.dicom_port, dcmread(path))) != 0x0000:
                raise InputError("status 0x0000 of C-STORE", str(status), f"see {service.log}")
        service.wait_until(lambda: queue.count_states()[SENT] == len(images))
        return "\n".join([*_list_results(orthanc, folder / "captures"), "", f"captures: {folder / 'captures'}"])


def _list_results(orthanc: Orthanc, folder: Path) -> Iterator[str]:
    """A line for each report, with the probabilities that it holds; every capture becomes a PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (_, sop_class, sop_uid) in enumerate(sorted(orthanc.find_instances())):
        if sop_class not in (ComprehensiveSRStorage, SecondaryCaptureImageStorage):
            continue
        found = dcmread(BytesIO(orthanc.read_file(sop_uid)))
        if sop_class == ComprehensiveSRStorage:
            figures = ", ".join(f"{name} {value:.3f}" for name, value in read_probabilities(found).items())
            yield f"study {found.StudyInstanceUID[-8:]}: {figures}"
        else:
            write_png(folder / f"{number}.png", Image.fromarray(found.pixel_array))


def read_probabilities(report: Dataset) -> dict[str, float]:
    """The four probabilities of a report, by the ends of their private codes."""
    return {
        code[2:].lower(): float(item.MeasuredValueSequence[0].NumericValue)
        for item in _walk(report)
        if item.get("ValueType") == "NUM" and (code := str(item.ConceptNameCodeSequence[0].CodeValue)).startswith("P_")
    }


def _walk(item: Dataset) -> Iterator[Dataset]:
    yield item
    for each in item.get("ContentSequence") or ():
        yield from _walk(each)


if __name__ == "__main__":
    report_input_errors()
    fire.Fire(demo, name="python -m apps.pacs.demo")
