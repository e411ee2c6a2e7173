"""Table of decisions: images that preparation rejected, dropped, merged or marked, and the reason for each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from scripts.files import write_csv
from scripts.tables import ImageRow

COLUMNS = ("decision", "image_id", "study_id", "other_image_id", "why")

#: Every decision there is.
DECISIONS: dict[str, str] = {
    "rejected": "the image cannot be read; why begins with its reason code",
    "dropped": "the image has no row in the tables, its row no image, or it does not lie where images lie",
    "boxes clipped": "boxes left the image by a pixel at most",
    "boxes unknown": "the image has no boxes, but another one of its positive study has",
    "label kept": "label and boxes of the study contradict each other: the boxes were left out, or are unknown",
    "boxes kept": "label and boxes of the study contradict each other: the label was left out",
    "study of several UIDs": "images of the study have different Study Instance UIDs in their headers",
    "study of several patients": "images of the study have different Patient IDs in their headers",
    "UID of several studies": "images of several studies have one Study Instance UID in their headers",
    "leading zeros": "an id of the table has lost the zeros that it has in the image's folder or header",
    "duplicate": "the same image, with the same label, is trained on instead",
    "duplicate, other label": "the same image stands under another label: both are kept",
    "duplicate in test": "the image of the labelled set is also among those without label",
    "duplicate without label": "the same image is twice among those without label: both are kept",
    "patients joined": "two patients share an image: they are one from now on",
    "duplicate in datalist": "the external image is one of the datalist's: it is left out",
    "same study in datalist": "the external image has a study or image id of the datalist: it is left out",
    "same patient in datalist": "the external image is of a patient of the datalist: it is left out",
}


class Decisions:
    """Rows of the decisions table."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, str, str]] = []

    def add(self, decision: str, row: ImageRow, why: str, other: str = "") -> None:
        """Note a decision on an image; `other` is the other image's image id, if any.

        Raises:
            ValueError: where `decision` is not in `DECISIONS`.
        """
        if decision not in DECISIONS:
            raise ValueError(f"expected one of {', '.join(DECISIONS)}, got {decision}")
        self.rows.append((decision, row.image_id, row.study_id, other, why))

    def count(self) -> dict[str, int]:
        """Number of rows of each decision that was taken."""
        return dict(sorted(Counter(row[0] for row in self.rows).items()))

    def write(self, path: str | Path) -> None:
        """Write the table, sorted, atomically, with cells that no spreadsheet takes for a formula."""
        write_csv(path, COLUMNS, sorted(self.rows))
