"""Several predictions.json, of folds or of members, joined with the datalist that knows their labels and patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.datalist import read_datalist
from scripts.errors import InputError
from scripts.labels import STUDY_CLASSES
from scripts.metrics.average_precision import Floats, Ints
from scripts.metrics.scores import check_ids
from scripts.metrics.studies import JudgedStudies, average_films
from scripts.metrics.trust.traits import Film
from scripts.metrics.truth import Truth, read_truth
from scripts.outputs import read_predictions
from scripts.outputs.records import FilmFindings


@dataclass(frozen=True)
class JudgedFilms:
    """F films of S studies, what was said of them, and what is known of them.

    Args:
        truth: of these studies.
        folds: of the datalist that the films are in; None for films of no fold.
        probabilities: `(F, 4)`, in the order of `truth.image_boxes`.
        members: `(M, F, 4)`, what each member says of the same films.
        flags: of each film, by image id.
        films_of_study: of each study its films as the datalist has them.
        copied: films of which the datalist has a copy.
    """

    truth: Truth
    folds: tuple[int | None, ...]
    probabilities: Floats
    members: Floats
    flags: Mapping[str, tuple[str, ...]]
    films_of_study: tuple[tuple[Film, ...], ...]
    copied: frozenset[str]

    @property
    def places(self) -> Ints:
        """Number of each film's study, `(F,)`."""
        numbers = {study: number for number, study in enumerate(self.truth.study_labels)}
        return np.array([numbers[study] for study in self.truth.image_studies.values()], dtype=np.int64)

    def judge_studies(self, probabilities: Floats | None = None) -> JudgedStudies:
        """The studies, by the mean over their films, or by other probabilities `(S, 4)`."""
        return JudgedStudies(
            average_films(self.probabilities, self.places) if probabilities is None else probabilities,
            np.array([STUDY_CLASSES.index(label) for label in self.truth.study_labels.values()]),
            np.array([self.truth.study_group[study] for study in self.truth.study_labels]),
            len(self.truth.groups),
        )

    def average_members(self) -> Floats:
        """What each member says of each study, `(M, S, 4)`."""
        return np.stack([average_films(member, self.places) for member in self.members])


def gather_films(
    predictions: Sequence[str | Path], datalist: str | Path, members: Sequence[str | Path] = ()
) -> JudgedFilms:
    """The films of some predictions.json, which their networks were not trained on, with their truth.

    Films without a label are left out.

    Args:
        predictions: one file a fold; no study is in two of them.
        datalist: datalist.json.
        members: files with the same films again, by other seeds or networks; each film is in as many of them.
            By default the predictions are their own, single, member.

    Raises:
        InputError: where a file is not valid, a study is in two files, or films are missing.
    """
    said = _pool_folds(predictions)
    listed = read_datalist(datalist)
    known = {film["image_id"]: film for film in [*listed["training"], *listed["test"]]}
    truth, folds = _find_truth(said, known, datalist)
    check_ids("image", said, truth.image_boxes, truth.unscored_images)
    films_of_study: dict[str, list[Film]] = {study: [] for study in truth.study_labels}
    for image, study in truth.image_studies.items():
        films_of_study[study].append(known[image])
    wanted = tuple(truth.image_boxes)
    return JudgedFilms(
        truth,
        folds,
        np.array([_list_probabilities(said[image]) for image in wanted]),
        _pool_members(members or predictions, wanted),
        {image: said[image].flags for image in wanted},
        tuple(map(tuple, films_of_study.values())),
        frozenset(film["duplicate_of"] for film in known.values() if film["duplicate_of"]),
    )


def _pool_folds(paths: Sequence[str | Path]) -> dict[str, FilmFindings]:
    if not paths:
        raise InputError("one predictions.json or more", "none", "name them")
    said: dict[str, FilmFindings] = {}
    source: dict[str, str] = {}
    for path in map(str, paths):
        films = read_predictions(path)
        for film in films:
            if source.setdefault(film.study_id, path) != path or film.image_id in said:
                found = f"{film.study_id} in {source[film.study_id]} and {path}"
                raise InputError("each study in one of the predictions", found, "give other networks as --members")
        said.update({film.image_id: film for film in films})
    return said


def _find_truth(
    said: Mapping[str, object], known: Mapping[str, Film], datalist: str | Path
) -> tuple[Truth, tuple[int | None, ...]]:
    """The truth of all folds that the predictions have films of."""
    labelled = [known[image] for image in said if image in known and known[image]["label"] is not None]
    if not labelled:
        raise InputError("predictions of films with a label", f"none of {Path(datalist).name}", "check the truth")
    folds = {film["fold"] for film in labelled}
    chosen = None if None in folds else sorted(folds)
    return read_truth(datalist, chosen), tuple(chosen or (None,))


def _pool_members(paths: Sequence[str | Path], wanted: Sequence[str]) -> Floats:
    """What is said of every film `(M, F, 4)`, in the order of the files."""
    said: dict[str, list[list[float]]] = {image: [] for image in wanted}
    for path in paths:
        for film in read_predictions(path):
            if film.image_id in said:
                said[film.image_id].append(_list_probabilities(film))
    numbers = {len(rows) for rows in said.values()}
    if len(numbers) > 1 or not min(numbers):
        found = f"films in {' or '.join(map(str, sorted(numbers)))} of {len(paths)}"
        raise InputError("each film in equally many of the members", found, "give the same folds of every member")
    return np.array([said[image] for image in wanted]).transpose(1, 0, 2)


def _list_probabilities(film: FilmFindings) -> list[float]:
    return [film.probabilities[name] for name in STUDY_CLASSES]
