"""Experiment tracking: what TensorBoard and MLflow show of a training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.handlers import MLFlowHandler
from scripts.engines.selections import select_loss, select_mask_probabilities
from scripts.labels import STUDY_CLASSES, UNKNOWN_CLASS
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

#: Tags of what stands in a row of history.json and is no score; TensorBoard sorts by name and groups before the slash.
TAGS = {
    "train_loss": "loss/train",
    "validation_loss": "loss/validation",
    "epoch": "run/epoch",
    "learning_rate": "run/learning_rate",
    "seconds": "run/seconds",
}

#: Files of the output folder that MLflow keeps, beside the config that was run.
ARTIFACTS = ("history.json", "record.json")


def name_tag(name: str) -> str:
    """TensorBoard's tag of a number in history.json: losses, scores and the run's own numbers stand in groups."""
    return TAGS.get(name, f"score/{name}")


class TensorBoardImages:
    """Shows images in TensorBoard: a row each of input, mask and predicted mask, from the first batch of a validation.

    Args:
        summary_writer: where the pictures go.
        num_images: rows; images with opacities come first.
    """

    def __init__(self, summary_writer: SummaryWriter, num_images: int = 6) -> None:
        self.summary_writer, self.num_images = summary_writer, num_images

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=1), self)

    def __call__(self, engine: Engine) -> None:
        output = engine.state.output
        if "mask" not in output["pred"]:  # type: ignore[index]
            return
        columns = [output["image"], output["label"]["mask"], select_mask_probabilities(output)]  # type: ignore[index,arg-type]
        order = columns[1].flatten(1).any(dim=1).int().argsort(descending=True, stable=True)[: self.num_images]
        rows = torch.cat([column[order].float().cpu() for column in columns], dim=3)
        self.summary_writer.add_images("pictures/image, mask, prediction", rows, engine.state.epoch)


class TensorBoardCurves:
    """Shows the precision-recall curve of each study class in TensorBoard after every validation.

    A study's probability is the mean over its images, as it is scored. Of several processes the first shows its images.

    Args:
        summary_writer: where the curves go.
        output_transform: engine output -> `probabilities` (B, 4), `labels` (B,) and `study_ids`.
    """

    def __init__(self, summary_writer: SummaryWriter, output_transform: Callable[[Any], Mapping[str, Any]]) -> None:
        self.summary_writer, self.output_transform = summary_writer, output_transform
        self._rows: dict[str, list[torch.Tensor]] = defaultdict(list)
        self._labels: dict[str, int] = {}

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_batch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write_curves)

    def _begin(self) -> None:
        self._rows.clear()
        self._labels.clear()

    def _add_batch(self, engine: Engine) -> None:
        found = self.output_transform(engine.state.output)
        rows = found["probabilities"].float().cpu()
        for study, label, row in zip(found["study_ids"], found["labels"], rows, strict=True):
            if int(label) != UNKNOWN_CLASS:
                self._rows[study].append(row)
                self._labels[study] = int(label)

    def _write_curves(self, engine: Engine) -> None:
        if not self._rows:
            return
        probabilities = torch.stack([torch.stack(rows).mean(dim=0) for rows in self._rows.values()])
        labels = torch.tensor([self._labels[study] for study in self._rows])
        for number, name in enumerate(STUDY_CLASSES):
            tag = f"precision_recall/{name}"
            self.summary_writer.add_pr_curve(tag, labels == number, probabilities[:, number], engine.state.epoch)


class TensorBoardSettings:
    """Shows a training's settings in TensorBoard's table of hyper-parameters, beside the score of `metric`.

    `SummaryWriter.add_hparams` would make a run of its own of them, apart from the curves.

    Args:
        summary_writer: where they go.
        settings: values by name.
        metric: name of the score in history.json.
    """

    def __init__(self, summary_writer: SummaryWriter, settings: Mapping[str, Any], metric: str) -> None:
        self.summary_writer = summary_writer
        self.begin, self.session, self.end = hparams(simplify_settings(settings), {name_tag(metric): 0.0})

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._write, [self.begin, self.session])
        engine.add_event_handler(Events.COMPLETED, self._write, [self.end])

    def _write(self, summaries: Sequence[Any]) -> None:
        for summary in summaries:
            self.summary_writer._get_file_writer().add_summary(summary)


def simplify_settings(settings: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Settings as TensorBoard takes them: numbers and texts; anything else becomes a text."""
    return {
        name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in settings.items()
    }


def complete_tracking(handlers: Sequence[Any], settings: Mapping[str, Any], output_dir: str | Path) -> list[Any]:
    """Tell those of a trainer's handlers that are MLflow's what MONAI's default tracking does not know.

    `--tracking mlflow` adds a handler that takes the loss from a list of images, where this trainer has a batch; that
    keeps two parameters only; and that finds the config that was run only where `output_dir` is an expression.

    Args:
        handlers: of the trainer, with or without one of MLflow.
        settings: parameters of the run.
        output_dir: whose config, history and record become artifacts.

    Returns:
        The handlers of MLflow.
    """
    found = [handler for handler in handlers if isinstance(handler, MLFlowHandler)]
    for handler in found:
        handler.output_transform = select_loss
        handler.experiment_param = dict(settings)
        ran = sorted(Path(output_dir).glob("config_*.json"))[-1:]
        handler.artifacts = tuple(map(str, [*ran, *(Path(output_dir) / name for name in ARTIFACTS)]))
    return found
