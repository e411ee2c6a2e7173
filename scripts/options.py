"""Options of `python -m monai.bundle run`: a name that no config has is an error; MONAI itself is silent about it."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import Any

from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser, run
from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS
from scripts.errors import InputError

#: What MONAI's own command takes, beside the names of the configs.
RUN_OPTIONS = frozenset(signature(run).parameters) - {"override"}


def reject_unknown_options(arguments: Sequence[str] | None = None) -> None:
    """Compare the options of a run with the top-level names of its config files.

    Args:
        arguments: of the command, by default this process's; another command than MONAI's `run` is left alone.

    Raises:
        InputError: where an option, or a key of its `args_file`, is no name of a config, naming the nearest one, or
            where a path is another one than was typed.
    """
    command, *given = sys.argv if arguments is None else arguments
    if not _is_bundle(command) or given[:1] != ["run"]:
        return
    options = dict(_list_options(given[1:]))
    _reject_evaluated_paths(options)
    if args_file := options.get("args_file"):
        options = {**json.loads(Path(args_file).read_text(encoding="utf-8")), **options}
    if (files := _read_files(options.get("config_file"))) is None:
        return
    known = RUN_OPTIONS | set(ConfigParser.load_config_files(files)) | _list_tracking_names(options.get("tracking"))
    reject_unknown_names(options, known)


def reject_unknown_names(options: Iterable[str], known: Collection[str]) -> None:
    """Compare options with the top-level names of a config.

    Raises:
        InputError: where one is none of them; it names the nearest one.
    """
    for name in options:
        # "train#trainer#max_epochs" and "train::trainer::max_epochs" reach into a name; "+name" merges into it
        if (top := name.lstrip("+").replace("::", "#").split("#")[0]) not in known:
            nearest = get_close_matches(top, sorted(known), 1)
            advice = f"did you mean --{nearest[0]}?" if nearest else "see the top-level names of the config files"
            raise InputError("an option that the config files have", f"--{top}", advice)


def _reject_evaluated_paths(options: Mapping[str, str]) -> None:
    """Reject a path that the command line evaluates as Python: it reads 2020.10 as 2020.1, and ward#2 as ward."""
    for name, text in options.items():
        if not name.endswith(("_dir", "_file")) or name in RUN_OPTIONS or text[:1] in ("'", '"', ""):
            continue
        value = DefaultParseValue(text)
        if value is not None and str(value) != text:
            raise InputError(f"--{name} as a path", f"{text}, which is read as {value}", f"write ./{text}")


def _is_bundle(command: str) -> bool:
    return command == "monai.bundle" or Path(command).parts[-3:] == ("monai", "bundle", "__main__.py")


def _list_options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names and values of `--name value` and `--name=value`; fire takes a hyphen for an underscore."""
    for position, argument in enumerate(arguments):
        if argument.startswith("--") and len(argument) > 2:
            name, equals, value = argument[2:].partition("=")
            following = arguments[position + 1] if position + 1 < len(arguments) else ""
            yield name.replace("-", "_"), value if equals else following


def _list_tracking_names(tracking: str | None) -> set[str]:
    """Names that `--tracking` adds to a config where it has none of them, such as tracking_uri and experiment_name."""
    if not tracking:
        return set()
    settings: Any = DEFAULT_EXP_MGMT_SETTINGS.get(tracking) or ConfigParser.load_config_files(tracking)
    return set(settings["configs"])


def _read_files(value: Any) -> list[str] | None:
    if not value:
        return None
    try:
        value = ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError):
        return [str(value)]
    return [value] if isinstance(value, str) else [str(file) for file in value]
