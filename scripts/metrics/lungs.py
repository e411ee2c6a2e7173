"""Detected lung boxes against annotated ones, as a table to read.

The CSV has one row an image, with the columns
    image_id                 the image
    xmin, ymin, xmax, ymax   the box round both lungs in image pixels; all empty where no lungs were found
    score                    confidence of the box; may be empty where there is none
    flags                    words that a reader should know, separated by blanks; may be empty
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.datalist import read_datalist
from scripts.errors import InputError
from scripts.files import read_csv
from scripts.labels import LUNG_TABLE_COLUMNS
from scripts.metrics.ground_truth import name_ground_truth
from scripts.metrics.localisation import LungFigures, measure_lung_boxes, measure_lung_overlaps
from scripts.metrics.scores import check_ids
from scripts.tabulation import tabulate_intervals

#: So many of the worst images are named: enough to look at, and to see whether they are alike.
NUM_WORST = 5


@dataclass(frozen=True)
class DetectedLungs:
    """Detected lungs of one image: a box in image pixels or None, its confidence, flags."""

    box: tuple[float, ...] | None
    score: float
    flags: tuple[str, ...]


def report_lungs(
    lungs_csv: str | Path, ground_truth: str | Path, fold: int | None = None, num_resamples: int = 1000, seed: int = 0
) -> str:
    """Compare detected lung boxes with the annotated ones of a datalist, and report in plain text.

    Every image of the datalist with an annotated box counts, with a label or without: `annotated_lung_box` where an
    image has this key (its `lung_box` was found then), else `lung_box`. Each needs its row; rows of its other images
    are left out.

    Args:
        lungs_csv: the found boxes, as this module describes them.
        ground_truth: a datalist.json.
        fold: only the images of this fold.
        num_resamples: bootstrap resamples behind each interval.
        seed: of the resamples.

    Raises:
        InputError: where a file is not there or not valid, or ids do not fit together.
    """
    datalist = read_datalist(ground_truth)
    images = {image["image_id"]: image for image in [*datalist["training"], *datalist["test"]]}
    annotated = {
        image_id: box
        for image_id, image in images.items()
        if (box := _find_annotated_box(image)) and _is_in(image, fold)
    }
    if not annotated:
        found = f"none in {name_ground_truth(ground_truth, fold)}"
        raise InputError(
            "images with an annotated lung box", found, "check --fold, or prepare with a table of lung boxes"
        )
    rows = read_detected_lungs(lungs_csv)
    check_ids("image", rows, annotated, frozenset(images))
    boxes = {image_id: (row.box, row.score) for image_id, row in rows.items()}
    patients = {image_id: images[image_id]["patient"] for image_id in annotated}
    figures = measure_lung_boxes(boxes, annotated, patients, num_resamples, seed)
    where = name_ground_truth(ground_truth, fold)
    counts = f"{len(annotated)} images with an annotated lung box, {len(set(patients.values()))} patients"
    head = f"{Path(lungs_csv).name} against {where}: {counts}"
    drawing = f"95 % intervals from {num_resamples} bootstrap resamples of patients"
    table = _tabulate_figures(figures)
    return f"{head}\n{drawing}\n\n{table}\n\n{_describe_images(rows, annotated, figures)}"


def read_detected_lungs(path: str | Path) -> dict[str, DetectedLungs]:
    """Read the detected lungs of each image, by image id, in the order of the table.

    Raises:
        InputError: naming file and line, where the table is not there, empty, or a row is malformed or repeated.
    """
    found: dict[str, DetectedLungs] = {}
    for row in read_csv(path, LUNG_TABLE_COLUMNS, exact=True, what="a table of lung boxes"):
        image_id = row.cells["image_id"]
        if not image_id or image_id in found:
            raise InputError("each image id once", f"an empty one or a second row at {row.locate()}", "correct the row")
        found[image_id] = _parse_row(row.cells, row.locate())
    if not found:
        raise InputError("at least one row", f"none in {Path(path).name}", "find the lungs first")
    return found


def _find_annotated_box(image: Mapping[str, Any]) -> list[float] | None:
    # "drawn_lung_box": datalists that were written before version 0.4.0
    return next(image[key] for key in ("annotated_lung_box", "drawn_lung_box", "lung_box") if key in image)


def _is_in(image: Mapping[str, Any], fold: int | None) -> bool:
    return fold is None or image["fold"] == fold


def _parse_row(cells: Mapping[str, str], where: str) -> DetectedLungs:
    edges, flags = [cells[name] for name in LUNG_TABLE_COLUMNS[1:5]], tuple(cells["flags"].split())
    if not any(edges):
        return DetectedLungs(None, 0.0, flags)
    try:
        xmin, ymin, xmax, ymax, score = (float(cell) for cell in [*edges, cells["score"]])
    except ValueError:
        found = f"{' '.join([*edges, cells['score']])[:80]!r} at {where}"
        raise InputError("four edges and a score, or no edge at all", found, "correct the row") from None
    if not all(map(math.isfinite, (xmin, ymin, xmax, ymax, score))) or xmax <= xmin or ymax <= ymin:
        raise InputError("finite xmin < xmax and ymin < ymax, and a finite score", where, "correct the row")
    return DetectedLungs((xmin, ymin, xmax, ymax), score, flags)


def _tabulate_figures(figures: LungFigures) -> str:
    rows = {"AP at IoU > 0.5": figures.ap50, "AP at IoU > 0.50 to 0.95": figures.ap50_95, "mean IoU": figures.mean_iou}
    return tabulate_intervals("lung boxes", rows)


def _describe_images(
    rows: Mapping[str, DetectedLungs], annotated: Mapping[str, Sequence[float]], figures: LungFigures
) -> str:
    """Images without box, images with flags, and the images whose box lies worst."""
    overlaps = measure_lung_overlaps({image: (rows[image].box, rows[image].score) for image in annotated}, annotated)
    worst = sorted(annotated, key=lambda image: (overlaps[image], image))[:NUM_WORST]
    flagged = [rows[image].flags for image in annotated if rows[image].flags]
    words = Counter(word for flags in flagged for word in set(flags))
    kinds = ", ".join(f"{word} {count}" for word, count in sorted(words.items()))
    lines = [
        f"images without box: {figures.num_without_box}",
        f"images flagged: {len(flagged)}" + (f" ({kinds})" if kinds else ""),
        "smallest IoU: " + ", ".join(f"{image} {overlaps[image]:.3f}" for image in worst),
    ]
    return "\n".join(lines)
