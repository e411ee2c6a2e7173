"""Images of a folder as it is: every path below it is listed, or passed over by a rule and counted."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from scripts.datalist.selection import Image
from scripts.errors import InputError
from scripts.output_folders import LOCK
from scripts.predictions import DONE_FILE
from scripts.radiographs import name_image

#: A folder with one of them holds a run's results, and not its input.
_MARKS = (LOCK, DONE_FILE)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listing:
    """Paths below a folder.

    Args:
        paths: every file, sorted; also what cannot be opened, which the reader rejects with its reason.
        ignored: number of paths that a rule passes over, by the rule in words.
    """

    paths: tuple[Path, ...]
    ignored: Counter[str] = field(default_factory=Counter)


def list_files(folder: str | Path) -> Listing:
    """List every path below a folder; links are followed, each folder once.

    Passed over, and counted: hidden files and folders, the index of a DICOM medium (PS3.10, section 8), folders that
    hold results of this bundle, and a further way to a folder that is listed already. A folder that may not be read,
    a broken link and whatever else is no file are listed, so that the reader rejects them with a reason.

    Raises:
        InputError: where there is no such folder.
    """
    ignored: Counter[str] = Counter()
    return Listing(tuple(sorted(walk_files(folder, ignored), key=os.fspath)), ignored)


def walk_files(folder: str | Path, ignored: Counter[str]) -> Iterator[Path]:
    """The paths of `list_files`, one at a time, folder by folder, each sorted: for archives of any size.

    Args:
        folder: as for `list_files`.
        ignored: counts paths that are passed over, by rule.

    Raises:
        InputError: where there is no such folder.
    """
    top = Path(str(folder))
    if not top.is_dir():
        raise InputError("a folder of DICOM images", f"no folder {folder}", "check the path")
    yield from _walk(top, {_identify_folder(top)}, ignored)


def _walk(folder: Path, seen: set[tuple[int, int]], ignored: Counter[str]) -> Iterator[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        yield folder
        return
    for path in (folder / name for name in names):
        if path.name.startswith("."):
            ignored["hidden"] += 1
        elif path.name.upper() == "DICOMDIR":
            ignored["DICOMDIR"] += 1
        elif not path.is_dir():
            yield path
        elif any((path / mark).is_file() for mark in _MARKS):
            ignored["results of this bundle"] += 1
        elif (identity := _identify_folder(path)) in seen:
            ignored["another way to a folder that is listed"] += 1
        else:
            seen.add(identity)
            yield from _walk(path, seen, ignored)


def _identify_folder(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def find_images(folder: str | Path) -> list[Image]:
    """`FolderImages` as a list."""
    return list(FolderImages(folder))


class FolderImages(Sequence[Image]):
    """Every file below a folder, for inference: "image", "image_id", "study_id" and an empty "lung_box".

    A file is opened when its entry is asked for, so a large folder costs no wait. Ids are those of
    `scripts.radiographs.name_image`.

    Args:
        folder: as for `list_files`.
        paths: those of its files that are taken; all by default.

    Raises:
        InputError: where there is no such folder or no file in it.
    """

    def __init__(self, folder: str | Path, paths: Sequence[Path] | None = None) -> None:
        listing = list_files(folder) if paths is None else Listing(tuple(paths))
        self.paths = listing.paths
        passed_over = ", ".join(f"{count} {rule}" for rule, count in sorted(listing.ignored.items()))
        if not self.paths:
            found = f"no file below {folder}" + (f", passed over: {passed_over}" if passed_over else "")
            raise InputError("a folder of DICOM images", found, "check the path")
        if passed_over:
            _log.info("%d files below %s; passed over: %s", len(self.paths), folder, passed_over)

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Image: ...

    @overload
    def __getitem__(self, index: slice) -> list[Image]: ...

    def __getitem__(self, index: int | slice) -> Image | list[Image]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        path = self.paths[index]
        image_id, study_id = name_image(path)
        return {"image": str(path.absolute()), "image_id": image_id, "study_id": study_id, "lung_box": None}
