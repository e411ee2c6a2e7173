"""The whole report of trust: text to read, trust.json, two pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts.errors import InputError
from scripts.files import replace_undefined, write_text
from scripts.metrics.studies import JudgedStudies
from scripts.metrics.subgroups import Subgroup, measure_subgroups
from scripts.metrics.trust.figures import draw_reliability, draw_risk_coverage
from scripts.metrics.trust.gathering import JudgedFilms, gather_films
from scripts.metrics.trust.judging import (
    KEPT_BY,
    Calibration,
    Intervals,
    Selection,
    judge_calibration,
    judge_selection,
)
from scripts.metrics.trust.tables import (
    describe_task,
    tabulate_calibration,
    tabulate_selection,
    tabulate_subgroups,
)
from scripts.metrics.trust.traits import collect_traits, read_facts


def report_trust(
    predictions: str | Path | Sequence[str | Path],
    truth: str | Path,
    out: str | Path,
    members: str | Sequence[str | Path] = (),
    facts: str | Path | None = None,
    num_parts: int = 5,
    num_resamples: int = 1000,
    seed: int = 0,
) -> str:
    """Tell in plain text how far study probabilities may be trusted; also trust.json and two PNGs in `out`.

    Args:
        predictions: predictions.json, one of each fold, of films that their network was not trained on.
        truth: a datalist.json.
        out: folder for trust.json, reliability.png and selective.png.
        members: predictions.json of the same films by each member (seeds, views, networks); as one text, divided by
            commas. From them comes what the members disagree about.
        facts: a table of facts by image id, for more subgroups; `python -m scripts facts` writes one.
        num_parts: parts of the patients in the cross-fit of the temperature.
        num_resamples: resamples of patients behind each interval.
        seed: of the parts and of the resamples.

    Raises:
        InputError: where a file is not there or not valid, ids do not fit together, or there are too few patients.
    """
    films = gather_films(_split_paths(predictions), truth, _split_paths(members))
    table = None if facts is None else read_facts(facts)
    studies = films.judge_studies()
    _refuse_too_few(studies, num_parts)
    weights = studies.draw_weights(num_resamples, seed)
    calibration = judge_calibration(films, studies, weights, num_parts, seed)
    selection = judge_selection(films, studies, weights)
    traits = collect_traits(films.films_of_study, films.flags, films.copied, table)
    subgroups = measure_subgroups(studies, traits, weights)
    out = Path(out)
    draw_reliability(calibration.diagrams, out / "reliability.png")
    draw_risk_coverage(selection.curves, out / "selective.png")
    content = _as_json(films, calibration, selection, subgroups, num_resamples)
    write_text(out / "trust.json", json.dumps(content, indent=1) + "\n")
    blocks = [
        describe_task(films, studies, Path(truth).name, num_resamples),
        tabulate_calibration(calibration),
        tabulate_selection(selection),
        tabulate_subgroups(subgroups),
    ]
    return "\n\n".join(blocks)


def _refuse_too_few(studies: JudgedStudies, num_parts: int) -> None:
    if num_parts < 2 or studies.num_groups < num_parts:
        found = f"{studies.num_groups} patients for {num_parts} parts"
        raise InputError("2 parts or more, and as many patients", found, "take more films or fewer parts")


def _split_paths(paths: str | Path | Sequence[str | Path]) -> list[str | Path]:
    if isinstance(paths, Path):
        return [paths]
    return [path for path in paths.split(",") if path] if isinstance(paths, str) else list(paths)


def _as_json(
    films: JudgedFilms,
    calibration: Calibration,
    selection: Selection,
    subgroups: Sequence[Subgroup],
    num_resamples: int,
) -> Any:
    """Everything that the report tells, and the curves; what is not defined is null."""
    fit = calibration.fit
    return replace_undefined(
        {
            "studies": len(films.truth.study_labels),
            "films": len(films.truth.image_boxes),
            "folds": films.folds,
            "members": len(films.members),
            "resamples": num_resamples,
            "calibration": {
                "temperature": fit.temperature,
                "part_temperatures": fit.part_temperatures,
                "by_chance": calibration.by_chance,
                **{name: _plain(getattr(calibration, name)) for name in ("before", "after", "improvement")},
                "diagrams": {
                    name: {key: value.tolist() for key, value in asdict(each).items()}
                    for name, each in calibration.diagrams.items()
                },
            },
            "selection": {
                "areas": _plain(selection.areas),
                "gains": _plain(selection.gains),
                "risks": {name: curve.tolist() for name, curve in selection.curves.items()},
                "kept_by": KEPT_BY,
                "kept": {
                    f"{coverage:g}": {**_plain(kept), "num_of_class": selection.num_of_class[coverage]}
                    for coverage, kept in selection.kept.items()
                },
            },
            "subgroups": [asdict(each) for each in subgroups],
        }
    )


def _plain(intervals: Intervals) -> dict[str, dict[str, float]]:
    return {name: asdict(each) for name, each in intervals.items()}
