"""Drawn chest films in the challenge's layout: for the demo, the tests and the runs at scale. No real film is in them.

draw_tree            a tree of films with its tables
draw_contact_sheet   a picture of a tree
draw_chest           one film as an array, with its boxes
write_film           any array as a DICOM film, in any of nine transfer syntaxes
write_broken_film    a film that a reader must refuse
"""

from scripts.synthetic.anatomy import Drawing, Look, draw_chest
from scripts.synthetic.broken import BREAKAGES, write_broken_film
from scripts.synthetic.dicom import (
    LOSSLESS_SYNTAXES,
    SOP_CLASSES,
    TRANSFER_SYNTAXES,
    FilmStyle,
    derive_uid,
    make_film,
    write_film,
)
from scripts.synthetic.sheet import draw_contact_sheet
from scripts.synthetic.storage import DISPLAYS, store_picture
from scripts.synthetic.tree import draw_tree

__all__ = [
    "BREAKAGES",
    "DISPLAYS",
    "LOSSLESS_SYNTAXES",
    "SOP_CLASSES",
    "TRANSFER_SYNTAXES",
    "Drawing",
    "FilmStyle",
    "Look",
    "derive_uid",
    "draw_chest",
    "draw_contact_sheet",
    "draw_tree",
    "make_film",
    "store_picture",
    "write_broken_film",
    "write_film",
]
