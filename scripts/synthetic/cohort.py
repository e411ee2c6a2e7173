"""Who is in a drawn tree: patients, studies, films, their classes, their twins and how each film is stored.

Every variation that a reader must master stands in a repeated list, not in a lottery, so that also a small tree has it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from scripts.labels import STUDY_CLASSES
from scripts.synthetic.dicom import FilmStyle, derive_uid

T = TypeVar("T")

# About the challenge's shares, with the two rare classes raised so that five folds of a small tree have them all.
_CLASSES = [STUDY_CLASSES[number] for number in (1, 0, 2, 1, 3, 0, 1, 2, 1, 0, 3, 1)]
_STUDIES_OF_PATIENT = [1, 2, 1, 1, 3, 1, 1, 1, 2, 1]
_IMAGES_OF_STUDY = [1, 2, 1, 1, 1, 1, 1, 3, 1, 1, 1, 1]
_SHAPES = [(1.0, 1.0), (1.0, 0.82), (0.82, 1.0), (1.0, 0.9)]
_MAKERS = ["Northlight Imaging", "Halden Radiography", "Kestrel Medical", "Orchard Systems", ""]

_STORED: list[FilmStyle] = [
    FilmStyle(kind="CR", bits_stored=12, syntax="explicit"),
    FilmStyle(kind="DX", bits_stored=14, syntax="jpeg_lossless", photometric="MONOCHROME1"),
    FilmStyle(kind="CR", bits_stored=10, syntax="implicit", photometric="MONOCHROME1"),
    FilmStyle(kind="DX", bits_stored=12, syntax="jpeg_2000"),
    FilmStyle(kind="CR", bits_stored=8, syntax="jpeg_baseline"),
    FilmStyle(kind="DX", bits_stored=15, syntax="jpeg_ls", photometric="MONOCHROME1"),
    FilmStyle(kind="CR", bits_stored=12, syntax="deflated"),
    FilmStyle(kind="CR", bits_stored=10, syntax="rle", photometric="MONOCHROME1"),
    FilmStyle(kind="DX", bits_stored=12, syntax="big_endian"),
    FilmStyle(kind="CR", bits_stored=8, syntax="explicit"),
]
#: How the stored values become the picture.
DISPLAYS = ("none", "linear", "sigmoid", "lut", "rescale")


@dataclass(frozen=True)
class PlannedFilm:
    """One film of the tree before it is drawn.

    Args:
        part: "train" or "test".
        study_class: one of `STUDY_CLASSES`.
        seeds: of the patient's body, of the study's findings and of the exposure; films with equal seeds are equal.
        near_twin: drawn from another film of the study, a little shifted and otherwise exposed.
        boxes_in_table: whether the image table has this film's boxes; a near twin's are left out, as in the real set.
        shape: rows and columns as shares of the tree's size.
        style: how it is stored.
        display: one of `DISPLAYS`.
    """

    part: str
    patient_id: str
    study_id: str
    series_id: str
    image_id: str
    study_class: str
    seeds: tuple[int, int, int]
    near_twin: bool
    boxes_in_table: bool
    shape: tuple[float, float]
    style: FilmStyle
    display: str


def plan_cohort(num_studies: int, num_test_studies: int, seed: int) -> list[PlannedFilm]:
    """The films of a tree: same arguments, same films."""
    films = []
    for part, number in (("train", num_studies), ("test", num_test_studies)):
        films += _plan_part(part, number, seed)
    return films


def derive_id(*parts: object) -> str:
    """A 12-digit hexadecimal id, as the challenge's folders and files have."""
    return hashlib.sha256(chr(31).join(map(str, parts)).encode()).hexdigest()[:12]


def _repeat(values: Sequence[T], number: int, rng: np.random.Generator) -> list[T]:
    """`values` in turn, `number` of them, in an order drawn anew for every round."""
    rounds = -(-number // len(values))
    return [values[index] for _ in range(rounds) for index in rng.permutation(len(values))][:number]


def _plan_part(part: str, number: int, seed: int) -> list[PlannedFilm]:
    rng = np.random.default_rng([seed, len(part)])
    classes = _repeat(_CLASSES, number, rng)
    images = _repeat(_IMAGES_OF_STUDY, number, rng)
    patients = [patient for patient, count in enumerate(_repeat(_STUDIES_OF_PATIENT, number, rng)) for _ in range(count)]
    total = sum(images)
    storage = zip(
        _repeat(_STORED, total, rng), _repeat(DISPLAYS, total, rng), _repeat(_SHAPES, total, rng), strict=True
    )
    films = []
    for study in range(number):
        films += _plan_study(part, seed, study, patients[study], classes[study], images[study], storage)
    return films


def _plan_study(
    part: str,
    seed: int,
    study: int,
    patient: int,
    study_class: str,
    number: int,
    storage: Iterator[tuple[FilmStyle, str, tuple[float, float]]],
) -> list[PlannedFilm]:
    films = []
    for image in range(number):
        style, display, shape = next(storage)
        names = [derive_id(seed, part, word, study, image) for word in ("series", "image")]
        seeds = [int(derive_id(seed, part, *key), 16) for key in (("p", patient), ("s", study), ("i", study, image))]
        film = PlannedFilm(
            part=part,
            patient_id=derive_id(seed, part, "patient", patient),
            study_id=derive_id(seed, part, "study", study),
            series_id=names[0],
            image_id=names[1],
            study_class=study_class,
            seeds=(seeds[0], seeds[1], seeds[2]),
            near_twin=image > 0,
            boxes_in_table=image == 0,
            shape=films[0].shape if films else shape,
            style=style,
            display=display,
        )
        films.append(replace(film, style=_describe(film)))
    return films


def _describe(film: PlannedFilm) -> FilmStyle:
    """The style with the patient's facts and the identifiers; the UIDs are other values than the folder names."""
    rng = np.random.default_rng(film.seeds[0])
    sex, age, maker = "MF"[rng.integers(2)], f"{rng.integers(18, 95):03d}Y", _MAKERS[rng.integers(len(_MAKERS))]
    view = ["PA", "AP", ""][np.random.default_rng(film.seeds[1]).integers(3)]
    return replace(
        film.style,
        patient_id=film.patient_id,
        patient_sex=sex,
        patient_age=age,
        manufacturer=maker,
        view_position=view,
        study_id=film.study_id,
        sop_uid=derive_uid("image", film.image_id),
        series_uid=derive_uid("series", film.series_id),
        study_uid=derive_uid("study", film.study_id),
    )
