"""Tables for people and programs: one row a film, one row a study, and both as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from scripts.errors import InputError
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


def read_predictions(path: str | Path) -> list[FilmFindings]:
    """The films of a predictions.json that `write_tables` wrote.

    Raises:
        InputError: where it is absent or something else, or holds a film twice.
    """
    path = Path(path)
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["films"]
        films = [_read_film(row) for row in rows]
    except OSError as error:
        raise InputError("a predictions.json", f"none at {path} ({error.strerror})", "check the path") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        expected = "films with image_id, probabilities and scores between 0 and 1"
        raise InputError(expected, f"another content in {path.name}", "write it again by inference") from None
    num_films = len({film.image_id for film in films})
    if num_films < len(films) or not films:
        found = f"{len(films)} rows of {num_films} films in {path.name}"
        raise InputError("films, each once", found, "write it again by inference")
    return films


def _read_film(row: Mapping[str, Any]) -> FilmFindings:
    film = FilmFindings.from_result(str(row["image_id"]), str(row["study_id"]), row)
    confidences = [*(film.probabilities[name] for name in STUDY_CLASSES), *film.scores]
    if not all(0 <= value <= 1 for value in confidences):
        raise ValueError(f"expected confidences between 0 and 1, got {confidences}")
    return film


def _list_film(film: FilmFindings) -> list[object]:
    figures = [*_pick(film.probabilities), _round(film.none), len(film.keep_shown().boxes)]
    return [film.image_id, film.study_id, *figures, " ".join(film.flags)]


def _pick(probabilities: Mapping[str, float]) -> list[float]:
    return [_round(probabilities[name]) for name in STUDY_CLASSES]


def _round(value: float) -> float:
    return round(float(value), 6)
