"""Subgroup analysis: scores of a part of the studies beside those of the rest, where there are enough of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scripts.metrics.average_precision import Floats
from scripts.metrics.bootstrap import Interval, ResampledScores
from scripts.metrics.scores import STUDY_MAP
from scripts.metrics.studies import AUROC, NEGATIVE, EvaluatedStudies

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
        for trait, names in traits.items()
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
