"""One `datalist.json` that joins films, tables, folds and copies; everything trains and scores by it.

Schema `chest_xray_covid19/datalist`, version 1:

    content_hash   SHA-256 of the canonical JSON of all the rest (sorted keys, no blanks)
    classes        study classes in the order of labels and probabilities
    num_folds, seed
    training       films with a label; test: films without one
    film:
      image          path relative to the tree
      image_id, study_id
      patient        12 hex digits; films of one patient share it, and so do patients that share a film. It is made from
                     an image id: no patient's number can be found from it
      label          place in `classes`, null without label
      fold           0 .. num_folds - 1, null without label
      boxes          opacity boxes, [xmin, ymin, xmax, ymax] in film pixels
      boxes_known    false for a film without boxes in a study that is not negative and has boxes on another film: the
                     challenge boxed one of several near-copies only. Its mask is unknown, not empty
      lung_box       [xmin, ymin, xmax, ymax] or null
      height, width  pixels
      duplicate_of   image id of the same film that is trained on instead, or null

Rules for the same film found twice (equal pixels, or confirmed by `duplicates.find_same_films`):
with one label, one of them is trained on, the first with boxes by image id; the others are validated and scored only,
so that nothing is lost and nothing counts double. With two labels both are kept: nobody knows which is right.
Patients that share a film become one patient, so both copies stand in one fold. A film of the labelled set that is
also among the unlabelled is reported, and stays.
"""

from scripts.datalist.preflight import readable_films
from scripts.datalist.preparation import Prepared, prepare
from scripts.datalist.schema import read_datalist, write_datalist
from scripts.datalist.selection import find_films, test_films, training_films, validation_films

__all__ = [
    "Prepared",
    "find_films",
    "prepare",
    "read_datalist",
    "readable_films",
    "test_films",
    "training_films",
    "validation_films",
    "write_datalist",
]
