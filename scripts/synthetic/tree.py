"""A challenge-shaped tree of drawn films with its tables, on disk."""

from __future__ import annotations

import csv
import multiprocessing
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.boxes import Boxes
from scripts.errors import InputError
from scripts.labels import IMAGE_SUFFIX, NONE, OPACITY, STUDY_CLASSES, STUDY_SUFFIX, TABLE_COLUMNS
from scripts.synthetic.anatomy import Drawing, draw_chest
from scripts.synthetic.cohort import PlannedFilm, plan_cohort
from scripts.synthetic.dicom import write_film

_UNIT = "1 0 0 1 1"


@dataclass(frozen=True)
class DrawnFilm:
    """What the tables tell of one written film: its boxes `(N, 4)` and lung box `(4,)`, in film pixels."""

    plan: PlannedFilm
    boxes: Boxes
    lung_box: NDArray[np.float64]


def draw_tree(
    out: str | Path,
    num_studies: int = 60,
    num_test_studies: int = 12,
    size: int = 512,
    seed: int = 0,
    workers: int = 2,
    broken: bool = False,
) -> None:
    """Draw `train/<study>/<series>/<image>.dcm`, `test/...` and the challenge's tables.

    Args:
        out: a new or empty folder.
        num_studies: studies under train; about one in eight has several films.
        num_test_studies: studies under test; they have no labels, only lung boxes and rows in sample_submission.csv.
        size: the longer side of a film in pixels.
        seed: same seed, same films.
        workers: processes that draw.
        broken: also write films that must be refused; broken_films.csv says which, and for which reason.

    Raises:
        InputError: where `out` holds something already, or a number is out of range.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("a new or empty folder", f"something in {out}", "choose another one, or empty it first")
    if min(num_studies, workers) < 1 or num_test_studies < 0 or not 64 <= size <= 8192:
        raise InputError("at least 1 study, 1 worker and 64 to 8192 pixels", "less or more", "change the numbers")
    out.mkdir(parents=True, exist_ok=True)
    plans = plan_cohort(num_studies, num_test_studies, seed)
    drawn = _draw_all(plans, out, size, workers)
    _write_tables(out, drawn)


def _draw_all(plans: Sequence[PlannedFilm], out: Path, size: int, workers: int) -> list[DrawnFilm]:
    draw = partial(_draw_one, out=out, size=size)
    if workers == 1:
        return [draw(plan) for plan in plans]
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return pool.map(draw, plans, chunksize=4)


def _draw_one(plan: PlannedFilm, out: Path, size: int) -> DrawnFilm:
    # An even number of columns, because GDCM's encoder wants an even number of bytes.
    height, width = (2 * round(size * share / 2) for share in plan.shape)
    drawing = draw_chest(height, width, plan.study_class, plan.seeds)
    path = out / plan.part / plan.study_id / plan.series_id / f"{plan.image_id}.dcm"
    write_film(path, _store_values(drawing, plan), plan.style)
    return DrawnFilm(plan, drawing.boxes, drawing.lung_box)


def _store_values(drawing: Drawing, plan: PlannedFilm) -> NDArray[np.uint16]:
    top = (1 << plan.style.bits_stored) - 1
    values = np.round(drawing.pixels * top).astype(np.uint16)
    return top - values if plan.style.photometric == "MONOCHROME1" else values


def _write_tables(out: Path, drawn: Sequence[DrawnFilm]) -> None:
    train = [film for film in drawn if film.plan.part == "train"]
    test = [film for film in drawn if film.plan.part == "test"]
    classes = {film.plan.study_id: film.plan.study_class for film in train}
    header = ["id", *(TABLE_COLUMNS[name] for name in STUDY_CLASSES)]
    rows = [[f"{study}{STUDY_SUFFIX}", *(int(name == label) for name in STUDY_CLASSES)] for study, label in classes.items()]
    _write_csv(out / "train_study_level.csv", header, rows)
    _write_csv(out / "train_image_level.csv", ["id", "boxes", "label", "StudyInstanceUID"], map(_image_row, train))
    for name, films in (("train", train), ("test", test)):
        boxes = [[film.plan.image_id, *_round(film.lung_box)] for film in films]
        _write_csv(out / f"{name}_lung_boxes.csv", ["image", "xmin", "ymin", "xmax", "ymax"], boxes)
    studies = {film.plan.study_id: None for film in test}
    sample = [[f"{study}{STUDY_SUFFIX}", f"{STUDY_CLASSES[0]} {_UNIT}"] for study in sorted(studies)]
    sample += [[f"{name}{IMAGE_SUFFIX}", f"{NONE} {_UNIT}"] for name in sorted(film.plan.image_id for film in test)]
    _write_csv(out / "sample_submission.csv", ["id", "PredictionString"], sample)


def _image_row(film: DrawnFilm) -> list[str]:
    boxes = [_round(box) for box in film.boxes] if film.plan.boxes_in_table else []
    entries = [{"x": x, "y": y, "width": round(xmax - x, 3), "height": round(ymax - y, 3)} for x, y, xmax, ymax in boxes]
    label = " ".join(f"{OPACITY} 1 {x:.3f} {y:.3f} {xmax:.3f} {ymax:.3f}" for x, y, xmax, ymax in boxes)
    plan = film.plan
    return [f"{plan.image_id}{IMAGE_SUFFIX}", str(entries) if boxes else "", label or f"{NONE} {_UNIT}", plan.study_id]


def _round(box: Iterable[float]) -> list[float]:
    return [round(float(edge), 3) for edge in box]


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    temporary = path.with_suffix(".part")
    with temporary.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(sorted(rows, key=lambda row: str(row[0])))
    os.replace(temporary, path)
