"""Stop by signal between two batches: Ctrl-C and SIGTERM wait until the batch that is worked on is on disk."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from scripts.signals import SignalListener


class StopSignals:
    """Ends the process with status 128 + the signal's number, 130 or 143; while `busy`, at the end of that block.

    A second signal ends it at once.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._busy = False
        self._listener = SignalListener(self._receive)

    def __enter__(self) -> StopSignals:
        self._listener.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.restore()

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

    def _receive(self, sent: signal.Signals) -> None:
        if not self._busy or self.received:
            logging.getLogger(__name__).warning("stopped by %s; the same command goes on", sent.name)
            raise SystemExit(128 + sent)
        self.received = sent
        logging.getLogger(__name__).warning("%s: stopping behind this batch; the same command goes on", sent.name)
