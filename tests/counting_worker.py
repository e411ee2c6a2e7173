"""A reading child that leaves a mark for every image that it decodes; started in place of the real one."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.radiographs import reading
from scripts.radiographs.worker import limit_memory, serve_images

from tests.faulty_worker import read_badly

#: Environment variable: the folder of the marks.
MARKS = "DECODED_IMAGES"


def count_decodes(decode: Callable[..., Any]) -> Callable[..., Any]:
    """The decoder, which leaves an empty file with the process's number for every call; a child may write no other."""

    def decode_and_mark(image: Any, picture: Any) -> Any:
        Path(os.environ[MARKS], f"{os.getpid()}_{uuid.uuid4().hex}").touch()
        return decode(image, picture)

    return decode_and_mark


if __name__ == "__main__":
    reading.decode_stored_values = count_decodes(reading.decode_stored_values)
    limit_memory(int(sys.argv[2]))
    serve_images(int(sys.argv[1]), read_badly)
