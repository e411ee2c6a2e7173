"""The bundle's configs for tests of several files: which there are, and which lies over which."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from scripts.datalist import Prediction, read_datalist, write_soft_labels
from scripts.labels import STUDY_CLASSES
from scripts.predictions import ImageFindings, write_predictions

CONFIGS = Path(__file__).resolve().parents[1] / "bundle" / "configs"
METADATA = CONFIGS / "metadata.json"
FILES = sorted(CONFIGS.rglob("*.json"))


def reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"duplicate keys: {', '.join(twice)}")
    return dict(pairs)


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=reject_duplicates)


def read_unless_broken(path: Path) -> dict[str, Any]:
    """For sorting files into kinds while they are collected; a broken one fails in a test of its own."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}


RUNNABLE = [path for path in FILES if path != METADATA]
WHOLE = [path for path in RUNNABLE if "bundle_root" in read_unless_broken(path)]
TRAIN, INFERENCE, DETECTOR = (CONFIGS / f"{name}.json" for name in ("train", "inference", "train_detector"))
LUNGS = CONFIGS / "lungs.json"


def write_first_run(datalist_file: Path, folder: Path) -> Path:
    """Write the predictions that just_train_twice.json reads: all training images, "negative" whatever they show."""
    images = json.loads(datalist_file.read_text(encoding="utf-8"))["training"]
    fractions = {name: float(name == STUDY_CLASSES[0]) for name in STUDY_CLASSES}
    found = [
        ImageFindings(image["image_id"], image["study_id"], fractions, (), (), 1.0, (0.0, 0.0, 1.0, 1.0))
        for image in images
    ]
    write_predictions(found, folder / "predictions.json")
    return folder


def write_soft_labels_file(datalist_file: Path, path: Path) -> Path:
    """Write what soft_labels.json reads, for fold 0: even predictions by networks that saw neither image nor fold."""
    datalist = read_datalist(datalist_file)
    even = [1 / len(STUDY_CLASSES)] * len(STUDY_CLASSES)
    external = {image["image_id"]: even for image in datalist.get("external", {}).get("images", [])}
    predictions = []
    for fold in range(1, datalist["num_folds"]):
        own = {image["image_id"]: even for image in datalist["training"] if image["fold"] == fold}
        predictions.append(Prediction(f"net{fold}", (0, fold), "0" * 64, datalist["content_hash"], own | external))
    write_soft_labels(path, datalist, 0, predictions)
    return path


def stack(path: Path) -> list[Path]:
    """A config under all that it lies over, down to a whole one: what its _desc_ names ("Over ...:"), or train.json."""
    if path in WHOLE:
        return [path]
    named = re.match(r"Over (\S+\.json):", read_unless_broken(path).get("_desc_", ""))
    return [*stack(CONFIGS / named[1] if named else TRAIN), path]


def find_base(path: Path) -> Path:
    """The whole config at the bottom."""
    return stack(path)[0]


def merge(paths: list[Path]) -> dict[str, Any]:
    """Top-level parts, as MONAI's parser lays files over one another."""
    return {key: value for path in paths for key, value in read_json(path).items()}
