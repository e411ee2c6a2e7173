"""Synthetic cohort: patients, studies, images, their classes, their duplicates and the storage of each image.

Every variation that a reader must master stands in a list that is gone through again and again, in an order shuffled
anew each time, and is not left to a lottery: a tree of two dozen studies has them all.
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
from scripts.synthetic.dicom import ImageStyle, derive_uid
from scripts.synthetic.exposure import TONES
from scripts.synthetic.storage import DISPLAYS

T = TypeVar("T")

# About the challenge's class frequencies, with the two rare classes raised so that five folds of a small tree have them
# all.
_CLASSES = [STUDY_CLASSES[number] for number in (1, 0, 2, 1, 3, 0, 1, 2, 1, 0, 3, 1)]
_STUDIES_OF_PATIENT = [1, 2, 1, 1, 3, 1, 1, 1, 2, 1]
_IMAGES_OF_STUDY = [1, 2, 1, 1, 1, 1, 1, 3, 1, 1, 1, 1]
# Rows, columns as fractions of the tree's size, and the pixel's height by its width in thousandths.
_SHAPES = [(1.0, 1.0, 1000), (1.0, 0.82, 1000), (0.82, 1.0, 1000), (1.0, 1.0, 1190), (1.0, 0.9, 1000), (1.0, 1.0, 840)]
# A reader knows makers by the beginning of their name; the rest says that none of them made these images.
_MAKERS = ["Philips (synthetic)", "Agfa (synthetic)", "Fuji (synthetic)", "Konica (synthetic)", ""]
_TTA_FLIPS = ["PA", "AP", "PA", "", "AP"]
_BODY_PARTS = ["CHEST", "CHEST", "CHEST", "PORT CHEST", "CHEST", "", "CHEST", "ABDOMEN"]
_NAMES = [
    ("ISO_IR 100", "Gezeichnet^Jürgen"),
    ("ISO_IR 192", "Zmyślona^Łucja"),
    ("ISO_IR 144", "Рисунков^Иван"),
    ("", "Synthetic^Image"),
]
_STORED: list[ImageStyle] = [
    ImageStyle(kind=kind, photometric=f"MONOCHROME{number}", bits_stored=bits, syntax=syntax)
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
class PlannedImage:
    """One image of the tree before it is generated.

    Args:
        part: "train" or "test".
        study_class: one of `STUDY_CLASSES`.
        seeds: of the patient's body, of the study's findings and of the exposure.
        look: what is seen of what the header says.
        boxes_in_table: whether the image table has this image's boxes; twins within a study lose theirs, as in the
            real set.
        shape: rows and columns as fractions of the tree's size.
        style: how it is stored.
        display: one of `DISPLAYS`.
        twin: "" or what it is to an earlier image: "near" (another exposure in the same study), "same" (the same file
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
    style: ImageStyle
    display: str
    twin: str = ""
    breakage: str = ""


def plan_cohort(num_studies: int, num_test_studies: int, seed: int, broken: bool = False) -> list[PlannedImage]:
    """The images of a tree: same arguments, same images."""
    train, test = _plan_part("train", num_studies, seed), _plan_part("test", num_test_studies, seed)
    images = _add_twins(train, test, seed, max(1, num_studies // _STUDIES_PER_TWIN))
    if broken:
        images += [_break(train[number % len(train)], breakage, seed) for number, breakage in enumerate(BREAKAGES)]
    return [replace(image, style=_identify(image)) for image in images]


def derive_id(*parts: object) -> str:
    """A 12-digit hexadecimal id, as the challenge's folders and files have."""
    return hashlib.sha256(chr(31).join(map(str, parts)).encode()).hexdigest()[:12]


def _repeat(values: Sequence[T], rng: np.random.Generator) -> Iterator[T]:
    """`values` again and again, in an order shuffled anew for every round."""
    while True:
        yield from (values[index] for index in rng.permutation(len(values)))


@dataclass(frozen=True)
class _Lists:
    """The lists that a part goes through."""

    classes: Iterator[str]
    images_of_study: Iterator[int]
    shapes: Iterator[tuple[float, float, int]]
    stored: Iterator[ImageStyle]
    displays: Iterator[str]
    tta_flips: Iterator[str]
    body_parts: Iterator[str]


def _plan_part(part: str, number: int, seed: int) -> list[PlannedImage]:
    rng = np.random.default_rng([seed, len(part)])
    keys = iter(range(7))

    def go_through(values: Sequence[T]) -> Iterator[T]:
        return _repeat(values, np.random.default_rng([seed, len(part), next(keys)]))

    lists = _Lists(
        classes=go_through(_CLASSES),
        images_of_study=go_through(_IMAGES_OF_STUDY),
        shapes=go_through(_SHAPES),
        stored=go_through(_STORED),
        displays=go_through(DISPLAYS),
        tta_flips=go_through(_TTA_FLIPS),
        body_parts=go_through(_BODY_PARTS),
    )
    patients = (patient for patient, count in enumerate(_repeat(_STUDIES_OF_PATIENT, rng)) for _ in range(count))
    return [image for study in range(number) for image in _plan_study(part, seed, study, next(patients), lists)]


def _plan_study(part: str, seed: int, study: int, patient: int, lists: _Lists) -> list[PlannedImage]:
    """The images of one study: the first is its image, the others are near twins of it."""
    rows, columns, aspect = next(lists.shapes)
    reported, study_class, body_part = next(lists.tta_flips), next(lists.classes), next(lists.body_parts)
    metadata = np.random.default_rng([seed, len(part), patient, 9])
    maker, sex = int(metadata.integers(len(_MAKERS))), "MF"[metadata.integers(2)]
    age = "" if metadata.random() < 0.1 else f"{metadata.integers(18, 95):03d}Y"
    character_set, name = _NAMES[patient % len(_NAMES)]
    described = ImageStyle(
        patient_sex=sex, patient_age=age, manufacturer=_MAKERS[maker], view_position=reported, body_part=body_part,
        character_set=character_set, patient_name=name,
    )  # fmt: skip
    look = Look(sex, reported or ("PA", "AP")[study % 2], maker % len(TONES), aspect / 1000)
    images = []
    for number in range(next(lists.images_of_study)):
        keys = ("patient", patient), ("study", study), ("image", study, number)
        patient_seed, study_seed, image_seed = (int(derive_id(seed, part, "seed", *key), 16) for key in keys)
        stored = next(lists.stored)
        image = PlannedImage(
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
        images.append(image)
    return images


def _join_styles(described: ImageStyle, stored: ImageStyle, aspect: int) -> ImageStyle:
    """Join the header's patient attributes with the image's storage; a squeezed CR image has no spacing."""
    style = replace(
        described,
        kind=stored.kind, bits_stored=stored.bits_stored, syntax=stored.syntax, photometric=stored.photometric,
    )  # fmt: skip
    if aspect != 1000 and stored.kind == "CR":
        return replace(style, aspect_ratio=(aspect, 1000))
    side = 0.143 if stored.bits_stored == 12 else 0.175
    spacing = (round(side * aspect / 1000, 5), side)
    return replace(style, imager_pixel_spacing=spacing, pixel_spacing=spacing if stored.kind == "CR" else None)


def _choose_display(display: str, stored: ImageStyle) -> str:
    return "linear" if display == "rescale" and stored.kind == "DX" else display


def _add_twins(train: list[PlannedImage], test: list[PlannedImage], seed: int, rounds: int) -> list[PlannedImage]:
    """Train and test with further images in a study, and images whose pixels are replaced by another patient's."""
    images = {image.image_id: image for image in (*train, *test)}
    counts: dict[str, int] = {}
    for image in images.values():
        counts[image.study_id] = counts.get(image.study_id, 0) + 1
    free = [image for image in train if counts[image.study_id] == 1]
    tested = [image for image in test if counts[image.study_id] == 1]
    for number in range(rounds):
        if len(free) >= 4:
            for kind in ("same", "stored_again"):
                twin = _twin_in_study(free.pop(0), kind, seed, number)
                images[twin.image_id] = twin
            first = free.pop(0)
            others = [image for image in free if _may_share(image, first)]
            if others:
                free.remove(others[0])
                images[others[0].image_id] = _show_picture_of(first, others[0], "other_patient")
        if tested and free:
            other = tested.pop(0)
            images[other.image_id] = _show_picture_of(free.pop(0), other, "other_part")
    return list(images.values())


def _may_share(image: PlannedImage, other: PlannedImage) -> bool:
    return image.study_class == other.study_class and image.patient_id != other.patient_id


def _twin_in_study(image: PlannedImage, kind: str, seed: int, number: int) -> PlannedImage:
    twin = replace(
        image,
        series_id=derive_id(seed, kind, "series", number),
        image_id=derive_id(seed, kind, "image", number),
        boxes_in_table=False,
        twin=kind,
    )
    if kind == "stored_again":
        bits = 8 if image.style.bits_stored > 8 else 12
        style = replace(image.style, kind="CR", bits_stored=bits, syntax="explicit", photometric="MONOCHROME2")
        twin = replace(twin, display="full", style=style)
    return twin


def _show_picture_of(image: PlannedImage, other: PlannedImage, kind: str) -> PlannedImage:
    """`other` with its names and metadata, but with the image, stored values and all, of `image`."""
    kept = {key: getattr(other.style, key) for key in ("patient_name", "character_set", "patient_sex", "patient_age")}
    return replace(
        other,
        study_class=image.study_class,
        seeds=image.seeds,
        look=image.look,
        shape=image.shape,
        style=replace(image.style, **kept),
        display=image.display,
        twin=kind,
    )


def _break(image: PlannedImage, breakage: str, seed: int) -> PlannedImage:
    """An image of its own patient and study that cannot be read."""
    style = replace(image.style, kind="CR", bits_stored=12, syntax="explicit", photometric="MONOCHROME2")
    patient, study, series, image_id = (derive_id(seed, "broken", key, breakage) for key in ("p", "st", "se", "i"))
    return replace(
        image,
        patient_id=patient,
        study_id=study,
        series_id=series,
        image_id=image_id,
        part="train",
        study_class="negative",
        seeds=(int(patient, 16), int(study, 16), int(image_id, 16)),
        boxes_in_table=True,
        style=style,
        display="full",
        twin="",
        breakage=breakage,
    )


def _identify(image: PlannedImage) -> ImageStyle:
    """The style with its identifiers; UIDs are other values than the folders' names, as in the real set."""
    return replace(
        image.style,
        patient_id=image.patient_id,
        study_id=image.study_id,
        sop_uid=derive_uid("image", image.image_id),
        series_uid=derive_uid("series", image.series_id),
        study_uid=derive_uid("study", image.study_id),
    )
