"""Commands of a recipe in processes that begin with torch and MONAI already imported.

A training of a minute would else wait a quarter of a minute for its imports. Python's own fork server imports them
once; what runs in a child is the command line itself, word for word.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

#: Imported once, before any child; none of them starts threads or a GPU.
PRELOADED = [
    *("torch", "torchvision", "timm", "ignite", "monai.bundle", "monai.engines", "monai.handlers", "monai.transforms"),
    *("monai.apps.detection.networks.retinanet_detector", "scripts.recipe.preloading"),
]


def start_forked(arguments: Sequence[str], log: Path) -> int:
    """Run `python -m MODULE ...` in a child of the fork server, with all that it prints in a file; its exit status."""
    process = begin_forked(arguments, log)
    process.join()
    return int(process.exitcode or 0)


def begin_forked(arguments: Sequence[str], log: Path) -> BaseProcess:
    """Begin such a child and return it at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_run_module, args=(list(arguments), str(log), os.getcwd()))
    process.start()
    return process


def _run_module(arguments: list[str], log: str, folder: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.chdir(folder)
    # a child of the fork server would start its data loaders' workers by a server of its own, which imports all again
    multiprocessing.set_start_method("fork", force=True)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    flag, module, *rest = arguments
    if flag != "-m":
        raise ValueError(f"expected -m MODULE, got {flag}")
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
