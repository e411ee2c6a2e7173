"""Synthetic chest images in the challenge's layout, for the demo, the tests and runs at scale. None of them is real.

generate_tree            a tree of images with its tables
draw_contact_sheet   a picture of a tree
draw_chest           one image as an array, with its boxes
write_image           any array as a DICOM image, in any of nine transfer syntaxes
write_broken_image    an image that a reader must reject
"""

from scripts.synthetic.anatomy import Look, SyntheticImage, draw_chest
from scripts.synthetic.broken import BREAKAGES, write_broken_image
from scripts.synthetic.dicom import (
    LOSSLESS_SYNTAXES,
    SOP_CLASSES,
    TRANSFER_SYNTAXES,
    ImageStyle,
    derive_uid,
    make_image,
    write_image,
)
from scripts.synthetic.sheet import draw_contact_sheet
from scripts.synthetic.storage import DISPLAYS, store_picture
from scripts.synthetic.tree import generate_tree

__all__ = [
    "BREAKAGES",
    "DISPLAYS",
    "LOSSLESS_SYNTAXES",
    "SOP_CLASSES",
    "TRANSFER_SYNTAXES",
    "SyntheticImage",
    "ImageStyle",
    "Look",
    "derive_uid",
    "draw_chest",
    "draw_contact_sheet",
    "generate_tree",
    "make_image",
    "store_picture",
    "write_broken_image",
    "write_image",
]
