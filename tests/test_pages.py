"""HTML pages: everything is escaped, nothing is fetched, and what is missing is an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError
from scripts.pages import render_page

from tests.markup import Page

TEMPLATE = """{% extends "page.html" %}
{% block title %}Title{% endblock %}
{% block main %}<h1>{{ word }}</h1>{% endblock %}"""


@pytest.fixture
def template(tmp_path: Path) -> Path:
    (tmp_path / "one.html").write_text(TEMPLATE)
    return tmp_path / "one.html"


def test_a_page_is_whole_and_sound(template: Path):
    page = Page(render_page(template, {"word": "Studies"}))
    assert page.list_faults() == []
    assert page.find("h1")[0].text == "Studies" and page.find("title")[0].text == "Title"
    assert "Research use only. Not a medical device." in page.find("body")[0].text


@pytest.mark.parametrize("word", ["<script>alert(1)</script>", '" onload="x', "</h1><img src=//elsewhere/x>", "a & b"])
def test_what_a_page_is_filled_with_is_text_and_never_markup(template: Path, word: str):
    page = Page(render_page(template, {"word": word}))
    assert page.find("h1")[0].text == word
    assert len(page.elements) == len(Page(render_page(template, {"word": "plain"})).elements)


def test_what_is_missing_is_an_error(template: Path):
    with pytest.raises(UndefinedError, match="'word' is undefined"):
        render_page(template, {})


def test_a_page_forbids_itself_to_ask_anybody(template: Path):
    metas = Page(render_page(template, {"word": "x"})).find("meta")
    policy = next(each.attributes["content"] for each in metas if "http-equiv" in each.attributes)
    assert policy.startswith("default-src 'none';") and "http" not in policy


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        ("<h1>a</h1><h3>b</h3>", "skips a level"),
        ("<h1>a</h1><img src=x>", "without a name: img"),
        ("<h1>a</h1><input>", "without a name: input"),
        ("<h1>a</h1><button></button>", "without a name: button"),
        ("<h1>a</h1><table><tr><th>b</th></tr></table>", "without scope"),
        ("<h1>a</h1><a href='https://elsewhere'>b</a>", "elsewhere"),
        ("<h1>a</h1><p id=x></p><p id=x></p>", "an id twice"),
        ("<h1>a</h1><h1>b</h1>", "than one"),
    ],
)
def test_faults_of_a_page_are_found(tmp_path: Path, broken: str, fault: str):
    (tmp_path / "one.html").write_text(TEMPLATE.replace("<h1>{{ word }}</h1>", broken))
    (found,) = Page(render_page(tmp_path / "one.html", {})).list_faults()
    assert fault in found
