"""Report of runs as one HTML file: scores, curves, calibration, subgroups, comparison, studies, learning, registry.

The figures are those of `scripts.metrics` and `scripts.experiments`; this package shows them.
"""

from scripts.reports.writer import write_report

__all__ = ["write_report"]
