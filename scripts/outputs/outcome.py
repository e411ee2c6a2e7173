"""Outcome of an inference: a summary on the screen, and the exit status of the command."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.errors import REJECTED_FILE, InputError
from scripts.outputs.identity import is_command
from scripts.predictions import RELATIONS

#: Exit statuses of a run that went to its end; 1 is an error, 130 and 143 a stop by Ctrl-C and SIGTERM.
ALL_SCORED, SOME_REJECTED, NOTHING_SCORED = 0, 3, 4


def report_outcome(record: Mapping[str, Any], output_dir: str | Path) -> None:
    """Say what became of a run's images, and end a command with the status for that.

    Args:
        record: done.json of the run.
        output_dir: its folder.

    Raises:
        SystemExit: where this is a command and an image was not scored: 3 some, 4 all of them.
        InputError: where this is inside of another program and nothing was scored.
    """
    scored, rejected = int(record["images"]), dict(record["rejected"])
    reasons = ", ".join(f"{reason} {count}" for reason, count in rejected.items())
    counts = [f"{record['found']} images found", f"{scored} scored in {record['studies']} studies"]
    counts += [f"{sum(rejected.values())} rejected ({reasons}): see {REJECTED_FILE}" if rejected else "none rejected"]
    counts += [f"{record[flag]} {words}" for flag, words in RELATIONS.items() if record.get(flag)]
    message = "%s; tables in %s"
    level = logging.WARNING if rejected else logging.INFO
    logging.getLogger(__name__).log(level, message, "; ".join(counts), output_dir)
    if not scored and not is_command():
        found = f"{sum(rejected.values())} rejected, {reasons}"
        raise InputError("at least one image that can be scored", found, f"see {REJECTED_FILE}")
    if rejected and is_command():
        raise SystemExit(SOME_REJECTED if scored else NOTHING_SCORED)
