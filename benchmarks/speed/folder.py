"""A folder of real-size images by the documented command, and by version 0.4.0.

Images of 2,000 x 2,000 pixels of 16 bits (`benchmarks.large`), each a study of its own, with default options: tables,
masks and overlays are written. Version 0.4.0 comes from the repository's history, with its own networks, and takes a
tenth of the images, ours all; both are given for the same number, start included. BENCH_IMAGES sets another number.
Where the time goes is measured in a run of its own, by cProfile in the main process, while another one decodes.
"""

from __future__ import annotations

import os
import pstats
import subprocess
import sys
import time
from pathlib import Path

from scripts.errors import InputError

from benchmarks import large
from benchmarks.speed.comparison import Comparison

COUNT, SIZE, FRACTION = int(os.environ.get("BENCH_IMAGES", "1000")), 2000, 10
#: The commit of version 0.4.0.
EARLIER = "488cc87"
ROOT = Path(__file__).resolve().parents[2]
#: Parts of a run by the functions that they are spent in, outermost ones that do not lie in one another.
STAGES = {
    "lungs": [("inferers/lungs.py", "__call__")],
    "boxes": [("inferers/images.py", "_add_opacities")],
    "findings at full size": [("transforms/findings.py", "__call__")],
    "pictures, tables and pages": [("outputs/writer.py", "_write_images"), ("outputs/writer.py", "_write_tables")],
    "waiting for images": [("datalist/streaming.py", "_read_ahead")],
}
INFERENCE = ("inferers/images.py", "__call__")
RUNTIMES = {"default options": (), "--runtime openvino": ("--runtime", "openvino")}


def measure(folder: Path) -> list[Comparison]:
    """Compare with version 0.4.0, by default options and by the faster runtime."""
    few = make_images(folder / "few", max(1, COUNT // FRACTION))
    everything = make_images(folder / "images", COUNT)
    theirs = time_run(find_earlier(folder), few, folder / "earlier") * COUNT / len(list(few.rglob("*.dcm")))
    rows = []
    for name, options in RUNTIMES.items():
        ours = time_run(ROOT, everything, folder / "results", *options)
        what = f"infer on {COUNT} images of {SIZE} x {SIZE}, 16 bits, {name}"
        note = describe_stages(profile_run(everything, folder / "profiled", *options))
        rows.append(Comparison(what, "version 0.4.0", [ours], [theirs], ">= 3", "images", COUNT, note))
    return rows


def make_images(folder: Path, count: int) -> Path:
    """The folder, with so many images; one that is complete stays."""
    if len(list(folder.rglob("*.dcm"))) != count:
        large.make(str(folder), count, SIZE, SIZE)
    return folder


def find_earlier(folder: Path) -> Path:
    """A checkout of the earlier version.

    Raises:
        InputError: where the repository's history does not hold it.
    """
    checkout = folder / "version"
    if not checkout.is_dir():
        checkout.mkdir(parents=True)
        archive = subprocess.run(["git", "archive", EARLIER], cwd=ROOT, capture_output=True, check=False)
        if archive.returncode:
            checkout.rmdir()
            raise InputError(
                f"a clone with commit {EARLIER}", "a shorter history", "fetch all of it: git fetch --unshallow"
            )
        subprocess.run(["tar", "-x"], cwd=checkout, input=archive.stdout, check=True)
    return checkout


def time_run(root: Path, images: Path, results: Path, *options: str) -> float:
    """Seconds of the bundle's own command on a folder.

    Raises:
        InputError: where it failed.
    """
    start = time.perf_counter()
    usage = large.run(images, results, root, *options)
    seconds = time.perf_counter() - start
    if usage.status:
        raise InputError("a run that ends well", f"status {usage.status}", f"see {results.with_suffix('.log')}")
    return seconds


def profile_run(images: Path, results: Path, *options: str) -> pstats.Stats:
    """Functions of the main process of a run, and the seconds in them.

    Raises:
        InputError: where it failed.
    """
    profile = results.with_suffix(".prof")
    command = [sys.executable, "-W", "ignore", "-m", "cProfile", "-o", str(profile)]
    command += large.build_command(images, results, "--replace", "true", *options)
    with results.with_suffix(".log").open("wb") as log:
        done = subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=False)
    if done.returncode:
        raise InputError("a run that ends well", f"status {done.returncode}", f"see {results.with_suffix('.log')}")
    return pstats.Stats(str(profile))


def describe_stages(profile: pstats.Stats) -> str:
    """Shares of a run's time, the largest first."""
    total = profile.total_tt  # type: ignore[attr-defined]
    seconds = {name: sum(_sum_seconds(profile, each) for each in functions) for name, functions in STAGES.items()}
    seconds["classes and masks"] = _sum_seconds(profile, INFERENCE) - seconds["lungs"] - seconds["boxes"]
    seconds["start, and all else"] = total - sum(seconds.values())
    shares = sorted(seconds.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {100 * each / total:.0f} %" for name, each in shares)


def _sum_seconds(profile: pstats.Stats, function: tuple[str, str]) -> float:
    file, name = function
    known = profile.stats.items()  # type: ignore[attr-defined]
    return sum(costs[3] for (path, _, called), costs in known if path.endswith(f"scripts/{file}") and called == name)
