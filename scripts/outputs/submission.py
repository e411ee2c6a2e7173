"""The challenge's submission: `id,PredictionString`, a row for each study and each film."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from scripts.files import replace_file
from scripts.labels import IMAGE_SUFFIX, NONE, OPACITY, STUDY_SUFFIX, UNIT_BOX
from scripts.outputs.records import FilmFindings
from scripts.outputs.tables import average_studies

Detection = tuple[str, float, Sequence[float]]


def format_prediction_string(detections: Iterable[Detection]) -> str:
    """`class confidence xmin ymin xmax ymax` for each detection, separated by blanks."""
    return " ".join(_format_detection(*detection) for detection in detections)


def write_submission(films: Sequence[FilmFindings], path: str | Path) -> None:
    """Write the submission: every study with all four classes, every film with its boxes and `none`.

    `none` is the mean over the study's films of each film's own confidence: a study is negative as a whole.
    """
    studies = average_studies(films)
    with replace_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "PredictionString"])
        for study, probabilities in studies.items():
            rows = [(name, value, UNIT_BOX) for name, value in probabilities.items()]
            writer.writerow([f"{study}{STUDY_SUFFIX}", format_prediction_string(rows)])
        for film in films:
            none = studies[film.study_id]["negative"]
            writer.writerow([f"{film.image_id}{IMAGE_SUFFIX}", format_prediction_string(_list_detections(film, none))])


def _list_detections(film: FilmFindings, none: float) -> list[Detection]:
    boxes: list[Detection] = [(OPACITY, score, box) for box, score in zip(film.boxes, film.scores, strict=True)]
    return [*boxes, (NONE, none, UNIT_BOX)]


def _format_detection(name: str, confidence: float, box: Sequence[float]) -> str:
    edges = " ".join("0 0 1 1".split() if tuple(box) == UNIT_BOX else [f"{edge:.3f}" for edge in box])
    return f"{name} {confidence:.6f} {edges}"
