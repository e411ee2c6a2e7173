"""Corrections from MONAI Label: read from its folder, listed as a table for `prepare`, prepared for its trainer."""

from scripts.monai_label.corrections import (
    Correction,
    find_correction,
    list_corrections,
    read_correction_tables,
    read_corrections,
)
from scripts.monai_label.preparing import PrepareCorrection

__all__ = [
    "Correction",
    "PrepareCorrection",
    "find_correction",
    "list_corrections",
    "read_correction_tables",
    "read_corrections",
]
