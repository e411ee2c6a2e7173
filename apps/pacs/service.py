"""The service: receiver, watcher, scoring and sending, each in a thread of its own, on one queue."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator

from scripts.errors import InputError
from scripts.output_folders import claim_folder

from apps.pacs.admission import Archive
from apps.pacs.configuration import Configuration
from apps.pacs.page import start_page
from apps.pacs.queue import Queue
from apps.pacs.receiver import Server, start_receiver
from apps.pacs.scoring import Scorer
from apps.pacs.sender import Sender
from apps.pacs.watcher import Watcher

_log = logging.getLogger(__name__)

QUEUE_FILE = "queue.sqlite"
_DAY, _MINUTE = 86_400, 60.0
_IDLE_SECONDS = 0.1


def open_queue(configuration: Configuration) -> Queue:
    """The queue in the service's folder."""
    scoring = configuration.scoring
    pauses = (scoring.first_pause_seconds, scoring.max_pause_seconds)
    return Queue(configuration.folder / QUEUE_FILE, scoring.attempts, pauses)


class Service:
    """All parts on one queue; one service for a folder.

    Args:
        configuration: checked.

    Raises:
        InputError: where another service runs in the folder, or a port is taken.
    """

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        configuration.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        claim_folder(configuration.folder, ())  # what a killed service had half written is removed
        self.queue = open_queue(configuration)
        self.archive = Archive(configuration, self.queue)
        self.scorer, self.sender = Scorer(configuration, self.archive), Sender(configuration, self.queue)
        self.watcher = Watcher(configuration, self.archive) if configuration.watcher.url else None
        self.stopping = threading.Event()

    def run(self) -> None:
        """Serve until SIGTERM or Ctrl-C; what is not finished goes on at the next start."""
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: self.stopping.set())
        receiver = self._listen() if self.configuration.receiver.port else None
        page = start_page(self.archive, self.configuration.page_port) if self.configuration.page_port else None
        threads = [threading.Thread(target=self._repeat, args=(name, *part)) for name, part in self._list_parts()]
        for thread in threads:
            thread.start()
        _log.info("receiving; %d studies wait", self.queue.count_waiting())
        try:
            self.scorer.worker.start()  # images are received meanwhile; a bundle that cannot be built ends it all
            self._repeat("scoring", self.scorer.score_next, 0.0)
        finally:
            self.stopping.set()
            if receiver:
                receiver.stop()
            if page:
                page.shutdown()
            self.scorer.worker.stop()
            for thread in threads:
                thread.join()
            self.queue.close()
        _log.info("stopped")

    def _list_parts(self) -> Iterator[tuple[str, tuple[Callable[[], object], float]]]:
        """Whatever is repeated beside the scoring: an act, and the seconds from one to the next."""
        yield "settling", (self._settle, 0.5)
        yield "sending", (self.sender.send_next, 0.0)
        yield "removing", (self._remove_expired, _MINUTE)
        if self.watcher:
            yield "watching", (self.watcher.search, self.configuration.watcher.interval_seconds)

    def _listen(self) -> Server:
        settings = self.configuration.receiver
        try:
            return start_receiver(self.configuration, self.archive)
        except OSError as error:
            found = f"{settings.host}:{settings.port}, {error.strerror}"
            raise InputError("an address to listen on", found, "end what listens there, or name another port") from None

    def _repeat(self, name: str, act: Callable[[], object], seconds: float) -> None:
        """Act until the service stops; a part that fails goes on, and says so once for each kind of failure."""
        last = ""
        while not self.stopping.is_set():
            start = time.monotonic()
            try:
                busy, last = bool(act()) and not seconds, ""
            except Exception as error:  # no study may end the service for the others
                busy, last = False, self._report(name, error, last)
            if not busy:
                self.stopping.wait(max(_IDLE_SECONDS, seconds - (time.monotonic() - start) if seconds else 0))

    def _report(self, name: str, error: Exception, last: str) -> str:
        kind = type(error).__name__
        if kind != last and not self.stopping.is_set():
            _log.error("%s failed, and goes on: %s", name, kind)
        return kind

    def _settle(self) -> None:
        self.queue.settle(self.configuration.scoring.quiet_seconds)

    def _remove_expired(self) -> None:
        for study_id in self.queue.list_expired(self.configuration.keep_days * _DAY):
            self.archive.remove(study_id)
            self.queue.note_removed(study_id)
