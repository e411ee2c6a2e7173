"""A training stops before harm is done: on a loss that is not finite, and after the iteration on a signal."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from scripts.errors import InputError, Stopped


class StopOnNonFiniteLoss:
    """Stops a training before the optimizer steps on a loss that is not finite: the last checkpoint stays good.

    Raises:
        InputError: naming the images of the batch.
    """

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        loss = engine.state.output["loss"]  # type: ignore[index]
        if not torch.isfinite(loss):
            images = ", ".join(_name_images(engine.state.batch))
            raise InputError(
                "a finite loss",
                f"{loss.item()} in epoch {engine.state.epoch}, iteration {engine.state.iteration}, images {images}",
                "look at these images, or lower the learning rate; the last checkpoint is good",
            )


class StopOnSignal:
    """Stops an engine after the iteration in which SIGTERM or SIGINT came; a second one stops it at once.

    Only in the main thread of a process: elsewhere signals are somebody else's.

    Raises:
        Stopped: whose exit status is 128 + the signal's number, as a shell has it.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._listen)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._stop)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._stop)
        engine.add_event_handler(Events.COMPLETED, self._restore)

    def _listen(self, engine: Engine) -> None:
        if threading.current_thread() is threading.main_thread():
            self.received = None
            # what is ignored, as a terminal's signals are under nohup, stays ignored
            taken = [each for each in self.SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
            self._before = {each: signal.signal(each, self._receive) for each in taken}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self._restore()

    def _stop(self, engine: Engine) -> None:
        if self.received is not None:
            epoch, iteration = engine.state.epoch, engine.state.iteration
            message = "stopped by %s in epoch %d, iteration %d; what was finished before is kept"
            logging.getLogger(__name__).warning(message, self.received.name, epoch, iteration)
            raise Stopped(self.received.name, 128 + self.received)

    def _restore(self, engine: Engine | None = None) -> None:
        while self._before:
            signal.signal(*self._before.popitem())


def _name_images(batch: Any) -> list[str]:
    """Image ids of a batch, collated or not."""
    if isinstance(batch, list):
        return [str(image.get("image_id", "?")) for image in batch]
    return [str(name) for name in batch.get("image_id", ["?"])]
