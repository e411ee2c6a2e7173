"""Tables for people and programs: one row a film, one row a study, and both as JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from scripts.files import replace_file, write_text
from scripts.labels import STUDY_CLASSES
from scripts.outputs.records import FilmFindings

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def average_studies(films: Sequence[FilmFindings]) -> dict[str, dict[str, float]]:
    """Study id -> class -> probability: the mean over the films of the study, in order of first appearance."""
    rows = pd.DataFrame([{"study_id": film.study_id, **film.probabilities} for film in films])
    if rows.empty:
        return {}
    means = rows.groupby("study_id", sort=False)[list(STUDY_CLASSES)].mean()
    return {str(study): {str(name): float(value) for name, value in row.items()} for study, row in means.iterrows()}


def write_tables(films: Sequence[FilmFindings], folder: str | Path) -> None:
    """Write `films.csv`, `studies.csv` and `predictions.json` into a folder."""
    folder, studies = Path(folder), average_studies(films)
    counts = pd.Series([film.study_id for film in films]).value_counts()
    _write_csv(
        folder / "films.csv",
        ["image_id", "study_id", *STUDY_CLASSES, "none", "num_boxes", "flags"],
        [[f.image_id, f.study_id, *_pick(f.probabilities), _round(f.none), len(f.boxes), " ".join(f.flags)] for f in films],
    )
    _write_csv(
        folder / "studies.csv",
        ["study_id", *STUDY_CLASSES, "num_films"],
        [[study, *_pick(row), int(counts[study])] for study, row in studies.items()],
    )
    content = {"classes": list(STUDY_CLASSES), "studies": studies, "films": [asdict(film) for film in films]}
    write_text(folder / "predictions.json", json.dumps(content, indent=1) + "\n")


def escape_cell(cell: object) -> object:
    """A cell that a spreadsheet would run as a formula, made harmless by an apostrophe."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell


def _pick(probabilities: object) -> list[float]:
    return [_round(probabilities[name]) for name in STUDY_CLASSES]  # type: ignore[index]


def _round(value: float) -> float:
    return round(float(value), 6)


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with replace_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([escape_cell(cell) for cell in row] for row in rows)
