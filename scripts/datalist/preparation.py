"""From a tree of films and its tables to `datalist.json` and `decisions.csv`: all films read, all choices told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scripts import folds
from scripts.datalist.decisions import Decisions
from scripts.datalist.films import Film, examine_films
from scripts.datalist.sameness import choose_originals, cluster_films, name_patients
from scripts.datalist.schema import write_datalist
from scripts.datalist.sources import list_challenge_films, list_own_films
from scripts.duplicates import SameFilm, find_same_films
from scripts.errors import InputError
from scripts.labels import STUDY_CLASSES
from scripts.tables import read_tables

DATALIST = "datalist.json"
DECISIONS = "decisions.csv"


@dataclass(frozen=True)
class Prepared:
    """What `prepare` wrote.

    Args:
        datalist, decisions: the two files.
        content_hash: of the datalist.
        num_training, num_test, num_patients: films with and without label, patients among the films with label.
        num_proposed: pairs of unequal films that were compared as perhaps the same.
        num_decisions: rows of the decisions table by decision.
    """

    datalist: Path
    decisions: Path
    content_hash: str
    num_training: int
    num_test: int
    num_patients: int
    num_proposed: int
    num_decisions: Mapping[str, int]


def prepare(
    tree: str | Path,
    out: str | Path,
    tables: str | Path | None = None,
    num_folds: int = 5,
    seed: int = 0,
    workers: int = 2,
    accept_secondary_capture: bool = False,
    accept_renderings: bool = False,
) -> Prepared:
    """Read a tree of films and its tables; write `datalist.json` and `decisions.csv` into `out`.

    Both files are written at the end and atomically: where anything is wrong before, nothing is written.

    Args:
        tree: folder of train/<study>/<series>/<image>.dcm and test/..., or of one's own films.
        out: folder of the two files, made where absent.
        tables: folder of the challenge's tables, or a CSV of one's own films (`scripts.tables`); the tree by default.
        num_folds: cross-validation folds.
        seed: of the folds.
        workers: processes that decode and compare.
        accept_secondary_capture, accept_renderings: also films stored as Secondary Capture, or as PNG or JPEG.

    Raises:
        InputError: where tree, tables and films contradict each other. A film that cannot be read is no such error:
            it is listed as refused, unless all are.
    """
    tree, out = Path(tree), Path(out)
    _refuse_bad_places(tree, out)
    records = read_tables(tree if tables is None else tables)
    decisions = Decisions()
    sources = list_own_films(tree, records) if records.own else list_challenge_films(tree, records, decisions)
    options = {"accept_secondary_capture": accept_secondary_capture, "accept_renderings": accept_renderings}
    films = examine_films(tree, sources, records, decisions, workers, **options)
    found = find_same_films(
        [film.digest for film in films],
        np.stack([film.thumbnail for film in films]),
        [film.study_id for film in films],
        workers,
    )
    entries = _describe_films(films, found.pairs, decisions)
    _assign_folds(entries, cluster_films(films, found.pairs), num_folds, seed)
    training = [entry for entry in entries if entry["label"] is not None]
    test = [entry for entry in entries if entry["label"] is None]
    out.mkdir(parents=True, exist_ok=True)
    decisions.write(out / DECISIONS)
    datalist = write_datalist(out / DATALIST, training, test, num_folds, seed)
    return Prepared(
        datalist=out / DATALIST,
        decisions=out / DECISIONS,
        content_hash=datalist["content_hash"],
        num_training=len(training),
        num_test=len(test),
        num_patients=len({film["patient"] for film in training}),
        num_proposed=found.num_proposed,
        num_decisions=decisions.count(),
    )


def _refuse_bad_places(tree: Path, out: Path) -> None:
    if not tree.is_dir():
        raise InputError("a folder of DICOM films", f"no folder {tree}", "check --tree")
    if out.exists() and not out.is_dir():
        raise InputError("a folder to write into", f"a file at {out}", "choose another --out")


def _describe_films(films: Sequence[Film], pairs: Sequence[SameFilm], decisions: Decisions) -> list[dict[str, Any]]:
    """Films of the datalist, still without folds."""
    patients = name_patients(films, pairs, decisions)
    originals = choose_originals(films, pairs, decisions)
    boxed_studies = {film.study_id for film in films if film.boxes}
    return [
        {
            "image": film.source.image,
            "image_id": film.image_id,
            "study_id": film.study_id,
            "patient": patient,
            "label": film.source.label,
            "fold": None,
            "boxes": [list(box) for box in film.boxes],
            "boxes_known": _know_boxes(film, boxed_studies, decisions),
            "lung_box": None if film.lung_box is None else list(film.lung_box),
            "height": film.height,
            "width": film.width,
            "duplicate_of": originals.get(film.image_id),
            **{name: text for name in ("mask", "origin") if (text := getattr(film.source.row, name))},
        }
        for film, patient in zip(films, patients, strict=True)
    ]


def _know_boxes(film: Film, boxed_studies: set[str], decisions: Decisions) -> bool:
    """Whether a film's boxes, or that it has none, can be believed."""
    positive = film.source.label is not None and STUDY_CLASSES[film.source.label] != "negative"
    if film.boxes or not positive or film.study_id not in boxed_studies:
        return True
    decisions.add("boxes unknown", film.source.row, "no boxes, but another film of this positive study has some")
    return False


def _assign_folds(entries: Sequence[dict[str, Any]], clusters: Sequence[int], num_folds: int, seed: int) -> None:
    """Put the fold into each labelled film, by study, and refuse a leak; a tree without labels has no folds."""
    labelled = [
        (entry, cluster) for entry, cluster in zip(entries, clusters, strict=True) if entry["label"] is not None
    ]
    if not labelled:
        return
    studies = {entry["study_id"]: entry for entry, _ in labelled}
    names = sorted(studies)
    labels, patients = [studies[name]["label"] for name in names], [studies[name]["patient"] for name in names]
    by_study = dict(zip(names, folds.assign_folds(labels, patients, num_folds, seed).tolist(), strict=True))
    for entry, _ in labelled:
        entry["fold"] = by_study[entry["study_id"]]
    folds.refuse_leaks({**entry, "film": cluster} for entry, cluster in labelled)
