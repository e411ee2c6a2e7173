"""Hooks of MkDocs: pages of the repository's root join those of bundle/docs, and links work as they do on GitHub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
DOCS = "bundle/docs/"

#: Pages of the root by their name on the site. The model card is a README too, so it moves to a page of its own.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "benchmarks/results.md": "speed.md",
}
CARD = "model_card.md"

#: Names in the first column of a table stay whole.
STYLE = ".md-typeset td:first-child code { white-space: nowrap; word-break: normal; }\n"

LINK = re.compile(r"(\]\()(?!https?:|#)([^)#\s]+)")
CARD_LINK = re.compile(r"(\]\()README\.md")


def on_files(files: Files, config: Any) -> Files:
    """Add the root's pages, and take the model card for no second start page."""
    card = files.get_file_from_path("README.md")
    if card is not None:
        files.remove(card)
        files.append(File.generated(config, CARD, content=card.content_string))
    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=rewrite_links(text)))
    files.append(File.generated(config, "tables.css", content=STYLE))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn a link to the model card to its page on the site."""
    return markdown if page.file.src_path in PAGES.values() else CARD_LINK.sub(rf"\1{CARD}", markdown)


def rewrite_links(text: str) -> str:
    """Turn links from the root of the repository into links of the site."""

    def move(found: re.Match[str]) -> str:
        target = found[2]
        inside = target.removeprefix(DOCS)
        return found[1] + (CARD if target == f"{DOCS}README.md" else PAGES.get(target, inside))

    return LINK.sub(move, text)
