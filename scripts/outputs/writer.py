"""The handler that turns an evaluator's findings into files."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events

from scripts.errors import InputError
from scripts.files import compute_sha256, write_text
from scripts.outputs.pictures import draw_overlay, write_mask
from scripts.outputs.records import FilmFindings
from scripts.outputs.submission import write_submission
from scripts.outputs.tables import write_tables
from scripts.radiographs import read_radiograph

DONE = "done.json"


class FindingsWriter:
    """Writes masks and overlays film by film, then the tables and the submission, and last a record that all is there.

    Args:
        output_dir: where everything goes: masks/, overlays/, films.csv, studies.csv, predictions.json, submission.csv,
            done.json.
        overlays: how many films get an overlay; -1: all.
        weights: file of the weights that were used, for the record.
        reader_options: options of `read_radiograph`, as the loading transform has them.

    The engine's output is a list of items (`decollate` is on) with "pred", the mask `(1, H, W)` in the film's frame,
    and "result"; its batch has `image_id`, `study_id` and `path`.
    """

    def __init__(
        self,
        output_dir: str | Path,
        overlays: int = -1,
        weights: str | Path | None = None,
        reader_options: dict[str, Any] | None = None,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.overlays = overlays
        self.weights = weights
        self.reader_options = reader_options or {}
        self.films: dict[str, FilmFindings] = {}

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._write_films)
        engine.add_event_handler(Events.COMPLETED, self._write_tables)

    def _start(self, engine: Engine) -> None:
        self.films = {}
        (self.output_dir / DONE).unlink(missing_ok=True)

    def _write_films(self, engine: Engine) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):  # type: ignore[call-overload]
            film = FilmFindings.from_result(item["image_id"], item["study_id"], output["result"])
            _check_file_name(f"{film.image_id}.png")
            self.films[film.image_id] = film
            self._write_pictures(film, np.asarray(output["pred"][0]), item["path"])

    def _write_pictures(self, film: FilmFindings, mask: np.ndarray, path: str) -> None:
        write_mask(mask, self.output_dir / "masks" / f"{film.image_id}.png")
        if self.overlays < 0 or len(self.films) <= self.overlays:
            pixels = read_radiograph(path, **self.reader_options).pixels[0]
            draw_overlay(pixels, mask, film, self.output_dir / "overlays" / f"{film.image_id}.png")

    def _write_tables(self, engine: Engine) -> None:
        films = list(self.films.values())
        write_tables(films, self.output_dir)
        write_submission(films, self.output_dir / "submission.csv")
        record = {
            "films": len(films),
            "studies": len({film.study_id for film in films}),
            "weights_sha256": compute_sha256(self.weights) if self.weights else None,
        }
        write_text(self.output_dir / DONE, json.dumps(record, indent=1) + "\n")
        logging.getLogger(__name__).info("wrote the findings of %d films to %s", len(films), self.output_dir)


def _check_file_name(name: str) -> None:
    if Path(name).name != name:
        raise InputError("an image id that can be a file's name", repr(name[:80]), "prepare the datalist again")
