"""Screening of an archive: its files in shards, each an inference of its own that is resumed, its findings as parts."""

from scripts.screening.archive import Screened, screen_archive

__all__ = ["Screened", "screen_archive"]
