"""Structure of an HTML page, by the standard library's parser: what readers by ear, or without a network, need."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
NAMED = ("aria-label", "aria-labelledby", "title")
EXTERNAL = re.compile(r"^(?:[a-z]+:)?//|^https?:", re.IGNORECASE)


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    ancestors: tuple[str, ...]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """The elements of a page in their order, each with its own and its descendants' text."""

    html: str
    elements: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[Element] = []
        self.feed(self.html)
        assert not self._open, f"{self._open[-1].tag} is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, tuple(each.tag for each in self._open))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)
        elif tag == "br":
            self.handle_data(" ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open[-1].tag == tag, f"{tag} is closed where {self._open[-1:]} is open"
        if tag in ("td", "th"):
            self.handle_data(" ")
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def find(self, *tags: str) -> list[Element]:
        return [element for element in self.elements if element.tag in tags]

    def list_faults(self) -> list[str]:
        """List all that is wrong with the page; nothing of a good one."""
        return [*self._check_frame(), *self._check_names(), *self._check_tables(), *self._check_addresses()]

    def _check_frame(self) -> list[str]:
        levels = [int(each.tag[1]) for each in self.find("h1", "h2", "h3", "h4", "h5", "h6")]
        skipped = [after for before, after in zip(levels, levels[1:], strict=False) if after > before + 1]
        ids = [each.attributes["id"] for each in self.elements if "id" in each.attributes]
        faults = {
            "no language": not self.find("html")[0].attributes.get("lang"),
            "no title": not self.find("title")[0].text.strip(),
            "another number of main headings than one": levels.count(1) != 1,
            "a heading that skips a level": bool(skipped) or levels[:1] != [1],
            "an empty heading": any(not each.text.strip() for each in self.find("h1", "h2", "h3")),
            "an id twice": len(ids) > len(set(ids)),
            "a name that is nowhere": bool({
                each.attributes["aria-labelledby"] for each in self.elements if "aria-labelledby" in each.attributes
            } - set(ids)),
        }  # fmt: skip
        return [name for name, found in faults.items() if found]

    def _check_names(self) -> list[str]:
        targets = {each.attributes.get("for") for each in self.find("label")}
        controls = [each for each in self.find("input", "select") if each.attributes.get("type") != "hidden"]
        unnamed = [
            each
            for each in controls
            if "label" not in each.ancestors
            and each.attributes.get("id") not in targets
            and not any(each.attributes.get(name) for name in NAMED)
        ]
        silent = [
            each
            for each in self.find("button", "a")
            if not each.text.strip() and not any(each.attributes.get(name) for name in NAMED)
        ]
        blind = [each for each in self.find("img") if "alt" not in each.attributes]
        return [f"without a name: {each.tag} {each.attributes}" for each in (*unnamed, *silent, *blind)]

    def _check_tables(self) -> list[str]:
        return [f"a header without scope: {each.text}" for each in self.find("th") if not each.attributes.get("scope")]

    def _check_addresses(self) -> list[str]:
        """Nothing is fetched from elsewhere: no address but files beside the page, parts of it, and data."""
        addresses = [each.attributes.get(name, "") for each in self.elements for name in ("src", "href", "action")]
        styles = [each.text for each in self.find("style")] + [
            each.attributes.get("style", "") for each in self.elements
        ]
        addresses += [url for style in styles for url in re.findall(r"url\(['\"]?([^)'\"]+)", style)]
        imported = [style for style in styles if "@import" in style]
        return [f"an address elsewhere: {each}" for each in (*filter(EXTERNAL.match, addresses), *imported)]
