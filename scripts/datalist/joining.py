"""Training and validation sets with external images; labels whose models may have seen the fold are rejected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scripts.datalist.schema import compute_labelled_hash, read_datalist
from scripts.datalist.selection import Image, locate_images, read_with_fold, training_images
from scripts.errors import InputError
from scripts.files import compute_sha256

_ADD_AGAIN = "make the datalist again with python -m scripts add-external"
_LABEL_AGAIN = "label the images again with python -m scripts label-external"


def with_external_labels(
    datalist_file: str | Path, dataset_dir: str | Path, external_dir: str | Path, fold: int | None
) -> list[Image]:
    """`training_images`, and the external images under the labels that they came with; those without are left out.

    Args:
        datalist_file: made by `add_external`.
        dataset_dir, external_dir: the trees of the labelled images and of external those.
        fold: the fold held out, or None.

    Raises:
        InputError: as `training_images`, and where an external image belongs to the datalist.
    """
    images, datalist = training_images(datalist_file, dataset_dir, fold), read_datalist(datalist_file)
    entries = [entry for entry in _take_external(datalist, datalist_file)["images"] if entry["label"] is not None]
    external = locate_images(entries, external_dir, "external images with a label", datalist_file)
    reject_known_images(datalist, external, dataset_dir)
    return images + external


def with_pseudo_labels(
    datalist_file: str | Path, dataset_dir: str | Path, external_dir: str | Path, fold: int
) -> list[Image]:
    """`training_images`, and the external images under labels of models that never saw the fold's patients.

    An external image has "soft_label" `(4,)` float32, its "label" is the likeliest class, its boxes are unknown.

    Args:
        datalist_file: made by `add_external` and `label_external`.
        dataset_dir, external_dir: the trees of the labelled images and of external those.
        fold: the fold held out.

    Raises:
        InputError: as `training_images`; where a model that labelled for the fold was trained with another one held
            out, or on another datalist, naming model and fold; where an external image belongs to the datalist, naming
            both.
    """
    datalist = read_with_fold(datalist_file, fold)
    external = _take_external(datalist, datalist_file)
    probabilities = select_pseudo_labels(datalist, fold)
    images = training_images(datalist_file, dataset_dir, fold)
    located = locate_images(external["images"], external_dir, "external images", datalist_file)
    reject_known_images(datalist, located, dataset_dir)
    return images + label_images(located, probabilities)


def select_pseudo_labels(datalist: Mapping[str, Any], fold: int) -> dict[str, Sequence[float]]:
    """Probabilities `(4,)` for this fold by study id, once every model behind them has been found not to know the fold.

    Raises:
        InputError: naming the first model that could, and the fold; or where there are no labels for the fold.
    """
    found = [labels for labels in datalist["external"]["pseudo_labels"] if labels["fold"] == fold]
    if len(found) != 1 or not found[0]["models"]:
        raise InputError(f"pseudo-labels for fold {fold}, given by a model", "none", _LABEL_AGAIN)
    labelled_hash = compute_labelled_hash(datalist)
    for model in found[0]["models"]:
        reject_knowing_model(model, fold, labelled_hash)
    return dict(found[0]["probabilities"])


def reject_knowing_model(model: Mapping[str, Any], fold: int, labelled_hash: str) -> None:
    """Reject a model that may have seen the fold's validation patients.

    Args:
        model: "name", "weights_sha256", "fold" that was held out, "datalist_hash" of what it was trained on.
        fold: that it labels for.
        labelled_hash: `compute_labelled_hash` of the datalist: the folds of another one are other patients.

    Raises:
        InputError: naming model and fold.
    """
    expected = f"labels for fold {fold} from models trained on this datalist with fold {fold} held out"
    pair = f"the pair model {model['name']} ({model['weights_sha256'][:12]}), fold {fold}"
    if model["fold"] != fold:
        raise InputError(expected, f"{pair}: it was trained with fold {model['fold']} held out", _LABEL_AGAIN)
    if model["datalist_hash"] != labelled_hash:
        raise InputError(expected, f"{pair}: it was trained on datalist {model['datalist_hash'][:12]}", _LABEL_AGAIN)


def reject_known_images(datalist: Mapping[str, Any], external: Sequence[Image], dataset_dir: str | Path) -> None:
    """Reject external images that belong to the datalist, as far as that shows without decoding an image.

    `add_external` has compared them by content; this finds a section that was made for other images or changed by hand:
    ids that both have, images that were left out, and equal files.

    Args:
        datalist: with its section "external".
        external: its images, located.
        dataset_dir: the tree of the labelled images.

    Raises:
        InputError: naming both images.
    """
    if datalist["external"]["matched_with"] != compute_labelled_hash(datalist):
        raise InputError("images that were compared with this datalist's", "a comparison with others", _ADD_AGAIN)
    known = [*datalist["training"], *datalist["test"]]
    pairs = _pair_ids(known, external, datalist["external"]["dropped"]) or _pair_files(known, external, dataset_dir)
    for image_id, other in pairs.items():
        found = f"the pair {image_id} and {other}, which is one of them"
        raise InputError("external images that are not the datalist's", found, _ADD_AGAIN)


def label_images(images: Iterable[Image], probabilities: Mapping[str, Sequence[float]]) -> list[Image]:
    """Images with the probabilities `(4,)` of their study as "soft_label", the likeliest class, and no known boxes.

    Raises:
        InputError: where a study has none.
    """
    labelled = []
    for image in images:
        if image["study_id"] not in probabilities:
            raise InputError("labels for every external image", f"none for {image['image_id']}", _LABEL_AGAIN)
        soft = np.asarray(probabilities[image["study_id"]], dtype=np.float32)
        unknown = {"boxes": np.zeros((0, 4), dtype=np.float32), "boxes_known": False}
        labelled.append(image | unknown | {"soft_label": soft, "label": int(soft.argmax())})
    return labelled


def _take_external(datalist: Mapping[str, Any], datalist_file: str | Path) -> Mapping[str, Any]:
    external = datalist.get("external")
    if external is None:
        raise InputError("a datalist with external images", f"none in {datalist_file}", _ADD_AGAIN)
    return external


def _pair_ids(
    known: Sequence[Mapping[str, Any]], external: Sequence[Image], dropped: Mapping[str, str]
) -> dict[str, str]:
    """Image ids of external images, each with that of the datalist's image that it is."""
    images, studies = {image["image_id"] for image in known}, {image["study_id"]: image["image_id"] for image in known}
    pairs = {image["image_id"]: dropped.get(image["image_id"]) or studies.get(image["study_id"]) for image in external}
    pairs |= {image["image_id"]: image["image_id"] for image in external if image["image_id"] in images}
    return {image_id: other for image_id, other in pairs.items() if other is not None}


def _pair_files(
    known: Sequence[Mapping[str, Any]], external: Sequence[Image], dataset_dir: str | Path
) -> dict[str, str]:
    """The same of equal files; only those of equal size are read."""
    paths = {image["image_id"]: Path(dataset_dir) / image["image"] for image in known}
    sizes = {image_id: path.stat().st_size for image_id, path in paths.items() if path.is_file()}
    others = {image["image_id"]: Path(image["image"]) for image in external}
    wanted = set(sizes.values()) & {path.stat().st_size for path in others.values()}
    digests = {compute_sha256(paths[image_id]): image_id for image_id, size in sizes.items() if size in wanted}
    compared = {image_id: path for image_id, path in others.items() if path.stat().st_size in wanted}
    pairs = {image_id: digests.get(compute_sha256(path)) for image_id, path in compared.items()}
    return {image_id: other for image_id, other in pairs.items() if other is not None}
