"""Preparation of a datalist: images and tables joined, duplicates found, folds assigned, external images, lung boxes.

Rules for the same image found twice (equal pixels, or confirmed by `duplicates.find_duplicates`):
with one label, one of them is trained on, the first with boxes by image id; the others are validated and scored only,
so that nothing is lost and nothing counts double. With two labels both are kept: nobody knows which is right.
Patients that share an image become one patient, so both copies stand in one fold. An image of the labelled set that is
also among the unlabelled is reported, and stays.
"""

from scripts.preparation.checking import Checked, check_datalist
from scripts.preparation.external import Added, add_external
from scripts.preparation.folds import assign_folds, reject_leaks
from scripts.preparation.listing import Prepared, prepare
from scripts.preparation.metadata_table import write_metadata_table

__all__ = [
    "Added",
    "Checked",
    "Prepared",
    "add_external",
    "assign_folds",
    "check_datalist",
    "prepare",
    "reject_leaks",
    "write_metadata_table",
]
