"""Typed records of the challenge's tables, of a CSV of one's own images, or of another data set's tables (`formats`).

A bad row is named by file, line and id.

The challenge's folder holds
    train_study_level.csv    id, one 0/1 column for each study class
    train_image_level.csv    id, label ("opacity 1 xmin ymin xmax ymax ..." or "none 1 0 0 1 1"), StudyInstanceUID
    train_lung_boxes.csv     image, xmin, ymin, xmax, ymax   (optional, one box round both lungs)
    test_lung_boxes.csv      the same for images without labels (optional)

A CSV of one's own images has a row for each image, or several, one for each box, with the columns
    study      id of the study
    image      the image: path relative to the tree, its stem is the image id; of files of one name a hash of the path
    label      the study's class: negative, typical, indeterminate or atypical (or the challenge's spelling);
               empty for an image without label, which is predicted but not learnt from. Columns of these names with
               1 in one and 0 in the others may take its place
    boxes      opacity boxes "xmin ymin xmax ymax", several separated by ";", in image pixels; empty for none.
               Columns xmin, ymin, xmax, ymax may take its place (or x_min ..., or x1, y1, x2, y2, or x, y, width,
               height), with one box a row and as many rows as the image has boxes
    patient    optional: anything that reports patients apart; it is not written anywhere
    lung_box   optional: "xmin ymin xmax ymax", one box round both lungs
    mask       optional: a mask of the opacities, path relative to the tree (`scripts.masks`); trained on in place of
               the boxes' rectangles
    origin     optional: where the row comes from, in words; it is kept in the datalist
    boxes_known  optional: 1 where all opacities have boxes, 0 where nobody drew them; empty where nobody knows

Rows of one image agree in all but their boxes, images of one study in label and patient. `read_spreadsheet` says which
separators and encodings are read. Ids that a spreadsheet took for numbers (2.02E+15) are rejected.
"""

from __future__ import annotations

from scripts.tables.challenge import IMAGE_TABLE, LUNG_TABLES, STUDY_TABLE
from scripts.tables.formats import FORMATS, LABEL, detect_format, read_tables
from scripts.tables.own import build_own_tables
from scripts.tables.records import BOX_TOLERANCE, Box, ImageRow, LungRow, Tables, fit_boxes
from scripts.tables.spreadsheets import Spreadsheet, read_spreadsheet

__all__ = [
    "BOX_TOLERANCE",
    "FORMATS",
    "IMAGE_TABLE",
    "LABEL",
    "LUNG_TABLES",
    "STUDY_TABLE",
    "Box",
    "ImageRow",
    "LungRow",
    "Spreadsheet",
    "Tables",
    "build_own_tables",
    "detect_format",
    "fit_boxes",
    "read_spreadsheet",
    "read_tables",
]
