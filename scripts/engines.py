"""What MONAI's trainers and evaluators are given here: the batch's preparation, and handlers that MONAI lacks."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from monai.utils import convert_to_tensor
from torch.utils.tensorboard import SummaryWriter

from scripts.errors import InputError
from scripts.files import write_text
from scripts.processes import spread_buffers

#: What a loss, a metric or a writer may want to know of each film, beside its picture.
TARGET_KEYS: tuple[str, ...] = ("label", "mask", "boxes_known", "study_id", "image_id", "crop_box", "film_size")


def prepare_study_batch(
    batch: dict[str, Any], device: str | torch.device | None = None, non_blocking: bool = False, **kwargs: Any
) -> tuple[torch.Tensor, dict[str, Any]]:
    """Split a collated batch into the pictures (B, C, H, W) and a dictionary of whatever is known of them.

    Source: ignite's `prepare_batch` interface, as MONAI's engines call it.
    """
    # plain tensors: MetaTensor's bookkeeping made a training step on two CPU cores nearly twice as long
    plain = convert_to_tensor(batch, track_meta=False)
    image = plain["image"].to(device=device, non_blocking=non_blocking, **kwargs)
    targets = {key: plain[key] for key in TARGET_KEYS if key in plain}
    for key, value in targets.items():
        if isinstance(value, torch.Tensor):
            targets[key] = value.to(device=device, non_blocking=non_blocking)
    return image, targets


def prepare_box_batch(
    batch: list[dict[str, Any]], device: str | torch.device | None = None, non_blocking: bool = False, **kwargs: Any
) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    """Films of one size that were not collated, because each has its own number of boxes -> pictures and targets.

    Returns:
        Pictures (B, C, H, W), and for each film "boxes" (N, 4) in its pixels, "labels" (N,), zeros, "size", (height,
        width), "turn", the quarter turns that it was given, "image_id".
    """
    plain = convert_to_tensor(batch, track_meta=False)
    image = torch.stack([film["image"] for film in plain]).to(device=device, non_blocking=non_blocking, **kwargs)
    image = image.contiguous(memory_format=torch.channels_last)
    targets = []
    for film in plain:
        boxes = film["boxes"].to(device=device, non_blocking=non_blocking)
        labels = torch.zeros(len(boxes), dtype=torch.long, device=boxes.device)
        known = {"size": tuple(film["image"].shape[1:]), "turn": film.get("turn", 0), "image_id": film["image_id"]}
        targets.append({"boxes": boxes, "labels": labels, **known})
    return image, targets


def prepare_detection_batch(batch: list[dict[str, Any]], *args: Any, **kwargs: Any) -> tuple[Any, ...]:
    """As `prepare_box_batch`, with the targets as an argument of the network too: MONAI's detectors compute their loss.

    Source: the four parts (inputs, targets, args, kwargs) that MONAI's trainers pass on.
    """
    image, targets = prepare_box_batch(batch, *args, **kwargs)
    return image, targets, (targets,), {}


def examine_films(engine: Any, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One iteration over films of different sizes, which cannot be collated: a `FilmInferer` makes pictures of them.

    Source: `iteration_update` of MONAI's evaluators, with the events that their postprocessing waits for; set
    `decollate` to false, a list is what comes in and goes out.
    """
    plain = convert_to_tensor([film["image"] for film in batch], track_meta=False)
    with engine.mode(engine.network), torch.no_grad():
        found = engine.inferer(plain, engine.network, lung_boxes=[film.get("lung_box") for film in batch])
    engine.state.output = [{"pred": film} for film in found]
    engine.fire_event(IterationEvents.FORWARD_COMPLETED)
    engine.fire_event(IterationEvents.MODEL_COMPLETED)
    return engine.state.output


def select_logits_and_targets(output: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Engine output -> what the loss takes, for `ignite.metrics.Loss` inside validation."""
    return output["pred"], output["label"]


def select_study_probabilities(output: dict[str, Any]) -> dict[str, Any]:
    """Engine output -> probabilities (B, 4) with the ids and labels of their films, for the study metric."""
    targets = output["label"]
    return {
        "probabilities": output["pred"]["study"].detach().softmax(dim=1),
        "study_ids": list(targets["study_id"]),
        "image_ids": list(targets["image_id"]),
        "labels": targets["label"],
    }


def select_lung_boxes(output: dict[str, Any]) -> list[dict[str, Any]]:
    """Engine output of the lung detector -> for each film its true box and the one that was found, in pixels."""
    films = []
    for number, target in enumerate(output["label"]):
        height, width = target["size"]
        box = output["pred"]["box"][number : number + 1].detach().cpu() * torch.tensor([width, height, width, height])
        score = output["pred"]["lungs"][number : number + 1].detach().sigmoid()
        films.append({"image_id": target["image_id"], "boxes": box, "scores": score, "truth": target["boxes"]})
    return films


def select_opacity_boxes(output: dict[str, Any]) -> list[dict[str, Any]]:
    """Engine output of the opacity detector -> for each film its true boxes and those that were found, in pixels."""
    return [
        {"image_id": target["image_id"], "boxes": found["boxes"], "scores": found["scores"], "truth": target["boxes"]}
        for target, found in zip(output["label"], output["pred"], strict=True)
    ]


def select_mask_probabilities(output: dict[str, Any]) -> torch.Tensor:
    """Engine output -> mask probabilities (B, 1, H, W), for the pictures in TensorBoard."""
    return output["pred"]["mask"].detach().sigmoid()


def count_films(targets: dict[str, Any]) -> int:
    """Batch size of targets; `ignite.metrics.Loss` asks it to weight batches of different size."""
    return len(targets["label"])


class StopOnNonFiniteLoss:
    """Stops a training before the optimizer steps on a loss that is not finite: the last checkpoint stays good.

    Raises:
        InputError: naming the films of the batch.
    """

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        loss = engine.state.output["loss"]  # type: ignore[index]
        if not torch.isfinite(loss):
            films = ", ".join(_name_films(engine.state.batch))
            raise InputError(
                "a finite loss",
                f"{loss.item()} in epoch {engine.state.epoch}, iteration {engine.state.iteration}, films {films}",
                "look at these films, or lower the learning rate; the last checkpoint is good",
            )


def _name_films(batch: Any) -> list[str]:
    """Image ids of a batch, collated or not."""
    if isinstance(batch, list):
        return [str(film.get("image_id", "?")) for film in batch]
    return [str(name) for name in batch.get("image_id", ["?"])]


class HistoryRecorder:
    """Writes one row an epoch to `history.json`: mean training loss, validation metrics, learning rate, seconds.

    Args:
        evaluator: the engine whose metrics stand in the row, after it has run for the epoch.
        optimizer: whose learning rate is recorded.
        output_dir: where the file goes; it is replaced as a whole, never written in place.
        summary_writer: where the same numbers go as TensorBoard scalars, one tag each.
    """

    def __init__(
        self,
        evaluator: Engine,
        optimizer: torch.optim.Optimizer,
        output_dir: str | Path,
        summary_writer: SummaryWriter | None = None,
    ) -> None:
        self.evaluator, self.optimizer, self.summary_writer = evaluator, optimizer, summary_writer
        self.path = Path(output_dir) / "history.json"
        self.rows: list[dict[str, float]] = []
        self._losses: list[float] = []
        self._start = time.monotonic()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_loss)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write_row)

    def _start_epoch(self, engine: Engine) -> None:
        self._losses, self._start = [], time.monotonic()

    def _add_loss(self, engine: Engine) -> None:
        self._losses.append(engine.state.output["loss"].item())  # type: ignore[index]

    def _write_row(self, engine: Engine) -> None:
        validated = self.evaluator.state.epoch == engine.state.epoch  # else its metrics are an earlier epoch's
        metrics = {k: float(v) for k, v in self.evaluator.state.metrics.items()} if validated else {}
        row = {
            "epoch": engine.state.epoch,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "train_loss": math.fsum(self._losses) / max(1, len(self._losses)),
        }
        self.rows.append({**row, **metrics, "seconds": round(time.monotonic() - self._start, 1)})
        write_text(self.path, json.dumps(self.rows, indent=1) + "\n")
        if self.summary_writer is not None:
            for name, value in self.rows[-1].items():
                self.summary_writer.add_scalar(name, value, engine.state.epoch)


class BuffersFromFirstProcess:
    """Before a validation by several processes: all take the first one's running statistics, and judge by one network.

    Args:
        network: whose buffers they are; each process saw other films, and batch norm on a CPU keeps to its own.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        self.network = network

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        spread_buffers(self.network)


class PictureBoard:
    """Shows films in TensorBoard: a row each of input, mask and predicted mask, from the first batch of a validation.

    Args:
        summary_writer: where the pictures go.
        num_films: rows; films with opacities come first.
    """

    def __init__(self, summary_writer: SummaryWriter, num_films: int = 6) -> None:
        self.summary_writer, self.num_films = summary_writer, num_films

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=1), self)

    def __call__(self, engine: Engine) -> None:
        output = engine.state.output
        if "mask" not in output["pred"]:  # type: ignore[index]
            return
        columns = [output["image"], output["label"]["mask"], select_mask_probabilities(output)]  # type: ignore[index,arg-type]
        order = columns[1].flatten(1).any(dim=1).int().argsort(descending=True, stable=True)[: self.num_films]
        rows = torch.cat([column[order].float().cpu() for column in columns], dim=3)
        self.summary_writer.add_images("film, mask, prediction", rows, engine.state.epoch)
