"""Tables for people and programs: one row a film, one row a study, and both as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from scripts.files import write_csv, write_text
from scripts.labels import STUDY_CLASSES
from scripts.outputs.records import FilmFindings


def average_studies(films: Sequence[FilmFindings]) -> dict[str, dict[str, float]]:
    """Study id -> class -> probability: the mean over the films of the study, in order of first appearance."""
    rows = pd.DataFrame([{"study_id": film.study_id, **film.probabilities} for film in films])
    if rows.empty:
        return {}
    means = rows.groupby("study_id", sort=False)[list(STUDY_CLASSES)].mean()
    return {str(study): {str(name): float(value) for name, value in row.items()} for study, row in means.iterrows()}


def write_tables(films: Sequence[FilmFindings], folder: str | Path) -> None:
    """Write `films.csv`, `studies.csv` and `predictions.json` into a folder; `num_boxes` counts the shown ones."""
    folder, studies = Path(folder), average_studies(films)
    counts = pd.Series([film.study_id for film in films]).value_counts()
    write_csv(
        folder / "films.csv",
        ["image_id", "study_id", *STUDY_CLASSES, "none", "num_boxes", "flags"],
        [_list_film(film) for film in films],
    )
    write_csv(
        folder / "studies.csv",
        ["study_id", *STUDY_CLASSES, "num_films"],
        [[study, *_pick(row), int(counts[study])] for study, row in studies.items()],
    )
    content = {"classes": list(STUDY_CLASSES), "studies": studies, "films": [asdict(film) for film in films]}
    write_text(folder / "predictions.json", json.dumps(content, indent=1) + "\n")


def _list_film(film: FilmFindings) -> list[object]:
    figures = [*_pick(film.probabilities), _round(film.none), len(film.keep_shown().boxes)]
    return [film.image_id, film.study_id, *figures, " ".join(film.flags)]


def _pick(probabilities: Mapping[str, float]) -> list[float]:
    return [_round(probabilities[name]) for name in STUDY_CLASSES]


def _round(value: float) -> float:
    return round(float(value), 6)
