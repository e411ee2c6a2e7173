"""Command line of a benchmark: bad input is one line, and `--help` is answered by it, not handed on to trainings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from inspect import getdoc, signature
from typing import Any

import fire
from scripts.errors import report_input_errors

Verb = Callable[..., Any]


def run_command(verbs: Verb | Mapping[str, Verb], module: str) -> None:
    """Run the verb that the command line names, or tell what it takes.

    Args:
        verbs: by name; or the module's only one, which is not named.
        module: that the command line starts, such as `benchmarks.claims`.
    """
    report_input_errors()
    arguments = sys.argv[1:]
    if {"--help", "-h"}.intersection(arguments):
        # fire would hand it to a verb that takes any option, and that verb would begin its work
        named = {"": verbs} if callable(verbs) else {name: verbs[name] for name in arguments if name in verbs} or verbs
        for name, verb in named.items():
            sys.stdout.write(f"python -m {module} {name}\n\n{getdoc(verb)}\n\n{_list_defaults(verb)}\n")
        return
    fire.Fire(verbs, name=f"python -m {module}")


def _list_defaults(verb: Verb) -> str:
    given = (each for each in signature(verb).parameters.values() if each.default is not each.empty)
    return "".join(f"    --{each.name} {each.default}\n" for each in given)
