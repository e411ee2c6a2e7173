"""Selections of a datalist for a MONAI `Dataset`: a fold, the test part, or the images of a folder."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from scripts.datalist.schema import read_datalist
from scripts.errors import InputError
from scripts.radiographs.header import Header
from scripts.radiographs.rejection import Rejection
from scripts.radiographs.structure import check_size, open_image_bytes

Image = dict[str, Any]
#: One fold, several, or none.
Folds = int | Sequence[int] | None

_SUFFIXES = (".dcm", ".dicom", ".ima", ".png", ".jpg", ".jpeg")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def training_images(
    datalist_file: str | Path, dataset_dir: str | Path, fold: Folds, boxes_known: bool = False
) -> list[Image]:
    """Labelled images of the other folds, each image once: copies (`duplicate_of`) are left out.

    Args:
        datalist_file: made by `prepare`.
        dataset_dir: the tree that its paths are relative to.
        fold: the fold held out, several of them, or None to train on all images.
        boxes_known: leave out images of which nobody knows where their opacities are; a detector would learn them as
            background.

    Returns:
        Images of the datalist with "image" an existing absolute path, "boxes" `(N, 4)` float32 and "lung_box" `(4,)`
        float32 or None; keys without a value are absent.

    Raises:
        InputError: where the datalist, the tree, an image or the fold is not there.
    """
    datalist = read_with_fold(datalist_file, fold)
    held_out = list_folds(fold)
    images = [
        image for image in datalist["training"] if image["fold"] not in held_out and image["duplicate_of"] is None
    ]
    if boxes_known:
        images = [image for image in images if image["boxes_known"]]
    return locate_images(images, dataset_dir, f"training images outside fold {fold}", datalist_file)


def validation_images(datalist_file: str | Path, dataset_dir: str | Path, fold: Folds) -> list[Image]:
    """All labelled images of a fold or of several, copies included, as in `training_images`; without one, of all."""
    datalist = read_with_fold(datalist_file, fold)
    held_out = list_folds(fold) or range(datalist["num_folds"])
    images = [image for image in datalist["training"] if image["fold"] in held_out]
    return locate_images(images, dataset_dir, f"images of fold {fold}", datalist_file)


def test_images(datalist_file: str | Path, dataset_dir: str | Path) -> list[Image]:
    """All images without a label, as in `training_images`."""
    return locate_images(read_datalist(datalist_file)["test"], dataset_dir, "images without label", datalist_file)


test_images.__test__ = False  # type: ignore[attr-defined]  # pytest takes its name for a test


def find_images(folder: str | Path) -> list[Image]:
    """`FolderImages` as a list."""
    return list(FolderImages(folder))


class FolderImages(Sequence[Image]):
    """Every file below a folder, for inference: "image", "image_id", "study_id" and an empty "lung_box".

    A file is opened when its entry is asked for, so a large folder costs no wait. The image id is the file's name
    without its suffix, or a hash where two files share the name. The study is the folder above the series in a layout
    study/series/image; in a flat folder it is a hash of StudyInstanceUID, and an image of its own where that cannot be
    read: rejecting a file is left to the reader.

    Raises:
        InputError: where there is no such folder or no file in it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise InputError("a folder of DICOM images", f"no folder {folder}", "check the path")
        self.paths = sorted(path for path in self.folder.rglob("*") if _is_candidate(path, self.folder))
        if not self.paths:
            raise InputError("a folder of DICOM images", f"no file below {folder}", "check the path")
        self._names = Counter(_name_image(path) for path in self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Image: ...

    @overload
    def __getitem__(self, index: slice) -> list[Image]: ...

    def __getitem__(self, index: int | slice) -> Image | list[Image]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        return _describe_found(self.paths[index], self.folder, self._names)


def list_folds(fold: Folds) -> tuple[int, ...]:
    """List the folds that are held out: none, one or several."""
    if fold is None:
        return ()
    return tuple(fold) if isinstance(fold, Sequence) else (fold,)


def read_with_fold(datalist_file: str | Path, fold: Folds) -> dict[str, Any]:
    """A datalist that has this fold, or these; None for all of it.

    Raises:
        InputError: where it has not.
    """
    datalist = read_datalist(datalist_file)
    if any(isinstance(each, bool) or each not in range(datalist["num_folds"]) for each in list_folds(fold)):
        raise InputError(f"a fold from 0 to {datalist['num_folds'] - 1}", f"fold {fold}", "choose another fold")
    return datalist


def locate_images(
    images: Sequence[Mapping[str, Any]], dataset_dir: str | Path, what: str, source: str | Path
) -> list[Image]:
    """Entries of a datalist as `training_images` gives them.

    Args:
        images: the entries.
        dataset_dir: the tree that their paths are relative to.
        what, source: kind of the files, and the file that names them, for messages.

    Raises:
        InputError: where there is no entry, no tree, or an image is not in it.
    """
    tree = Path(dataset_dir).resolve()
    if not images:
        raise InputError(what, f"none in {source}", "choose another fold, or prepare another tree")
    if not tree.is_dir():
        raise InputError("the tree that the datalist was made of", f"no folder {dataset_dir}", "check dataset_dir")
    missing = [image["image"] for image in images if not (tree / image["image"]).is_file()]
    if missing:
        raise InputError(
            f"{len(images)} images below {tree}",
            f"{len(images) - len(missing)}, without {missing[0]}",
            "check dataset_dir, or make the datalist again with python -m scripts prepare",
        )
    return [_convert_image(image, tree) for image in images]


def _convert_image(image: Mapping[str, Any], tree: Path) -> Image:
    lungs = image["lung_box"]
    return {
        **{key: value for key, value in image.items() if value is not None},
        **{key: str(tree / image[key]) for key in ("image", "mask") if key in image},
        "boxes": np.asarray(image["boxes"], dtype=np.float32).reshape(-1, 4),
        "lung_box": None if lungs is None else np.asarray(lungs, dtype=np.float32),
    }


def _is_candidate(path: Path, folder: Path) -> bool:
    """Files, but neither hidden ones nor the index of a DICOM medium (PS3.10, section 8)."""
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.is_file() and not hidden and path.name.upper() != "DICOMDIR"


def _describe_found(path: Path, folder: Path, names: Mapping[str, int]) -> Image:
    name = _name_image(path)
    unique = names[name] == 1 and _PLAIN_NAME.fullmatch(name)
    image_id = name if unique else _hash_text(path.relative_to(folder).as_posix())
    return {"image": str(path.resolve()), "image_id": image_id, "study_id": name_study(path, folder), "lung_box": None}


def _name_image(path: Path) -> str:
    """Name without an image's suffix; the last number of a UID is not a suffix."""
    return path.stem if path.suffix.lower() in _SUFFIXES else path.name


def name_study(path: Path, folder: Path) -> str:
    """The study of an image below a folder, as `find_images` names it."""
    parts = path.relative_to(folder).parts
    if len(parts) < 3:
        return _hash_text(_read_study_uid(path) or "/".join(parts))
    return parts[-3] if _PLAIN_NAME.fullmatch(parts[-3]) else _hash_text("/".join(parts[:-2]))


def _read_study_uid(path: Path) -> str | None:
    """Read through the reader's gates: it takes files of any kind, and none may blow up or be taken for an image."""
    try:
        check_size(path.stat().st_size)
        return Header.of_image(open_image_bytes(path.read_bytes())).word("StudyInstanceUID") or None
    except (Rejection, OSError):  # whatever is wrong with the file, the reader names it later
        return None


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]
