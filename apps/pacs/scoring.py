"""Scoring of quiet studies: one worker process is asked, and what it wrote becomes a version of the study's results."""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from scripts.errors import InputError
from scripts.files import TEMPORARY_PREFIX

from apps.pacs.admission import Archive
from apps.pacs.configuration import Configuration
from apps.pacs.queue import QUIET, SCORED, Study
from apps.pacs.versions import collect_results, refer_to_predecessors
from apps.pacs.worker import serve_studies

_log = logging.getLogger(__name__)

#: What is kept of the bundle's outputs, beside the objects.
_KEPT = ("dicom", "masks", "predictions.json", "rejected.csv")
_START_SECONDS = 600.0


class Worker:
    """The worker process, started when it is first asked, and again when it died.

    Args:
        configuration: of the service.
    """

    def __init__(self, configuration: Configuration) -> None:
        self.settings, self.folder = configuration.scoring, configuration.folder / "work"
        shutil.rmtree(self.folder, ignore_errors=True)  # of a service that was killed
        self.process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._starts = 0

    @property
    def output(self) -> Path:
        """Folder of the outputs of the last run."""
        return self.folder / str(self._starts) / "output"

    def ask(self, paths: list[Path]) -> dict[str, Any]:
        """Run the bundle over the images of a study; done.json of the run.

        Raises:
            InputError: where the bundle raises one, or the process died or took too long.
        """
        connection = self.start()
        connection.send(paths)
        reply = self._receive(connection, self.settings.timeout_seconds)
        if "error" in reply:
            raise InputError("a run of the bundle that ends well", str(reply["error"]), "see the log")
        return reply

    def start(self) -> Connection:
        """Start the process, unless it runs; it is ready then."""
        if self._connection is not None and self.process is not None and self.process.is_alive():
            return self._connection
        self.stop()
        self._starts += 1
        folder = self.folder / str(self._starts)
        folder.mkdir(parents=True, mode=0o700)
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        arguments = (there, Path(self.settings.bundle), folder, self._list_options())
        self.process = context.Process(target=serve_studies, args=arguments, name="worker")
        self.process.start()
        there.close()  # so that its end is seen here
        self._connection = here
        self._receive(here, _START_SECONDS)
        return here

    def stop(self) -> None:
        """End the process."""
        if self._connection is not None:
            self._connection.close()
        if self.process is not None:
            self.process.kill()
            self.process.join()
        self.process = self._connection = None

    def _list_options(self) -> dict[str, Any]:
        threshold = self.settings.threshold
        point = {"threshold": threshold, "option": "given in pacs.toml"} if threshold >= 0 else None
        return {"accept_secondary_capture": self.settings.accept_secondary_capture, "operating_point": point}

    def _receive(self, connection: Connection, seconds: float) -> dict[str, Any]:
        try:
            if connection.poll(seconds):
                return dict(connection.recv())
            found = f"none after {seconds:.0f} s"
        except (EOFError, OSError):
            found = "a process that died"
        self.stop()
        raise InputError("a reply of the worker", found, "it is started again")


class Scorer:
    """Takes quiet studies, one at a time.

    Args:
        configuration: of the service.
        archive: of the service.
    """

    def __init__(self, configuration: Configuration, archive: Archive) -> None:
        self.archive, self.queue = archive, archive.queue
        self.worker = Worker(configuration)

    def score_next(self) -> bool:
        """Score the study that has waited longest; False where none waits."""
        study = self.queue.take(QUIET)
        if study is None:
            return False
        paths = [self.archive.find_image(study.study_id, name) for name in self.queue.list_images(study.study_id)]
        missing = sum(not path.is_file() for path in paths)
        if missing:
            reason = f"expired: {missing} of {len(paths)} images are no longer kept, send the study again"
            self.queue.reject(study, reason)
            return True
        try:
            self._score(study, paths)
        except (InputError, OSError) as error:
            state = self.queue.postpone(study, str(error))
            _log.warning("study %s is not scored (%s): %s", study.study_id, state, error)
        return True

    def _score(self, study: Study, paths: list[Path]) -> None:
        record = self.worker.ask(paths)
        rejected = ", ".join(f"{reason} {count}" for reason, count in dict(record["rejected"]).items())
        if not record["images"]:
            self.queue.reject(study, rejected)
            _log.info("study %s: rejected, %s", study.study_id, rejected)
            return
        if not record["dicom_results"]["images"]:
            self.queue.reject(study, "no DICOM results can be derived from its images")
            return
        version = study.version + 1
        output = self.worker.output
        refer_to_predecessors(output, self.queue.list_reports(study.study_id, study.version))
        folder = self._keep(study, version, output)
        if self.queue.finish_scoring(study, version, collect_results(folder)):
            _log.info("study %s: %s, version %d of %d images", study.study_id, SCORED, version, record["images"])

    def _keep(self, study: Study, version: int, output: Path) -> Path:
        """Move the outputs to where they stay; what lies there was never entered, and goes."""
        folder = self.archive.results / study.study_id / str(version)
        shutil.rmtree(folder, ignore_errors=True)
        temporary = folder.with_name(f"{TEMPORARY_PREFIX}{version}")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True, mode=0o700)
        for name in _KEPT:
            if (output / name).exists():
                (output / name).rename(temporary / name)
        temporary.rename(folder)
        descriptor = os.open(folder.parent, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        return folder
