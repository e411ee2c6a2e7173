"""Label map: the meaning of each label of another data set, in a JSON file; none is guessed from its words or position.

    {
        "_desc_": "a remark",
        "Lung Opacity": {"boxes": "opacity", "study_class": null},
        "Normal": {"boxes": "none", "study_class": "negative"}
    }

`boxes` says what the label means for boxes: its boxes are opacities ("opacity"); it is none, and so is what its boxes
enclose ("none"); its boxes enclose the lungs ("lungs"); or nobody knows whether it is an opacity (null). The opacities
of an image are known where it has boxes of them, or labels that are "none" and no other. `study_class` is one of
`STUDY_CLASSES`, or null: the maps of `mappings/` for other data sets leave it null, as these have no such classes.
Whoever maps one decides it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.errors import InputError
from scripts.labels import NONE, OPACITY, STUDY_CLASSES
from scripts.tables.own import name_images
from scripts.tables.records import Box, ImageRow, LungRow, Tables

LUNGS = "lungs"
_VALUES: dict[str, tuple[str, ...]] = {"boxes": (OPACITY, NONE, LUNGS), "study_class": STUDY_CLASSES}
_MAPPINGS = Path(__file__).with_name("mappings")


@dataclass(frozen=True)
class Meaning:
    """Meaning of a label: for boxes "opacity", "none", "lungs" or None, and one of `STUDY_CLASSES` or None."""

    boxes: str | None = None
    study_class: str | None = None


@dataclass(frozen=True)
class Label:
    """A label that a table gives an image, with its box in image pixels, or None."""

    name: str
    meaning: Meaning
    box: Box | None = None


@dataclass(frozen=True)
class LabelledImage:
    """An image with all its labels.

    Args:
        image: path relative to the tree, or the file's name with or without its suffix.
        labels: its labels.
        where: file, line and id of its first row, for messages.
        study_id: by default the image's id.
        patient: what reports patients apart, or None.
        size: width and height in pixels that its boxes were made on, or None.
        complete: whether all its opacities have boxes, whatever its labels.
    """

    image: str
    labels: Sequence[Label]
    where: str
    study_id: str | None = None
    patient: str | None = None
    size: tuple[int, int] | None = None
    complete: bool = False


class LabelMap:
    """Meanings by label.

    Args:
        path: the JSON file.

    Raises:
        InputError: where it is absent, holds a label twice, or a meaning that there is not.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            content = json.loads(self.path.read_text(encoding="utf-8-sig"), object_pairs_hook=self._reject_repeated)
        except OSError as error:
            raise InputError("a label map", f"none at {path} ({error.strerror})", "check --label_map") from None
        except ValueError as error:
            raise InputError("a label map in JSON", f"{self.path.name}: {error}", "correct it") from None
        content = content if isinstance(content, dict) else {"": content}
        self.meanings = {name: self._read(name, each) for name, each in content.items() if name != "_desc_"}

    def find(self, label: str, where: str) -> Meaning:
        """The meaning of a label.

        Raises:
            InputError: where the map lacks it.
        """
        if label not in self.meanings:
            advice = f"write its meaning into a copy of {self.path.name}, and name that by --label_map"
            raise InputError(f"a label of {self.path.name}", f"{label[:60]!r} at {where}", advice)
        return self.meanings[label]

    def _read(self, name: str, value: Any) -> Meaning:
        known = isinstance(value, dict) and value.keys() == _VALUES.keys()
        if not known or any(value[key] is not None and value[key] not in _VALUES[key] for key in _VALUES):
            expected = " and ".join(f'"{key}": one of {", ".join(each)} or null' for key, each in _VALUES.items())
            raise InputError(expected, f"{json.dumps(value)[:80]} for {name!r} in {self.path.name}", "correct it")
        return Meaning(**value)

    def _reject_repeated(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Reject a label that is there twice: JSON would take the last meaning in silence."""
        names = [name for name, _ in pairs]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise InputError("each label once", f"{repeated[0]!r} twice in {self.path.name}", "correct it")
        return dict(pairs)


def find_mapping(name: str) -> Path:
    """The file of the map that is used where no other is named."""
    return _MAPPINGS / f"{name}.json"


def build_tables(images: Iterable[LabelledImage]) -> Tables:
    """Records of images and their labels.

    Raises:
        InputError: where there is no image, or an image's labels mean several study classes.
    """
    by_path = {image.image: image for image in images}
    if not by_path:
        raise InputError("at least one image", "none in the table", "check the table")
    ids = name_images(by_path)
    rows = {ids[path]: _build_row(ids[path], image) for path, image in by_path.items()}
    classes = {rows[ids[path]].study_id: _find_class(image) for path, image in by_path.items()}
    lungs = {ids[path]: LungRow(box, image.where) for path, image in by_path.items() if (box := _enclose_lungs(image))}
    return Tables({study: each for study, each in classes.items() if each}, rows, lungs, own=True, by_name=True)


def _build_row(image_id: str, image: LabelledImage) -> ImageRow:
    opacities = [label for label in image.labels if label.meaning.boxes == OPACITY]
    boxes = tuple(label.box for label in opacities if label.box)
    without = {label.name for label in opacities} - {label.name for label in opacities if label.box}
    known = image.complete or bool(boxes) or {label.meaning.boxes for label in image.labels} == {NONE}
    return ImageRow(
        image_id,
        image.study_id or image_id,
        boxes,
        image.where,
        image.image,
        image.patient,
        boxes_known=known and not without,
        size=image.size,
    )


def _find_class(image: LabelledImage) -> str | None:
    by_class = {label.meaning.study_class: label.name for label in image.labels if label.meaning.study_class}
    if len(by_class) > 1:
        found = " and ".join(f"{each} by {name!r}" for each, name in sorted(by_class.items()))
        raise InputError("labels of one study class", f"{found} at {image.where}", "correct the row, or the label map")
    return next(iter(by_class), None)


def _enclose_lungs(image: LabelledImage) -> Box | None:
    """One box round all boxes of lungs, as each lung may have its own."""
    boxes: Collection[Box] = [label.box for label in image.labels if label.meaning.boxes == LUNGS and label.box]
    if not boxes:
        return None
    xmin, ymin, xmax, ymax = zip(*boxes, strict=True)
    return min(xmin), min(ymin), max(xmax), max(ymax)
