"""Class names: study classes, image classes, their order and their spellings. Nothing else spells them."""

from __future__ import annotations

#: Study classes in the order of every probability vector (Litmanovich et al. 2020, doi:10.1097/RTI.0000000000000541).
STUDY_CLASSES: tuple[str, ...] = ("negative", "typical", "indeterminate", "atypical")

#: In place of a class's number: nobody knows it. Torch's losses pass over this number.
UNKNOWN_CLASS = -100

#: Column of `train_study_level.csv` for each study class.
TABLE_COLUMNS: dict[str, str] = {
    "negative": "Negative for Pneumonia",
    "typical": "Typical Appearance",
    "indeterminate": "Indeterminate Appearance",
    "atypical": "Atypical Appearance",
}

OPACITY = "opacity"
NONE = "none"

#: Image classes of the challenge: an image holds opacity boxes, or "none".
IMAGE_CLASSES: tuple[str, ...] = (OPACITY, NONE)

#: The six classes whose plain mean of average precisions is the challenge's score.
SCORED_CLASSES: tuple[str, ...] = STUDY_CLASSES + IMAGE_CLASSES

#: The box that stands for "the whole study" or "no finding" in a submission: xmin, ymin, xmax, ymax.
UNIT_BOX: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)

STUDY_SUFFIX = "_study"
IMAGE_SUFFIX = "_image"

#: Columns of a table of detected lungs: a row an image, no edge where there is no box, flags separated by blanks.
LUNG_TABLE_COLUMNS: tuple[str, ...] = ("image_id", "xmin", "ymin", "xmax", "ymax", "score", "flags")
