"""Inference on large images: `python -m benchmarks.large` makes them, and measures a run's computing and memory.

    python -m benchmarks.large make --images runs/large/images
    python -m benchmarks.large measure --images runs/large/images --out runs/large/results

Another version is measured on the same images by `--root`, a checkout of it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scripts.labels import STUDY_CLASSES
from scripts.synthetic import derive_uid, draw_chest, write_image

from benchmarks.commandline import run_command

#: Rows and columns, those of a flat panel detector of 43 x 35 cm.
SHAPE = (4280, 3520)
#: The chest is drawn so many times smaller, and enlarged: what is drawn has no finer detail.
REDUCTION = 8
#: Standard deviation of the noise, as a fraction of black to white.
NOISE = 0.005
#: Between samples, so that they take at most a tenth of a core: one of a large process takes tens of milliseconds.
SECONDS_BETWEEN_SAMPLES, REST = 0.2, 9


@dataclass(frozen=True)
class Usage:
    """Resources that a command and all processes that it started used.

    Args:
        status: exit status.
        cpu_seconds: user and system time of all.
        seconds: by the clock.
        peak_bytes: the largest sum of their memory at an instant, what they share counted once.
        shm_bytes: the largest growth of /dev/shm, other processes' included.
    """

    status: int
    cpu_seconds: float
    seconds: float
    peak_bytes: int
    shm_bytes: int


def make(images: str, number: int = 40, rows: int = SHAPE[0], columns: int = SHAPE[1]) -> None:
    """Write synthetic images of 16 bits, each of a study of its own, as `<study>/<series>/<image>.dcm`.

    Args:
        images: folder, made anew.
        number: of images.
        rows, columns: size in pixels.
    """
    folder = Path(images).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    for seed in range(number):
        study_class = STUDY_CLASSES[seed % len(STUDY_CLASSES)]
        chest = draw_chest(-(-rows // REDUCTION), -(-columns // REDUCTION), study_class, (seed, seed, seed))
        picture = np.asarray(Image.fromarray(chest.pixels).resize((columns, rows), Image.Resampling.BICUBIC))
        noise = np.random.default_rng(seed).standard_normal(picture.shape, dtype=np.float32)
        stored = (np.clip(picture + NOISE * noise, 0, 1) * (2**16 - 1)).astype(np.uint16)
        uids = {f"{name}_uid": derive_uid("large", name, seed) for name in ("sop", "series", "study")}
        path = folder / f"{seed:012x}" / f"{seed:012x}" / f"{seed:012x}.dcm"
        write_image(path, stored, bits_stored=16, patient_id=f"LARGE{seed}", **uids)


def measure(images: str, out: str, root: str = ".", shm: str = "/dev/shm") -> str:
    """Infer on a folder by the bundle's own command and its default options; a row of a table.

    Args:
        images: the folder.
        out: folder of results, made anew.
        root: checkout of the version that runs.
        shm: where shared memory is mounted.
    """
    usage = run(Path(images).resolve(), Path(out).resolve(), Path(root), shm=shm)
    return (
        f"| {usage.status} | {usage.cpu_seconds:.0f} s | {usage.seconds:.0f} s "
        f"| {usage.peak_bytes / 1e9:.2f} GB | {usage.shm_bytes / 1e6:.2f} MB |"
    )


def run(images: Path, results: Path, root: Path, *options: str, shm: str = "/dev/shm") -> Usage:
    """Infer on a folder by the bundle's own command; its results are made anew, and beside them a log."""
    shutil.rmtree(results, ignore_errors=True)
    results.parent.mkdir(parents=True, exist_ok=True)
    return watch([sys.executable, *build_command(images, results, *options)], root, results.with_suffix(".log"), shm)


def build_command(images: Path, results: Path, *options: str) -> list[str]:
    """Arguments of python for the bundle's own inference on a folder."""
    command = [*("-m", "monai.bundle", "run", "inferring", "--config_file", "bundle/configs/inference.json")]
    return [*command, "--dataset_dir", str(images), "--output_dir", str(results), *options]


def watch(command: list[str], root: Path, log: Path, shm: str = "/dev/shm") -> Usage:
    """Run a command and sample what it and its descendants hold; Linux only.

    Args:
        command: as for `subprocess`.
        root: folder to run in.
        log: file that takes what it prints.
        shm: where shared memory is mounted.
    """
    used, shared, start = _read_cpu_seconds(), _measure_shm(shm), time.monotonic()
    peak = most_shared = 0
    with log.open("wb") as stream:
        process = subprocess.Popen(command, cwd=root, stdout=stream, stderr=subprocess.STDOUT)
        while process.poll() is None:
            sampled = time.process_time()
            peak = max(peak, sum(map(_measure_memory, _list_tree(process.pid))))
            most_shared = max(most_shared, _measure_shm(shm) - shared)
            time.sleep(max(SECONDS_BETWEEN_SAMPLES, REST * (time.process_time() - sampled)))
    seconds = time.monotonic() - start
    return Usage(process.returncode, _read_cpu_seconds() - used, seconds, peak, most_shared)


def _list_tree(process: int) -> list[int]:
    """A process and its descendants, as far as they still live."""
    children: list[int] = []
    for file in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            children += map(int, file.read_text().split())
    return [process, *(below for child in children for below in _list_tree(child))]


def _measure_memory(process: int) -> int:
    """Bytes of a process, each page divided by the number of processes that hold it (PSS); 0 where it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _measure_shm(shm: str) -> int:
    status = os.statvfs(shm)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def _read_cpu_seconds() -> float:
    """Of all children that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    run_command({"make": make, "measure": measure}, "benchmarks.large")
