"""Faulty child process of the reader: dies, hangs, eats memory or lies, by the image's name."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scripts.radiographs import Radiograph, read_radiograph
from scripts.radiographs.worker import limit_memory, serve_images


def read_badly(path: str, **options: Any) -> Radiograph:
    """Read an image, unless its name says what shall go wrong."""
    name = Path(path).stem
    if "dies" in name:
        os.abort()
    if "hangs" in name:
        time.sleep(600)
    if "loops" in name:
        while True:
            pass
    if "eats" in name:
        np.ones(2**36)
    radiograph = read_radiograph(path, **options)
    if "lies" in name:
        return Radiograph(radiograph.pixels[:, 1:], radiograph.metadata)
    return radiograph


if __name__ == "__main__":
    limit_memory(int(sys.argv[2]))
    serve_images(int(sys.argv[1]), read_badly)
