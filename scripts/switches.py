"""Options that are on or off: a text of a command line is true by itself, "false" too."""

from __future__ import annotations

from types import SimpleNamespace

from scripts.errors import InputError


def read_switch(value: bool | str, name: str) -> bool:
    """Read an option that is on or off, in any case of letters.

    Raises:
        InputError: where it is something else.
    """
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise InputError(f"{name} true or false", repr(value)[:80], "write one of them")
    return value


def read_switches(**options: bool | str) -> SimpleNamespace:
    """Read all options of a config that are on or off; its other parts take them from here, never the bare option.

    Raises:
        InputError: naming the first that is something else.
    """
    return SimpleNamespace(**{name: read_switch(value, name) for name, value in options.items()})
