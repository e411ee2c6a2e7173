"""Page of the configs, written from what they say of themselves: `python -m apps.site.configs bundle/docs/configs.md`.

The meaning of a key stands in `_about_` of train.json, or of inference.json where train.json has no such key. A part
without an entry there is explained by its own `_desc_`, or by the first line of the class or function that it names.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from pydoc import locate
from typing import Any

CONFIGS = Path(__file__).resolve().parents[2] / "bundle" / "configs"
ABOUT = "_about_"
MAX_VALUE = 60

HEAD = """# The configs, key by key

This page is written from the configs themselves: `python -m apps.site.configs bundle/docs/configs.md`. Every key
below is a top-level name. A **setting** is a value for the command line: `--image_size 192`. A **part** is built from
its settings, and an override may put another one in its place. `@name` refers to another key, `$...` is an expression.
A name that no config has is an error, which names the nearest one.
"""


def write_page() -> str:
    """The whole page: settings and parts of both whole configs, then a line for each config override."""
    train, inference = (read_config(f"{name}.json") for name in ("train", "inference"))
    blocks = [HEAD, "## train.json", train["_desc_"], *describe_config(train)]
    own = {key: value for key, value in inference.items() if key not in train}
    shared = [f"`{key}`" for key in inference if key in train and not key.startswith("_")]
    blocks += ["## inference.json", inference["_desc_"], *describe_config({**own, ABOUT: inference[ABOUT]})]
    blocks += [f"Keys that mean what they mean in train.json: {', '.join(shared)}.", "## Config overrides"]
    blocks += [
        "Each lies over a whole config and changes what it names.",
        tabulate(("config", "content"), list_overrides()),
    ]
    return "\n\n".join(block.strip() for block in blocks) + "\n"


def read_config(name: str) -> dict[str, Any]:
    """The content of a config."""
    content: dict[str, Any] = json.loads((CONFIGS / name).read_text(encoding="utf-8"))
    return content


def describe_config(config: dict[str, Any]) -> Iterator[str]:
    """Tables of settings and of parts."""
    keys = [key for key in config if not key.startswith("_")]
    settings = [key for key in keys if is_setting(config[key])]
    yield "### Settings"
    rows = [(f"`{key}`", f"`{shorten(config[key])}`", explain(key, config)) for key in settings]
    yield tabulate(("key", "default", "meaning"), rows)
    yield "### Parts"
    parts = [(f"`{key}`", name_target(config[key]), explain(key, config)) for key in keys if key not in settings]
    yield tabulate(("key", "built by", "meaning"), parts)


def is_setting(value: Any) -> bool:
    """Tell a value that can be written on the command line from a part, and from a reference to one."""
    if isinstance(value, str):
        return not value.startswith(("@", "%"))
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    texts = [each for each in inside if isinstance(each, str)]
    return not any(isinstance(each, dict) for each in inside) and not any(each[:1] in ("@", "$") for each in texts)


def explain(key: str, config: dict[str, Any]) -> str:
    """The meaning of a key.

    Raises:
        KeyError: where nothing explains it.
    """
    value = config[key]
    if key in config[ABOUT]:
        return str(config[ABOUT][key])
    if isinstance(value, dict) and "_desc_" in value:
        return str(value["_desc_"])
    found = locate(value["_target_"]) if isinstance(value, dict) and "_target_" in value else None
    if found is None or not (text := inspect.getdoc(found)):
        raise KeyError(f"{key}: write its meaning into {ABOUT}")
    sentence = " ".join(text.partition("\n\n")[0].split()).partition(". ")[0].removesuffix(".")
    return sentence[:1].lower() + sentence[1:]


def name_target(value: Any) -> str:
    """The class or function of a part, without the modules on the way."""
    if isinstance(value, dict) and "_target_" in value:
        target = value["_target_"]
        return (
            f"`{target}`" if target.startswith("$") else f"`{target.rpartition('.')[2]}` ({target.partition('.')[0]})"
        )
    return f"`{shorten(value)}`" if isinstance(value, str) else ""


def shorten(value: Any) -> str:
    """A value as JSON writes it, cut where it is long."""
    text = value if isinstance(value, str) and value.startswith(("$", "@", "%")) else json.dumps(value)
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 4] + " ..."


def list_overrides() -> Iterator[tuple[str, str]]:
    """Config overrides with what they say of themselves."""
    whole = {"train.json", "inference.json", "metadata.json"}
    for path in sorted(CONFIGS.rglob("*.json")):
        if path.name not in whole:
            name = path.relative_to(CONFIGS).as_posix()
            yield f"`{name}`", read_config(name)["_desc_"]


def tabulate(titles: tuple[str, ...], rows: Any) -> str:
    """A table in Markdown; a pipe in a cell is escaped."""
    lines = [titles, tuple("---" for _ in titles), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(write_page(), encoding="utf-8")
