"""A training stops before harm is done: on a loss that is not finite, and after the iteration on a signal."""

from __future__ import annotations

import logging
import math
import signal
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from scripts.errors import InputError, Stopped
from scripts.processes import take_largest
from scripts.signals import SignalListener


class StopOnNonFiniteLoss:
    """Stops a training before the optimizer steps on a loss that is not finite: the last checkpoint stays good.

    To look at a loss is to wait for the device. With an interval above 1 the losses stay there until they are looked at
    together; from the first one on that is not finite the optimizer leaves weights and its own state as they are, by
    the flag through which torch's gradient scaler lets a fused optimizer pass over a step.

    Args:
        optimizer: of the training. Where it is not a fused one, each loss is looked at before its step.
        interval: iterations from look to look; the end of an epoch is one too, before anything is validated or kept.

    Raises:
        InputError: naming the images of the first such batch.
    """

    def __init__(self, optimizer: torch.optim.Optimizer | None = None, interval: int = 1) -> None:
        self.optimizer, self.interval = optimizer, interval
        self._waiting: list[tuple[torch.Tensor, int, list[str]]] = []
        self._flag: torch.Tensor | None = None

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._look)

    def __call__(self, engine: Engine) -> None:
        loss = engine.state.output["loss"].detach()  # type: ignore[index]
        self._waiting.append((loss, engine.state.iteration, _name_images(engine.state.batch)))
        if not self._can_wait():
            self._look(engine)
            return
        self._raise_flag(loss)
        if len(self._waiting) >= self.interval:
            self._look(engine)

    def _can_wait(self) -> bool:
        """Report whether the optimizer knows the flag; a checkpoint may have brought other settings into its groups."""
        groups = self.optimizer.param_groups if self.optimizer is not None else []
        return self.interval > 1 and bool(groups) and all(group.get("fused") for group in groups)

    def _raise_flag(self, loss: torch.Tensor) -> None:
        if self._flag is None:
            self._flag = torch.zeros((), device=loss.device)
        self._flag = torch.maximum(self._flag, (~torch.isfinite(loss)).float())
        take_largest(self._flag)  # the gradients of one process are those of all
        self.optimizer.found_inf = self._flag  # type: ignore[union-attr]

    def _look(self, engine: Engine) -> None:
        waiting, self._waiting = self._waiting, []
        raised = self._flag is not None and bool(self._flag)
        losses = torch.stack([loss for loss, _, _ in waiting]).tolist() if waiting else []
        for loss, (_, iteration, images) in zip(losses, waiting, strict=True):
            if not math.isfinite(loss):
                where = f"in epoch {engine.state.epoch}, iteration {iteration}, images {', '.join(images)}"
                self._stop(f"{loss} {where}")
        if raised:
            self._stop(f"another one in another process, up to epoch {engine.state.epoch}")

    def _stop(self, found: str) -> None:
        self._flag = None
        if hasattr(self.optimizer, "found_inf"):
            del self.optimizer.found_inf  # type: ignore[union-attr]
        advice = "look at these images, or lower the learning rate; the last checkpoint is good"
        raise InputError("a finite loss", found, advice)


class StopOnSignal:
    """Stops an engine after the iteration in which SIGTERM or SIGINT came; a second one stops it at once.

    Raises:
        Stopped: whose exit status is 128 + the signal's number, as a shell has it.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._listener = SignalListener(self._receive)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._listen)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._stop)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._stop)
        engine.add_event_handler(Events.COMPLETED, self._restore)

    def _listen(self, engine: Engine) -> None:
        self.received = None
        self._listener.listen()

    def _receive(self, sent: signal.Signals) -> None:
        self.received = sent
        self._listener.restore()

    def _stop(self, engine: Engine) -> None:
        if self.received is not None:
            epoch, iteration = engine.state.epoch, engine.state.iteration
            message = "stopped by %s in epoch %d, iteration %d; what was finished before is kept"
            logging.getLogger(__name__).warning(message, self.received.name, epoch, iteration)
            raise Stopped(self.received.name, 128 + self.received)

    def _restore(self, engine: Engine) -> None:
        self._listener.restore()


def _name_images(batch: Any) -> list[str]:
    """Image ids of a batch, collated or not."""
    if isinstance(batch, list):
        return [str(image.get("image_id", "?")) for image in batch]
    return [str(name) for name in batch.get("image_id", ["?"])]
