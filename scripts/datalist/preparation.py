"""From a tree of films and its tables to `datalist.json` and `decisions.csv`: every film is read, every choice is told."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from scripts import duplicates, folds
from scripts.datalist.films import ExaminedFilm, examine_films
from scripts.datalist.schema import write_datalist, write_decisions
from scripts.errors import InputError, RefusedFilm
from scripts.labels import STUDY_CLASSES
from scripts.tables import IMAGE_TABLE, ImageRow, Tables, fit_boxes, read_tables

DATALIST = "datalist.json"
DECISIONS = "decisions.csv"
_DECISION_COLUMNS = ("decision", "image_id", "study_id", "other_image_id", "why")


@dataclass(frozen=True)
class Prepared:
    """What `prepare` wrote.

    Args:
        datalist, decisions: the two files.
        content_hash: of the datalist.
        num_training, num_test, num_patients: films with and without label, patients among the films with label.
        num_proposed: pairs that the perceptual hash, or one study, proposed as the same film.
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


@dataclass(frozen=True)
class _Source:
    """A film to be read: where it lies and what the tables say of it."""

    image: str
    row: ImageRow
    label: int | None


@dataclass(frozen=True)
class _Film:
    source: _Source
    seen: ExaminedFilm

    @property
    def image_id(self) -> str:
        return self.source.row.image_id

    @property
    def study_id(self) -> str:
        return self.source.row.study_id


class _Decisions:
    """Rows of the decisions table."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, str, str]] = []

    def add(self, decision: str, row: ImageRow, why: str, other: str = "") -> None:
        self.rows.append((decision, row.image_id, row.study_id, other, why))

    def count(self) -> dict[str, int]:
        names = [row[0] for row in self.rows]
        return {name: names.count(name) for name in sorted(set(names))}


def prepare(
    tree: str | Path,
    out: str | Path,
    tables: str | Path | None = None,
    num_folds: int = 5,
    seed: int = 0,
    workers: int = 2,
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

    Raises:
        InputError: where tree, tables and films contradict each other. A film that cannot be read is no such error:
            it is listed as refused, unless all are.
    """
    tree, out = Path(tree), Path(out)
    _refuse_bad_places(tree, out)
    records = read_tables(tree if tables is None else tables)
    decisions = _Decisions()
    sources = _list_own_films(tree, records) if records.own else _list_challenge_films(tree, records, decisions)
    films = _examine_sources(tree, sources, workers, decisions)
    found = duplicates.find_same_films(
        [film.seen.digest for film in films],
        np.stack([film.seen.thumbnail for film in films]),
        [film.study_id for film in films],
        workers,
    )
    entries = _describe_films(films, found.pairs, records, decisions)
    _assign_folds(entries, films, found.pairs, num_folds, seed)
    training = [entry for entry in entries if entry["label"] is not None]
    test = [entry for entry in entries if entry["label"] is None]
    return _write(out, training, test, (num_folds, seed), decisions, found.num_proposed)


def _refuse_bad_places(tree: Path, out: Path) -> None:
    if not tree.is_dir():
        raise InputError("a folder of DICOM films", f"no folder {tree}", "check --tree")
    if out.exists() and not out.is_dir():
        raise InputError("a folder to write into", f"a file at {out}", "choose another --out")


def _list_challenge_films(tree: Path, tables: Tables, decisions: _Decisions) -> list[_Source]:
    """Films of train/ and test/, held against the tables in both directions; sorted by image id."""
    labelled, unlabelled = _find_films(tree, "train"), _find_films(tree, "test")
    lost = [row for image_id, row in tables.images.items() if image_id not in labelled]
    if lost:
        raise InputError(
            f"a film train/<study>/<series>/<image>.dcm for every row of {IMAGE_TABLE}",
            f"none for {len(lost)}, first {lost[0].where}",
            "check that the tree is whole, or remove the rows",
        )
    both = sorted(labelled.keys() & unlabelled.keys())
    if both:
        raise InputError("each image id once in the tree", f"{both[0]} in train and test", "remove one of them")
    sources = []
    for image_id, image in labelled.items():
        folder = PurePosixPath(image).parts[-3]
        row = tables.images.get(image_id)
        if row is None:
            decisions.add("dropped", ImageRow(image_id, folder, (), ""), f"no row in {IMAGE_TABLE}")
        elif row.study_id != folder:
            raise InputError(f"the study {row.study_id} of {row.where}", f"the film in study {folder}", "correct one of them")
        else:
            sources.append(_Source(image, row, STUDY_CLASSES.index(tables.study_labels[row.study_id])))
    for image_id, image in unlabelled.items():
        sources.append(_Source(image, ImageRow(image_id, PurePosixPath(image).parts[-3], (), image), None))
    return sorted(sources, key=lambda source: source.row.image_id)


def _find_films(tree: Path, part: str) -> dict[str, str]:
    """Path relative to the tree of every part/<study>/<series>/<image>.dcm, by image id."""
    found: dict[str, str] = {}
    for path in sorted((tree / part).glob("*/*/*.dcm")):
        image = path.relative_to(tree).as_posix()
        if path.stem in found:
            raise InputError("each image id once in the tree", f"{found[path.stem]} and {image}", "remove one of them")
        found[path.stem] = image
    return found


def _list_own_films(tree: Path, tables: Tables) -> list[_Source]:
    """Films that a CSV of one's own names; sorted by image id."""
    sources = []
    for row in tables.images.values():
        image = PurePosixPath(row.image or "")
        if image.is_absolute() or ".." in image.parts or not (tree / image).is_file():
            raise InputError("a film below the tree, by its relative path", f"none for {row.where}", "correct the path")
        label = tables.study_labels.get(row.study_id)
        sources.append(_Source(image.as_posix(), row, None if label is None else STUDY_CLASSES.index(label)))
    return sorted(sources, key=lambda source: source.row.image_id)


def _examine_sources(tree: Path, sources: Sequence[_Source], workers: int, decisions: _Decisions) -> list[_Film]:
    """The readable films; a refused one is listed with its reason code."""
    films = []
    examined = examine_films([tree / source.image for source in sources], workers)
    progress = tqdm(zip(sources, examined, strict=True), "films", len(sources), unit="film")
    for source, seen in progress:
        if isinstance(seen, RefusedFilm):
            decisions.add("refused", source.row, f"{seen.reason}: {seen.detail}")
        else:
            films.append(_Film(source, seen))
    if not films:
        raise InputError("at least one film that can be read", f"none among {len(sources)} in {tree}", _advise(decisions))
    return films


def _advise(decisions: _Decisions) -> str:
    refused = [row for row in decisions.rows if row[0] == "refused"]
    return f"the first one was refused as {refused[0][-1]}" if refused else "check that tables and tree belong together"


def _describe_films(
    films: Sequence[_Film], pairs: Sequence[duplicates.SameFilm], tables: Tables, decisions: _Decisions
) -> list[dict[str, Any]]:
    """Films of the datalist, still without folds, and what was decided about them."""
    patients = _name_patients(films, pairs, decisions)
    originals = _choose_originals(films, pairs, decisions)
    boxed_studies = {film.study_id for film in films if film.source.row.boxes}
    entries = []
    for film, patient in zip(films, patients, strict=True):
        source, seen = film.source, film.seen
        lungs = tables.lung_boxes.get(film.image_id)
        known = bool(source.row.boxes or source.label in (None, 0) or film.study_id not in boxed_studies)
        if not known:
            decisions.add("boxes unknown", source.row, "no boxes, but another film of this positive study has some")
        entries.append(
            {
                "image": source.image,
                "image_id": film.image_id,
                "study_id": film.study_id,
                "patient": patient,
                "label": source.label,
                "fold": None,
                "boxes": [list(box) for box in fit_boxes(source.row.boxes, seen.height, seen.width, source.row.where)],
                "boxes_known": known,
                "lung_box": list(fit_boxes([lungs.box], seen.height, seen.width, lungs.where)[0]) if lungs else None,
                "height": seen.height,
                "width": seen.width,
                "duplicate_of": originals.get(film.image_id),
            }
        )
    return entries


def _name_patients(films: Sequence[_Film], pairs: Sequence[duplicates.SameFilm], decisions: _Decisions) -> list[str]:
    """12 hex digits for each film: films of a study, of a patient's number, and the same films go together.

    The name comes from the group's first image id, never from a patient's number, which could be guessed from a hash.
    """
    keys = [film.source.row.patient or film.seen.patient_id or f"study {film.study_id}" for film in films]
    links = list(_link_equal(keys)) + list(_link_equal([film.study_id for film in films]))
    alone = duplicates.group_items(len(films), links)
    for pair in pairs:
        if alone[pair.first] != alone[pair.second]:
            other = films[pair.second].image_id
            decisions.add("patients joined", films[pair.first].source.row, "two patients share this film", other)
    groups = duplicates.group_items(len(films), links + [(pair.first, pair.second) for pair in pairs])
    first: dict[int, str] = {}
    for film, group in zip(films, groups, strict=True):  # films are sorted by image id
        first.setdefault(int(group), film.image_id)
    return [hashlib.sha256(f"patient of {first[int(group)]}".encode()).hexdigest()[:12] for group in groups]


def _link_equal(keys: Sequence[str]) -> Iterator[tuple[int, int]]:
    seen: dict[str, int] = {}
    for place, key in enumerate(keys):
        first = seen.setdefault(key, place)
        if first != place:
            yield first, place


def _choose_originals(
    films: Sequence[_Film], pairs: Sequence[duplicates.SameFilm], decisions: _Decisions
) -> dict[str, str]:
    """Image id of the film that is trained on instead, by image id of each copy (the rules of the package)."""
    clusters: defaultdict[int, list[_Film]] = defaultdict(list)
    for film, group in zip(films, _cluster(films, pairs), strict=True):
        clusters[int(group)].append(film)
    how = {frozenset((films[pair.first].image_id, films[pair.second].image_id)): pair for pair in pairs}
    originals = {}
    for cluster in clusters.values():
        ranked = sorted(cluster, key=lambda film: (film.source.label is None, not film.source.row.boxes, film.image_id))
        kept: dict[int | None, str] = {}
        for film in ranked:
            original = kept.setdefault(film.source.label, film.image_id)
            if original != film.image_id:
                decision = "same film without label" if film.source.label is None else "duplicate"
                pair = how.get(frozenset((original, film.image_id)))
                decisions.add(decision, film.source.row, _tell_sameness(pair), original)
                if film.source.label is not None:
                    originals[film.image_id] = original
        for label, image_id in list(kept.items())[1:]:
            decision = "same film in test" if label is None else "same film, other label"
            row = next(film.source.row for film in cluster if film.image_id == image_id)
            decisions.add(decision, row, "both are kept", ranked[0].image_id)
    return originals


def _cluster(films: Sequence[_Film], pairs: Sequence[duplicates.SameFilm]) -> NDArray[np.int64]:
    return duplicates.group_items(len(films), [(pair.first, pair.second) for pair in pairs])


def _tell_sameness(pair: duplicates.SameFilm | None) -> str:
    if pair is None:
        return "same film through a third one"
    return "equal pixels" if pair.exact else f"aligned correlation {pair.correlation:.3f}"


def _assign_folds(
    entries: Sequence[dict[str, Any]],
    films: Sequence[_Film],
    pairs: Sequence[duplicates.SameFilm],
    num_folds: int,
    seed: int,
) -> None:
    """Put the fold into each labelled film, by study, and refuse a leak."""
    studies = {entry["study_id"]: entry for entry in entries if entry["label"] is not None}
    names = sorted(studies)
    labels, patients = [studies[name]["label"] for name in names], [studies[name]["patient"] for name in names]
    by_study = dict(zip(names, folds.assign_folds(labels, patients, num_folds, seed).tolist(), strict=True))
    for entry in entries:
        entry["fold"] = by_study.get(entry["study_id"])
    clusters = _cluster(films, pairs).tolist()
    labelled = [{**entry, "film": cluster} for entry, cluster in zip(entries, clusters, strict=True)]
    folds.refuse_leaks(film for film in labelled if film["fold"] is not None)


def _write(
    out: Path,
    training: Sequence[dict[str, Any]],
    test: Sequence[dict[str, Any]],
    splitting: tuple[int, int],
    decisions: _Decisions,
    num_proposed: int,
) -> Prepared:
    out.mkdir(parents=True, exist_ok=True)
    write_decisions(out / DECISIONS, _DECISION_COLUMNS, sorted(decisions.rows))
    datalist = write_datalist(out / DATALIST, training, test, *splitting)
    return Prepared(
        out / DATALIST,
        out / DECISIONS,
        datalist["content_hash"],
        len(training),
        len(test),
        len({film["patient"] for film in training}),
        num_proposed,
        decisions.count(),
    )
