"""Signals are taken from the process and given back, in its main thread alone."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest
from scripts.signals import STOPPING, SignalListener


@pytest.fixture(autouse=True)
def _keep_handlers() -> Iterator[None]:
    kept = {each: signal.signal(each, signal.SIG_DFL) for each in STOPPING}
    yield
    for each, handler in kept.items():
        signal.signal(each, handler)


@pytest.mark.parametrize("sent", STOPPING)
def test_a_signal_is_received_until_it_is_restored(sent: signal.Signals):
    received: list[signal.Signals] = []
    listener = SignalListener(received.append)
    listener.listen()
    os.kill(os.getpid(), sent)
    assert received == [sent]
    listener.restore()
    assert all(signal.getsignal(each) is signal.SIG_DFL for each in STOPPING)


def test_what_is_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    received: list[signal.Signals] = []
    listener = SignalListener(received.append)
    listener.listen()
    os.kill(os.getpid(), signal.SIGINT)
    assert not received and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    listener.restore()


def test_what_it_raises_ends_what_the_main_thread_was_at():
    def stop(sent: signal.Signals) -> None:
        raise SystemExit(128 + sent)

    listener = SignalListener(stop)
    listener.listen()
    with pytest.raises(SystemExit, match="143"):
        os.kill(os.getpid(), signal.SIGTERM)
    listener.restore()


def test_another_thread_changes_nothing():
    listener = SignalListener(lambda sent: None)
    thread = threading.Thread(target=listener.listen)
    thread.start()
    thread.join()
    assert all(signal.getsignal(each) is signal.SIG_DFL for each in STOPPING)
    listener.restore()
