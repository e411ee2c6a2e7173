"""Pages for a reader: one HTML and one PNG for each study, and index.html that lists the studies by suspicion.

Layers of a picture are written image by image, so that a run that was killed goes on behind them; the pages are
written at the end, where a study's images are all known.
"""

from scripts.outputs.study_pages.words import describe_flags
from scripts.outputs.study_pages.writer import StudyPages

__all__ = ["StudyPages", "describe_flags"]
