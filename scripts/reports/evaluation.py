"""Evaluation of a run against the ground truth: everything that a report shows of it, in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scripts.bootstrap import Interval, ResampledScores
from scripts.labels import STUDY_CLASSES
from scripts.metrics import (
    ClinicalFigures,
    EvaluatedStudies,
    GroundTruth,
    measure_clinical_figures,
    rank_predictions,
    resample_scores,
)
from scripts.metrics.reliability import (
    Calibration,
    EvaluatedImages,
    Subgroup,
    collect_traits,
    evaluate_calibration,
    gather_images,
    measure_subgroups,
    read_metadata_table,
)
from scripts.predictions import PREDICTIONS_FILE
from scripts.reports.runs import PredictedRun
from sklearn.metrics import roc_curve

Floats = NDArray[np.float64]

#: Parts of the patients in the cross-fit of the temperature; with fewer patients there is no calibration.
NUM_PARTS = 5
ANY = "any pneumonia"


@dataclass(frozen=True)
class Curve:
    """A line `(N,)`, `(N,)`, and the area under it."""

    x: Floats
    y: Floats
    area: float


@dataclass(frozen=True)
class EvaluatedRun:
    """A run's figures.

    Args:
        name, folder: of the run.
        resampled: every score on all patients and on each resample.
        clinical: negative against any, at the operating point.
        precision_recall, roc: curves by class.
        images, studies: behind the rest; studies in the order of the ground truth.
        calibration: None where there are too few patients.
        subgroups: of every trait that reports the studies apart.
    """

    name: str
    folder: Path
    resampled: ResampledScores
    clinical: ClinicalFigures
    precision_recall: Mapping[str, Curve]
    roc: Mapping[str, Curve]
    images: EvaluatedImages
    studies: EvaluatedStudies
    calibration: Calibration | None
    subgroups: Sequence[Subgroup]

    @cached_property
    def scores(self) -> dict[str, Interval]:
        return self.resampled.summarise()

    def count_calls(self) -> NDArray[np.int64]:
        """Studies of each class that are called negative and positive at the operating point, `(4, 2)`."""
        called = 1 - self.studies.probabilities[:, 0] >= self.clinical.threshold
        return _count_pairs(self.studies.labels, called.astype(np.int64), 2)

    def count_predictions(self) -> NDArray[np.int64]:
        """Studies of each class by their most probable class, `(4, 4)`."""
        return _count_pairs(self.studies.labels, self.studies.probabilities.argmax(axis=1), len(STUDY_CLASSES))


def evaluate_run(
    run: PredictedRun,
    ground_truth: GroundTruth,
    datalist: str | Path,
    fold: int | Sequence[int] | None = None,
    threshold: float | None = None,
    metadata: str | Path | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
) -> EvaluatedRun:
    """Evaluate a run; every run on the same resamples of patients.

    Args:
        run: its predictions.
        ground_truth: of the images that are scored.
        datalist, fold: that the ground truth was read from.
        threshold: operating point on 1 - p(negative); chosen on these studies by default.
        metadata: a table of metadata by image id, for more subgroups.
        num_resamples, seed: of the bootstrap.

    Raises:
        InputError: where predictions and ground truth do not fit together.
    """
    images = gather_images([run.folder / PREDICTIONS_FILE], datalist, fold=fold)
    studies = images.evaluate_studies()
    weights = studies.sample_weights(num_resamples, seed)
    table = None if metadata is None else read_metadata_table(metadata)
    traits = collect_traits(images.images_of_study, images.flags, images.copied, table)
    enough = studies.num_groups >= NUM_PARTS
    return EvaluatedRun(
        run.name,
        run.folder,
        resample_scores(run.predictions, ground_truth, num_resamples, seed),
        measure_clinical_figures(run.predictions, ground_truth, threshold, num_resamples, seed),
        trace_precision_recall(run, ground_truth),
        trace_roc(studies),
        images,
        studies,
        evaluate_calibration(images, studies, weights, NUM_PARTS, seed) if enough else None,
        measure_subgroups(studies, traits, weights),
    )


def trace_precision_recall(run: PredictedRun, ground_truth: GroundTruth) -> dict[str, Curve]:
    """Precision over recall of each class with a reference; precision is made monotone, so the area is the score."""
    curves = {}
    for name, ranked in rank_predictions(run.predictions, ground_truth).items():
        if ranked is None or not (references := ranked.num_references.sum()):
            continue
        found = np.cumsum(ranked.hits)[ranked.last_of_step]
        precision = found / (ranked.last_of_step + 1)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        recall = found / references
        area = float((np.diff(recall, prepend=0) * envelope).sum())
        # a step's precision holds from the recall before it up to its own
        curves[name] = Curve(np.append(0.0, recall), np.append(envelope[:1], envelope), area)
    return curves


def trace_roc(studies: EvaluatedStudies) -> dict[str, Curve]:
    """Receiver operating characteristic of any pneumonia, and of each class against others; where there are both."""
    asked = {ANY: (studies.labels != 0, 1 - studies.probabilities[:, 0])} | {
        name: (studies.labels == index, studies.probabilities[:, index])
        for index, name in enumerate(STUDY_CLASSES)
        if index
    }
    curves = {}
    for name, (positive, scores) in asked.items():
        if 0 < positive.sum() < len(positive):
            false, true, _ = roc_curve(positive, scores)
            curves[name] = Curve(false, true, float(np.trapezoid(true, false)))
    return curves


def _count_pairs(labels: NDArray[np.int64], columns: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    table = np.zeros((len(STUDY_CLASSES), number), dtype=np.int64)
    np.add.at(table, (labels, columns), 1)
    return table
