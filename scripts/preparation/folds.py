"""Cross-validation folds: stratified by label, grouped by patient, and a guard that rejects a leak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scripts.errors import InputError
from sklearn.model_selection import StratifiedGroupKFold


def assign_folds(labels: Sequence[int], groups: Sequence[str], num_folds: int = 5, seed: int = 0) -> NDArray[np.int64]:
    """Fold `(N,)` in 0..num_folds-1 of each study; a group stands in one fold, classes are spread evenly.

    The same labels, groups and seed give the same folds; sort the studies first, so that the file system has no say.

    Args:
        labels: N class numbers.
        groups: N patients.

    Raises:
        InputError: where there are fewer patients, or studies of the commonest class, than folds.
    """
    num_groups, num_common = len(set(groups)), max(Counter(labels).values(), default=0)
    if num_folds < 2 or min(num_groups, num_common) < num_folds:
        raise InputError(
            f"at least 2 folds, and as many patients and studies of a class as the {num_folds} requested folds",
            f"{num_groups} patients with labelled images, {num_common} studies of the commonest class",
            "ask for fewer folds, or report patients apart in the column patient of a table of one's own",
        )
    folds = np.zeros(len(labels), dtype=np.int64)
    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    for fold, (_, held_out) in enumerate(splitter.split(np.zeros(len(labels)), labels, groups)):
        folds[held_out] = fold
    return folds


def reject_leaks(images: Iterable[Mapping[str, Any]], keys: Sequence[str] = ("patient", "study_id", "image")) -> None:
    """Reject images of which one patient, study or image stands on both sides of a fold.

    Args:
        images: each with "fold" and "image_id", and what `keys` name; a key that is absent or None is not compared.
            "image" is a name that copies of one image share (a digest of its pixels, or its cluster of duplicates).

    Raises:
        InputError: naming two images and their folds.
    """
    seen: dict[tuple[str, Any], Mapping[str, Any]] = {}
    for image in images:
        for key in keys:
            if image.get(key) is None:
                continue
            other = seen.setdefault((key, image[key]), image)
            if other["fold"] != image["fold"]:
                places = f"{other['fold']} and {image['fold']} (images {other['image_id']} and {image['image_id']})"
                raise InputError(
                    f"every {key.removesuffix('_id')} in one fold",
                    f"one in folds {places}",
                    "make the folds again with python -m scripts prepare",
                )
