"""Documents name what is there: paths, commands with their options, and the works that the bundle re-creates."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from scripts.__main__ import list_verbs
from scripts.options import reject_unknown_options
from scripts.verbs import reject_unknown_option

from tests.configs import METADATA, read_json, stack

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


def list_commands(document: Path) -> list[list[str]]:
    """Commands of a document's indented lines, a line that ends in a backslash joined with the next one."""
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^ {4,}((?:\S*python -m|make |torchrun ).*)$", text, flags=re.MULTILINE)
    # behind a target of make there may be words that say what it does
    return [line.split()[:2] if line.startswith("make") else shlex.split(line, comments=True) for line in lines]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_that_a_document_shows_has_its_verb_and_options(document: Path, monkeypatch: pytest.MonkeyPatch):
    verbs = list_verbs()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    monkeypatch.chdir(ROOT)
    for command in list_commands(document):
        if command[0] == "make":
            assert command[1] in targets, command
        elif command[2:3] == ["scripts"] and len(command) > 3:
            assert command[3].replace("-", "_") in verbs, command
            reject_unknown_option(verbs[command[3].replace("-", "_")], command[4:])
        elif "monai.bundle" in command and "..." not in command:
            words = [_name_configs(word) for word in command]
            reject_unknown_options(words[words.index("monai.bundle") :])


def _name_configs(word: str) -> str:
    """Configs of a packed bundle by their names here; an override that is packed whole with all that it lies over."""
    word = re.sub(r"(?<![\w/])configs/", "bundle/configs/", word)
    whole = word.startswith("bundle/configs/") and word != "bundle/configs/metadata.json"
    return str([str(path) for path in stack(ROOT / word)]) if whole else word


def test_commands_are_found():
    assert ["make", "demo"] in list_commands(ROOT / "README.md")
    assert len(list_commands(ROOT / "bundle/docs/researcher.md")) > 5


@pytest.mark.slow
@pytest.mark.parametrize("page", ["researcher.md"])
def test_the_commands_of_a_page_run_as_they_stand(page: str, tmp_path: Path):
    """In a folder of their own that has the bundle and the code, so that `runs/` is none of the repository's."""
    for name in ("bundle", "scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for command in list_commands(ROOT / "bundle/docs" / page):
        words = [sys.executable if word == "python" else word for word in command]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr[-2000:])
    assert (tmp_path / "runs/evaluation/submission.csv").is_file()


def test_the_works_that_are_re_created_are_cited():
    card = (ROOT / "bundle/docs/README.md").read_text(encoding="utf-8")
    references = read_json(METADATA)["references"]
    assert len(re.findall(r"^\[\d\] ", card, re.MULTILINE)) == len(references)
    for document in (card, (ROOT / "README.md").read_text(encoding="utf-8"), " ".join(references)):
        text = " ".join(document.split())
        assert "Rabi Y" in text and "Using Machine Learning to Detect COVID-19 from Chest Radiographs" in text
        assert "Nguyen Ba Dung" in text
