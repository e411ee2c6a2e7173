"""Subgroup analysis: traits of studies, and scores of those that share one beside those of the rest."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scripts.bootstrap import Interval, ResampledScores
from scripts.errors import InputError
from scripts.files import read_csv
from scripts.metrics.average_precision import Floats
from scripts.metrics.scores import STUDY_MAP
from scripts.metrics.studies import AUROC, NEGATIVE, EvaluatedStudies
from tqdm import tqdm

Image = Mapping[str, Any]

#: Metadata of images by image id; an empty text stands for what an image does not say.
Metadata = Mapping[str, Mapping[str, str]]

#: Below these an interval is so wide, and so wrong, that a number would only be remembered without it.
MIN_STUDIES, MIN_OF_CLASS = 30, 5

#: What is measured of a subgroup.
MEASURES: tuple[str, ...] = (STUDY_MAP, AUROC)

#: A number with more values than this is cut into quartiles; with fewer, each value is a subgroup.
MAX_VALUES = 4

#: Names of subgroups of which nothing, or several things, are known.
UNSAID, MIXED = "not reported", "mixed"


@dataclass(frozen=True)
class Subgroup:
    """Studies that share a trait, and their scores beside those of all other studies.

    Args:
        trait, name: the trait ("lung box area"), and the part of it ("0.21 to 0.35").
        num_of_class: studies of each class.
        scores: by measure; None stands for too few.
        differences: to all other studies, on the same resamples; None where either side has too few.
    """

    trait: str
    name: str
    num_of_class: tuple[int, ...]
    scores: Mapping[str, Interval | None]
    differences: Mapping[str, Interval | None]


def measure_subgroups(
    studies: EvaluatedStudies, traits: Mapping[str, Sequence[str]], weights: Floats, level: float = 0.95
) -> list[Subgroup]:
    """Every subgroup of every trait that reports the studies apart, in order of its trait and name.

    Args:
        studies: S studies.
        traits: for each trait the name of each study's subgroup, S of them.
        weights: `(1 + R, G)`, as `EvaluatedStudies.sample_weights` gives them.
        level: of the intervals.
    """
    return [
        _measure_subgroup(studies, trait, name, np.array([each == name for each in names]), weights, level)
        for trait, names in tqdm(traits.items(), "subgroups", unit="trait", disable=None, leave=False, delay=2)
        if len(set(names)) > 1
        for name in sort_names(set(names))
    ]


def count_differences(subgroups: Sequence[Subgroup]) -> tuple[int, int]:
    """Count the differences that were measured, and those whose interval leaves out zero.

    Of a trait with two subgroups the one is the other's rest: a difference that counts once.
    """
    parts = Counter(group.trait for group in subgroups)
    seen = {group.trait: group for group in subgroups}  # the last of each trait
    counted = [group for group in subgroups if parts[group.trait] > 2 or group is seen[group.trait]]
    measured = [each for group in counted for each in group.differences.values() if each is not None]
    return len(measured), sum(each.low > 0 or each.high < 0 for each in measured)


def cut_quartiles(values: ArrayLike) -> list[str]:
    """Names of the quartiles that values lie in, as the range of each; NaN is "not reported".

    Equal values share a quartile. With no more than `MAX_VALUES` different ones each is a part of its own.
    """
    numbers = np.asarray(values, dtype=np.float64)
    known = numbers[np.isfinite(numbers)]
    distinct = np.unique(known)
    edges = distinct[:-1] if len(distinct) <= MAX_VALUES else np.quantile(known, (0.25, 0.5, 0.75))
    parts = np.where(np.isfinite(numbers), np.searchsorted(edges, numbers, side="left"), -1)
    names = {part: UNSAID if part < 0 else _name_range(numbers[parts == part]) for part in set(parts.tolist())}
    return [names[part] for part in parts.tolist()]


def sort_names(names: set[str]) -> list[str]:
    """Ranges by their numbers, then words, and last what is not known."""

    def rank(name: str) -> tuple[bool, float, str]:
        try:
            return False, float(name.split(" ")[0]), ""
        except ValueError:
            return name in (UNSAID, MIXED), np.inf, name

    return sorted(names, key=rank)


def _name_range(values: Floats) -> str:
    low, high = (f"{edge:.4g}" for edge in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def _measure_subgroup(
    studies: EvaluatedStudies, trait: str, name: str, inside: ArrayLike, weights: Floats, level: float
) -> Subgroup:
    mask = np.asarray(inside, dtype=bool)
    part, rest = _measure_side(studies.keep(mask), weights), _measure_side(studies.keep(~mask), weights)
    both = {measure: part[measure] - rest[measure] for measure in MEASURES if measure in part and measure in rest}
    scores, differences = (ResampledScores(values).summarise(level) for values in (part, both))
    return Subgroup(
        trait,
        name,
        tuple(studies.keep(mask).num_of_class.tolist()),
        {measure: scores.get(measure) for measure in MEASURES},
        {measure: differences.get(measure) for measure in MEASURES},
    )


def _measure_side(studies: EvaluatedStudies, weights: Floats) -> dict[str, Floats]:
    """Those of the measures `(1 + R,)` for which there are enough studies."""
    if not any(has_enough(studies).values()):
        return {}
    scores = studies.measure(weights)
    return {measure: scores[measure] for measure, enough in has_enough(studies).items() if enough}


def has_enough(studies: EvaluatedStudies) -> dict[str, bool]:
    """Check for `MIN_STUDIES`, and for `MIN_OF_CLASS` of every class that a measure reports apart."""
    of_class = studies.num_of_class
    smallest = {STUDY_MAP: of_class.min(), AUROC: min(of_class[NEGATIVE], len(studies) - of_class[NEGATIVE])}
    return {measure: len(studies) >= MIN_STUDIES and bool(smallest[measure] >= MIN_OF_CLASS) for measure in MEASURES}


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
    advice = "check the path, or write it: python -m scripts extract-metadata"
    for row in read_csv(path, ["image_id"], what="a table of metadata", advice=advice):
        cells = dict(row.cells)
        image = cells.pop("image_id")
        if "" in cells:
            raise InputError("a name for each column", f"one without at {row.locate()}", "correct the first line")
        if not image or image in metadata:
            raise InputError("each image id once", f"an empty one or a second row at {row.locate()}", "correct the row")
        metadata[image] = cells
    return metadata


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
