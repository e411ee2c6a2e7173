"""Identity of a run of inference: what must be the same where an unfinished run is gone on with."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.datalist import FolderImages
from scripts.errors import InputError
from scripts.files import compute_sha256
from scripts.run_records import PLACES, list_config_files, read_options

#: Options of a command that change no result, beside `PLACES`.
_IDLE_OPTIONS = {*PLACES, "replace", "config_file", "args_file"}
_BUNDLE_COMMAND = "monai.bundle.__main__"


def is_command() -> bool:
    """Report if this process is `python -m monai.bundle ...`, and not a program that runs the bundle inside itself."""
    specification = getattr(sys.modules.get("__main__"), "__spec__", None)
    return getattr(specification, "name", None) == _BUNDLE_COMMAND


def read_command() -> dict[str, Any]:
    """Options of the command line, and hashes of the configs that it names; empty for a run inside of a program."""
    if not is_command():
        return {}
    options = read_options(sys.argv)
    files = [*list_config_files(options.get("config_file", "")), *filter(None, [options.get("args_file")])]
    return {
        "options": {name: value for name, value in sorted(options.items()) if name not in _IDLE_OPTIONS},
        "configs": [compute_sha256(file) for file in files if Path(file).is_file()],
    }


def hash_weights(weights: str | Path | Mapping[str, Any] | None) -> Any:
    """One hash, or one for each network; a network of several members has one for each of them.

    Raises:
        InputError: where a file is missing.
    """
    if not isinstance(weights, Mapping):
        return _hash_file(weights) if weights else None
    hashes: dict[str, str] = {}
    for name, path in weights.items():
        members = {f"{name} {each}": file for each, file in path.items()} if isinstance(path, Mapping) else {name: path}
        hashes |= {member: _hash_file(file) for member, file in members.items()}
    return hashes


def hash_images(images: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 of the images in their order: path, size and time of each file, and what a datalist knows of it."""
    digest = hashlib.sha256()
    known = [{}] * len(images.paths) if isinstance(images, FolderImages) else [_describe(image) for image in images]
    paths = images.paths if isinstance(images, FolderImages) else [Path(image["image"]) for image in images]
    for path, rest in zip(paths, known, strict=True):
        try:
            status = path.stat()
            size, time = status.st_size, status.st_mtime_ns
        except OSError:  # it is rejected where it is read
            size, time = -1, -1
        digest.update(json.dumps([str(path.absolute()), size, time, rest], sort_keys=True).encode("utf-8", "replace"))
    return digest.hexdigest()


def _describe(image: Mapping[str, Any]) -> dict[str, Any]:
    lungs = image.get("lung_box")
    box = None if lungs is None else [float(edge) for edge in lungs]
    return {"image_id": image["image_id"], "study_id": image["study_id"], "lung_box": box}


def _hash_file(path: str | Path) -> str:
    if not Path(path).is_file():
        raise InputError("a file of weights", f"nothing at {path}", "train first, or correct the path")
    return compute_sha256(path)
