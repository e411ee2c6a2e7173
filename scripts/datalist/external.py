"""Films from elsewhere join a datalist: compared by content first, since none may be scored and trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scripts.datalist.decisions import Decisions
from scripts.datalist.films import Film, examine_films
from scripts.datalist.preparation import DATALIST
from scripts.datalist.sameness import tell_sameness
from scripts.datalist.schema import EXTERNAL_FILM_TYPES, read_datalist, write_datalist
from scripts.datalist.sources import Source
from scripts.duplicates import find_same_films, group_items
from scripts.errors import InputError
from scripts.labels import STUDY_CLASSES
from scripts.tables import ImageRow, Tables

EXTERNAL_DECISIONS = "external.csv"


@dataclass(frozen=True)
class Added:
    """What `add_external` wrote.

    Args:
        datalist, decisions: the two files.
        num_films: films from elsewhere that stayed.
        num_decisions: rows of the decisions table by decision.
    """

    datalist: Path
    decisions: Path
    num_films: int
    num_decisions: Mapping[str, int]


@dataclass(frozen=True)
class Hit:
    """A film from elsewhere that belongs to the datalist: by which decision, with which of its films, and why."""

    decision: str
    other: Film
    why: str


def add_external(
    datalist_file: str | Path,
    tree: str | Path,
    external_file: str | Path,
    external_tree: str | Path,
    out: str | Path,
    workers: int = 2,
) -> Added:
    """Write the datalist with films from elsewhere as `datalist.json`, and what was left out as `external.csv`.

    All films of both are read, and compared as `prepare` compares films. Left out is a film that is one of the
    datalist's, with or without label there, or of one of its studies or patients; with it go all films of its patient.
    Copies among the films from elsewhere that are not trained on there are left out too.

    Args:
        datalist_file, tree: the datalist, and the tree of its films.
        external_file, external_tree: the same of the films from elsewhere; `prepare` makes their datalist as well.
        out: folder; another one than that of the datalist.
        workers: processes that decode and compare.

    Raises:
        InputError: where a datalist or a film is not there, nothing is left, or the datalist would be overwritten.
    """
    datalist, out = read_datalist(datalist_file), Path(out)
    refuse_overwriting(datalist_file, out)
    if "external" in datalist:
        raise InputError(
            "a datalist without films from elsewhere", f"{datalist_file} with some", "start from its source"
        )
    entries, others = ([*each["training"], *each["test"]] for each in (datalist, read_datalist(external_file)))
    others = [entry for entry in others if entry["duplicate_of"] is None]
    decisions = Decisions()
    known = _examine(entries, Path(tree), Decisions(), workers)
    if len(known) < len(entries):
        advice = "check the tree: what cannot be read cannot be compared"
        raise InputError(f"{len(entries)} readable films of {datalist_file}", f"{len(known)} below {tree}", advice)
    films = _examine(others, Path(external_tree), decisions, workers)
    hits = find_hits(known, films, _list_patients(entries), _list_patients(others), workers)
    for film in films:
        if hit := hits.get(film.image_id):
            decisions.add(hit.decision, film.source.row, hit.why, hit.other.image_id)
    kept = {film.image_id for film in films} - hits.keys()
    if not kept:
        found = f"{len(others)} left out or refused, the first as {decisions.rows[0][0]}"
        raise InputError("at least one film that the datalist has not", found, "choose other films")
    out.mkdir(parents=True, exist_ok=True)
    decisions.write(out / EXTERNAL_DECISIONS)
    external = {
        "matched_with": datalist["content_hash"],
        "films": [_describe(entry) for entry in others if entry["image_id"] in kept],
        "dropped": {image_id: hit.other.image_id for image_id, hit in sorted(hits.items())},
        "pseudo_labels": [],
    }
    settings = (datalist["num_folds"], datalist["seed"], external)
    write_datalist(out / DATALIST, datalist["training"], datalist["test"], *settings)
    return Added(out / DATALIST, out / EXTERNAL_DECISIONS, len(kept), decisions.count())


def refuse_overwriting(datalist_file: str | Path, out: Path) -> None:
    """Refuse a folder where `datalist.json` would replace its own source: trainings have recorded that one's hash.

    Raises:
        InputError: where it would.
    """
    if Path(datalist_file).resolve() == (out / DATALIST).resolve():
        raise InputError("another folder than the datalist's", f"{out}", "choose another --out")


def find_hits(
    known: Sequence[Film],
    films: Sequence[Film],
    patients: Mapping[str, str],
    other_patients: Mapping[str, str],
    workers: int = 1,
) -> dict[str, Hit]:
    """Which films from elsewhere belong to a datalist, by image id.

    Args:
        known: films of the datalist.
        films: films from elsewhere.
        patients: the datalist's patient of each of its films, by image id. A header's number under which it knows
            several patients tells none of them.
        other_patients: the same of the films from elsewhere.
        workers: processes that compare.
    """
    same = dict(_find_same(known, films, workers))
    studies = {film.study_id: film for film in known}
    images = {film.image_id: film for film in known}
    named: defaultdict[str, set[str]] = defaultdict(set)
    for film in known:
        named[film.patient_key].add(patients[film.image_id])
    keys = {film.patient_key: film for film in known if len(named[film.patient_key]) == 1}
    hits = {}
    for place, film in enumerate(films):
        if place in same:
            hits[film.image_id] = same[place]
        elif other := images.get(film.image_id) or studies.get(film.study_id):
            hits[film.image_id] = Hit("same study in datalist", other, "an id that both have")
        elif other := keys.get(film.patient_key):
            hits[film.image_id] = Hit("same patient in datalist", other, "a patient's number that both have")
    return {**_spread_hits(films, hits, other_patients), **hits}


def _spread_hits(films: Sequence[Film], hits: Mapping[str, Hit], patients: Mapping[str, str]) -> dict[str, Hit]:
    """A hit for every film of a patient with a hit: he is a patient of the datalist, whatever else he is called."""
    others = {patients[film.image_id]: hits[film.image_id].other for film in films if film.image_id in hits}
    why = "another film of the patient is one of the datalist's"
    return {
        film.image_id: Hit("same patient in datalist", others[patient], why)
        for film in films
        if (patient := patients[film.image_id]) in others
    }


def _find_same(known: Sequence[Film], films: Sequence[Film], workers: int) -> Iterator[tuple[int, Hit]]:
    """Place in `films` and hit of each film that is one of the known, be it through a third film."""
    every = [*known, *films]
    found = find_same_films(
        [film.digest for film in every],
        np.stack([film.thumbnail for film in every]),
        [film.study_id for film in every],
        workers,
    )
    groups = group_items(len(every), [(pair.first, pair.second) for pair in found.pairs]).tolist()
    first: dict[int, Film] = {}
    for film, group in zip(known, groups, strict=False):
        first.setdefault(group, film)
    direct = {pair.second: pair for pair in found.pairs if pair.first < len(known) <= pair.second}
    for place, group in enumerate(groups[len(known) :]):
        if group in first:
            pair = direct.get(len(known) + place)
            other, why = (known[pair.first], tell_sameness(pair)) if pair else (first[group], "through a third film")
            yield place, Hit("same film in datalist", other, why)


def _examine(entries: Sequence[Mapping[str, Any]], tree: Path, decisions: Decisions, workers: int) -> list[Film]:
    sources = [
        Source(entry["image"], ImageRow(entry["image_id"], entry["study_id"], (), entry["image"]), entry["label"])
        for entry in entries
    ]
    return examine_films(tree, sources, Tables({}, {}, {}), decisions, workers)


def _list_patients(entries: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {entry["image_id"]: entry["patient"] for entry in entries}


def _describe(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A film of the section: other readers are believed in boxes that are there, and in none on negative films."""
    negative = entry["label"] is not None and STUDY_CLASSES[entry["label"]] == "negative"
    film = {key: entry[key] for key in EXTERNAL_FILM_TYPES}
    return film | {"boxes_known": entry["boxes_known"] and (bool(entry["boxes"]) or negative)}
