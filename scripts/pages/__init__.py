"""HTML pages of results: one style, one script, light and dark, and nothing that is loaded from a network.

Templates stand beside the module that fills them, and extend `page.html` of this folder. Style and script are written
into each page, so that it opens from a disk, and a content security policy forbids it to ask anybody for anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent

#: Files beside a module that a release packs with it.
TEMPLATE_SUFFIXES = (".html", ".css", ".js")


def render_page(template: str | Path, content: Mapping[str, object]) -> str:
    """Fill a template; every value is escaped, unless it is a `markupsafe.Markup`.

    Args:
        template: file of the template; others of its folder and `page.html` can be named in it.
        content: its variables. One that is missing is an error.
    """
    path = Path(template)
    return _environment(path.parent).get_template(path.name).render(content)


@cache
def _environment(folder: Path) -> Environment:
    return Environment(
        loader=FileSystemLoader([folder, FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
