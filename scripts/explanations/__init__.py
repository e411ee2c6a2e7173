"""Explanations of the study classifier: Grad-CAM maps, and the influence of an image's corners."""

from scripts.explanations.corners import CHANGES, change_corners, find_corner_boxes
from scripts.explanations.explainer import ImageExplainer
from scripts.explanations.figures import Fraction, measure_fractions, measure_pointing
from scripts.explanations.maps import METHODS, compute_maps
from scripts.explanations.pictures import crop_map, paint_explanation
from scripts.explanations.records import CornerChange, ExplainedImage, measure_change
from scripts.explanations.summary import Summary, summarise_explanations
from scripts.explanations.writer import ExplanationsWriter

__all__ = [
    "CHANGES",
    "METHODS",
    "CornerChange",
    "ExplainedImage",
    "ExplanationsWriter",
    "ImageExplainer",
    "Fraction",
    "Summary",
    "change_corners",
    "compute_maps",
    "crop_map",
    "find_corner_boxes",
    "measure_change",
    "measure_pointing",
    "measure_fractions",
    "paint_explanation",
    "summarise_explanations",
]
