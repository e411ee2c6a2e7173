"""A step of training on the CPU: MONAI's engine with this bundle's handlers, and a bare loop.

Both train the classifier of train.json (EfficientNetV2-B0 with its mask decoder) at 224 px in batches of 16, on the
same prepared and augmented batches (stacked.json), with the same loss, optimizer and schedule, an epoch in turn. The
engine's time is from the first iteration's start to the last one's end: validation and checkpoints are left out.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from scripts.preparation import prepare
from scripts.synthetic import generate_tree

from benchmarks.speed.comparison import Comparison

STUDIES, SIZE, BATCH, EPOCHS, ENCODER = 220, 224, 16, 5, "tf_efficientnetv2_b0"
CONFIGS = ["bundle/configs/train.json", "bundle/configs/stacked.json"]


def measure(folder: Path) -> list[Comparison]:
    """Compare the engine with a bare loop, an epoch of each in turn; the first ones warm up."""
    tree, prepared = folder / "images", folder / "prepared"
    if not tree.is_dir():
        generate_tree(tree, STUDIES, 1, 256, compact=True)
    if not prepared.is_dir():
        prepare(tree, prepared)
    parser = build_parser(tree, prepared / "datalist.json", folder)
    trainer, twin = parser.get_parsed_content("train#trainer"), build_twin(tree, prepared / "datalist.json", folder)
    ours: list[float] = []
    theirs: list[float] = []
    start = 0.0

    def begin(engine: Any) -> None:
        nonlocal start
        if (engine.state.iteration - 1) % engine.state.epoch_length == 0:
            start = time.perf_counter()

    def end(engine: Any) -> None:
        if engine.state.iteration % engine.state.epoch_length == 0:
            ours.append(time.perf_counter() - start)
            theirs.append(twin())

    trainer.add_event_handler(Events.ITERATION_STARTED, begin)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, end)
    trainer.run()
    count = trainer.state.epoch_length * BATCH
    what = f"train on {count} images, EfficientNetV2-B0 with decoder, {SIZE} px"
    return [Comparison(what, "a bare loop of the same network", ours[1:], theirs[1:], ">= 0.95", "images", count)]


def build_parser(tree: Path, datalist: Path, folder: Path) -> ConfigParser:
    """The training of the shipped configs, without validation."""
    parser = ConfigParser()
    parser.read_config(CONFIGS)
    parser.read_meta("bundle/configs/metadata.json")
    parser.update(
        {
            "dataset_dir": str(tree),
            "datalist_file": str(datalist),
            "output_dir": str(folder / "training"),
            "cache_dir": str(folder / "cache"),
            "device": "$torch.device('cpu')",
            "precision": "float32",
            "encoder": ENCODER,
            "image_size": SIZE,
            "batch_size": BATCH,
            "epochs": EPOCHS + 1,
            "val_interval": EPOCHS + 2,
            "replace": True,
        }
    )
    parser.get_parsed_content("output_folder")
    return parser


def build_twin(tree: Path, datalist: Path, folder: Path) -> Any:
    """A bare loop over an epoch: the seconds that it takes, from its first batch's arrival on as the engine's."""
    parser = build_parser(tree, datalist, folder / "twin")
    network, loss = parser.get_parsed_content("network"), parser.get_parsed_content("loss")
    optimizer, schedule = parser.get_parsed_content("optimizer"), parser.get_parsed_content("lr_scheduler")
    loader, split = parser.get_parsed_content("train#dataloader"), parser.get_parsed_content("prepare_batch")

    def run_epoch() -> float:
        network.train()
        batches = iter(loader)
        batch = next(batches, None)
        start = time.perf_counter()
        while batch is not None:
            images, targets = split(batch, torch.device("cpu"))
            optimizer.zero_grad()
            loss(network(images), targets).backward()
            optimizer.step()
            schedule.step()
            batch = next(batches, None)
        return time.perf_counter() - start

    return run_epoch
