"""Blends that are fitted on what the score says of them.

A blend that is judged on the films it was fitted on looks better than it is. So films are split by patient, and the
confidences of each part are blended by the weight that was fitted on the others.
"""

from scripts.ensembles.none import CrossFit, blend_none, cross_fit_none, fit_none_weight
from scripts.ensembles.report import report_none_blend

__all__ = ["CrossFit", "blend_none", "cross_fit_none", "fit_none_weight", "report_none_blend"]
