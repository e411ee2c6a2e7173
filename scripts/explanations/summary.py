"""Explanations of many images as means with their intervals, and as a table to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scripts.bootstrap import Interval, ResampledScores, average_by_weights, weigh_groups
from scripts.explanations.corners import CHANGES, UNTOUCHED
from scripts.explanations.records import ExplainedImage, find_top
from scripts.tabulation import align_columns, format_interval, format_number

Floats = NDArray[np.float64]

REGIONS: dict[str, str] = {"lungs": "lung box", "opacities": "opacity boxes", "corners": "four corners"}


@dataclass(frozen=True)
class Summary:
    """Figures of many images.

    Args:
        num_images, num_patients: that were explained.
        num_empty: images whose map is zero everywhere; they have no fractions.
        figures: means by name: those of `list_image_figures`; by change of the corners mean_change, largest_change,
            top_changes, and accuracy of images by themselves. NaN where no image has one.
        counts: images behind each figure.
        largest: by change of the corners, the largest change of any probability on any image.
    """

    num_images: int
    num_patients: int
    num_empty: int
    figures: Mapping[str, Interval]
    counts: Mapping[str, int]
    largest: Mapping[str, float]


def summarise_explanations(images: Sequence[ExplainedImage], num_resamples: int = 1000, seed: int = 0) -> Summary:
    """Means over images, each with the 95 % interval of a bootstrap that draws patients.

    Args:
        images: at least one.
        num_resamples: resamples behind each interval.
        seed: of the resamples.
    """
    patients, groups = np.unique([image.patient for image in images], return_inverse=True)
    rows = [_list_figures(image) for image in images]
    values = {name: np.array([row[name] for row in rows], dtype=np.float64) for name in rows[0]}
    weights = weigh_groups(len(patients), num_resamples, seed)
    means = {name: _resample_mean(column, groups, weights) for name, column in values.items()}
    return Summary(
        num_images=len(images),
        num_patients=len(patients),
        num_empty=sum(image.is_empty for image in images),
        figures=ResampledScores(means).summarise(),
        counts={name: int(np.isfinite(column).sum()) for name, column in values.items()},
        largest={change: max(image.measure_change(change).largest for image in images) for change in CHANGES},
    )


def list_image_figures(image: ExplainedImage) -> dict[str, float]:
    """List one image's localisation figures by name; NaN where one does not apply."""
    fractions = {
        f"{kind}_in_{region}": getattr(image.fractions[region], kind)
        for region in REGIONS
        for kind in ("energy", "area", "seen")
    }
    return fractions | {"points_at_opacity": image.points_at_opacity, "corners_seen": image.corners_seen}


def _list_figures(image: ExplainedImage) -> dict[str, float]:
    changes = {name: value for change in CHANGES for name, value in _list_changes(image, change).items()}
    right = {f"accuracy_{change}": _is_right(image, change) for change in image.predictions}
    return list_image_figures(image) | changes | right


def _list_changes(image: ExplainedImage, change: str) -> dict[str, float]:
    measured = image.measure_change(change)
    return {
        f"mean_change_{change}": measured.mean,
        f"largest_change_{change}": measured.largest,
        f"top_changes_{change}": float(measured.moved),
    }


def _is_right(image: ExplainedImage, change: str) -> float:
    return float(find_top(image.predictions[change]) == image.label) if image.label else float("nan")


def _resample_mean(values: Floats, groups: NDArray[np.int64], weights: Floats) -> Floats:
    """Mean of values `(N,)` with each row of group weights `(R, G)`, `(R,)`; NaN values are left out."""
    known = np.isfinite(values)
    return average_by_weights(values[known], weights[:, groups[known]])


def describe_summary(summary: Summary, title: str) -> str:
    """A summary in plain text: where the map lies beside what an even one would have, and the corner test."""
    people = f"{summary.num_images} images of {summary.num_patients} patients"
    empty = f"; {summary.num_empty} maps are empty" if summary.num_empty else ""
    return "\n\n".join([f"{title}: {people}{empty}", _tabulate_fractions(summary), _tabulate_changes(summary)])


def _tabulate_fractions(summary: Summary) -> str:
    names = {f"energy_in_{region}": (title, region) for region, title in REGIONS.items()}
    rows = [_list_fraction(summary, name, *names[name]) for name in names]
    rows.append(_list_fraction(summary, "points_at_opacity", "maximum in an opacity box", "opacities"))
    header = (
        "energy of the map in the",
        "fraction",
        "95 % interval",
        "even on image",
        "even on what is seen",
        "images",
    )
    return align_columns(header, rows)


def _list_fraction(summary: Summary, name: str, title: str, region: str) -> tuple[str, ...]:
    figure = summary.figures[name]
    even = (format_number(summary.figures[f"{kind}_in_{region}"].value, ".3f") for kind in ("area", "seen"))
    return title, format_number(figure.value, ".3f"), format_interval(figure, ".3f"), *even, str(summary.counts[name])


def _tabulate_changes(summary: Summary) -> str:
    header = ("corners", "mean change", "95 % interval", "largest", "top changes", "95 % interval", "accuracy")
    rows = [(UNTOUCHED, *[""] * 5, format_number(summary.figures[f"accuracy_{UNTOUCHED}"].value, ".3f"))]
    for change in CHANGES:
        figures = [summary.figures[f"{kind}_{change}"] for kind in ("mean_change", "top_changes")]
        mean, top = ([format_number(each.value, ".3f"), format_interval(each, ".3f")] for each in figures)
        accuracy = format_number(summary.figures[f"accuracy_{change}"].value, ".3f")
        rows.append((change, *mean, format_number(summary.largest[change], ".3f"), *top, accuracy))
    seen = format_number(summary.figures["corners_seen"].value, ".3f")
    return f"{align_columns(header, rows)}\nshare of the corners that the network sees: {seen}"
