"""Why the study classifier says what it says: maps of where it looks, and what the corners of a film do to it."""

from scripts.explanations.corners import CHANGES, change_corners, find_corner_boxes
from scripts.explanations.explainer import FilmExplainer
from scripts.explanations.figures import Share, measure_pointing, measure_shares
from scripts.explanations.maps import METHODS, compute_maps
from scripts.explanations.pictures import paint_explanation
from scripts.explanations.records import CornerChange, ExplainedFilm, measure_change
from scripts.explanations.summary import Summary, summarise_explanations
from scripts.explanations.writer import ExplanationsWriter

__all__ = [
    "CHANGES",
    "METHODS",
    "CornerChange",
    "ExplainedFilm",
    "ExplanationsWriter",
    "FilmExplainer",
    "Share",
    "Summary",
    "change_corners",
    "compute_maps",
    "find_corner_boxes",
    "measure_change",
    "measure_pointing",
    "measure_shares",
    "paint_explanation",
    "summarise_explanations",
]
