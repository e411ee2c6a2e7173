"""`run`, which other programs ask for, is the act of a stack's last config: evaluation overrides must not train."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from monai.bundle import ConfigWorkflow

from tests.configs import CONFIGS, METADATA, RUNNABLE, read_json, stack

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md")), *sorted((ROOT / "bundle/docs").glob("*.md"))]
ACTS = ("training", "evaluating", "explaining", "inferring")
#: Acts of the recipe of the shipped weights, which nobody calls by hand.
INNER_ACTS = ("predicting", "caching")
#: The files that say what is done; all others only change how.
ACT_OF_FILE = {
    "train.json": "training",
    "evaluate.json": "evaluating",
    "explain.json": "explaining",
    "inference.json": "inferring",
    "predict.json": "predicting",
    "cache.json": "caching",
}


def find_documented() -> dict[tuple[str, ...], str]:
    """Stacks of configs in the documents' commands, each with the act that the command names."""
    found: dict[tuple[str, ...], str] = {}
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for act, quoted, plain in re.findall(
            rf"\b({'|'.join(ACTS)})\b[^\n`|]*?--config_file\s+(?:\"\[([^\]]+)\]\"|(\S+\.json))", text
        ):
            names = re.findall(r"configs/([\w/<>]+\.json)", quoted or plain)
            if names and not any("<" in name for name in names):
                below = [file.relative_to(CONFIGS).as_posix() for file in stack(CONFIGS / names[0])]
                found[(*below, *names[1:])] = act
    return found


DOCUMENTED = find_documented()
STACKS = {tuple(file.relative_to(CONFIGS).as_posix() for file in stack(path)) for path in RUNNABLE} | set(DOCUMENTED)


def resolve_act(names: tuple[str, ...]) -> list[str]:
    """Acts of `run` for a stack whose acts only say their names; it is asked twice, as a server would."""
    files = [CONFIGS / name for name in names]
    acts = {act: [f"${act!r}"] for act in (*ACTS, *INNER_ACTS) if any(act in read_json(file) for file in files)}
    quiet = {"initialize": None, "finalize": None}
    changes = {**acts, **quiet}
    workflow = ConfigWorkflow([str(file) for file in files], meta_file=str(METADATA), logging_file=False, **changes)
    workflow.initialize()
    first, second = workflow.run(), workflow.run()
    assert first == second
    return first


def test_commands_of_each_act_are_documented():
    assert set(DOCUMENTED.values()) == set(ACTS) and len(DOCUMENTED) > 10


@pytest.mark.parametrize("names", sorted(STACKS), ids=lambda names: "+".join(names))
def test_run_is_the_act_of_the_last_file(names: tuple[str, ...]):
    expected = [ACT_OF_FILE[name] for name in names if name in ACT_OF_FILE][-1]
    assert resolve_act(names) == [expected]
    assert DOCUMENTED.get(names, expected) == expected


@pytest.mark.parametrize("name", sorted(ACT_OF_FILE))
def test_an_act_is_stated_once(name: str):
    config = read_json(CONFIGS / name)
    assert config["run"] == f"%{ACT_OF_FILE[name]}"
    assert isinstance(config[ACT_OF_FILE[name]], list)


@pytest.mark.parametrize("path", RUNNABLE, ids=lambda path: path.name)
def test_no_other_file_says_what_is_done(path: Path):
    assert path.name in ACT_OF_FILE or not {"run", *ACTS, *INNER_ACTS} & set(read_json(path))
