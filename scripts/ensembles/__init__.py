"""Ensembles: weights of networks, and of the class none, fitted on their score.

A blend that is evaluated on the images it was fitted on looks better than it is. So images are split by patient, and
the confidences of each part are blended by the weight that was fitted on the others.
"""

from scripts.ensembles.greedy import Blend, blend, choose_weights, cross_fit_weights
from scripts.ensembles.members import report_ensemble
from scripts.ensembles.none import CrossFit, blend_none, cross_fit_none, fit_none_weight
from scripts.ensembles.report import report_none_blend

__all__ = [
    "Blend",
    "CrossFit",
    "blend",
    "blend_none",
    "choose_weights",
    "cross_fit_none",
    "cross_fit_weights",
    "fit_none_weight",
    "report_ensemble",
    "report_none_blend",
]
