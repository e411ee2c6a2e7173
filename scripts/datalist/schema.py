"""Schema of the datalist file: written whole, and rejected where it was changed or cut."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from scripts.errors import InputError
from scripts.files import write_text
from scripts.labels import STUDY_CLASSES
from scripts.radiographs import PIXELS_SHA256, READER_OPTIONS

DATALIST_FILE = "datalist.json"

SCHEMA = "chest_xray_covid19/datalist"
VERSION = 1
#: With external images. Without them a datalist stays version 1, and its hash what trainings have recorded of it.
EXTERNAL_VERSION = 2

#: An image's keys, each with the types that JSON may give it.
IMAGE_TYPES: dict[str, tuple[type, ...]] = {
    "image": (str,),
    "image_id": (str,),
    "study_id": (str,),
    "patient": (str,),
    "label": (int, type(None)),
    "fold": (int, type(None)),
    "boxes": (list,),
    "boxes_known": (bool,),
    "lung_box": (list, type(None)),
    "height": (int,),
    "width": (int,),
    "duplicate_of": (str, type(None)),
}

#: The same of an external image.
EXTERNAL_IMAGE_TYPES = {
    key: types for key, types in IMAGE_TYPES.items() if key not in ("patient", "fold", "duplicate_of")
}

#: Parts of the section "external", of one fold's labels in it, and of a model that gave them.
EXTERNAL_TYPES: dict[str, tuple[type, ...]] = {
    "matched_with": (str,),
    "images": (list,),
    "dropped": (dict,),
    "pseudo_labels": (list,),
}
LABELS_TYPES: dict[str, tuple[type, ...]] = {"fold": (int,), "models": (list,), "probabilities": (dict,)}
MODEL_TYPES: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "fold": (int, type(None)),
    "weights_sha256": (str,),
    "datalist_hash": (str,),
}

_PREPARE_AGAIN = "make it again with python -m scripts prepare"


def collect_reader_options(images: Iterable[Mapping[str, Any]]) -> dict[str, bool]:
    """Options of `scripts.radiographs.read_radiograph` that images of a datalist were prepared with.

    An image holds those that were set; one without any was read with the defaults.
    """
    images = list(images)
    return {name: True for name in READER_OPTIONS if any(image.get(name) for image in images)}


def compute_content_hash(datalist: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a datalist without its "content_hash" and the digests of its images' pixels."""
    rest = {key: _drop_digests(value) for key, value in datalist.items() if key != "content_hash"}
    if isinstance(external := rest.get("external"), Mapping):
        rest["external"] = {key: _drop_digests(value) for key, value in external.items()}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def compute_labelled_hash(datalist: Mapping[str, Any]) -> str:
    """The content hash that a datalist had before external images joined it: what its models were trained on."""
    return compute_content_hash({**{k: v for k, v in datalist.items() if k != "external"}, "version": VERSION})


def write_datalist(
    path: str | Path,
    training: Sequence[Mapping[str, Any]],
    test: Sequence[Mapping[str, Any]],
    num_folds: int,
    seed: int,
    external: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a datalist, atomically: a kill leaves the old file or the new one, never a part.

    Args:
        path: the file.
        training, test: images with and without label.
        num_folds, seed: of the folds.
        external: external images, matched against exactly these ones.

    Returns:
        What was written.
    """
    datalist: dict[str, Any] = {
        "schema": SCHEMA,
        "version": VERSION,
        "classes": list(STUDY_CLASSES),
        "num_folds": num_folds,
        "seed": seed,
        "training": [dict(image) for image in training],
        "test": [dict(image) for image in test],
    }
    if external is not None:
        datalist |= {"version": EXTERNAL_VERSION, "external": dict(external)}
    datalist["content_hash"] = compute_content_hash(datalist)
    write_text(path, json.dumps(datalist, indent=1, sort_keys=True) + "\n")
    return datalist


def read_datalist(path: str | Path) -> dict[str, Any]:
    """A datalist, checked: JSON, schema, version, content hash, classes and every image's keys.

    Raises:
        InputError: where it is absent, cut, changed, of another version, or not a datalist.
    """
    path = Path(path)
    try:
        datalist = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            "a datalist.json", f"none at {path} ({error.strerror})", f"check the path, or {_PREPARE_AGAIN}"
        ) from None
    except ValueError:
        raise InputError("a whole JSON file", f"a cut or changed one at {path}", _PREPARE_AGAIN) from None
    if not isinstance(datalist, dict) or datalist.get("schema") != SCHEMA:
        raise InputError(f"a file of schema {SCHEMA}", f"another one at {path}", f"check the path, or {_PREPARE_AGAIN}")
    version = EXTERNAL_VERSION if "external" in datalist else VERSION
    if datalist.get("version") != version:
        raise InputError(
            f"a datalist of version {version}", f"version {datalist.get('version')} at {path}", _PREPARE_AGAIN
        )
    if datalist.get("content_hash") != compute_content_hash(datalist):
        raise InputError("the content that its content_hash was made of", f"another one at {path}", _PREPARE_AGAIN)
    if datalist.get("classes") != list(STUDY_CLASSES):
        raise InputError(f"the classes {', '.join(STUDY_CLASSES)}", f"other classes at {path}", _PREPARE_AGAIN)
    for image in [*datalist.get("training", [{}]), *datalist.get("test", [{}])]:
        _check_image(image, IMAGE_TYPES, path)
    if "external" in datalist:
        if isinstance(datalist["external"], dict) and "films" in datalist["external"]:
            datalist["external"]["images"] = datalist["external"].pop("films")  # written before version 0.4.0
        _check_external(datalist["external"], path)
    return datalist


def read_datalist_hash(datalist_file: str | Path) -> str:
    """Read the content hash that stands in a datalist, unchecked; "" without a datalist (MONAI Label)."""
    if not Path(datalist_file).is_file():
        return ""
    return str(json.loads(Path(datalist_file).read_text(encoding="utf-8")).get("content_hash", ""))


def reject_overwriting(datalist_file: str | Path, out: Path) -> None:
    """Reject a folder where `datalist.json` would replace its own source: trainings have recorded that one's hash.

    Raises:
        InputError: where it would.
    """
    if Path(datalist_file).resolve() == (out / DATALIST_FILE).resolve():
        raise InputError("another folder than the datalist's", f"{out}", "choose another --out")


def _drop_digests(value: Any) -> Any:
    """A list of images without the digests of their pixels; anything else as it is.

    A digest vouches for itself; without it the hash stays what models have recorded of the same images.
    """
    if not isinstance(value, list):
        return value
    return [{k: v for k, v in i.items() if k != PIXELS_SHA256} if isinstance(i, dict) else i for i in value]


def _check_external(external: Any, path: Path) -> None:
    _check_types("a section external", external, EXTERNAL_TYPES, path)
    for image in external["images"]:
        _check_image(image, EXTERNAL_IMAGE_TYPES, path)
    for labels in external["pseudo_labels"]:
        _check_types("pseudo_labels", labels, LABELS_TYPES, path)
        for model in labels["models"]:
            _check_types("models", model, MODEL_TYPES, path)
        for study_id, row in labels["probabilities"].items():
            if not _is_distribution(row):
                expected = f"{len(STUDY_CLASSES)} probabilities that sum to 1 for each study"
                raise InputError(expected, f"others for study {study_id} at {path}", "label the images again")


def _is_distribution(row: Any) -> bool:
    numbers = isinstance(row, list) and len(row) == len(STUDY_CLASSES) and all(type(p) in (int, float) for p in row)
    return numbers and min(row) >= 0 and abs(sum(row) - 1) < 1e-3


def _check_image(image: Any, types: Mapping[str, tuple[type, ...]], path: Path) -> None:
    _check_types("images", image, types, path)
    if any(type(image.get(name, False)) is not bool for name in READER_OPTIONS):
        raise InputError(f"true or false under {' and '.join(READER_OPTIONS)}", f"others at {path}", _PREPARE_AGAIN)
    path_in_tree = PurePosixPath(image["image"])
    if path_in_tree.is_absolute() or ".." in path_in_tree.parts:
        raise InputError("image paths inside the tree", f"one that leaves it at {path}", _PREPARE_AGAIN)


def _check_types(what: str, item: Any, types: Mapping[str, tuple[type, ...]], path: Path) -> None:
    item = item if isinstance(item, dict) else {}
    wrong = [key for key, allowed in types.items() if type(item.get(key, ...)) not in allowed]
    if wrong:
        raise InputError(
            f"{what} with the keys {', '.join(types)}", f"one with a wrong {wrong[0]} at {path}", _PREPARE_AGAIN
        )
