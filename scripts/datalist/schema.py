"""Writing and reading the datalist file: whole or not at all, and refused when it was changed or cut."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from scripts.errors import InputError
from scripts.files import write_text
from scripts.labels import STUDY_CLASSES

SCHEMA = "chest_xray_covid19/datalist"
VERSION = 1

#: A film's keys, each with the types that JSON may give it.
FILM_TYPES: dict[str, tuple[type, ...]] = {
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

_PREPARE_AGAIN = "make it again with python -m scripts prepare"


def compute_content_hash(datalist: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a datalist without its "content_hash"."""
    rest = {key: value for key, value in datalist.items() if key != "content_hash"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_datalist(
    path: str | Path,
    training: Sequence[Mapping[str, Any]],
    test: Sequence[Mapping[str, Any]],
    num_folds: int,
    seed: int,
) -> dict[str, Any]:
    """Write a datalist, atomically: a kill leaves the old file or the new one, never a part.

    Returns:
        What was written.
    """
    datalist: dict[str, Any] = {
        "schema": SCHEMA,
        "version": VERSION,
        "classes": list(STUDY_CLASSES),
        "num_folds": num_folds,
        "seed": seed,
        "training": [dict(film) for film in training],
        "test": [dict(film) for film in test],
    }
    datalist["content_hash"] = compute_content_hash(datalist)
    write_text(path, json.dumps(datalist, indent=1, sort_keys=True) + "\n")
    return datalist


def read_datalist(path: str | Path) -> dict[str, Any]:
    """A datalist, checked: JSON, schema, version, content hash, classes and every film's keys.

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
    if datalist.get("version") != VERSION:
        raise InputError(
            f"a datalist of version {VERSION}", f"version {datalist.get('version')} at {path}", _PREPARE_AGAIN
        )
    if datalist.get("content_hash") != compute_content_hash(datalist):
        raise InputError("the content that its content_hash was made of", f"another one at {path}", _PREPARE_AGAIN)
    if datalist.get("classes") != list(STUDY_CLASSES):
        raise InputError(f"the classes {', '.join(STUDY_CLASSES)}", f"other classes at {path}", _PREPARE_AGAIN)
    for film in [*datalist.get("training", [{}]), *datalist.get("test", [{}])]:
        _check_film(film, path)
    return datalist


def _check_film(film: Any, path: Path) -> None:
    film = film if isinstance(film, dict) else {}
    wrong = [key for key, types in FILM_TYPES.items() if type(film.get(key, ...)) not in types]
    if wrong:
        keys = ", ".join(FILM_TYPES)
        raise InputError(f"films with the keys {keys}", f"one with a wrong {wrong[0]} at {path}", _PREPARE_AGAIN)
    image = PurePosixPath(film["image"])
    if image.is_absolute() or ".." in image.parts:
        raise InputError("film paths inside the tree", f"one that leaves it at {path}", _PREPARE_AGAIN)
