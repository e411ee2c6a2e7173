"""Guard of a checked process: no network, and no writing outside of its own folders.

Python imports a module of this name at its start, from any folder on PYTHONPATH; so worker processes have it too.
CHECK_FOLDERS holds the folders that may be written to, separated as PATH is; what was tried is reported in CHECK_LOG. A
library that tries and goes on without is found out as well. Code in C writes unseen: that is what the comparison of
folders before and after is for.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

FOLDERS = [os.path.realpath(folder) for folder in os.environ.get("CHECK_FOLDERS", "").split(os.pathsep) if folder]
LOG = os.path.realpath(os.environ["CHECK_LOG"]) if "CHECK_LOG" in os.environ else ""

#: Devices, and the memory and the pipes through which worker processes speak.
ALLOWED = ("/dev/", "/proc/self/")

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

#: Their last argument reports a folder that names are relative to, -1 or None where there is none.
CHANGING = ("os.mkdir", "os.remove", "os.rmdir", "os.rename", "shutil.rmtree")


def reject(what: str) -> None:
    """Report what was tried, and raise."""
    descriptor = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(descriptor, f"{what}\n".encode("utf-8", "replace"))
    os.close(descriptor)
    raise PermissionError(f"the check allows no {what}")


def is_allowed(path: Any) -> bool:
    """True where a path may be written to; numbers are files that are open already."""
    if isinstance(path, int) or path is None:
        return True
    place = os.path.realpath(os.fsdecode(path))
    return place == LOG or place.startswith(ALLOWED) or any(place == f or place.startswith(f + os.sep) for f in FOLDERS)


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: see the table of audit events in Python's documentation."""
    if event == "open":
        path, _, flags = arguments
        if isinstance(flags, int) and flags & WRITING and not is_allowed(path):
            reject(f"writing to {os.fsdecode(path)}")
    elif event in CHANGING and arguments[-1] in (-1, None):  # else a name below a folder that was asked for before
        for path in arguments[:2] if event == "os.rename" else arguments[:1]:
            if not is_allowed(path):
                reject(f"{event} of {os.fsdecode(path)}")
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        if arguments[0].family != socket.AF_UNIX:
            reject(f"{event} to {arguments[1]}")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        reject(f"{event} of {arguments[0]}")


if LOG:
    sys.addaudithook(watch)
