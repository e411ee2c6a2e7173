"""Reliability of the study probabilities: calibration, uncertainty, selective prediction, subgroups.

Not imported by `scripts.metrics`: every training imports that, and none of them draws diagrams.
"""

from scripts.metrics.reliability.assessment import Calibration, evaluate_calibration
from scripts.metrics.reliability.gathering import EvaluatedImages, gather_images
from scripts.metrics.reliability.report import report_reliability
from scripts.metrics.subgroups import (
    Subgroup,
    collect_traits,
    count_differences,
    measure_subgroups,
    read_metadata_table,
)

__all__ = [
    "Calibration",
    "EvaluatedImages",
    "Subgroup",
    "collect_traits",
    "count_differences",
    "evaluate_calibration",
    "gather_images",
    "measure_subgroups",
    "read_metadata_table",
    "report_reliability",
]
