"""A command with a fault at its n-th synchronised write: `python -m tests.stopped_bundle N FAULT run ...`, or `screen`.

FAULT: the name of a signal that the process sends itself, such as SIGKILL, or of an error of the operating system, such
as ENOSPC, that this write and all behind it meet.
"""

from __future__ import annotations

import errno
import os
import runpy
import signal
import sys

if __name__ == "__main__":
    number, fault = int(sys.argv.pop(1)), sys.argv.pop(1)
    synchronise, count = os.fsync, [0]

    def count_writes(descriptor: int) -> None:
        count[0] += 1
        if fault.startswith("SIG"):
            if count[0] == number:
                os.kill(os.getpid(), signal.Signals[fault])
        elif count[0] >= number:
            raise OSError(getattr(errno, fault), os.strerror(getattr(errno, fault)))
        synchronise(descriptor)

    os.fsync = count_writes
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
    module = "scripts" if sys.argv[1] == "screen" else "monai.bundle"
    runpy.run_module(module, run_name="__main__", alter_sys=True)
