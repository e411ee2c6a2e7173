"""Handlers that MONAI lacks: history, buffers of several processes."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from scripts.engines.tracking import name_tag
from scripts.files import write_text
from scripts.processes import broadcast_buffers
from torch.utils.tensorboard import SummaryWriter


class EnabledHandlers:
    """Several handlers as one: those that a config disabled, or left open with null, are passed over.

    MONAI drops a disabled component from a list, but not a reference to one; and MONAI Label wants each entry of
    `train#handlers` to be a dictionary.

    Args:
        handlers: attached in this order.
    """

    def __init__(self, handlers: Sequence[Any]) -> None:
        self.handlers = [handler for handler in handlers if handler is not None]

    def attach(self, engine: Engine) -> None:
        for handler in self.handlers:
            handler.attach(engine)


class HistoryRecorder:
    """Writes one row an epoch to `history.json`: mean training loss, validation metrics, learning rate, seconds.

    Args:
        evaluator: the engine whose metrics stand in the row, after it has run for the epoch.
        optimizer: whose learning rate is recorded.
        output_dir: where the file goes; it is replaced as a whole, never written in place.
        summary_writer: where the same numbers go as TensorBoard scalars, tagged by `name_tag`.
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
        self._losses: list[torch.Tensor] = []
        self._start = time.monotonic()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_loss)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write_row)

    def state_dict(self) -> dict[str, Any]:
        """Rows of the epochs so far, for a checkpoint."""
        return {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind the rows of a checkpoint."""
        self.rows = [dict(row) for row in state["rows"]]

    def _start_epoch(self, engine: Engine) -> None:
        self._losses, self._start = [], time.monotonic()

    def _add_loss(self, engine: Engine) -> None:
        # as it is, on its device: reading it would wait for the step
        self._losses.append(engine.state.output["loss"].detach())  # type: ignore[index]

    def _write_row(self, engine: Engine) -> None:
        validated = self.evaluator.state.epoch == engine.state.epoch  # else its metrics are an earlier epoch's
        metrics = {k: float(v) for k, v in self.evaluator.state.metrics.items()} if validated else {}
        losses = torch.stack(self._losses).tolist() if self._losses else []
        row = {
            "epoch": engine.state.epoch,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "train_loss": math.fsum(losses) / max(1, len(losses)),
        }
        self.rows.append({**row, **metrics, "seconds": round(time.monotonic() - self._start, 1)})
        write_text(self.path, json.dumps(self.rows, indent=1) + "\n")
        if self.summary_writer is not None:
            for name, value in self.rows[-1].items():
                self.summary_writer.add_scalar(name_tag(name), value, engine.state.epoch)


class BuffersFromFirstProcess:
    """Before a validation by several processes: all take the first one's running statistics, and evaluate one network.

    Args:
        network: whose buffers they are; each process saw other images, and batch norm on a CPU keeps to its own.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        self.network = network

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        broadcast_buffers(self.network)
