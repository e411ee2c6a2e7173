"""Pseudo-labels of external images by trained models, each for the one fold that its training held out.

The reason for a module of its own: it joins what a model was trained on (`experiments`), its predictions (`outputs`),
and where that is kept (`datalist`). There is no other scheme here: the mean of all folds' models, given to every fold,
teaches each model what the others learnt from its own validation images.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scripts.datalist import (
    DATALIST_FILE,
    compute_labelled_hash,
    read_datalist,
    reject_knowing_model,
    reject_overwriting,
    write_datalist,
)
from scripts.errors import InputError
from scripts.experiments import WEIGHTS
from scripts.files import compute_sha256
from scripts.labels import STUDY_CLASSES
from scripts.predictions import DONE_FILE, average_studies, read_done, read_predictions
from scripts.run_records import read_record

#: Name of the classifier's weights in the record of a run with several networks.
CLASSIFIER = "study_classifier"


@dataclass(frozen=True)
class Model:
    """A model that gives labels, as the datalist records it.

    Args:
        name: of its training.
        fold: the fold that was held out.
        weights_sha256: of the weights that predicted.
        datalist_hash: content hash of the datalist that it was trained on.
    """

    name: str
    fold: int | None
    weights_sha256: str
    datalist_hash: str


#: Probabilities `(S, 4)` of the studies, by each model.
Labels = dict[Model, NDArray[np.float64]]


def label_external(
    datalist_file: str | Path, predictions: Sequence[str | Path], runs: Sequence[str | Path], out: str | Path
) -> dict[int, list[Model]]:
    """Write the datalist with labels for its external images, as `datalist.json` in `out`; earlier ones go.

    A fold's labels are the mean of its models, each the mean of a study's images.

    Args:
        datalist_file: made by `add_external`.
        predictions: a predictions.json of each model, on the external images, with its done.json beside it; what
            it says of images that were left out is not used.
        runs: folders of trainings, with record.json and weights. Which run predicted is reported by its weights'
            SHA-256.
        out: folder; another one than that of the datalist.

    Returns:
        The models that labelled for each fold.

    Raises:
        InputError: where a run has no record, is not of this datalist, or held no fold out; weights were changed; a
            model labels twice, or leaves out an image.
    """
    datalist, out = read_datalist(datalist_file), Path(out)
    reject_overwriting(datalist_file, out)
    if "external" not in datalist:
        advice = "add them with python -m scripts add-external"
        raise InputError("a datalist with external images", f"none in {datalist_file}", advice)
    images = datalist["external"]["images"]
    predicted = _gather_labels(predictions, {model.weights_sha256: model for model in map(read_model, runs)}, datalist)
    pseudo_labels = [_average_models(fold, predicted[fold], _list_studies(images)) for fold in sorted(predicted)]
    external = datalist["external"] | {"pseudo_labels": pseudo_labels}
    settings = (datalist["num_folds"], datalist["seed"], external)
    write_datalist(out / DATALIST_FILE, datalist["training"], datalist["test"], *settings)
    return {fold: list(predicted[fold]) for fold in sorted(predicted)}


def read_model(run: str | Path) -> Model:
    """The last weights of a training, by its record. Its best ones were chosen by the fold's own score: they know it.

    Raises:
        InputError: where the folder holds no record of finished weights, or other weights than those.
    """
    run = Path(run)
    record = read_record(run)
    recorded = record.weights_sha256.get(WEIGHTS)
    if recorded is None:
        raise InputError(f"a record of {WEIGHTS}", f"none in {run}, which is {record.status}", "train to the end")
    if (run / WEIGHTS).is_file() and (found := compute_sha256(run / WEIGHTS)) != recorded:
        advice = "train again; nobody knows what these weights were trained on"
        raise InputError(f"{run / WEIGHTS} with the recorded SHA-256 {recorded[:12]}", found[:12], advice)
    if isinstance(record.fold, list):
        raise InputError("a training that held out one fold", f"{record.held_out} in {run}", "name such a training")
    return Model(record.name, record.fold, recorded, record.datalist_hash)


def read_labels(path: str | Path, images: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    """Probabilities `(S, 4)` of the studies of these images, in the order of their ids.

    Raises:
        InputError: where an image has no prediction.
    """
    predicted = {image.image_id: image for image in read_predictions(path)}
    missing = [image["image_id"] for image in images if image["image_id"] not in predicted]
    if missing:
        found = f"none in {path} for {len(missing)}, first {missing[0]}"
        raise InputError("a prediction for every external image", found, "predict them too")
    means = average_studies([predicted[image["image_id"]] for image in images])
    return np.array([[means[study][name] for name in STUDY_CLASSES] for study in _list_studies(images)])


def _gather_labels(
    predictions: Sequence[str | Path], models: Mapping[str, Model], datalist: Mapping[str, Any]
) -> dict[int, Labels]:
    """Gather each model's probabilities, by the fold that it may label for."""
    predicted: defaultdict[int, Labels] = defaultdict(dict)
    for path in map(Path, predictions):
        model = _find_model(path, models)
        fold = _name_fold(model, datalist)
        if model in predicted[fold]:
            raise InputError("each model's labels once", f"model {model.name} of fold {fold} twice", "name it once")
        predicted[fold][model] = read_labels(path, datalist["external"]["images"])
    if not predicted:
        raise InputError("predictions of at least one model", "none", "predict the external images first")
    return predicted


def _average_models(fold: int, labels: Labels, studies: Sequence[str]) -> dict[str, Any]:
    """One fold's labels as the datalist holds them."""
    means = np.mean(list(labels.values()), axis=0).tolist()
    models = [asdict(model) for model in labels]
    return {"fold": fold, "models": models, "probabilities": dict(zip(studies, means, strict=True))}


def _list_studies(images: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({image["study_id"] for image in images})


def _find_model(predictions: Path, models: Mapping[str, Model]) -> Model:
    weights = read_done(predictions.parent)["weights_sha256"]
    digest = str(weights.get(CLASSIFIER) if isinstance(weights, dict) else weights)
    if digest not in models:
        found = f"weights {digest[:12]} in {predictions.parent / DONE_FILE}"
        raise InputError(f"predictions by {WEIGHTS} of one of the runs", found, "name their run, or predict again")
    return models[digest]


def _name_fold(model: Model, datalist: Mapping[str, Any]) -> int:
    """The fold that a model may label for."""
    if model.fold is None:
        found = f"model {model.name} ({model.weights_sha256[:12]}), trained on all images"
        raise InputError("models that were trained with a fold held out", found, "train it with a fold")
    reject_knowing_model(asdict(model), model.fold, compute_labelled_hash(datalist))
    return model.fold
