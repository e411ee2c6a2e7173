"""How sure a film's label is and how much the film counts, put back after the preparation, which drops both.

The preparation is cached by what it reads and does; what a training thinks of a film is no part of that, so that one
cache serves trainings with and without it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Transform

from scripts.errors import InputError
from scripts.labels import STUDY_CLASSES

#: Share of each study class (C,), and how much a film counts (scalar); a film without them is sure, and counts once.
SOFT_LABEL, WEIGHT = "soft_label", "weight"


class AttachTargets(Transform):
    """Give each prepared film `soft_label` (C,) and `weight` (scalar), both float32, by its `image_id`.

    All films get both, so that sure and unsure ones can stand in one batch.

    Args:
        films: the films that were prepared, as a datalist's source gives them. "soft_label", C shares that sum to 1,
            and "weight", not negative, are optional: without them it is the class index "label" alone, and 1.

    Raises:
        InputError: where a soft label or a weight is none.
    """

    def __init__(self, films: Sequence[Mapping[str, Any]]) -> None:
        self.targets = {
            film["image_id"]: {SOFT_LABEL: _read_shares(film), WEIGHT: _read_weight(film)} for film in films
        }

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        return {**data, **self.targets[data["image_id"]]}


class WeighByStudy(AttachTargets):
    """Each film counts 1 / films of its study: a study counts once, however many films it has.

    Args:
        films: as for `AttachTargets`; a weight that a film brings is divided.
    """

    def __init__(self, films: Sequence[Mapping[str, Any]]) -> None:
        counts = Counter(film["study_id"] for film in films)
        super().__init__([{**film, WEIGHT: film.get(WEIGHT, 1.0) / counts[film["study_id"]]} for film in films])


class WeighMistakes(AttachTargets):
    """Films that a first, short training gets wrong count `factor` times: Just Train Twice.

    Args:
        films: as for `AttachTargets`; a weight that a film brings is multiplied.
        predictions_file: predictions.json of the first training, evaluated on the films that it was trained on.
        factor: the paper tries 2 to 100 and chooses on a validation set.

    Raises:
        InputError: where the file is absent, is none of predictions, or lacks a film.

    Source: Liu et al. 2021, arXiv:2107.09044.
    """

    def __init__(self, films: Sequence[Mapping[str, Any]], predictions_file: str | Path, factor: float = 5.0) -> None:
        guesses = _read_guesses(Path(predictions_file))
        missing = [film["image_id"] for film in films if film["image_id"] not in guesses]
        if missing:
            found = f"{len(films) - len(missing)} in {predictions_file}, without {missing[0]}"
            raise InputError(f"predictions of all {len(films)} training films", found, _ADVICE)
        wrong = {film["image_id"] for film in films if guesses[film["image_id"]] != int(film["label"])}
        factors = {image_id: factor if image_id in wrong else 1.0 for image_id in guesses}
        super().__init__([{**film, WEIGHT: film.get(WEIGHT, 1.0) * factors[film["image_id"]]} for film in films])


_ADVICE = "train the first run and evaluate it on its training films, as just_train_twice.json says"


def _read_guesses(path: Path) -> dict[str, int]:
    """The likeliest class of each film."""
    try:
        films = json.loads(path.read_text(encoding="utf-8"))["films"]
        shares = {film["image_id"]: [film["probabilities"][name] for name in STUDY_CLASSES] for film in films}
        return {image_id: row.index(max(row)) for image_id, row in shares.items()}
    except OSError:
        raise InputError("a first run's predictions.json", f"none at {path}", _ADVICE) from None
    except (ValueError, KeyError, TypeError):
        raise InputError("a first run's predictions.json", f"another file at {path}", _ADVICE) from None


def _read_shares(film: Mapping[str, Any]) -> torch.Tensor:
    if film.get(SOFT_LABEL) is None:
        return torch.eye(len(STUDY_CLASSES))[int(film["label"])]
    shares = torch.as_tensor(film[SOFT_LABEL], dtype=torch.float32)
    if shares.shape != (len(STUDY_CLASSES),) or not (shares >= 0).all() or abs(shares.sum().item() - 1) > 1e-3:
        expected = f"{len(STUDY_CLASSES)} shares that sum to 1 as soft_label"
        raise InputError(expected, f"{shares.tolist()} of film {film['image_id']}", "correct it")
    return shares


def _read_weight(film: Mapping[str, Any]) -> torch.Tensor:
    weight = torch.tensor(float(film.get(WEIGHT, 1.0)))
    if not torch.isfinite(weight) or weight < 0:
        raise InputError("a weight from 0 on", f"{weight.item()} of film {film['image_id']}", "correct it")
    return weight
