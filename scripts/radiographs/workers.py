"""Isolated reading in child processes with memory and time limits: a child's death costs one image, no batch.

`read_isolated` reads one image, `read_radiographs` many of them in order. The pixels that a child sends are the ones
that are used: the parent decodes nothing again.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from scripts.errors import InputError, RejectedImage
from scripts.radiographs.gates import MAX_SIDE
from scripts.radiographs.image_metadata import ImageMetadata, Radiograph
from scripts.radiographs.worker import READY

#: The module that the child runs.
WORKER = "scripts.radiographs.worker"
#: The largest image, 8192 x 8192 of 16 bits, was measured to need 1.2 GiB, the interpreter with its libraries 0.2.
MEMORY_BYTES = 3 * 2**30
#: An image takes milliseconds of computing, the largest some ten seconds.
SECONDS_PER_IMAGE = 60.0
#: By the clock an image may take longer, so that a busy machine rejects nothing that an idle one reads.
_CLOCK_FACTOR = 5
_SECONDS_TO_START = 120.0
_SECONDS_TO_DIE = 1.0
_MAX_RESPONSE = 2**16


@dataclass
class IsolatedReader:
    """Reads images in one child process, which lives on from image to image and is replaced when it dies.

    Args:
        memory_bytes: bound on the child's address space.
        seconds_per_image: of computing; after them, or after five times as many by the clock, the child is killed and
            its image rejected. A small image may cost less, `SECONDS_TO_DECODE` and `SECONDS_PER_PIXEL` of the worker,
            so that what a batch may cost is bounded by its images' sizes, whatever is in them.

    One thread at a time may use it.
    """

    memory_bytes: int = MEMORY_BYTES
    seconds_per_image: float = SECONDS_PER_IMAGE
    _child: _Child | None = field(default=None, repr=False)

    def read(self, path: str | Path, **options: Any) -> Radiograph:
        """One image; `options` as for `read_radiograph`.

        Raises:
            RejectedImage: also where the child died or took too long: decode_error.
            InputError: where no child can be started, whatever the image.
        """
        child = self._find_child()
        request = {"path": os.fspath(path), "options": options, "seconds": self.seconds_per_image}
        try:
            with _Deadline(child.process, _CLOCK_FACTOR * self.seconds_per_image) as deadline:
                return child.read(json.dumps(request).encode(), path)
        except (EOFError, OSError, ValueError, KeyError, TypeError):
            too_long = self.close() == -signal.SIGXCPU or deadline.passed
            why = "it took too long" if too_long else "its process died"
            rejected = RejectedImage("decode_error", path, f"the decoder failed: {why}")
        raise rejected

    def close(self) -> int | None:
        """End the child; its exit status, the negative of a signal's number."""
        child, self._child = self._child, None
        return child.end() if child else None

    def _find_child(self) -> _Child:
        if self._child is None or self._child.process.poll() is not None:
            self.close()
            self._child = _Child.start(self.memory_bytes)
        return self._child


@dataclass
class _Child:
    """A running child and the socket to it."""

    process: subprocess.Popen[bytes]
    connection: Connection

    @classmethod
    def start(cls, memory_bytes: int) -> _Child:
        """A child that has reported that it is ready."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", WORKER, str(theirs.fileno()), str(memory_bytes)],
                pass_fds=[theirs.fileno()],
                env=_build_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # C libraries write what they like there
            )
        child = cls(process, Connection(ours.detach()))
        with contextlib.suppress(EOFError, OSError), _Deadline(process, _SECONDS_TO_START):
            if child.connection.recv_bytes(len(READY)) == READY:
                return child
        child.end()
        advice = f"free memory and processes, and see what `python -c 'import {WORKER}'` says"
        raise InputError("a decoding process that starts", "one that does not", advice)

    def read(self, request: bytes, path: str | Path) -> Radiograph:
        """Read the image of a request; the child may have been taken over, so whatever is no image raises."""
        self.connection.send_bytes(request)
        response = json.loads(self.connection.recv_bytes(_MAX_RESPONSE))
        if "reason" in response:
            raise RejectedImage(str(response["reason"]), path, str(response["detail"]))
        metadata = _open_metadata(response["metadata"])
        pixels = np.empty((1, metadata.rows, metadata.columns), dtype=np.float32)
        if pixels.nbytes != response["bytes"]:
            raise ValueError(f"expected {pixels.nbytes} bytes of pixels, got {response['bytes']}")
        self._receive(pixels.data.cast("B"))
        return Radiograph(pixels, metadata)

    def _receive(self, pixels: memoryview) -> None:
        while len(pixels):
            received = os.readv(self.connection.fileno(), [pixels])
            if not received:
                raise EOFError
            pixels = pixels[received:]

    def end(self) -> int:
        """Exit status of the child, which had a second to report what it died of."""
        with contextlib.suppress(OSError):  # the garbage collector may have closed the socket of an abandoned batch
            self.connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_SECONDS_TO_DIE)
        self.process.kill()
        return self.process.wait()


class _Deadline:
    """Kills a process that is not done in time, which ends every wait for it."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self.passed = False
        self._process = process
        self._timer = threading.Timer(seconds, self._kill_process)
        self._timer.daemon = True

    def _kill_process(self) -> None:
        self.passed = True
        self._process.kill()

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


#: Readers of each process that nobody uses just now; a process that was forked must not use what it inherits.
_IDLE: dict[int, deque[IsolatedReader]] = {}


def read_isolated(path: str | Path, **options: Any) -> Radiograph:
    """One image, read in a child process with memory and time limits; `options` as for `read_radiograph`.

    Children live on from image to image, as many as there are threads that read at the same time.

    Raises:
        RejectedImage: as `IsolatedReader.read`.
    """
    idle = _IDLE.setdefault(os.getpid(), deque())
    try:
        reader = idle.pop()
    except IndexError:
        reader = IsolatedReader()
    try:
        return reader.read(path, **options)
    finally:
        idle.append(reader)


@atexit.register
def _close_idle_readers() -> None:
    for reader in _IDLE.get(os.getpid(), ()):
        reader.close()


def read_radiographs(
    paths: Iterable[str | Path],
    workers: int = 2,
    *,
    memory_bytes: int = MEMORY_BYTES,
    seconds_per_image: float = SECONDS_PER_IMAGE,
    **options: Any,
) -> Iterator[tuple[str | Path, Radiograph | RejectedImage]]:
    """Images in the order of `paths`, each with its path, read by `workers` child processes.

    An image that cannot be read, or that kills or outlasts its child, is a `RejectedImage`, and the next ones are read.

    Args:
        paths: DICOM files; they are taken a few ahead of what is asked for.
        workers: child processes, at least 1.
        memory_bytes, seconds_per_image: limits, as for `IsolatedReader`.
        options: as for `read_radiograph`.
    """
    if workers < 1:
        raise ValueError(f"expected at least 1 worker, got {workers}")
    readers: SimpleQueue[IsolatedReader] = SimpleQueue()
    everyone = [IsolatedReader(memory_bytes, seconds_per_image) for _ in range(workers)]
    for reader in everyone:
        readers.put(reader)
    threads = ThreadPoolExecutor(workers, thread_name_prefix="image")
    try:
        yield from _read_ahead(iter(paths), threads, readers, options, ahead=2 * workers)
    finally:
        threads.shutdown(cancel_futures=True)
        for reader in everyone:
            reader.close()


def _read_ahead(
    paths: Iterator[str | Path],
    threads: ThreadPoolExecutor,
    readers: SimpleQueue[IsolatedReader],
    options: dict[str, Any],
    ahead: int,
) -> Iterator[tuple[str | Path, Radiograph | RejectedImage]]:
    def read_next(path: str | Path) -> Radiograph | RejectedImage:
        reader = readers.get()
        try:
            return reader.read(path, **options)
        except RejectedImage as rejection:
            return rejection
        finally:
            readers.put(reader)

    pending: deque[tuple[str | Path, Future[Radiograph | RejectedImage]]] = deque()
    for path in islice(paths, ahead):
        pending.append((path, threads.submit(read_next, path)))
    while pending:
        path, future = pending.popleft()
        result = future.result()
        for following in islice(paths, 1):
            pending.append((following, threads.submit(read_next, following)))
        yield path, result


def _build_environment() -> dict[str, str]:
    """This process's environment, where the child finds `scripts`, and keeps to one thread."""
    root = str(Path(__file__).resolve().parents[2])
    search = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _open_metadata(response: dict[str, Any]) -> ImageMetadata:
    given = dict(response)
    given["flags"] = tuple(map(str, given["flags"]))
    given["spacing_mm"] = given["spacing_mm"] and tuple(map(float, given["spacing_mm"]))
    metadata = ImageMetadata(**given)
    if not (0 < metadata.rows <= MAX_SIDE and 0 < metadata.columns <= MAX_SIDE):
        raise ValueError(f"expected 1 to {MAX_SIDE} rows and columns, got {metadata.rows} and {metadata.columns}")
    return metadata
