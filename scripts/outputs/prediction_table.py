"""Table of one network's predictions: a JSON file that later trainings build on.

Keys: `name`, `held_out`, `weights_sha256` and `datalist_hash` of the network, and `images`, image id -> `study_id` and
`probabilities` (4 numbers), or `boxes` in pixels of the original image and `scores`, best first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from scripts.datalist import list_folds, read_datalist_hash
from scripts.errors import InputError
from scripts.files import compute_sha256, write_text


class PredictionTable:
    """Handler of an evaluator: collects what `select` takes of each batch, and writes `path` when all are predicted.

    Args:
        path: the file.
        select: output of the engine -> image id -> what is predicted of it.
        weights: file of the network's weights.
        datalist_file: of the images that it was trained on.
        fold: the fold or folds that it never saw.
        name: of its training.
    """

    def __init__(
        self,
        path: str | Path,
        select: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        weights: str | Path,
        datalist_file: str | Path,
        fold: int | Sequence[int] | None,
        name: str = "",
    ) -> None:
        self.path, self.select, self.name = Path(path), select, name
        self.weights, self.datalist_file = Path(weights), Path(datalist_file)
        self.held_out = list(list_folds(fold))
        self.images: dict[str, Any] = {}

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _collect(self, engine: Engine) -> None:
        self.images.update(self.select(engine.state.output))  # type: ignore[arg-type]

    def _write(self, engine: Engine) -> None:
        content = {
            "name": self.name or self.weights.parent.name,
            "held_out": self.held_out,
            "weights_sha256": compute_sha256(self.weights),
            "datalist_hash": read_datalist_hash(self.datalist_file),
            "images": self.images,
        }
        write_text(self.path, json.dumps(content) + "\n")


def read_prediction_table(path: str | Path) -> dict[str, Any]:
    """Read what a `PredictionTable` wrote.

    Raises:
        InputError: where the file is absent or something else.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if not {"name", "held_out", "weights_sha256", "datalist_hash", "images"} <= set(content):
            raise ValueError("keys are missing")
    except OSError as error:
        raise InputError("a table of predictions", f"none at {path} ({error.strerror})", "predict again") from None
    except (ValueError, TypeError):
        raise InputError("a table of predictions", f"another content at {path}", "predict again") from None
    return content
