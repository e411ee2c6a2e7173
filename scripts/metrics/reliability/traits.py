"""Traits of each study, beside its label, by which studies are cut into subgroups."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.errors import InputError
from scripts.metrics.rows import read_rows
from scripts.metrics.subgroups import MIXED, UNSAID, cut_quartiles

Image = Mapping[str, Any]

#: Metadata of images by image id; an empty text stands for what an image does not say.
Metadata = Mapping[str, Mapping[str, str]]


def collect_traits(
    images_of_study: Sequence[Sequence[Image]],
    flags: Mapping[str, Sequence[str]],
    copied: frozenset[str] = frozenset(),
    metadata: Metadata | None = None,
) -> dict[str, list[str]]:
    """For each trait the name of every study's subgroup.

    Args:
        images_of_study: of each study its images as the datalist has them.
        flags: of each image, by image id.
        copied: images of which the datalist has a copy; its copies say so themselves.
        metadata: a table of metadata by option; numbers are averaged in a study, words that differ are "mixed".
    """

    def ask(question: Callable[[Image], bool]) -> list[str]:
        return ["yes" if any(map(question, images)) else "no" for images in images_of_study]

    traits = {
        "lung box area, fraction of the image": cut_quartiles([_average_area(images) for images in images_of_study]),
        "images of the study": ["1" if len(images) == 1 else "2 or more" for images in images_of_study],
        "near-duplicate in the set": ask(lambda image: bool(image["duplicate_of"]) or image["image_id"] in copied),
    }
    for flag in sorted({flag for words in flags.values() for flag in words}):
        traits[f"flag {flag}"] = ask(lambda image, flag=flag: flag in flags.get(image["image_id"], ()))  # type: ignore[misc]
    table = metadata or {}
    for column in next(iter(table.values()), {}):
        predicted = [
            [table.get(image["image_id"], {}).get(column, "") for image in images] for images in images_of_study
        ]
        traits[column] = _name_metadata(predicted)
    return traits


def read_metadata_table(path: str | Path) -> dict[str, dict[str, str]]:
    """A table of metadata, by image id: the column image_id, and any others.

    Raises:
        InputError: naming file and line, where the table is not there, has no column image_id, or a row is malformed.
    """
    metadata: dict[str, dict[str, str]] = {}
    for where, row in _read_rows(Path(path)):
        image = row.pop("image_id")
        if not image or image in metadata:
            raise InputError("each image id once", f"an empty one or a second row at {where}", "correct the row")
        metadata[image] = row
    return metadata


def _read_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Read rows: file and line of each, and its cells by column."""

    def check(header: Sequence[str]) -> None:
        names = [name.strip() for name in header]
        if "image_id" not in names or len(set(names) - {""}) < len(names):
            expected = "the column image_id and others, each with a name of its own"
            raise InputError(expected, f"another first line in {path.name}", "correct it")

    advice = "check the path, or write it: python -m scripts extract-metadata"
    for where, header, cells in read_rows(path, "a table of metadata", advice, check):
        yield where, dict(zip(map(str.strip, header), map(str.strip, cells), strict=True))


def _average_area(images: Sequence[Image]) -> float:
    """Mean fraction of an image that its lung box covers; NaN where no image has one."""
    boxes = [(image["lung_box"], image["height"] * image["width"]) for image in images if image["lung_box"]]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) / pixels for box, pixels in boxes]
    return sum(areas) / len(areas) if areas else math.nan


def _name_metadata(values: Sequence[Sequence[str]]) -> list[str]:
    """Subgroup of each study from its images' metadata: quartiles where all values are numbers, else words."""
    predicted = [[value for value in images if value] for images in values]
    numbers = [[_parse_number(value) for value in images] for images in predicted]
    if all(math.isfinite(number) for images in numbers for number in images):
        return cut_quartiles([sum(images) / len(images) if images else math.nan for images in numbers])
    return [(images[0] if len(set(images)) == 1 else MIXED) if images else UNSAID for images in predicted]


def _parse_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
