"""Sources of a datalist: files of the tree matched with rows of the tables, before any image is opened."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from scripts.errors import InputError
from scripts.labels import STUDY_CLASSES
from scripts.preparation.decisions import Decisions
from scripts.tables import IMAGE_TABLE, ImageRow, Tables

#: A file's name that is a number, with a fraction of zero where a library took it for one.
_NUMBER = re.compile(r"0*(?P<digits>\d+)(?:[.]0)?(?P<suffix>(?:[.][A-Za-z]\w*)?)")
_RENAME = "rename one of them, in the tables too"


@dataclass(frozen=True)
class Source:
    """An image to be read.

    Args:
        image: path relative to the tree.
        row: what the tables say of it; of an image without label, its ids alone.
        label: index in `STUDY_CLASSES`, or None.
    """

    image: str
    row: ImageRow
    label: int | None


def list_challenge_images(tree: Path, tables: Tables, decisions: Decisions) -> list[Source]:
    """Images of train/ and test/, sorted by image id.

    Raises:
        InputError: where a row has no image, an image lies in another study than its row says, or an id is there twice.
    """
    labelled, unlabelled = _find_images(tree, "train", decisions), _find_images(tree, "test", decisions)
    _reject_lost_rows(tables, labelled)
    both = sorted(labelled.keys() & unlabelled.keys())
    if both:
        raise InputError("each image id once in the tree", f"{both[0]} in train and test", _RENAME)
    sources = list(_match_rows(labelled, tables, decisions))
    for image_id, image in unlabelled.items():
        sources.append(Source(image, ImageRow(image_id, _name_study(image), (), image), None))
    return sorted(sources, key=lambda source: source.row.image_id)


def list_own_images(tree: Path, tables: Tables, decisions: Decisions) -> list[Source]:
    """Images that a table of one's own names, sorted by image id.

    Raises:
        InputError: where a path leads to no image, or out of the tree.
    """
    sources = []
    tables = _find_by_name(tree, tables, decisions) if tables.by_name else tables
    for row in tables.images.values():
        image = PurePosixPath(row.image or "")
        for what, path in (("an image", image), ("a mask", PurePosixPath(row.mask or image))):
            if path.is_absolute() or ".." in path.parts or not (tree / path).is_file():
                expected = f"{what} below the tree, by its relative path"
                raise InputError(expected, f"none for {row.where}", _advise_path(tree, path))
        sources.append(Source(image.as_posix(), row, _number_label(tables, row.study_id)))
    return sorted(sources, key=lambda source: source.row.image_id)


def _find_by_name(tree: Path, tables: Tables, decisions: Decisions) -> Tables:
    """Tables whose images are named by paths below the tree; rows without a file are dropped, as it may be a part."""
    files: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(path for path in tree.rglob("*") if path.is_file()):
        for name in {path.name, path.stem}:
            files[name].append(path.relative_to(tree).as_posix())
    images: dict[str, ImageRow] = {}
    taken: dict[str, ImageRow] = {}
    for image_id, row in tables.images.items():
        found = [row.image] if row.image in files[_take_name(row)] else files[_take_name(row)]
        if len(found) > 1:
            raise InputError("one file of each name", f"{found[0]} and {found[1]} for {row.where}", _RENAME)
        if found and found[0] in taken:
            raise InputError(
                "one image of a file", f"{row.where} and {taken[found[0]].where}", "name them by their paths"
            )
        if found:
            images[image_id] = taken[found[0]] = replace(row, image=found[0])
        else:
            decisions.add("dropped", row, f"no file of its name below the tree, for {row.where}")
    if not images:
        lost = (
            f"none of the {len(tables.images)} that the tables name, first {next(iter(tables.images.values())).where}"
        )
        raise InputError(f"images below {tree}", lost, "check that tables and tree belong together")
    return replace(tables, images=images)


def _take_name(row: ImageRow) -> str:
    return PurePosixPath(row.image or "").name


def _advise_path(tree: Path, path: PurePosixPath) -> str:
    """Advise about a path without a file; a number may have lost the zeros in front of it, or become a fraction."""
    if path.is_absolute() or ".." in path.parts:
        return "correct the path"
    folder = tree
    for part in path.parts:
        if not (folder / part).exists():
            number = _strip_number(part)
            names = [each.name for each in folder.iterdir()] if folder.is_dir() else []
            if number and any(_strip_number(name) == number for name in names):
                found = next(name for name in names if _strip_number(name) == number)
                return f"{found[:80]} is there: format the column as text, and export the table again"
            break
        folder = folder / part
    return "correct the path"


def _strip_number(name: str) -> str:
    """Digits of a name that begins with a number, without zeros in front or as its fraction; "" for another name."""
    match = _NUMBER.fullmatch(name)
    return f"{match['digits']}{match['suffix']}" if match else ""


def _find_images(tree: Path, part: str, decisions: Decisions) -> dict[str, str]:
    """Path relative to the tree of every part/<study>/<series>/<image>.dcm, by image id."""
    found: dict[str, str] = {}
    for path in sorted((tree / part).rglob("*")):
        image = path.relative_to(tree)
        if path.is_dir() or any(name.startswith(".") for name in image.parts):
            continue
        if len(image.parts) != 4 or path.suffix != ".dcm":
            decisions.add("dropped", ImageRow(path.stem, "", (), ""), f"not {part}/<study>/<series>/<image>.dcm")
        elif path.stem in found:
            raise InputError("each image id once in the tree", f"{found[path.stem]} and {image}", _RENAME)
        else:
            found[path.stem] = image.as_posix()
    return found


def _reject_lost_rows(tables: Tables, found: Mapping[str, str]) -> None:
    lost = [row for image_id, row in tables.images.items() if image_id not in found]
    if lost:
        raise InputError(
            f"an image train/<study>/<series>/<image>.dcm for every row of {IMAGE_TABLE}",
            f"none for {len(lost)} of them, first {lost[0].where}",
            "check that the tree is whole, or remove the rows",
        )


def _match_rows(labelled: Mapping[str, str], tables: Tables, decisions: Decisions) -> Iterator[Source]:
    for image_id, image in labelled.items():
        study, row = _name_study(image), tables.images.get(image_id)
        if row is None:
            decisions.add("dropped", ImageRow(image_id, study, (), ""), f"no row in {IMAGE_TABLE}")
        elif row.study_id != study:
            raise InputError(f"study {row.study_id} for {row.where}", f"its image in study {study}", "correct the row")
        else:
            yield Source(image, row, _number_label(tables, study))


def _name_study(image: str) -> str:
    return PurePosixPath(image).parts[1]


def _number_label(tables: Tables, study_id: str) -> int | None:
    label = tables.study_labels.get(study_id)
    return None if label is None else STUDY_CLASSES.index(label)
