"""Handler that writes explanations: pictures image by image, then the tables and the summary."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ignite.engine import Engine, Events
from scripts.explanations.corners import CHANGES
from scripts.explanations.maps import TITLES
from scripts.explanations.pictures import draw_explanation
from scripts.explanations.records import ExplainedImage
from scripts.explanations.summary import describe_summary, list_image_figures, summarise_explanations
from scripts.files import check_file_name, compute_sha256, replace_undefined, write_csv, write_text
from scripts.labels import STUDY_CLASSES

SUMMARY = "summary.json"


class ExplanationsWriter:
    """Writes overlays/, explanations.csv, corners.csv, summary.txt, and last summary.json.

    Args:
        output_dir: where everything goes.
        overlays: how many images get a picture; -1: all.
        weights: file of the weights that were used, for the record.
        method, explained: as given to the `ImageExplainer`, for titles.
        num_resamples: bootstrap resamples of patients behind each interval.

    The engine's output is a list of `ExplainedImage`.

    Raises:
        InputError: where an image id cannot be a file's name.
    """

    def __init__(
        self,
        output_dir: str | Path,
        overlays: int = 24,
        weights: str | Path | None = None,
        method: str = "grad_cam",
        explained: str = "predicted",
        num_resamples: int = 1000,
    ) -> None:
        self.output_dir, self.overlays, self.weights = Path(output_dir), overlays, weights
        self.method, self.explained, self.num_resamples = method, explained, num_resamples
        self.images: list[ExplainedImage] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_images)
        engine.add_event_handler(Events.COMPLETED, self._write_tables)

    def _start(self, engine: Engine) -> None:
        self.images = []
        (self.output_dir / SUMMARY).unlink(missing_ok=True)

    def _add_images(self, engine: Engine) -> None:
        for image in engine.state.output:  # type: ignore[union-attr]
            name = f"{image.image_id}.png"
            check_file_name(name)
            if self.overlays < 0 or len(self.images) < self.overlays:
                draw_explanation(image, self.output_dir / "overlays" / name, TITLES[self.method])
            self.images.append(image.drop_pictures())

    def _write_tables(self, engine: Engine) -> None:
        _write_explanations(self.images, self.output_dir / "explanations.csv")
        _write_corners(self.images, self.output_dir / "corners.csv")
        summary = summarise_explanations(self.images, self.num_resamples)
        named = f"{self.explained} class" if self.explained in ("predicted", "label") else f"class {self.explained}"
        text = describe_summary(summary, f"{TITLES[self.method]} of the {named}")
        write_text(self.output_dir / "summary.txt", text + "\n")
        record = {
            "method": self.method,
            "explained": self.explained,
            "weights_sha256": compute_sha256(self.weights) if self.weights else None,
            **replace_undefined(asdict(summary)),
        }
        write_text(self.output_dir / SUMMARY, json.dumps(record, indent=1) + "\n")
        logging.getLogger(__name__).info("%s\nwrote explanations to %s", text, self.output_dir)


def _write_explanations(images: Sequence[ExplainedImage], path: Path) -> None:
    """A row an image: ids, classes, probabilities, then fractions, pointing and how much of the corners is seen."""
    figures = [{**image.probabilities, **list_image_figures(image)} for image in images]
    rows = [
        [image.image_id, image.study_id, image.label, image.explained, *map(_round, row.values())]
        for image, row in zip(images, figures, strict=True)
    ]
    write_csv(path, ["image_id", "study_id", "label", "explained", *figures[0]], rows)


def _write_corners(images: Sequence[ExplainedImage], path: Path) -> None:
    """A row an image and change: how far the prediction moves, and the prediction."""
    rows = []
    for image in images:
        for change in CHANGES:
            measured, prediction = image.measure_change(change), image.predictions[change]
            figures = [measured.mean, measured.largest, *prediction.values(), image.corners_seen]
            rows.append([image.image_id, image.study_id, change, measured.top, *map(_round, figures)])
    header = ["image_id", "study_id", "corners", "top", "mean_change", "largest_change", *STUDY_CLASSES, "corners_seen"]
    write_csv(path, header, rows)


def _round(value: float) -> float | str:
    """Six places; nothing where a figure does not apply."""
    return "" if math.isnan(value) else round(value, 6)
