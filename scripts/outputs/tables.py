"""Tables of a run: one row an image, one row a study, and predictions.json with both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.errors import REJECTED_COLUMNS, REJECTED_FILE
from scripts.files import read_csv, write_csv
from scripts.labels import STUDY_CLASSES
from scripts.outputs.journal import Entry
from scripts.predictions import DUPLICATE, PREDICTIONS_FILE, ImageFindings, average_studies, write_predictions

#: Way back from an id to the file and, in an archive, to the image; the only table of a run that identifies anybody.
SOURCE_COLUMNS = ("image_id", "study_id", "path", "study_instance_uid", "series_instance_uid", "sop_instance_uid")


def list_source(entry: Entry) -> list[str]:
    """An image's row of sources.csv."""
    image = entry.findings
    return [image.image_id, image.study_id, entry.path, entry.study_uid, entry.series_uid, entry.sop_uid]


def write_tables(images: Sequence[ImageFindings], folder: str | Path) -> None:
    """Write `images.csv`, `studies.csv` and `predictions.json` into a folder; `num_boxes` counts the shown ones."""
    folder, studies = Path(folder), average_studies(images)
    counts = Counter(image.study_id for image in images if DUPLICATE not in image.flags)
    write_csv(
        folder / "images.csv",
        ["image_id", "study_id", *STUDY_CLASSES, "none", "num_boxes", "flags"],
        [_list_image(image) for image in images],
    )
    write_csv(
        folder / "studies.csv",
        ["study_id", *STUDY_CLASSES, "num_images"],
        [[study, *_pick(row), counts[study]] for study, row in studies.items()],
    )
    write_predictions(images, folder / PREDICTIONS_FILE)


def read_rejected(folder: str | Path) -> list[Mapping[str, str]]:
    """Rows of a run's rejected.csv; none where it has no such table."""
    path = Path(folder) / REJECTED_FILE
    return [row.cells for row in read_csv(path, REJECTED_COLUMNS, exact=True)] if path.is_file() else []


def _list_image(image: ImageFindings) -> list[object]:
    figures = [*_pick(image.probabilities), _round(image.none), len(image.keep_shown().boxes)]
    return [image.image_id, image.study_id, *figures, " ".join(image.flags)]


def _pick(probabilities: Mapping[str, float]) -> list[float]:
    return [_round(probabilities[name]) for name in STUDY_CLASSES]


def _round(value: float) -> float:
    return round(float(value), 6)
