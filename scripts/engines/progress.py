"""Progress of a run: a bar on a terminal, and one line at the end with the rate."""

from __future__ import annotations

import logging
import time

from ignite.engine import Engine, Events
from tqdm import tqdm


class RunProgress:
    """Shows one bar over all epochs of a run, on terminals only, and logs at its end what was done and how fast.

    ignite's own bar begins anew with every epoch and leaves a line of each in a log file.

    Args:
        description: what the run does, such as "training".
    """

    def __init__(self, description: str) -> None:
        self.description = description
        self._bar: tqdm | None = None
        self._start, self._first = 0.0, 0

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._advance)
        engine.add_event_handler(Events.COMPLETED, self._end)

    def _begin(self, engine: Engine) -> None:
        length, epochs = engine.state.epoch_length, engine.state.max_epochs
        total = None if length is None else length * (epochs or 1)
        # disable=None: no bar where standard error is a file
        self._bar = tqdm(desc=self.description, total=total, unit="batch", disable=None, leave=False)
        self._start, self._first = time.monotonic(), engine.state.iteration
        self._bar.update(self._first)

    def _advance(self, engine: Engine) -> None:
        if self._bar is not None:
            self._bar.update()

    def _end(self, engine: Engine) -> None:
        if self._bar is not None:
            self._bar.close()
        batches, seconds = engine.state.iteration - self._first, time.monotonic() - self._start
        message = "%s: %d batches in %.1f s, %.2f batches/s"
        logging.getLogger(__name__).info(message, self.description, batches, seconds, batches / max(seconds, 1e-9))
