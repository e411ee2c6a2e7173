"""Who is in a drawn tree: patients, studies, films, their classes, their twins and how each film is stored.

Every variation that a reader must master stands in a list that is gone through again and again, in an order drawn anew
each time, and is not left to a lottery: a tree of two dozen studies has them all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from scripts.labels import STUDY_CLASSES
from scripts.synthetic.anatomy import Look
from scripts.synthetic.broken import BREAKAGES
from scripts.synthetic.dicom import FilmStyle, derive_uid
from scripts.synthetic.exposure import TONES
from scripts.synthetic.storage import DISPLAYS

T = TypeVar("T")

# About the challenge's shares, with the two rare classes raised so that five folds of a small tree have them all.
_CLASSES = [STUDY_CLASSES[number] for number in (1, 0, 2, 1, 3, 0, 1, 2, 1, 0, 3, 1)]
_STUDIES_OF_PATIENT = [1, 2, 1, 1, 3, 1, 1, 1, 2, 1]
_FILMS_OF_STUDY = [1, 2, 1, 1, 1, 1, 1, 3, 1, 1, 1, 1]
# Rows, columns as shares of the tree's size, and the pixel's height by its width in thousandths.
_SHAPES = [(1.0, 1.0, 1000), (1.0, 0.82, 1000), (0.82, 1.0, 1000), (1.0, 1.0, 1190), (1.0, 0.9, 1000), (1.0, 1.0, 840)]
# A reader knows makers by the beginning of their name; the rest says that none of them made these films.
_MAKERS = ["Philips (drawn)", "Agfa (drawn)", "Fuji (drawn)", "Konica (drawn)", ""]
_VIEWS = ["PA", "AP", "PA", "", "AP"]
_BODY_PARTS = ["CHEST", "CHEST", "CHEST", "PORT CHEST", "CHEST", "", "CHEST", "ABDOMEN"]
_NAMES = [
    ("ISO_IR 100", "Gezeichnet^Jürgen"),
    ("ISO_IR 192", "Zmyślona^Łucja"),
    ("ISO_IR 144", "Рисунков^Иван"),
    ("", "Drawn^Film"),
]
_STORED: list[FilmStyle] = [
    FilmStyle(kind=kind, photometric=f"MONOCHROME{number}", bits_stored=bits, syntax=syntax)
    for kind, number, bits, syntax in (
        ("CR", 2, 12, "explicit"), ("DX", 1, 14, "jpeg_lossless"), ("CR", 1, 10, "implicit"),
        ("DX", 2, 12, "jpeg_2000"), ("CR", 2, 8, "jpeg_baseline"), ("DX", 1, 15, "jpeg_ls"),
        ("CR", 2, 12, "deflated"), ("CR", 1, 10, "rle"), ("DX", 2, 12, "big_endian"),
        ("CR", 2, 8, "explicit"), ("CR", 1, 15, "jpeg_2000"), ("DX", 2, 14, "explicit"),
        ("CR", 1, 12, "jpeg_ls"), ("CR", 2, 10, "jpeg_lossless"), ("DX", 1, 8, "jpeg_baseline"),
        ("CR", 2, 12, "implicit"), ("DX", 1, 12, "explicit"), ("CR", 2, 8, "jpeg_baseline"),
    )
]  # fmt: skip

# One of each kind of twin for so many studies.
_STUDIES_PER_TWIN = 24


@dataclass(frozen=True)
class PlannedFilm:
    """One film of the tree before it is drawn.

    Args:
        part: "train" or "test".
        study_class: one of `STUDY_CLASSES`.
        seeds: of the patient's body, of the study's findings and of the exposure.
        look: what is seen of what the header says.
        boxes_in_table: whether the image table has this film's boxes; twins within a study lose theirs, as in the
            real set.
        shape: rows and columns as shares of the tree's size.
        style: how it is stored.
        display: one of `DISPLAYS`.
        twin: "" or what it is to an earlier film: "near" (another exposure in the same study), "same" (the same file
            under another id), "stored_again" (the same picture stored otherwise), "other_patient", "other_part".
        breakage: "" or a key of `BREAKAGES`.
    """

    part: str
    patient_id: str
    study_id: str
    series_id: str
    image_id: str
    study_class: str
    seeds: tuple[int, int, int]
    look: Look
    boxes_in_table: bool
    shape: tuple[float, float]
    style: FilmStyle
    display: str
    twin: str = ""
    breakage: str = ""


def plan_cohort(num_studies: int, num_test_studies: int, seed: int, broken: bool = False) -> list[PlannedFilm]:
    """The films of a tree: same arguments, same films."""
    train, test = _plan_part("train", num_studies, seed), _plan_part("test", num_test_studies, seed)
    films = _add_twins(train, test, seed, max(1, num_studies // _STUDIES_PER_TWIN))
    if broken:
        films += [_break(train[number % len(train)], breakage, seed) for number, breakage in enumerate(BREAKAGES)]
    return [replace(film, style=_identify(film)) for film in films]


def derive_id(*parts: object) -> str:
    """A 12-digit hexadecimal id, as the challenge's folders and files have."""
    return hashlib.sha256(chr(31).join(map(str, parts)).encode()).hexdigest()[:12]


def _repeat(values: Sequence[T], rng: np.random.Generator) -> Iterator[T]:
    """`values` again and again, in an order drawn anew for every round."""
    while True:
        yield from (values[index] for index in rng.permutation(len(values)))


@dataclass(frozen=True)
class _Lists:
    """The lists that a part goes through."""

    classes: Iterator[str]
    films_of_study: Iterator[int]
    shapes: Iterator[tuple[float, float, int]]
    stored: Iterator[FilmStyle]
    displays: Iterator[str]
    views: Iterator[str]
    body_parts: Iterator[str]


def _plan_part(part: str, number: int, seed: int) -> list[PlannedFilm]:
    rng = np.random.default_rng([seed, len(part)])
    keys = iter(range(7))

    def go_through(values: Sequence[T]) -> Iterator[T]:
        return _repeat(values, np.random.default_rng([seed, len(part), next(keys)]))

    lists = _Lists(
        classes=go_through(_CLASSES),
        films_of_study=go_through(_FILMS_OF_STUDY),
        shapes=go_through(_SHAPES),
        stored=go_through(_STORED),
        displays=go_through(DISPLAYS),
        views=go_through(_VIEWS),
        body_parts=go_through(_BODY_PARTS),
    )
    patients = (patient for patient, count in enumerate(_repeat(_STUDIES_OF_PATIENT, rng)) for _ in range(count))
    return [film for study in range(number) for film in _plan_study(part, seed, study, next(patients), lists)]


def _plan_study(part: str, seed: int, study: int, patient: int, lists: _Lists) -> list[PlannedFilm]:
    """The films of one study: the first is its film, the others are near twins of it."""
    rows, columns, aspect = next(lists.shapes)
    said, study_class, body_part = next(lists.views), next(lists.classes), next(lists.body_parts)
    facts = np.random.default_rng([seed, len(part), patient, 9])
    maker, sex = int(facts.integers(len(_MAKERS))), "MF"[facts.integers(2)]
    age = "" if facts.random() < 0.1 else f"{facts.integers(18, 95):03d}Y"
    character_set, name = _NAMES[patient % len(_NAMES)]
    described = FilmStyle(
        patient_sex=sex, patient_age=age, manufacturer=_MAKERS[maker], view_position=said, body_part=body_part,
        character_set=character_set, patient_name=name,
    )  # fmt: skip
    look = Look(sex, said or ("PA", "AP")[study % 2], maker % len(TONES), aspect / 1000)
    films = []
    for number in range(next(lists.films_of_study)):
        keys = ("patient", patient), ("study", study), ("image", study, number)
        patient_seed, study_seed, image_seed = (int(derive_id(seed, part, "seed", *key), 16) for key in keys)
        stored = next(lists.stored)
        film = PlannedFilm(
            part=part,
            patient_id=derive_id(seed, part, *keys[0]),
            study_id=derive_id(seed, part, *keys[1]),
            series_id=derive_id(seed, part, "series", study, number),
            image_id=derive_id(seed, part, *keys[2]),
            study_class=study_class,
            seeds=(patient_seed, study_seed, image_seed),
            look=look,
            boxes_in_table=number == 0,
            shape=(rows, columns),
            style=_join_styles(described, stored, aspect),
            display=_choose_display(next(lists.displays), stored),
            twin="near" if number else "",
        )
        films.append(film)
    return films


def _join_styles(described: FilmStyle, stored: FilmStyle, aspect: int) -> FilmStyle:
    """What the header says of the patient, with how the film is stored; a squeezed CR film has no spacing."""
    style = replace(
        described,
        kind=stored.kind, bits_stored=stored.bits_stored, syntax=stored.syntax, photometric=stored.photometric,
    )  # fmt: skip
    if aspect != 1000 and stored.kind == "CR":
        return replace(style, aspect_ratio=(aspect, 1000))
    side = 0.143 if stored.bits_stored == 12 else 0.175
    spacing = (round(side * aspect / 1000, 5), side)
    return replace(style, imager_pixel_spacing=spacing, pixel_spacing=spacing if stored.kind == "CR" else None)


def _choose_display(display: str, stored: FilmStyle) -> str:
    return "linear" if display == "rescale" and stored.kind == "DX" else display


def _add_twins(train: list[PlannedFilm], test: list[PlannedFilm], seed: int, rounds: int) -> list[PlannedFilm]:
    """Train and test with further films in a study, and films whose picture is replaced by that of another patient."""
    films = {film.image_id: film for film in (*train, *test)}
    counts: dict[str, int] = {}
    for film in films.values():
        counts[film.study_id] = counts.get(film.study_id, 0) + 1
    free = [film for film in train if counts[film.study_id] == 1]
    tested = [film for film in test if counts[film.study_id] == 1]
    for number in range(rounds):
        if len(free) >= 4:
            for kind in ("same", "stored_again"):
                twin = _twin_in_study(free.pop(0), kind, seed, number)
                films[twin.image_id] = twin
            first = free.pop(0)
            others = [film for film in free if _may_share(film, first)]
            if others:
                free.remove(others[0])
                films[others[0].image_id] = _show_picture_of(first, others[0], "other_patient")
        if tested and free:
            other = tested.pop(0)
            films[other.image_id] = _show_picture_of(free.pop(0), other, "other_part")
    return list(films.values())


def _may_share(film: PlannedFilm, other: PlannedFilm) -> bool:
    return film.study_class == other.study_class and film.patient_id != other.patient_id


def _twin_in_study(film: PlannedFilm, kind: str, seed: int, number: int) -> PlannedFilm:
    twin = replace(
        film,
        series_id=derive_id(seed, kind, "series", number),
        image_id=derive_id(seed, kind, "image", number),
        boxes_in_table=False,
        twin=kind,
    )
    if kind == "stored_again":
        bits = 8 if film.style.bits_stored > 8 else 12
        style = replace(film.style, kind="CR", bits_stored=bits, syntax="explicit", photometric="MONOCHROME2")
        twin = replace(twin, display="full", style=style)
    return twin


def _show_picture_of(film: PlannedFilm, other: PlannedFilm, kind: str) -> PlannedFilm:
    """`other` with its names and facts, but with the film, stored values and all, of `film`."""
    kept = {key: getattr(other.style, key) for key in ("patient_name", "character_set", "patient_sex", "patient_age")}
    return replace(
        other,
        study_class=film.study_class,
        seeds=film.seeds,
        look=film.look,
        shape=film.shape,
        style=replace(film.style, **kept),
        display=film.display,
        twin=kind,
    )


def _break(film: PlannedFilm, breakage: str, seed: int) -> PlannedFilm:
    """A film of its own patient and study that cannot be read."""
    style = replace(film.style, kind="CR", bits_stored=12, syntax="explicit", photometric="MONOCHROME2")
    patient, study, series, image = (derive_id(seed, "broken", key, breakage) for key in ("p", "st", "se", "i"))
    return replace(
        film,
        patient_id=patient,
        study_id=study,
        series_id=series,
        image_id=image,
        part="train",
        study_class="negative",
        seeds=(int(patient, 16), int(study, 16), int(image, 16)),
        boxes_in_table=True,
        style=style,
        display="full",
        twin="",
        breakage=breakage,
    )


def _identify(film: PlannedFilm) -> FilmStyle:
    """The style with its identifiers; UIDs are other values than the folders' names, as in the real set."""
    return replace(
        film.style,
        patient_id=film.patient_id,
        study_id=film.study_id,
        sop_uid=derive_uid("image", film.image_id),
        series_uid=derive_uid("series", film.series_id),
        study_uid=derive_uid("study", film.study_id),
    )
