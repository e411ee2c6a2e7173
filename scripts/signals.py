"""Ctrl-C and SIGTERM are received, not obeyed at once: what is worked on is finished first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM)


class SignalListener:
    """Calls a function at SIGINT and SIGTERM, from `listen` to `restore`.

    Only a process's main thread can take signals: elsewhere nothing is changed. What is ignored, as a terminal's
    signals are under nohup, stays ignored.

    Args:
        receive: takes the signal; what it raises ends whatever the main thread was at.
    """

    def __init__(self, receive: Callable[[signal.Signals], None]) -> None:
        self._call = receive
        self._before: dict[signal.Signals, Any] = {}

    def listen(self) -> None:
        if threading.current_thread() is threading.main_thread():
            taken = [each for each in STOPPING if signal.getsignal(each) is not signal.SIG_IGN]
            self._before = {each: signal.signal(each, self._receive) for each in taken}

    def restore(self) -> None:
        """Give the signals back to whom they were taken from."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._call(signal.Signals(number))
