"""Stop by signal between two batches: Ctrl-C and SIGTERM wait until the batch that is worked on is on disk."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Ends the process with status 128 + the signal's number, 130 or 143; while `busy`, at the end of that block.

    A second signal ends it at once. Only a process's main thread can take signals: elsewhere nothing is changed.
    """

    def __init__(self) -> None:
        self.received = 0
        self._busy = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            # a signal that is ignored, as those of a terminal are under nohup, stays ignored
            taken = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
            self._before = {each: signal.signal(each, self._receive) for each in taken}
        return self

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            for each, handler in self._before.items():
                signal.signal(each, handler)
        self._before = {}

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Let signals wait for the end of this block.

        Raises:
            SystemExit: at its end, where one came.
        """
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
        if self.received:
            raise SystemExit(128 + self.received)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if not self._busy or self.received:
            logging.getLogger(__name__).warning("stopped by %s; the same command goes on", name)
            raise SystemExit(128 + number)
        self.received = number
        logging.getLogger(__name__).warning("%s: stopping behind this batch; the same command goes on", name)
