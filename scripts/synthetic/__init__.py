"""Drawn chest films in the challenge's layout: for the demo, the tests and the runs at scale. No real film is in them."""

from scripts.synthetic.dicom import (
    LOSSLESS_SYNTAXES,
    SOP_CLASSES,
    TRANSFER_SYNTAXES,
    FilmStyle,
    derive_uid,
    make_film,
    write_film,
)
from scripts.synthetic.tree import draw_tree

__all__ = [
    "LOSSLESS_SYNTAXES",
    "SOP_CLASSES",
    "TRANSFER_SYNTAXES",
    "FilmStyle",
    "derive_uid",
    "draw_tree",
    "make_film",
    "write_film",
]
