"""Child process that reads images: `python -m scripts.radiographs.worker FD`, started by `IsolatedReader`.

It speaks JSON and raw pixels over one socket, never pickle, so that a decoder taken over by an image gains nothing from
what it answers. Pixels pass through the socket's small buffer, float32 as the reader gives them: no shared memory, no
file, and no copy of a large image beside the one that is sent and the one that is received.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from multiprocessing.connection import Connection

import numpy as np
from scripts.errors import RejectedImage
from scripts.radiographs.image_metadata import Radiograph
from scripts.radiographs.reading import read_radiograph

READY = b"ready"
#: Decoding may cost so many seconds of computing, plus so many for each pixel, where the limit of an image is not
#: lower. RLE, the slowest, costs 0.1 microseconds a pixel, and 0.5 at worst; the first image also imports its decoder.
SECONDS_TO_DECODE, SECONDS_PER_PIXEL = 5.0, 1e-6


def serve_images(descriptor: int, read: Callable[..., Radiograph] = read_radiograph) -> None:
    """Respond to requests until the parent closes the socket.

    A request is JSON: path, options, and the seconds of computing that this image may cost. A response is JSON, either
    reason and detail, or metadata and the number of bytes that follow as pixels.
    """
    connection = Connection(descriptor)
    connection.send_bytes(READY)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            _response_request(connection, json.loads(connection.recv_bytes()), read)


def limit_memory(memory_bytes: int) -> None:
    """Bound this process's address space; it also writes no file and leaves no core dump."""
    limits = {resource.RLIMIT_AS: memory_bytes, resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0}
    for kind, limit in limits.items():
        with contextlib.suppress(ValueError, OSError):  # macOS bounds no address space
            resource.setrlimit(kind, (limit, limit))


def _limit_computing(seconds: float) -> None:
    """End this process by SIGXCPU after `seconds` more of computing, whether or not its parent still lives."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _limit_decoding(most_seconds: float, pixels: int) -> None:
    """Bound what is left to do by the image's size: a batch of hostile files costs little more than one of images."""
    _limit_computing(min(most_seconds, SECONDS_TO_DECODE + SECONDS_PER_PIXEL * pixels))


def _response_request(connection: Connection, request: dict, read: Callable[..., Radiograph]) -> None:
    _limit_computing(request["seconds"])
    before_decoding = partial(_limit_decoding, request["seconds"])
    try:
        radiograph = read(request["path"], before_decoding=before_decoding, **request["options"])
    except RejectedImage as rejection:
        connection.send_bytes(json.dumps({"reason": rejection.reason, "detail": rejection.detail}).encode())
        return
    pixels = np.ascontiguousarray(radiograph.pixels, dtype=np.float32)
    connection.send_bytes(json.dumps({"metadata": asdict(radiograph.metadata), "bytes": pixels.nbytes}).encode())
    _send_pixels(connection.fileno(), pixels.data.cast("B"))


def _send_pixels(descriptor: int, pixels: memoryview) -> None:
    while len(pixels):
        pixels = pixels[os.write(descriptor, pixels) :]


if __name__ == "__main__":
    limit_memory(int(sys.argv[2]))
    serve_images(int(sys.argv[1]))
