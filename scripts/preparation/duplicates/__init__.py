"""Duplicate images: equal pixels, or one exposure that was stored with other processing or another cut-out.

A perceptual hash proposes pairs and an aligned correlation confirms them. Repeated exposures of one patient are not the
same image: ribs and heart move between two breaths, so even after an affine alignment their fine structure differs.
"""

from scripts.preparation.duplicates.alignment import correlate_aligned
from scripts.preparation.duplicates.hashes import hash_thumbnails, make_thumbnail
from scripts.preparation.duplicates.pairs import DuplicatePair, Findings, find_duplicates, group_items, propose_pairs

__all__ = [
    "Findings",
    "DuplicatePair",
    "correlate_aligned",
    "find_duplicates",
    "group_items",
    "hash_thumbnails",
    "make_thumbnail",
    "propose_pairs",
]
