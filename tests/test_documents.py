"""Documents name what is there: paths, and the works that the bundle re-creates."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.configs import METADATA, read_json

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md")), *sorted((ROOT / "bundle/docs").glob("*.md"))]

#: A path begins with one of these, or is a file of this kind; what a run writes lies below runs/, dist/ or /tmp.
PLACES = ("bundle/", "scripts/", "apps/", "tests/", "benchmarks/", "configs/", "models/", "docs/")
SUFFIXES = "json|py|md|txt|csv|png|toml|conf|sh|pt"
PATH = re.compile(rf"(?<![\w/.<>-])((?:[\w.-]+/)*[\w.-]+\.(?:{SUFFIXES})|(?:[\w.-]+/)+)(?![\w/<>*{{])")
TESTS = re.compile(r"`(test_\w+\.py)`")
#: Names of outputs and of other projects' files that begin like a place of the repository, each with its reason.
EXTERNAL: dict[str, str] = {"apps/monaibundle/": "MONAI Label's stock app, in a folder of its own"}


def find_paths(document: Path) -> set[str]:
    """Paths of the repository, or of the packed bundle, that a document names."""
    text = document.read_text(encoding="utf-8")
    found = {name for name in PATH.findall(text) if name.startswith(PLACES)}
    found |= {f"tests/{name}" for name in TESTS.findall(text)}
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", text)
    return found | {(document.parent / link).resolve().relative_to(ROOT).as_posix() for link in links}


def is_there(name: str) -> bool:
    """In the repository; the model card names paths of the packed bundle, whose folder is bundle/ here."""
    return (ROOT / name).exists() or (ROOT / "bundle" / name).exists()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_that_a_document_names_is_there(document: Path):
    missing = {name for name in find_paths(document) if not is_there(name)}
    assert {name for name in missing if not name.startswith(tuple(EXTERNAL))} == set()


def test_paths_are_found():
    assert {"scripts/tables/__init__.py", "bundle/docs/results.md"} <= find_paths(ROOT / "README.md")
    assert not is_there("scripts/transforms.py")


def test_the_works_that_are_re_created_are_cited():
    card = (ROOT / "bundle/docs/README.md").read_text(encoding="utf-8")
    references = read_json(METADATA)["references"]
    assert len(re.findall(r"^\[\d\] ", card, re.MULTILINE)) == len(references)
    for document in (card, (ROOT / "README.md").read_text(encoding="utf-8"), " ".join(references)):
        text = " ".join(document.split())
        assert "Rabi Y" in text and "Using Machine Learning to Detect COVID-19 from Chest Radiographs" in text
        assert "Nguyen Ba Dung" in text
