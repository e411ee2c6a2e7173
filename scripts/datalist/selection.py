"""Selections of a datalist for a MONAI `Dataset`: a fold, or the test part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scripts.datalist.schema import read_datalist
from scripts.errors import InputError

Image = dict[str, Any]
#: One fold, several, or none.
Folds = int | Sequence[int] | None


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


def validation_images(
    datalist_file: str | Path, dataset_dir: str | Path, fold: Folds, boxes_known: bool = False
) -> list[Image]:
    """All labelled images of a fold or of several, copies included, as in `training_images`; without one, of all.

    Args:
        datalist_file, dataset_dir, fold: as for `training_images`.
        boxes_known: only those of `select_scored_boxes`, for a detector.
    """
    datalist = read_with_fold(datalist_file, fold)
    held_out = list_folds(fold) or range(datalist["num_folds"])
    images = [image for image in datalist["training"] if image["fold"] in held_out]
    if boxes_known:
        images = select_scored_boxes(images)
    return locate_images(images, dataset_dir, f"images of fold {fold}", datalist_file)


def select_scored_boxes(images: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Select the images whose boxes, or their absence, can be scored.

    Those whose boxes nobody knows are left out, as a right box would count as a false one. But an image without a box
    in a study where another one has some counts as one without opacities: so the challenge scores it.
    """
    boxed = {image["study_id"] for image in images if image["boxes"]}
    return [image for image in images if image["boxes_known"] or image["study_id"] in boxed]


def test_images(datalist_file: str | Path, dataset_dir: str | Path) -> list[Image]:
    """All images without a label, as in `training_images`."""
    return locate_images(read_datalist(datalist_file)["test"], dataset_dir, "images without label", datalist_file)


test_images.__test__ = False  # type: ignore[attr-defined]  # pytest takes its name for a test


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
    tree = Path(str(dataset_dir)).resolve()
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
