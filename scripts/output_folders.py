"""An output folder belongs to one run at a time: claimed by a lock, cleared of what a killed run left half written.

The reason for a module of its own: MONAI and ignite write into whatever stands there, so that two runs mix their files,
and results of an earlier run are taken for today's.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from scripts.errors import InputError
from scripts.files import TEMPORARY_PREFIX
from scripts.switches import read_switch

LOCK = ".lock"

#: Locks that this process holds, by folder; the operating system frees them when it ends, however it ends.
_HELD: dict[Path, IO[str]] = {}


def claim_folder(
    output_dir: str | Path, results: Sequence[str], resume: bool | str = False, replace: bool | str = False
) -> Path:
    """Take a folder for one run, until its process ends.

    Temporary files that a killed run left are removed: nobody else writes there, as the lock shows.

    Args:
        output_dir: made where there is none.
        results: patterns, relative to the folder, of the files and folders that such a run writes.
        resume: go on where an earlier run stopped; the caller knows how.
        replace: remove exactly the results of an earlier run first, nothing else.

    Returns:
        The folder.

    Raises:
        InputError: where another process writes there, or results stand there and neither option is set.
    """
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    _lock(folder.resolve())
    for path in list(folder.rglob(f"{TEMPORARY_PREFIX}*")):
        path.unlink(missing_ok=True)
    found = find_results(folder, results)
    if found and read_switch(replace, "replace"):
        remove_results(found)
    elif found and not read_switch(resume, "resume"):
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise InputError(
            "an output folder without results of an earlier run",
            f"{found[0].name}{more} in {folder}",
            "name another --output_dir, go on with --resume true, or remove those results with --replace true",
        )
    return folder


def release_folder(output_dir: str | Path) -> None:
    """Give a folder back before the process ends, where one process takes many, one after the other."""
    _release(Path(output_dir).resolve(), os.getpid())


def find_results(folder: Path, results: Sequence[str]) -> list[Path]:
    """Files and folders of an earlier run, sorted."""
    return sorted({path for pattern in results for path in folder.glob(pattern)})


def remove_results(found: Sequence[Path]) -> None:
    """Remove files, and folders with what is in them."""
    for path in found:
        if path.is_dir() and not path.is_symlink():
            remove_results(sorted(path.iterdir()))
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


@contextmanager
def report_output_errors(output_dir: str | Path) -> Iterator[None]:
    """Turn what the operating system says of an output folder into an error of one line.

    Raises:
        InputError: where the disk is full, the folder cannot be written, or the like.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"an output folder that can be written, {output_dir}",
            error.strerror or type(error).__name__,
            "free or name another one; what was finished is kept, and the same command goes on behind it",
        ) from error


def _lock(folder: Path) -> None:
    """Hold the folder's lock file. POSIX record locks are not inherited: workers of a dead run do not hold it on."""
    if folder in _HELD:
        return
    while True:
        file = (folder / LOCK).open("a+", encoding="utf-8")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            owner = file.read(200).strip() or "another process"
            file.close()
            advice = "wait for it, or name another --output_dir"
            raise InputError("an output folder that no run writes into", f"{folder} held by {owner}", advice) from None
        if (folder / LOCK).is_file() and os.path.samestat(os.fstat(file.fileno()), (folder / LOCK).stat()):
            break
        file.close()  # its owner removed it meanwhile
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    _HELD[folder] = file
    atexit.register(_release, folder, os.getpid())


def _release(folder: Path, process: int) -> None:
    """Remove the lock file at the end of the process that made it; children leave it alone."""
    if os.getpid() == process and (file := _HELD.pop(folder, None)):
        (folder / LOCK).unlink(missing_ok=True)
        file.close()
