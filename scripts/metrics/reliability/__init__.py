"""Reliability of the study probabilities: calibration, uncertainty, selective prediction, subgroups.

Not imported by `scripts.metrics`: every training imports that, and none of them draws diagrams.
"""

from scripts.metrics.reliability.gathering import EvaluatedImages, gather_images
from scripts.metrics.reliability.report import report_reliability

__all__ = ["EvaluatedImages", "gather_images", "report_reliability"]
