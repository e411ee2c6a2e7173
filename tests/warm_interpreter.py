"""An interpreter with the heavy libraries imported, which forks for every command that a test gives it.

Importing torch and MONAI takes longer than most commands do. In all else a fork is a process of its own: it runs a
module as `python -m` does, with the interpreter's own excepthook, exit status and end. The network is out of reach.

A request is a line of JSON with `arguments` (module, then its arguments), `stdout` and `stderr` (files); the answer is
a line with the exit status, negative for a signal.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import socket
import sys
from typing import Any

HEAVY = ("monai.bundle", "monai.engines", "torch.utils.tensorboard", "scripts.networks", "scripts.outputs")
SECONDS = 900  # by the clock; a command takes seconds, a busy machine may need more


def serve() -> None:
    """Answer requests until the input ends; in a child: run one command."""
    for name in HEAVY:
        importlib.import_module(name)
    response("ready")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run_command(json.loads(line))
            return
        status = os.waitpid(child, 0)[1]
        response(os.waitstatus_to_exitcode(status))


def response(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def run_command(request: dict[str, Any]) -> None:
    signal.alarm(SECONDS)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
    for number, name in enumerate((os.devnull, request["stdout"], request["stderr"])):
        file = os.open(name, os.O_RDWR | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    forbid_network()
    module, *sys.argv[1:] = request["arguments"]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def forbid_network() -> None:
    connect = socket.socket.connect

    def connect_on_this_machine(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            raise OSError("the tests have no network")
        connect(self, address)

    def reject_name(*arguments: Any, **options: Any) -> None:
        raise OSError("the tests have no network")

    socket.socket.connect = connect_on_this_machine  # type: ignore[method-assign]
    socket.getaddrinfo = reject_name  # type: ignore[assignment]


if __name__ == "__main__":
    serve()
