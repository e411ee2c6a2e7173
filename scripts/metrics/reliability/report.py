"""Reliability report: text to read, reliability.json, two figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts.errors import InputError
from scripts.files import replace_undefined, write_text
from scripts.metrics.reliability.assessment import (
    KEPT_BY,
    Calibration,
    Intervals,
    Selection,
    evaluate_calibration,
    evaluate_selection,
)
from scripts.metrics.reliability.figures import draw_reliability, draw_risk_coverage
from scripts.metrics.reliability.gathering import EvaluatedImages, gather_images
from scripts.metrics.reliability.tables import (
    describe_task,
    tabulate_calibration,
    tabulate_selection,
    tabulate_subgroups,
)
from scripts.metrics.reliability.traits import collect_traits, read_metadata_table
from scripts.metrics.studies import EvaluatedStudies
from scripts.metrics.subgroups import Subgroup, measure_subgroups


def report_reliability(
    predictions: str | Path | Sequence[str | Path],
    ground_truth: str | Path,
    out: str | Path,
    members: str | Sequence[str | Path] = (),
    metadata: str | Path | None = None,
    num_parts: int = 5,
    num_resamples: int = 1000,
    seed: int = 0,
) -> str:
    """Report in plain text how far study probabilities may be trusted; also reliability.json and two PNGs in `out`.

    Args:
        predictions: predictions.json, one of each fold, of images that their network was not trained on.
        ground_truth: a datalist.json.
        out: folder for reliability.json, reliability.png and selective.png.
        members: predictions.json of the same images by each member (seeds, TTA flips, networks); as one text, divided
            by commas. From them comes what the members disagree about.
        metadata: a table of metadata by image id, for more subgroups; `python -m scripts extract-metadata` writes one.
        num_parts: parts of the patients in the cross-fit of the temperature.
        num_resamples: resamples of patients behind each interval.
        seed: of the parts and of the resamples.

    Raises:
        InputError: where a file is not there or not valid, ids do not fit together, or there are too few patients.
    """
    images = gather_images(_split_paths(predictions), ground_truth, _split_paths(members))
    table = None if metadata is None else read_metadata_table(metadata)
    studies = images.evaluate_studies()
    _reject_too_few(studies, num_parts)
    weights = studies.sample_weights(num_resamples, seed)
    calibration = evaluate_calibration(images, studies, weights, num_parts, seed)
    selection = evaluate_selection(images, studies, weights)
    traits = collect_traits(images.images_of_study, images.flags, images.copied, table)
    subgroups = measure_subgroups(studies, traits, weights)
    out = Path(out)
    draw_reliability(calibration.diagrams, out / "reliability.png")
    draw_risk_coverage(selection.curves, out / "selective.png")
    content = _as_json(images, calibration, selection, subgroups, num_resamples)
    write_text(out / "reliability.json", json.dumps(content, indent=1) + "\n")
    blocks = [
        describe_task(images, studies, Path(ground_truth).name, num_resamples),
        tabulate_calibration(calibration),
        tabulate_selection(selection),
        tabulate_subgroups(subgroups),
    ]
    return "\n\n".join(blocks)


def _reject_too_few(studies: EvaluatedStudies, num_parts: int) -> None:
    if num_parts < 2 or studies.num_groups < num_parts:
        found = f"{studies.num_groups} patients for {num_parts} parts"
        raise InputError("2 parts or more, and as many patients", found, "take more images or fewer parts")


def _split_paths(paths: str | Path | Sequence[str | Path]) -> list[str | Path]:
    if isinstance(paths, Path):
        return [paths]
    return [path for path in paths.split(",") if path] if isinstance(paths, str) else list(paths)


def _as_json(
    images: EvaluatedImages,
    calibration: Calibration,
    selection: Selection,
    subgroups: Sequence[Subgroup],
    num_resamples: int,
) -> Any:
    """Everything that the report reports, and the curves; what is not defined is null."""
    fit = calibration.fit
    return replace_undefined(
        {
            "studies": len(images.ground_truth.study_labels),
            "images": len(images.ground_truth.image_boxes),
            "folds": images.folds,
            "members": len(images.members),
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
