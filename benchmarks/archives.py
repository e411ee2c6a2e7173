"""Rates of `screen`, and a plan for any archive from them: `python -m benchmarks.archives measure` and `plan`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from benchmarks.commandline import run_command
from benchmarks.large import watch


def measure(images: str, out: str, shard_size: int = 4, root: str = ".") -> str:
    """Screen a folder in one process: processor seconds of an image, seconds, and peak memory of all processes.

    Args:
        images: folder, as `python -m benchmarks.large make` writes it.
        out: folder of results, made anew.
        shard_size: files of a shard.
        root: checkout that runs.
    """
    folder, results = Path(images).resolve(), Path(out).resolve()
    shutil.rmtree(results, ignore_errors=True)
    results.parent.mkdir(parents=True, exist_ok=True)
    command = ["-m", "scripts", "screen", "--tree", str(folder), "--out", str(results), "--shard_size", str(shard_size)]
    usage = watch([sys.executable, *command], Path(root), results.with_suffix(".log"))
    number = sum(path.is_file() for path in folder.rglob("*"))
    bytes_each = sum(path.stat().st_size for path in (results / "parts").iterdir()) / number
    return (
        f"{number} files, {usage.cpu_seconds:.1f} s of all processors, {usage.seconds:.0f} s, "
        f"{usage.peak_bytes / 1e9:.2f} GB, {bytes_each:.0f} bytes of parts a file"
    )


def plan(
    num_images: float = 1e7,
    cpu_seconds: float = 1.0,
    image_megabytes: float = 8.0,
    part_kilobytes: float = 1.0,
    cores: int = 2,
    megabytes_per_second: float = 100.0,
    price_of_core_hour: float = 0.0,
) -> str:
    """Time, transfer, storage and cost of an archive on processors alone, and what bounds it.

    Args:
        num_images: of the archive.
        cpu_seconds: of an image: decoding, networks and tables, by `measure`.
        image_megabytes, part_kilobytes: of an image, as it is stored and as its rows are.
        cores: of all machines together.
        megabytes_per_second: at which the storage gives images, to all machines together.
        price_of_core_hour: in whatever currency.
    """
    core_hours = num_images * cpu_seconds / 3600
    compute, transfer = core_hours / cores, num_images * image_megabytes / megabytes_per_second / 3600
    balance = megabytes_per_second / image_megabytes * cpu_seconds
    rows = [
        ("compute", f"{core_hours:,.0f} core hours, {compute:,.0f} h on {cores} cores"),
        ("transfer", f"{num_images * image_megabytes / 1e6:,.1f} TB, {transfer:,.0f} h"),
        ("parts", f"{num_images * part_kilobytes / 1e6:,.1f} GB"),
        ("cost", f"{core_hours * price_of_core_hour:,.0f}" if price_of_core_hour else "no price was given"),
        ("bound by", "compute" if compute >= transfer else "transfer"),
        ("next bottleneck", f"transfer, from {balance:,.0f} cores on"),
    ]
    return "\n".join(f"| {name} | {value} |" for name, value in rows)


if __name__ == "__main__":
    run_command({"measure": measure, "plan": plan}, "benchmarks.archives")
