"""DICOM results of a whole run, written at its end, where a study's probabilities are known."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom import dcmread
from scripts.errors import InputError
from scripts.files import escape_cell
from scripts.outputs.dicom import write_dicom_results
from scripts.outputs.dicom.identifiers import SERIES_NUMBERS, Algorithm
from scripts.outputs.dicom.study import StudyFindings
from scripts.outputs.operating_point import OperatingPoint
from scripts.outputs.tables import read_rejected
from scripts.predictions import DUPLICATE, ImageFindings, average_studies

#: Rejected files that are no images: a report in a study's folder does not make the report on its images a partial one.
_NO_IMAGES = ("not_dicom", "unsupported_sop", "no_pixels")


def write_run(
    images: Sequence[ImageFindings],
    paths: Mapping[str, str],
    captures: Mapping[str, str],
    output_dir: Path,
    weights_sha256: Mapping[str, str] | str,
    reader_options: Mapping[str, Any],
    *,
    version: str,
    point: OperatingPoint | None,
) -> dict[str, int]:
    """Write the objects of all images into `<output_dir>/dicom/`, from the masks and rejected.csv that stand there.

    An image that cannot have them is reported in the log and left out; the others go on. Objects that an earlier run
    wrote of an image that is rejected or left out now are taken away: they must not stand as today's results.

    Args:
        images: findings in order.
        paths: image id -> image.
        captures: image id -> PNG of its overlay.
        output_dir: the run's folder.
        weights_sha256: hash of the weights, or one for each network by name.
        reader_options, point: as for `write_dicom_results`.
        version: of the bundle.

    Returns:
        How many images have objects, and how many were left out.
    """
    named = {"network": weights_sha256} if isinstance(weights_sha256, str) else weights_sha256
    algorithm = Algorithm(version, named)
    rejected = read_rejected(output_dir)
    for row in rejected:
        _remove_results(output_dir / "dicom", row["image_id"])
    studies, created = _gather_studies(images, paths, rejected), datetime.now()
    counts = {"images": 0, "left_out": 0}
    for image in images:
        mask = (_read_picture(output_dir / "masks" / f"{image.image_id}.png") > 0).astype(np.uint8)
        overlay = _read_picture(captures[image.image_id])
        try:
            written = write_dicom_results(
                image.keep_shown(), mask, overlay, studies[image.study_id], paths[image.image_id], output_dir / "dicom",
                algorithm, point, created, dict(reader_options),
            )  # fmt: skip
        except InputError as error:
            logging.getLogger(__name__).error("no DICOM results for %s: %s", image.image_id, error)
            written = []
        if not written:
            _remove_results(output_dir / "dicom", image.image_id)
        counts["images" if written else "left_out"] += 1
    _report_twins(output_dir / "dicom", images)
    return counts


def _report_twins(folder: Path, images: Sequence[ImageFindings]) -> None:
    """Two images of one SOP Instance UID give objects of one UID: neither is lost here, but an archive keeps one."""
    seen: dict[str, str] = {}
    for image in images:
        path = folder / image.image_id / "presentation.dcm"  # its UID depends on the image alone
        uid = str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID) if path.is_file() else image.image_id
        if uid in seen:
            message = "%s and %s have one SOP Instance UID, and so have their DICOM results: send those of one only"
            logging.getLogger(__name__).warning(message, seen[uid], image.image_id)
        seen.setdefault(uid, image.image_id)


def _gather_studies(
    images: Sequence[ImageFindings], paths: Mapping[str, str], rejected: Sequence[Mapping[str, str]]
) -> dict[str, StudyFindings]:
    counts = Counter(row["study_id"] for row in rejected if row["reason"] not in _NO_IMAGES)
    return {
        study: StudyFindings(
            probabilities,
            tuple(
                paths[image.image_id] for image in images if image.study_id == study and DUPLICATE not in image.flags
            ),
            counts[str(escape_cell(study))],  # as the table has it
        )
        for study, probabilities in average_studies(images).items()
    }


def _remove_results(folder: Path, image_id: str) -> None:
    if Path(image_id).name == image_id:
        for kind in SERIES_NUMBERS:
            (folder / image_id / f"{kind}.dcm").unlink(missing_ok=True)


def _read_picture(path: str | Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)
