"""What is known of each study beside its label: by what the studies are cut into subgroups."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.errors import InputError
from scripts.metrics.rows import read_rows
from scripts.metrics.subgroups import MIXED, UNSAID, cut_quartiles

Film = Mapping[str, Any]

#: Facts of films by image id; an empty text stands for what a film does not say.
Facts = Mapping[str, Mapping[str, str]]


def collect_traits(
    films_of_study: Sequence[Sequence[Film]],
    flags: Mapping[str, Sequence[str]],
    copied: frozenset[str] = frozenset(),
    facts: Facts | None = None,
) -> dict[str, list[str]]:
    """For each trait the name of every study's subgroup.

    Args:
        films_of_study: of each study its films as the datalist has them.
        flags: of each film, by image id.
        copied: films of which the datalist has a copy; its copies say so themselves.
        facts: a table of facts by option; numbers are averaged in a study, words that differ are "mixed".
    """

    def ask(question: Callable[[Film], bool]) -> list[str]:
        return ["yes" if any(map(question, films)) else "no" for films in films_of_study]

    traits = {
        "lung box area, share of the film": cut_quartiles([_average_area(films) for films in films_of_study]),
        "images of the study": ["1" if len(films) == 1 else "2 or more" for films in films_of_study],
        "near-duplicate in the set": ask(lambda film: bool(film["duplicate_of"]) or film["image_id"] in copied),
    }
    for flag in sorted({flag for words in flags.values() for flag in words}):
        traits[f"flag {flag}"] = ask(lambda film, flag=flag: flag in flags.get(film["image_id"], ()))  # type: ignore[misc]
    table = facts or {}
    for column in next(iter(table.values()), {}):
        said = [[table.get(film["image_id"], {}).get(column, "") for film in films] for films in films_of_study]
        traits[column] = _name_facts(said)
    return traits


def read_facts(path: str | Path) -> dict[str, dict[str, str]]:
    """A table of facts, by image id: the column image_id, and any others.

    Raises:
        InputError: naming file and line, where the table is not there, has no column image_id, or a row is malformed.
    """
    facts: dict[str, dict[str, str]] = {}
    for where, row in _read_rows(Path(path)):
        image = row.pop("image_id")
        if not image or image in facts:
            raise InputError("each image id once", f"an empty one or a second row at {where}", "correct the row")
        facts[image] = row
    return facts


def _read_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Where a row stands, and its cells by column."""

    def check(header: Sequence[str]) -> None:
        names = [name.strip() for name in header]
        if "image_id" not in names or len(set(names) - {""}) < len(names):
            expected = "the column image_id and others, each with a name of its own"
            raise InputError(expected, f"another first line in {path.name}", "correct it")

    advice = "check the path, or write it: python -m scripts facts"
    for where, header, cells in read_rows(path, "a table of facts", advice, check):
        yield where, dict(zip(map(str.strip, header), map(str.strip, cells), strict=True))


def _average_area(films: Sequence[Film]) -> float:
    """Mean share of a film that its lung box covers; NaN where no film has one."""
    boxes = [(film["lung_box"], film["height"] * film["width"]) for film in films if film["lung_box"]]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) / pixels for box, pixels in boxes]
    return sum(areas) / len(areas) if areas else math.nan


def _name_facts(values: Sequence[Sequence[str]]) -> list[str]:
    """Subgroup of each study from what its films say: quartiles where all that is said are numbers, else words."""
    said = [[value for value in films if value] for films in values]
    numbers = [[_parse_number(value) for value in films] for films in said]
    if all(math.isfinite(number) for films in numbers for number in films):
        return cut_quartiles([sum(films) / len(films) if films else math.nan for films in numbers])
    return [(films[0] if len(set(films)) == 1 else MIXED) if films else UNSAID for films in said]


def _parse_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
