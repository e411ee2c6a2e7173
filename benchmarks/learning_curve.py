"""Benchmark of how much data a training needs, with and without crop and mask: `python -m benchmarks.learning_curve`.

Each part of the patients trains two networks that hold out one fold, whole: on the whole radiograph without the mask's
loss, and on the lung crop with it, in as many steps as all patients take. A smaller part lies in each larger one. What
crop and mask are worth is told in data: by what factor the other network would need more patients to be as good, read
off the line between its points over the logarithm of the patients.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scripts.bootstrap import Interval
from scripts.datalist import read_datalist, write_datalist
from scripts.experiments import Plan, ablate
from scripts.files import write_text
from scripts.tabulation import align_columns, format_interval, format_number
from scripts.verbs import list_values

from benchmarks.commandline import run_command

PARTS = (0.125, 0.25, 0.5, 1.0)


def measure(
    datalist: str = "runs/prepared/datalist.json",
    tree: str = "runs/images",
    out: str = "runs/learning_curve",
    base: str = "",
    seeds: int | Sequence[int] = (0, 1, 2),
    fold: int = 0,
    epochs: int = 4,
    slots: int = 1,
    **options: Any,
) -> str:
    """Train what is missing and print the table; it also stands in curve.txt and curve.json.

    Args:
        datalist: of `python -m scripts prepare`.
        tree: of its images.
        out: folder of everything; the runs of a part lie in `out/<part>`.
        base: override that all trainings share, such as `imagenet_lite0`.
        seeds: of the trainings; scores are averaged over them.
        fold: held out by all.
        epochs: over all patients; over a part of them so many more that the steps are as many.
        slots: trainings at a time.
        options: of every training, such as `image_size`.
    """
    folder = Path(out)
    prefix = f"{base}+" if base else ""
    rows = (f"{prefix}whole_image+no_auxiliary", base or "baseline")
    points = []
    for part in PARTS:
        path = folder / f"{part:g}.json"
        count = write_part(datalist, path, part, fold)
        longer = round(epochs / part)
        plan = Plan(path, Path(tree), {**options, "epochs": longer, "val_interval": longer}).side_by_side(slots)
        ablate(plan, folder / f"{part:g}", rows, [fold], list_values(seeds))
        measured = json.loads((folder / f"{part:g}" / "ablation.json").read_text(encoding="utf-8"))
        points.append({"part": part, "patients": count, **measured})
    table = tabulate(points)
    write_text(folder / "curve.json", json.dumps(points, indent=1) + "\n")
    write_text(folder / "curve.txt", table + "\n")
    return table


def write_part(datalist: str | Path, path: Path, part: float, fold: int) -> int:
    """Write a datalist with the held-out fold and a part of the other patients; the number of these.

    Every patient has a place of his own in a random order, so that a part lies in each larger one. All of them are the
    datalist itself, and trainings by it are those of any other study.
    """
    content = read_datalist(datalist)
    others = sorted({image["patient"] for image in content["training"] if image["fold"] != fold})
    chosen = set(np.random.default_rng(0).permutation(others)[: round(part * len(others))].tolist())
    kept = [image for image in content["training"] if image["fold"] == fold or image["patient"] in chosen]
    training = content["training"] if part == 1 else kept
    write_datalist(path, training, content["test"], content["num_folds"], content["seed"], content.get("external"))
    return len(chosen)


def tabulate(points: Sequence[Mapping[str, Any]]) -> str:
    """The table in plain text."""
    header, *rows = list_rows(points)
    return align_columns(header, rows)


def list_rows(points: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Both scores of each part, their difference, by what factor of the data the lower one is behind, and loss ratios.

    The first row is the header.
    """
    plain, full = ([Interval(**point["rows"][place]["study_map"]).value for point in points] for place in (0, 1))
    counts = [point["patients"] for point in points]
    header = ("patients", "whole, no mask", "", "crop and mask", "", "gain", "patients and seeds", "times the data")
    rows = [(*header, "validation / training loss: whole", "crop")]
    for point, score in zip(points, full, strict=True):
        scores = [Interval(**row["study_map"]) for row in point["rows"]]
        gain = Interval(**find_gain(point)["total"])
        needed = read_patients(counts, plain, score)
        worth = "more than all" if math.isnan(needed) else f"{needed / point['patients']:.1f}"
        worth = worth if gain.low > 0 or gain.high < 0 else "not resolved"
        cells = [text for each in scores for text in (format_number(each.value), format_interval(each))]
        gained = (format_number(gain.value, "+.4f"), format_interval(gain, "+.4f"))
        ratios = [format_number(float(np.mean(row["loss_ratios"])), ".2f") for row in point["rows"]]
        rows.append((str(point["patients"]), *cells, *gained, worth, *ratios))
    return rows


def find_gain(point: Mapping[str, Any]) -> Mapping[str, Any]:
    """The difference between crop with mask and the whole radiograph without, of one part, its sign turned."""
    (difference,) = point["differences"]
    return {name: _turn(difference[name]) for name in ("patients", "total")}


def read_patients(counts: Sequence[int], scores: Sequence[float], score: float) -> float:
    """Number of patients at which a curve first reaches a score; NaN where it does not, the first count where it began.

    Args:
        counts: patients of each point, rising.
        scores: of each point; a dip is passed over, as a curve that learns does not fall.
        score: to be reached.
    """
    rising = [place for place, each in enumerate(scores) if each > max(scores[:place], default=-math.inf)]
    if score > max(scores):
        return math.nan
    points = [scores[place] for place in rising]
    return float(np.exp(np.interp(score, points, np.log([counts[place] for place in rising]))))


def _turn(interval: Mapping[str, float]) -> dict[str, float]:
    return {"value": -interval["value"], "low": -interval["high"], "high": -interval["low"]}


if __name__ == "__main__":
    run_command(measure, "benchmarks.learning_curve")
