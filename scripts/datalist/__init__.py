"""The datalist: one `datalist.json` that joins images, tables, folds and copies; everything trains and scores by it.

Schema `chest_xray_covid19/datalist`, version 1, or 2 where it has the section `external`:

    content_hash   SHA-256 of the canonical JSON of all the rest (sorted keys, no blanks)
    classes        study classes in the order of labels and probabilities
    num_folds, seed
    training       images with a label; test: images without one
    image:
      image          path relative to the tree
      image_id, study_id
      patient        12 hex digits; images of one patient share it, and so do patients that share an image. It is made
                     from an image id: no patient's number can be found from it
      label          index in `classes`, null without label
      fold           0 .. num_folds - 1, null without label
      boxes          opacity boxes, [xmin, ymin, xmax, ymax] in image pixels
      boxes_known    false for an image without boxes in a study that is not negative and has boxes on another image:
                     the challenge boxed one of several near-copies only. Its mask is unknown, not empty
      lung_box       [xmin, ymin, xmax, ymax] or null
      height, width  pixels
      duplicate_of   image id of the same image that is trained on instead, or null
      mask           where there is one: path of a mask of the opacities, relative to the tree; it goes before the boxes
      origin         where it is known: where label and mask come from, in words
      pixels_sha256  of the decoded pixels: an image that was exchanged since is named when it is read. It is no part of
                     the content hash, and absent before version 0.5.0
      accept_secondary_capture, accept_renderings
                     true where the image was prepared with this option: it is read with it ever after
    external       external images, never scored (`add_external`, `label_external`):
      matched_with   content hash of the datalist without this section: its images were compared with exactly these
      images          as above, relative to a tree of their own, without patient, fold and duplicate_of
      dropped        image id of each image that was left out, and of the datalist's image that it is or belongs to
      pseudo_labels  for each fold: "models" that gave the labels, each with its name, the SHA-256 of its weights, the
                     fold held out while it was trained, the hash of its datalist; "probabilities" of each study

Rules for the same image found twice stand in `scripts.preparation`.

Rules for external images: none may be the datalist's, and fold k's labels come only from models that were trained
on this datalist with fold k held out. A training rejects a datalist that breaks them, whoever wrote it.
"""

from scripts.datalist.folders import FolderImages, find_images, list_files, walk_files
from scripts.datalist.joining import reject_knowing_model, with_external_labels, with_pseudo_labels
from scripts.datalist.schema import (
    DATALIST_FILE,
    EXTERNAL_IMAGE_TYPES,
    collect_reader_options,
    compute_labelled_hash,
    read_datalist,
    read_datalist_hash,
    reject_overwriting,
    write_datalist,
)
from scripts.datalist.selection import list_folds, select_scored_boxes, test_images, training_images, validation_images
from scripts.datalist.soft_labels import (
    Prediction,
    external_images,
    held_out_images,
    read_soft_labels,
    soft_labelled_images,
    write_soft_labels,
)
from scripts.datalist.streaming import StreamingDataLoader, list_images

__all__ = [
    "DATALIST_FILE",
    "EXTERNAL_IMAGE_TYPES",
    "FolderImages",
    "Prediction",
    "StreamingDataLoader",
    "collect_reader_options",
    "compute_labelled_hash",
    "external_images",
    "find_images",
    "held_out_images",
    "list_folds",
    "list_files",
    "list_images",
    "read_datalist",
    "read_datalist_hash",
    "read_soft_labels",
    "reject_knowing_model",
    "reject_overwriting",
    "select_scored_boxes",
    "soft_labelled_images",
    "test_images",
    "training_images",
    "validation_images",
    "walk_files",
    "with_external_labels",
    "with_pseudo_labels",
    "write_datalist",
    "write_soft_labels",
]
