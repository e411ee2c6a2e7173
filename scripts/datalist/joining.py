"""A fold's training with films from elsewhere beside the labelled ones; labels that could know the fold are refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scripts.datalist.schema import compute_labelled_hash, read_datalist
from scripts.datalist.selection import Film, locate_films, read_with_fold, training_films
from scripts.errors import InputError
from scripts.files import compute_sha256

_ADD_AGAIN = "make the datalist again with python -m scripts add_external"
_LABEL_AGAIN = "label the films again with python -m scripts label_external"


def with_external_labels(
    datalist_file: str | Path, dataset_dir: str | Path, external_dir: str | Path, fold: int | None
) -> list[Film]:
    """`training_films`, and the films from elsewhere under the labels that they came with; those without are left out.

    Args:
        datalist_file: made by `add_external`.
        dataset_dir, external_dir: the trees of the labelled films and of those from elsewhere.
        fold: the fold held out, or None.

    Raises:
        InputError: as `training_films`, and where a film from elsewhere belongs to the datalist.
    """
    films, datalist = training_films(datalist_file, dataset_dir, fold), read_datalist(datalist_file)
    entries = [entry for entry in _take_external(datalist, datalist_file)["films"] if entry["label"] is not None]
    external = locate_films(entries, external_dir, "films from elsewhere with a label", datalist_file)
    refuse_known_films(datalist, external, dataset_dir)
    return films + external


def with_pseudo_labels(
    datalist_file: str | Path, dataset_dir: str | Path, external_dir: str | Path, fold: int
) -> list[Film]:
    """`training_films`, and the films from elsewhere under labels of models that never saw the fold's patients.

    A film from elsewhere has "soft_label" `(4,)` float32, its "label" is the likeliest class, its boxes are unknown.

    Args:
        datalist_file: made by `add_external` and `label_external`.
        dataset_dir, external_dir: the trees of the labelled films and of those from elsewhere.
        fold: the fold held out.

    Raises:
        InputError: as `training_films`; where a model that labelled for the fold was trained with another one held out,
            or on another datalist, naming model and fold; where a film from elsewhere belongs to the datalist, naming
            both.
    """
    datalist = read_with_fold(datalist_file, fold)
    external = _take_external(datalist, datalist_file)
    probabilities = select_pseudo_labels(datalist, fold)
    films = training_films(datalist_file, dataset_dir, fold)
    located = locate_films(external["films"], external_dir, "films from elsewhere", datalist_file)
    refuse_known_films(datalist, located, dataset_dir)
    return films + label_films(located, probabilities)


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
        refuse_knowing_model(model, fold, labelled_hash)
    return dict(found[0]["probabilities"])


def refuse_knowing_model(model: Mapping[str, Any], fold: int, labelled_hash: str) -> None:
    """Refuse a model that may have seen the fold's validation patients.

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


def refuse_known_films(datalist: Mapping[str, Any], external: Sequence[Film], dataset_dir: str | Path) -> None:
    """Refuse films from elsewhere that belong to the datalist, as far as that shows without decoding a film.

    `add_external` has compared them by content; this finds a section that was made for other films or changed by hand:
    ids that both have, films that were left out, and equal files.

    Args:
        datalist: with its section "external".
        external: its films, located.
        dataset_dir: the tree of the labelled films.

    Raises:
        InputError: naming both films.
    """
    if datalist["external"]["matched_with"] != compute_labelled_hash(datalist):
        raise InputError("films that were compared with this datalist's", "a comparison with others", _ADD_AGAIN)
    known = [*datalist["training"], *datalist["test"]]
    pairs = _pair_ids(known, external, datalist["external"]["dropped"]) or _pair_files(known, external, dataset_dir)
    for image_id, other in pairs.items():
        found = f"the pair {image_id} and {other}, which is one of them"
        raise InputError("films from elsewhere that are not the datalist's", found, _ADD_AGAIN)


def label_films(films: Iterable[Film], probabilities: Mapping[str, Sequence[float]]) -> list[Film]:
    """Films with the probabilities `(4,)` of their study as "soft_label", the likeliest class, and no known boxes.

    Raises:
        InputError: where a study has none.
    """
    labelled = []
    for film in films:
        if film["study_id"] not in probabilities:
            raise InputError("labels for every film from elsewhere", f"none for {film['image_id']}", _LABEL_AGAIN)
        soft = np.asarray(probabilities[film["study_id"]], dtype=np.float32)
        unknown = {"boxes": np.zeros((0, 4), dtype=np.float32), "boxes_known": False}
        labelled.append(film | unknown | {"soft_label": soft, "label": int(soft.argmax())})
    return labelled


def _take_external(datalist: Mapping[str, Any], datalist_file: str | Path) -> Mapping[str, Any]:
    external = datalist.get("external")
    if external is None:
        raise InputError("a datalist with films from elsewhere", f"none in {datalist_file}", _ADD_AGAIN)
    return external


def _pair_ids(
    known: Sequence[Mapping[str, Any]], external: Sequence[Film], dropped: Mapping[str, str]
) -> dict[str, str]:
    """Image ids of films from elsewhere, each with that of the datalist's film that it is."""
    images, studies = {film["image_id"] for film in known}, {film["study_id"]: film["image_id"] for film in known}
    pairs = {film["image_id"]: dropped.get(film["image_id"]) or studies.get(film["study_id"]) for film in external}
    pairs |= {film["image_id"]: film["image_id"] for film in external if film["image_id"] in images}
    return {image_id: other for image_id, other in pairs.items() if other is not None}


def _pair_files(
    known: Sequence[Mapping[str, Any]], external: Sequence[Film], dataset_dir: str | Path
) -> dict[str, str]:
    """The same of equal files; only those of equal size are read."""
    paths = {film["image_id"]: Path(dataset_dir) / film["image"] for film in known}
    sizes = {image_id: path.stat().st_size for image_id, path in paths.items() if path.is_file()}
    others = {film["image_id"]: Path(film["image"]) for film in external}
    wanted = set(sizes.values()) & {path.stat().st_size for path in others.values()}
    digests = {compute_sha256(paths[image_id]): image_id for image_id, size in sizes.items() if size in wanted}
    compared = {image_id: path for image_id, path in others.items() if path.stat().st_size in wanted}
    pairs = {image_id: digests.get(compute_sha256(path)) for image_id, path in compared.items()}
    return {image_id: other for image_id, other in pairs.items() if other is not None}
