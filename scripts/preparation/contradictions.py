"""Contradictions between labels and boxes, and between tables and headers: rejected, or noted in the decisions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from scripts.errors import InputError
from scripts.preparation.decisions import Decisions
from scripts.preparation.images import Image
from scripts.radiographs import hash_words
from scripts.tables import ImageRow, Tables

#: What becomes of a study whose label and boxes contradict each other: it ends the preparation, or one of them wins.
RESOLUTIONS = ("reject", "keep_label", "keep_boxes")

#: Decisions on images whose headers contradict the tables.
HEADER_DECISIONS = ("study of several UIDs", "study of several patients", "UID of several studies")

#: A patient's number has 64 characters at most (PS3.5, LO); so many zeros in front of one are looked for.
_MAX_NUMBER = 64


def resolve_boxes(tables: Tables, resolution: str, decisions: Decisions) -> Tables:
    """Tables without a study whose label and boxes contradict each other.

    They do in a negative study with boxes, and in a positive one without any of whose images all say that their boxes
    are known. With "keep_label" a negative study loses its boxes, and those of a positive one become unknown; with
    "keep_boxes" the study loses its label, so it is predicted but not learnt from. Either is a decision.

    Args:
        tables: as they were read.
        resolution: one of `RESOLUTIONS`.
        decisions: where it is noted.

    Raises:
        InputError: where there is such a study, and `resolution` is "reject"; or it is none of `RESOLUTIONS`.
    """
    if resolution not in RESOLUTIONS:
        raise InputError(f"one of {', '.join(RESOLUTIONS)}", repr(resolution), "check --contradictions")
    found = dict(_find_contradictions(tables))
    if found and resolution == "reject":
        rows, expected = next(iter(found.values()))
        others = f", and in {len(found) - 1} more studies" if len(found) > 1 else ""
        raise InputError(
            expected,
            f"{'some' if rows[0].boxes else 'none'} at {rows[0].where}{others}",
            "correct the rows, or choose which wins: --contradictions keep_label, or keep_boxes",
        )
    images, labels = dict(tables.images), dict(tables.study_labels)
    for study_id, (rows, _) in found.items():
        for row in rows:
            why = f"{'boxes' if row.boxes else 'no boxes'} in a {labels[study_id]} study at {row.where}"
            if resolution == "keep_boxes":
                decisions.add("boxes kept", row, f"{why}: its label was left out")
            else:
                decisions.add("label kept", row, f"{why}: {'they were left out' if row.boxes else 'unknown'}")
                images[row.image_id] = replace(row, boxes=(), boxes_known=None if row.boxes else False)
    if resolution == "keep_boxes":
        labels = {study_id: label for study_id, label in labels.items() if study_id not in found}
    return replace(tables, images=images, study_labels=labels)


def note_header_contradictions(images: Sequence[Image], decisions: Decisions) -> None:
    """Note where headers and tables put images together differently; what the tables say holds.

    A study of the tables over several Study Instance UIDs or patients, and several of its studies within one UID: with
    wrong ids, predictions of different studies are averaged, or a patient stands in two folds.

    Args:
        images: as they were read.
        decisions: where it is noted, once for each image that differs from the first one of its group.
    """
    _note_different(images, "study_id", "study_uid", HEADER_DECISIONS[0], "another Study Instance UID", decisions)
    _note_different(images, "study_id", "header_patient", HEADER_DECISIONS[1], "another Patient ID", decisions)
    _note_different(images, "study_uid", "study_id", HEADER_DECISIONS[2], "the same Study Instance UID", decisions)


def note_lost_zeros(images: Sequence[Image], decisions: Decisions) -> None:
    """Note ids of the tables that stand with zeros in front in folders or headers: a spreadsheet takes them away.

    Args:
        images: as they were read.
        decisions: where it is noted, once for each id.

    Raises:
        InputError: where ids that differ by such zeros have become one.
    """
    for column, find_spelled in (("study", _find_folder), ("patient", _find_number)):
        spelled: dict[str, tuple[str, Image]] = {}
        for image in images:
            row = image.source.row
            text = row.study_id if column == "study" else row.patient or ""
            if not text.isascii() or not text.isdigit() or (found := find_spelled(text, image)) is None:
                continue
            if text not in spelled:
                spelled[text] = found, image
                if found != text:
                    decisions.add("leading zeros", row, f"the column {column} lacks zeros that its image has")
            elif spelled[text][0] != found and (column == "patient" or _have_two_uids(image, spelled[text][1])):
                raise InputError(
                    f"different ids in the column {column} for different ones of folders and headers",
                    f"one without its leading zeros at {row.where} and at {spelled[text][1].source.row.where}",
                    "format the column as text where the ids are whole, and export the table again",
                )


def _find_contradictions(tables: Tables) -> Iterator[tuple[str, tuple[list[ImageRow], str]]]:
    """Rows at fault by study, and what was expected of them."""
    studies: defaultdict[str, list[ImageRow]] = defaultdict(list)
    for row in tables.images.values():
        studies[row.study_id].append(row)
    for study_id, rows in studies.items():
        label = tables.study_labels.get(study_id)
        boxed = [row for row in rows if row.boxes]
        if label == "negative" and boxed:
            yield study_id, (boxed, "no boxes in a study labelled negative")
        elif label not in (None, "negative") and not boxed and all(row.boxes_known for row in rows):
            yield study_id, (rows, f"boxes in a study labelled {label} whose boxes are known")


def _note_different(
    images: Sequence[Image], group: str, value: str, decision: str, what: str, decisions: Decisions
) -> None:
    first: dict[str, Image] = {}
    for image in images:
        key = getattr(image, group)
        if not key or not getattr(image, value):
            continue
        other = first.setdefault(key, image)
        if getattr(other, value) != getattr(image, value):
            decisions.add(decision, image.source.row, f"{what}, says its header", other.image_id)


def _have_two_uids(image: Image, other: Image) -> bool:
    """Compare the studies of two images by their headers: folders of equal numbers alone prove nothing."""
    return bool(image.study_uid and other.study_uid) and image.study_uid != other.study_uid


def _find_folder(text: str, image: Image) -> str | None:
    """The number among the image's folders that is `text`, with the zeros in front of it."""
    folders = PurePosixPath(image.source.image).parent.parts
    return next((name for name in folders if name.isdigit() and name.lstrip("0") == text.lstrip("0")), None)


def _find_number(text: str, image: Image) -> str | None:
    """The header's number where it is `text` with zeros in front; the image's metadata hold its hash alone."""
    lengths = range(len(text), _MAX_NUMBER + 1) if image.header_patient else ()
    numbers = (text.zfill(length) for length in lengths)
    return next((each for each in numbers if hash_words(each) == image.header_patient), None)
