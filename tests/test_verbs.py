"""The command line explains itself: verbs in the order of the work, options by name, a mistyped one before it runs."""

from __future__ import annotations

import ast
import shlex
import subprocess
import sys
from inspect import Parameter, signature
from pathlib import Path

import fire
import pytest
from scripts.__main__ import STAGES, describe_help, keep_texts, list_verbs
from scripts.errors import InputError
from scripts.verbs import OPTIONS, describe_verb, name_verb, reject_unknown_option, split_docstring

ROOT = Path(__file__).resolve().parents[1]
VERBS = list_verbs()

#: A small screen: rows and columns.
ROWS, COLUMNS = 24, 100


def test_every_verb_stands_in_the_order_of_the_work():
    listed = [name for names in STAGES.values() for name in names]
    assert sorted(listed) == sorted(VERBS)


def test_the_overview_has_a_sentence_and_an_example_of_each_verb():
    overview = " ".join(describe_help([], VERBS).split())
    for verb in VERBS.values():
        sentence, _, example = split_docstring(verb)
        assert f" {name_verb(verb)} {' '.join(sentence.split())} $ {example}" in overview
    assert describe_help(["--help"], VERBS) == describe_help(["help"], VERBS) == describe_help([], VERBS)


@pytest.mark.parametrize("name", sorted(VERBS))
def test_the_help_of_a_verb_fits_a_screen(name: str):
    lines = describe_help([name.replace("_", "-"), "--help"], VERBS).splitlines()
    assert len(lines) < ROWS
    assert [line for line in lines[1:-1] if len(line) > COLUMNS] == []  # usage and example are one line each, to copy


@pytest.mark.parametrize("name", sorted(VERBS))
def test_an_example_names_its_verb_and_only_options_that_it_has(name: str):
    words = shlex.split(split_docstring(VERBS[name])[2])
    assert words[:4] == ["python", "-m", "scripts", name_verb(VERBS[name])]
    reject_unknown_option(VERBS[name], words[4:])


def test_every_option_has_one_meaning_and_every_meaning_an_option():
    named = {
        each.name
        for verb in VERBS.values()
        for each in signature(verb).parameters.values()
        if each.kind is not Parameter.VAR_KEYWORD
    }
    assert named == OPTIONS.keys()


def test_defaults_and_needed_options_stand_in_the_help():
    text = describe_verb(VERBS["prepare"])
    assert "--num_folds                  folds of the cross-validation (5)" in text
    assert "--tree                       folder of the images (needed)" in text


@pytest.mark.parametrize(
    ("option", "advice"), [("--tre", "did you mean --tree?"), ("--num-fold=3", "--num_folds"), ("--zzz", "--help")]
)
def test_a_mistyped_option_is_an_error_before_the_verb_runs(option: str, advice: str):
    with pytest.raises(InputError, match="expected an option of prepare") as caught:
        reject_unknown_option(VERBS["prepare"], ["--out", "x", option, "y"])
    assert advice in caught.value.advice


def test_known_options_pass():
    reject_unknown_option(VERBS["prepare"], ["tree", "--out=x", "--num-folds", "-1", "-s", "3", "--", "--trace"])
    reject_unknown_option(VERBS["release"], ["--nochecks"])
    reject_unknown_option(VERBS["cross_validate"], ["--image_size", "64"])


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        ([], 0, "Prepare images"),
        (["score", "--help"], 0, "--num_resamples"),
        (["--x"], 1, "error: expected a verb"),
        (["prepare", "--tre", "x", "--out", "y"], 1, "found --tre; did you mean --tree?"),
    ],
)
def test_the_command_says_so(arguments: list[str], status: int, expected: str):
    command = [sys.executable, "-m", "scripts", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == status and expected in done.stdout + done.stderr and "Traceback" not in done.stderr


def test_a_bar_of_progress_stands_on_a_terminal_and_in_no_log():
    calls = [
        (path.name, node)
        for path in (ROOT / "scripts").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "tqdm"
    ]
    assert len(calls) > 10
    assert [name for name, call in calls if "disable" not in {each.arg for each in call.keywords}] == []


@pytest.mark.parametrize(
    ("given", "on"),
    [
        ([], False),
        (["--broken"], True),
        (["--broken", "false"], False),
        (["--broken=True"], True),
        (["--nobroken"], False),
    ],
)
def test_an_option_that_is_off_is_off(given: list[str], on: bool):
    """By itself fire takes the text "false" for on."""

    def verb(broken: bool = False, name: str = "") -> str:
        return f"{broken} {name}"

    assert fire.Fire(keep_texts(verb), [*given, "--name", "20200315"]) == f"{on} 20200315"
    with pytest.raises(InputError, match="expected broken true or false, found 'maybe'"):
        fire.Fire(keep_texts(verb), ["--broken", "maybe"])
