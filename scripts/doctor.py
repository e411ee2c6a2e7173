"""State of a machine for this bundle: versions, device, decoders, weights, disk, threads; and what to do about it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import torch
from scripts.checkpoints import read_weights
from scripts.errors import InputError
from scripts.radiographs import list_undecodable
from scripts.tabulation import align_columns

#: Free disk below which a run over some thousand images may end early, in bytes.
FREE_DISK = 5_000_000_000
#: Allocators that keep freed pages; glibc's gives them back, and a CPU training's step then waits for them again.
ALLOCATORS = ("tcmalloc", "jemalloc", "mimalloc")


class Check(NamedTuple):
    """One line of the report: its matter, "ok", "note" or "error", what was found, and what to do about it."""

    matter: str
    state: str
    found: str
    advice: str = ""


def examine(bundle: str | Path) -> list[Check]:
    """Examine this machine for a bundle.

    Args:
        bundle: folder with configs/ and models/.

    Raises:
        InputError: where it is no bundle.
    """
    metadata = Path(bundle) / "configs" / "metadata.json"
    if not metadata.is_file():
        raise InputError("a bundle's folder", f"no {metadata}", "run it where the bundle lies, or name --bundle")
    wanted = json.loads(metadata.read_text(encoding="utf-8"))
    packages = {name: wanted[f"{name}_version"] for name in ("monai", "pytorch", "numpy")}
    packages |= wanted["required_packages_version"]
    return [
        Check("Python", "ok", sys.version.split()[0]),
        *(_check_package("torch" if name == "pytorch" else name, number) for name, number in packages.items()),
        _check_device(),
        _check_threads(),
        _check_decoders(),
        *_check_weights(Path(bundle) / "models"),
        _check_disk(Path.cwd()),
    ]


def describe(checks: list[Check]) -> str:
    """The report: one line for each check, and their number by state."""
    states = align_columns(("", "state"), [(check.matter, check.state) for check in checks]).splitlines()
    found = [check.found + (f"; {check.advice}" if check.advice else "") for check in checks]
    table = "\n".join(f"{left}  {right}" for left, right in zip(states, ["found", *found], strict=True))
    counts = {state: sum(check.state == state for check in checks) for state in ("ok", "note", "error")}
    return f"{table}\n{counts['ok']} ok, {counts['note']} to note, {counts['error']} wrong"


def _check_package(name: str, wanted: str) -> Check:
    try:
        found = version(name)
    except PackageNotFoundError:
        return Check(name, "error", "not installed", f"pip install {name}=={wanted}")
    same = found.split("+")[0] == wanted
    return Check(name, "ok" if same else "note", found, "" if same else f"tested with {wanted}")


def _check_device() -> Check:
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_properties(0)
        return Check("device", "ok", f"{torch.cuda.device_count()} GPU, {gpu.name}, {gpu.total_memory / 1e9:.0f} GB")
    return Check("device", "note", "no GPU that torch can use", "inference and small trainings run on the CPU")


def _check_threads() -> Check:
    cores, threads = len(os.sched_getaffinity(0)), torch.get_num_threads()
    maps = Path("/proc/self/maps")
    libraries = maps.read_text(encoding="utf-8", errors="replace") if maps.is_file() else ""
    allocator = next((name for name in ALLOCATORS if name in libraries), None)
    found = f"{cores} cores, {threads} threads, {allocator or 'the allocator of the C library'}"
    if threads > cores:
        return Check("threads", "note", found, f"set OMP_NUM_THREADS={cores}")
    if allocator is None:
        return Check("threads", "note", found, "LD_PRELOAD of tcmalloc makes training on a CPU faster")
    return Check("threads", "ok", found)


def _check_decoders() -> Check:
    if missing := list_undecodable():
        return Check("decoders", "error", f"none of {', '.join(missing)}", "install the packages above")
    return Check("decoders", "ok", "all transfer syntaxes that the reader knows")


def _check_weights(models: Path) -> Iterator[Check]:
    for path in sorted(models.glob("*.pt")):
        try:
            read_weights(path)
        except InputError as error:
            yield Check(path.name, "error", error.found, error.advice)
        else:
            yield Check(path.name, "ok", f"{path.stat().st_size / 1e6:.1f} MB, as its SHA-256 says")
    if not any(models.glob("*.pt")):
        yield Check("weights", "error", f"none in {models}", "fetch or train them")


def _check_disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.0f} GB free here"
    return Check("disk", "ok", found) if free >= FREE_DISK else Check("disk", "note", found, "make room for results")
