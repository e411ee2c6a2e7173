"""Benchmarks measure what they say; what they find is in the documents."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from scripts.radiographs import read_radiograph

from benchmarks.large import make, watch

#: A process that holds 100 MB, and its child that holds as much.
HOLD = "import time; held = b'x' * 10**8; time.sleep(2)"
SPAWN = f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {HOLD!r}]); {HOLD}; child.wait()"


def test_memory_and_computing_are_those_of_all_processes(tmp_path: Path):
    usage = watch([sys.executable, "-c", SPAWN], tmp_path, tmp_path / "log")
    assert usage.status == 0
    assert 2e8 < usage.peak_bytes < 3e8
    assert 0 < usage.cpu_seconds < usage.seconds


def test_large_images_can_be_read_and_are_of_16_bits(tmp_path: Path):
    make(str(tmp_path / "images"), number=2, rows=640, columns=512)
    images = [read_radiograph(path) for path in sorted((tmp_path / "images").rglob("*.dcm"))]
    assert [image.pixels.shape for image in images] == [(1, 640, 512)] * 2
    assert len({image.metadata.study_instance_uid for image in images}) == 2
    assert all(len(np.unique(image.pixels)) > 2**12 for image in images)
