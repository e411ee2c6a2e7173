"""Found lung boxes against those that were drawn, as a table to read.

The CSV has one row a film, with the columns
    image_id                 the film
    xmin, ymin, xmax, ymax   the box round both lungs in film pixels; all empty where no lungs were found
    score                    confidence of the box; may be empty where there is none
    flags                    words that a reader should know, separated by blanks; may be empty
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.datalist import read_datalist
from scripts.errors import InputError
from scripts.labels import LUNG_TABLE_COLUMNS
from scripts.metrics.localisation import LungFigures, measure_lung_boxes, measure_lung_overlaps
from scripts.metrics.rows import expect_columns, read_rows
from scripts.metrics.scores import check_ids
from scripts.metrics.tabulation import tabulate_intervals
from scripts.metrics.truth import name_truth

#: So many of the worst films are named: enough to look at, and to see whether they are alike.
NUM_WORST = 5


@dataclass(frozen=True)
class FoundLungs:
    """What was found on one film: a box in film pixels or None, its confidence, flags."""

    box: tuple[float, ...] | None
    score: float
    flags: tuple[str, ...]


def report_lungs(
    lungs_csv: str | Path, truth: str | Path, fold: int | None = None, num_resamples: int = 1000, seed: int = 0
) -> str:
    """Compare found lung boxes with the drawn ones of a datalist and tell it in plain text.

    Every film of the datalist with a drawn box counts, with a label or without: `drawn_lung_box` where a film has this
    key (its `lung_box` was found then), else `lung_box`. Each needs its row; rows of its other films are left out.

    Args:
        lungs_csv: the found boxes, as this module describes them.
        truth: a datalist.json.
        fold: only the films of this fold.
        num_resamples: bootstrap resamples behind each interval.
        seed: of the resamples.

    Raises:
        InputError: where a file is not there or not valid, or ids do not fit together.
    """
    datalist = read_datalist(truth)
    films = {film["image_id"]: film for film in [*datalist["training"], *datalist["test"]]}
    drawn = {image: box for image, film in films.items() if (box := _find_drawn_box(film)) and _is_in(film, fold)}
    if not drawn:
        found = f"none in {name_truth(truth, fold)}"
        raise InputError("films with a drawn lung box", found, "check --fold, or prepare with a table of lung boxes")
    rows = read_found_lungs(lungs_csv)
    check_ids("image", rows, drawn, frozenset(films))
    boxes = {image: (row.box, row.score) for image, row in rows.items()}
    patients = {image: films[image]["patient"] for image in drawn}
    figures = measure_lung_boxes(boxes, drawn, patients, num_resamples, seed)
    where = name_truth(truth, fold)
    counts = f"{len(drawn)} films with a drawn lung box, {len(set(patients.values()))} patients"
    head = f"{Path(lungs_csv).name} against {where}: {counts}"
    drawing = f"95 % intervals from {num_resamples} bootstrap resamples of patients"
    table = _tabulate_figures(figures)
    return f"{head}\n{drawing}\n\n{table}\n\n{_describe_films(rows, drawn, figures)}"


def read_found_lungs(path: str | Path) -> dict[str, FoundLungs]:
    """What was found on each film, by image id, in the order of the table.

    Raises:
        InputError: naming file and line, where the table is not there, empty, or a row is malformed or repeated.
    """
    found: dict[str, FoundLungs] = {}
    for where, cells in _read_rows(Path(path)):
        if not cells["image_id"] or cells["image_id"] in found:
            raise InputError("each image id once", f"an empty one or a second row at {where}", "correct the row")
        found[cells["image_id"]] = _parse_row(cells, where)
    if not found:
        raise InputError("at least one row", f"none in {Path(path).name}", "find the lungs first")
    return found


def _find_drawn_box(film: Mapping[str, Any]) -> list[float] | None:
    return film["drawn_lung_box"] if "drawn_lung_box" in film else film["lung_box"]


def _is_in(film: Mapping[str, Any], fold: int | None) -> bool:
    return fold is None or film["fold"] == fold


def _read_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Where a row stands, and its cells by column."""
    checked = expect_columns(LUNG_TABLE_COLUMNS, path)
    for where, header, cells in read_rows(path, "a table of lung boxes", "check the path", checked):
        yield where, dict(zip(header, map(str.strip, cells), strict=True))


def _parse_row(cells: Mapping[str, str], where: str) -> FoundLungs:
    edges, flags = [cells[name] for name in LUNG_TABLE_COLUMNS[1:5]], tuple(cells["flags"].split())
    if not any(edges):
        return FoundLungs(None, 0.0, flags)
    try:
        xmin, ymin, xmax, ymax, score = (float(cell) for cell in [*edges, cells["score"]])
    except ValueError:
        found = f"{' '.join([*edges, cells['score']])[:80]!r} at {where}"
        raise InputError("four edges and a score, or no edge at all", found, "correct the row") from None
    if not all(map(math.isfinite, (xmin, ymin, xmax, ymax, score))) or xmax <= xmin or ymax <= ymin:
        raise InputError("finite xmin < xmax and ymin < ymax, and a finite score", where, "correct the row")
    return FoundLungs((xmin, ymin, xmax, ymax), score, flags)


def _tabulate_figures(figures: LungFigures) -> str:
    rows = {
        "AP at IoU > .5": figures.ap50,
        "AP at IoU > .50 to .95": figures.ap50_95,
        "mean IoU": figures.mean_iou,
    }
    return tabulate_intervals("lung boxes", rows)


def _describe_films(rows: Mapping[str, FoundLungs], drawn: Mapping[str, Sequence[float]], figures: LungFigures) -> str:
    """Films without box, films with flags, and the films whose box lies worst."""
    overlaps = measure_lung_overlaps({image: (rows[image].box, rows[image].score) for image in drawn}, drawn)
    worst = sorted(drawn, key=lambda image: (overlaps[image], image))[:NUM_WORST]
    flagged = [rows[image].flags for image in drawn if rows[image].flags]
    words = Counter(word for flags in flagged for word in set(flags))
    kinds = ", ".join(f"{word} {count}" for word, count in sorted(words.items()))
    lines = [
        f"films without box: {figures.num_without_box}",
        f"films flagged: {len(flagged)}" + (f" ({kinds})" if kinds else ""),
        "smallest IoU: " + ", ".join(f"{image} {overlaps[image]:.3f}" for image in worst),
    ]
    return "\n".join(lines)
