"""A challenge-shaped tree of synthetic images with its tables, on disk."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scripts.boxes import Boxes
from scripts.errors import InputError
from scripts.files import write_csv
from scripts.labels import IMAGE_SUFFIX, NONE, OPACITY, STUDY_CLASSES, STUDY_SUFFIX, TABLE_COLUMNS
from scripts.synthetic.anatomy import draw_chest
from scripts.synthetic.broken import BREAKAGES, write_broken_image
from scripts.synthetic.cohort import PlannedImage, plan_cohort
from scripts.synthetic.dicom import write_image
from scripts.synthetic.storage import store_picture
from tqdm import tqdm

_UNIT = "1 0 0 1 1"
_BOX_COLUMNS = ("image", "xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class WrittenImage:
    """Table entries of one written image: its boxes `(N, 4)` and lung box `(4,)`, in image pixels."""

    plan: PlannedImage
    boxes: Boxes
    lung_box: NDArray[np.float64]


def generate_tree(
    out: str | Path,
    num_studies: int = 60,
    num_test_studies: int = 12,
    size: int = 512,
    seed: int = 0,
    workers: int = 2,
    broken: bool = False,
    compact: bool = False,
) -> None:
    """Draw `train/<study>/<series>/<image>.dcm`, `test/...` and the challenge's tables.

    The tree appears whole or not at all: it is generated beside `out` and renamed.

    Args:
        out: a new or empty folder.
        num_studies: studies under train, about a quarter more images; patients have one to three studies.
        num_test_studies: studies under test; they have no labels, only lung boxes and rows in sample_submission.csv.
        size: the longer side of an image in pixels.
        seed: same seed, same bytes (on the same machine and library versions).
        workers: processes that draw.
        broken: also draw images that must be rejected, each in a study of its own that the tables name as any other;
            broken_images.csv says how each is broken, and with which reason code it must be rejected.
        compact: store every image as 8-bit JPEG, its values as they are shown.

    Raises:
        InputError: where `out` holds something already, or a number is out of range.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("a new or empty folder", f"something in {out}", "choose another one, or empty it first")
    if min(num_studies, workers) < 1 or num_test_studies < 0 or not 64 <= size <= 8192:
        found = f"{num_studies} and {num_test_studies} studies, {workers} workers and a size of {size}"
        raise InputError("at least 1 study, 1 worker and a size of 64 to 8192 pixels", found, "change the numbers")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        plans = plan_cohort(num_studies, num_test_studies, seed, broken)
        _draw_into(folder, [_compact(plan) for plan in plans] if compact else plans, size, workers)
        folder.chmod(0o755)
        os.replace(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _draw_into(folder: Path, plans: Sequence[PlannedImage], size: int, workers: int) -> None:
    draw = partial(_generate_image, folder=folder, size=size)
    if workers == 1:
        written = [draw(plan) for plan in tqdm(plans, "drawing images", disable=None)]
    else:
        with multiprocessing.Pool(workers) as pool:
            images = pool.imap(draw, plans, chunksize=4)
            written = list(tqdm(images, "drawing images", total=len(plans), disable=None))
    _write_tables(folder, written)


def _generate_image(plan: PlannedImage, folder: Path, size: int) -> WrittenImage:
    # An even number of columns, because GDCM's encoder wants an even number of bytes.
    height, width = (2 * round(size * fraction / 2) for fraction in plan.shape)
    drawing = draw_chest(height, width, plan.study_class, plan.seeds, plan.look)
    values, style = store_picture(drawing.pixels, plan.style, plan.display)
    path = folder / _locate(plan)
    if plan.breakage:
        write_broken_image(path, values, style, plan.breakage)
    else:
        write_image(path, values, style)
    return WrittenImage(plan, drawing.boxes, drawing.lung_box)


def _compact(plan: PlannedImage) -> PlannedImage:
    return replace(plan, style=replace(plan.style, bits_stored=8, syntax="jpeg_baseline"), display="full")


def _locate(plan: PlannedImage) -> Path:
    return Path(plan.part, plan.study_id, plan.series_id, f"{plan.image_id}.dcm")


def _write_tables(folder: Path, written: Sequence[WrittenImage]) -> None:
    written = sorted(written, key=lambda image: image.plan.image_id)
    parts = {part: [image for image in written if image.plan.part == part] for part in ("train", "test")}
    classes = sorted({image.plan.study_id: image.plan.study_class for image in parts["train"]}.items())
    header = ["id", *(TABLE_COLUMNS[name] for name in STUDY_CLASSES)]
    one_hot = [[f"{study}{STUDY_SUFFIX}", *(int(name == found) for name in STUDY_CLASSES)] for study, found in classes]
    write_csv(folder / "train_study_level.csv", header, one_hot)
    header = ["id", "boxes", "label", "StudyInstanceUID"]
    write_csv(folder / "train_image_level.csv", header, map(_format_image, parts["train"]))
    for part, images in parts.items():
        if rows := [[image.plan.image_id, *_round(image.lung_box)] for image in images]:
            write_csv(folder / f"{part}_lung_boxes.csv", _BOX_COLUMNS, rows)
    write_csv(folder / "sample_submission.csv", ["id", "PredictionString"], _list_sample(parts["test"]))
    breakages = [_format_breakage(image.plan) for image in written if image.plan.breakage]
    if breakages:
        write_csv(folder / "broken_images.csv", ["image", "path", "breakage", "reason"], breakages)


def _format_image(image: WrittenImage) -> list[str]:
    """A row of the image table: the boxes as a list of dictionaries, and again as a prediction string."""
    plan, boxes = image.plan, [_round(box) for box in image.boxes] if image.plan.boxes_in_table else []
    entries = [
        {"x": xmin, "y": ymin, "width": round(xmax - xmin, 3), "height": round(ymax - ymin, 3)}
        for xmin, ymin, xmax, ymax in boxes
    ]
    label = " ".join(f"{OPACITY} 1 " + " ".join(f"{edge:.3f}" for edge in box) for box in boxes)
    return [f"{plan.image_id}{IMAGE_SUFFIX}", str(entries) if boxes else "", label or f"{NONE} {_UNIT}", plan.study_id]


def _format_breakage(plan: PlannedImage) -> list[str]:
    return [plan.image_id, _locate(plan).as_posix(), plan.breakage, BREAKAGES[plan.breakage]]


def _list_sample(images: Sequence[WrittenImage]) -> list[list[str]]:
    """The challenge's sample submission: every study negative, every image without finding."""
    studies = sorted({image.plan.study_id for image in images})
    rows = [[f"{study}{STUDY_SUFFIX}", f"{STUDY_CLASSES[0]} {_UNIT}"] for study in studies]
    return rows + [[f"{image.plan.image_id}{IMAGE_SUFFIX}", f"{NONE} {_UNIT}"] for image in images]


def _round(box: Iterable[float]) -> list[float]:
    return [round(float(edge), 3) for edge in box]
