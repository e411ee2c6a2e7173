"""Runs for the tests of reports: predictions, trainings and explanations of synthetic images, made without networks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scripts.datalist import read_datalist
from scripts.explanations.pictures import GAP, HEAD, LINE, SMALLEST_WIDTH
from scripts.files import write_csv
from scripts.labels import STUDY_CLASSES
from scripts.outputs import write_mask, write_tables
from scripts.predictions import ImageFindings
from scripts.run_records import DONE, Record, write_record
from scripts.submission import write_submission

HEAT_COLOUR = (200, 40, 90)


def write_predicted_run(
    folder: Path, datalist_file: Path, skill: float, seed: int = 0, fold: int | None = None
) -> Path:
    """A run whose predictions are the better the higher `skill`; some boxes are those of the ground truth."""
    rng, findings = np.random.default_rng(seed), []
    for image in read_datalist(datalist_file)["training"]:
        if fold is not None and image["fold"] != fold:
            continue
        logits = rng.normal(0, 1, 4) + skill * np.eye(4)[image["label"]]
        probabilities = np.exp(logits) / np.exp(logits).sum()
        boxes = [tuple(map(float, box)) for box in image["boxes"]]
        findings.append(
            ImageFindings(
                image["image_id"],
                image["study_id"],
                dict(zip(STUDY_CLASSES, probabilities.tolist(), strict=True)),
                tuple(boxes),
                tuple(rng.uniform(0.5, 1, len(boxes)).tolist()),
                float(probabilities[0]),
                (2.0, 2.0, image["width"] - 2.0, image["height"] - 2.0),
                ("whole_image", "no_lungs") if rng.random() < 0.3 else (),
            )
        )
        mask = np.zeros((image["height"], image["width"]), dtype=np.uint8)
        mask[20:40, 30:50] = 1
        write_mask(mask, folder / "masks" / f"{image['image_id']}.png")
    write_tables(findings, folder)
    write_submission(findings, folder / "submission.csv")
    return folder


def write_trained_run(folder: Path, name: str = "baseline", **changes: Any) -> Path:
    """A training of three epochs with its record."""
    record = Record(
        name, "a description", "better", DONE, ("train.json",), {"epochs": "3"}, 0, 0, "ab" * 32, "0123456789ab",
        "a machine", "2026-01-02T03:04:05Z", 12.5, {"study_map": 0.4321, "train_loss": 1.0}, 1.1,
    )  # fmt: skip
    write_record(replace(record, **changes), folder)
    rows = [
        {"epoch": epoch, "train_loss": 3.0 / epoch, "validation_loss": 3.3 / epoch, "study_map": 0.2 * epoch}
        for epoch in (1, 2, 3)
    ]
    (folder / "history.json").write_text(json.dumps(rows))
    return folder


def write_explained_run(folder: Path, datalist_file: Path) -> Path:
    """Pictures as `draw_explanation` lays them out: the right panel is of one colour."""
    images = read_datalist(datalist_file)["training"]
    write_csv(folder / "explanations.csv", ["image_id"], [[image["image_id"]] for image in images])
    height = 400
    picture = Image.new("RGB", (3 * GAP + 2 * SMALLEST_WIDTH, HEAD + height + GAP + round(5.6 * LINE)))
    picture.paste(HEAT_COLOUR, (2 * GAP + SMALLEST_WIDTH, HEAD, 2 * GAP + 2 * SMALLEST_WIDTH, HEAD + height))
    (folder / "overlays").mkdir()
    for image in images:
        picture.save(folder / "overlays" / f"{image['image_id']}.png")
    return folder
