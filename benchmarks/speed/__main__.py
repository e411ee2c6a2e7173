"""Ratios of speed: `python -m benchmarks.speed measure` (`make bench`); parts by name, `--only inference+tables`.

A part is a module of this package with `measure(folder) -> list of Comparison`; its docstring is the part's text.
What was measured is kept in results.json, part by part, and the page is made of all of it.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from scripts.errors import InputError
from scripts.files import write_text

from benchmarks.commandline import run_command
from benchmarks.speed.comparison import Comparison, tabulate_comparisons

#: In the order of the page.
PARTS = ("preparation", "augmentation", "training", "inference", "folder", "tables", "growth", "scaling", "gpu")
PAGE = Path(__file__).parents[1] / "results.md"
PACKAGES = ("torch", "monai", "timm", "onnxruntime", "openvino", "albumentations", "pycocotools", "ray")

TITLE = """# Speed, beside what a user would otherwise do

`make bench` measures this page anew; `python -m benchmarks.speed measure --only inference` one part of it. Both sides
of a row run in turn on the same machine, so that other work slows both alike: median (smallest to largest). A ratio
above 1 says that ours is faster. "Not measured" says that this machine lacks what the row needs. Images are synthetic.
"""


def measure(out: str = "runs/bench", only: str = "", page: str = str(PAGE)) -> str:
    """Measure the parts, one after the other, and write the page.

    Args:
        out: folder for what the parts need.
        only: names of parts with + between them; all by default.
        page: Markdown file; results.json beside it holds the figures.
    """
    wanted = only.split("+") if only else list(PARTS)
    unknown = sorted(set(wanted) - set(PARTS))
    if unknown:
        raise InputError(f"parts among {', '.join(PARTS)}", ", ".join(unknown), "choose some of them with --only")
    results = Path(page).with_suffix(".json")
    known: dict[str, Any] = json.loads(results.read_text()) if results.is_file() else {}
    for name in wanted:
        part, start = import_module(f"benchmarks.speed.{name}"), time.monotonic()
        folder = Path(out).resolve() / name
        folder.mkdir(parents=True, exist_ok=True)
        comparisons = part.measure(folder)
        known[name] = {
            "text": part.__doc__,
            "machine": describe_machine(),
            "seconds": time.monotonic() - start,
            "rows": [asdict(each) for each in comparisons],
        }
        write_text(results, json.dumps(known, indent=1) + "\n")
        write_text(page, format_page(known))
        sys.stdout.write(f"{name}\n{tabulate_comparisons(comparisons)}\n")
    return page


def format_page(known: dict[str, Any]) -> str:
    """The page of all parts that were measured."""
    sections = [TITLE]
    for name in PARTS:
        if name not in known:
            continue
        part = known[name]
        table = tabulate_comparisons([Comparison(**row) for row in part["rows"]])
        took = f"Measured in {part['seconds']:.0f} s: {part['machine']}."
        sections.append(f"## {name.capitalize()}\n\n{part['text'].strip()}\n\n{took}\n\n{table}\n")
    return "\n".join(sections)


def describe_machine() -> str:
    """Processor, cores, threads, accelerator, load of the last minute, and versions."""
    names = [line.split(":")[1].strip() for line in _read_lines("/proc/cpuinfo") if line.startswith("model name")]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    allocator = "tcmalloc" if "tcmalloc" in os.environ.get("LD_PRELOAD", "") else "glibc's allocator"
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES if _is_installed(name))
    return (
        f"{(names or [platform.processor()])[0]}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {device}, "
        f"{allocator}, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}, {packages}"
    )


def _read_lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


def _is_installed(name: str) -> bool:
    try:
        return bool(version(name))
    except ImportError:
        return False


if __name__ == "__main__":
    run_command({"measure": measure}, "benchmarks.speed")
