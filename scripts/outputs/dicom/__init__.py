"""Findings as DICOM objects beside the image: a report, a presentation state, a segmentation and a picture.

Every image gets a folder of its own with `report.dcm`, `presentation.dcm`, `segmentation.dcm` and `capture.dcm`; see
`bundle/docs/dicom_results.md`. highdicom is imported here and nowhere else, so a run without DICOM results needs none.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scripts.errors import InputError
from scripts.files import replace_file
from scripts.outputs.dicom.capture import build_capture
from scripts.outputs.dicom.derivation import Derivation
from scripts.outputs.dicom.identifiers import SERIES_NUMBERS, Algorithm
from scripts.outputs.dicom.presentation import build_presentation
from scripts.outputs.dicom.report import build_report
from scripts.outputs.dicom.segmentation import build_segmentation
from scripts.outputs.dicom.source import read_source
from scripts.outputs.dicom.study import StudyFindings
from scripts.outputs.operating_point import OperatingPoint
from scripts.predictions import ImageFindings

__all__ = ["Algorithm", "OperatingPoint", "StudyFindings", "write_dicom_results"]


def write_dicom_results(
    image: ImageFindings,
    mask: NDArray[np.uint8],
    overlay: NDArray[np.uint8],
    study: StudyFindings,
    path: str | Path,
    folder: str | Path,
    algorithm: Algorithm,
    point: OperatingPoint | None = None,
    created: datetime | None = None,
    reader_options: dict[str, Any] | None = None,
) -> list[Path]:
    """Write the objects of one image into `<folder>/<image_id>/`, each as a whole; all are built before one is written.

    The image's header is read, its pixels are not decoded again.

    Args:
        image: its findings.
        mask: `(H, W)` of zeros and ones, in the image's pixels; where it is empty, no segmentation is written.
        overlay: what `paint_overlay` painted of them, on the pixels that the networks had.
        study: what was found on the whole study.
        path: the image.
        folder: where the folder of this image goes.
        algorithm: version and weights.
        point: where a study is called positive, if it is called.
        created: the moment of the run; by default now.
        reader_options: options of `read_radiograph`, as the image was read with.

    Returns:
        The files; none for an image that came as PNG or JPEG, which has no header to derive an object from.

    Raises:
        RejectedImage: where the reader rejects the image by its header.
        InputError: where it lacks UIDs, or its id cannot be a folder's name.
    """
    target = Path(folder) / _check_folder_name(image.image_id)
    with _keep_quiet():
        source = read_source(path, image.flags, **(reader_options or {}))
        if source is None:
            logging.getLogger(__name__).info("no DICOM results for %s: it is a rendering, not DICOM", image.image_id)
            return []
        created = (created or datetime.now()).replace(microsecond=0)
        derivation = Derivation(source, algorithm, created, _find_number(path, study))
        objects = {
            "report": build_report(derivation, image, study, point),
            "presentation": build_presentation(derivation, image),
            "segmentation": build_segmentation(derivation, mask),
            "capture": build_capture(derivation, overlay),
        }
        written = [_write_object(target / f"{kind}.dcm", objects[kind]) for kind in SERIES_NUMBERS]
    return [file for file in written if file]


def _write_object(path: Path, dataset: Dataset | None) -> Path | None:
    if dataset is None:
        path.unlink(missing_ok=True)  # of an earlier run, which found something
        return None
    with replace_file(path) as temporary:
        dataset.save_as(temporary, enforce_file_format=True)
    return path


def _find_number(path: str | Path, study: StudyFindings) -> int:
    """The image's number among those of its study, from 1."""
    paths = [str(each) for each in study.paths]
    return paths.index(str(path)) + 1 if str(path) in paths else 1


def _check_folder_name(name: str) -> str:
    if name in ("", ".", "..") or Path(name).name != name:
        raise InputError("an image id that can be a folder's name", repr(name[:80]), "prepare the datalist again")
    return name


@contextmanager
def _keep_quiet() -> Iterator[None]:
    """Libraries quote what they find odd in a header, in warnings and logs: it may be a name."""
    library = logging.getLogger("highdicom")
    level = library.level
    library.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        library.setLevel(level)
