"""May the numbers be trusted: calibration, uncertainty, what a person should look at, and for whom they are worse.

Not imported by `scripts.metrics`: every training imports that, and none of them draws diagrams.
"""

from scripts.metrics.trust.gathering import JudgedFilms, gather_films
from scripts.metrics.trust.report import report_trust

__all__ = ["JudgedFilms", "gather_films", "report_trust"]
