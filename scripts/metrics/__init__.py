"""Metrics: the challenge's score, its intervals, clinical figures, and the metric of every validation.

The score is PASCAL VOC 2010 mean average precision over six classes. Detections of a class are pooled over all ids; a
detection matches the best-overlapping ground truth of its id at IoU > 0.5 (strictly); a second match of one ground
truth is a false positive; tied confidences are one step; precision is made monotone from the right; the area is summed
over all recall points. A class without any ground truth has no average precision and is left out of the means.
"""

from scripts.metrics.average_precision import (
    average_precision,
    average_precision_by_weights,
    match_detections,
    rank_detections,
)
from scripts.metrics.clinical import ClinicalFigures, measure_clinical_figures
from scripts.metrics.detection import BoxAveragePrecision
from scripts.metrics.evaluation import StudyMeanAveragePrecision, average_images_of_studies
from scripts.metrics.ground_truth import GroundTruth, name_ground_truth, read_ground_truth
from scripts.metrics.localisation import LocalisationFigures, LungFigures, measure_lung_boxes, measure_opacity_boxes
from scripts.metrics.lungs import report_lungs
from scripts.metrics.report import report_score
from scripts.metrics.resampling import bootstrap_scores, compare_predictions, resample_scores
from scripts.metrics.scores import (
    CHALLENGE_MAP,
    SCORES,
    STUDY_MAP,
    check_ids,
    rank_predictions,
    score_predictions,
    score_studies,
)
from scripts.metrics.studies import EvaluatedStudies

__all__ = [
    "CHALLENGE_MAP",
    "SCORES",
    "STUDY_MAP",
    "BoxAveragePrecision",
    "ClinicalFigures",
    "LocalisationFigures",
    "LungFigures",
    "StudyMeanAveragePrecision",
    "EvaluatedStudies",
    "GroundTruth",
    "average_images_of_studies",
    "average_precision",
    "average_precision_by_weights",
    "bootstrap_scores",
    "check_ids",
    "compare_predictions",
    "match_detections",
    "measure_clinical_figures",
    "measure_lung_boxes",
    "measure_opacity_boxes",
    "name_ground_truth",
    "rank_detections",
    "rank_predictions",
    "read_ground_truth",
    "report_lungs",
    "report_score",
    "resample_scores",
    "score_predictions",
    "score_studies",
]
