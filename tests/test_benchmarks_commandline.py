"""The command line of a benchmark answers --help itself, also where a verb takes any option."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from scripts.verbs import list_values

from benchmarks.commandline import run_command


@pytest.mark.parametrize("arguments", [["measure", "--help"], ["measure", "-h"], ["measure", "--size", "3", "--help"]])
def test_help_is_no_option_of_a_training(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    given: list[dict[str, Any]] = []

    def measure(size: int = 3, **options: Any) -> None:
        """Measure something."""
        given.append(options)

    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    run_command({"measure": measure, "other": print}, "benchmarks.anything")
    text = capsys.readouterr().out
    assert not given and text.startswith("python -m benchmarks.anything measure\n\nMeasure something.\n")
    assert "--size 3" in text and "other" not in text


def test_options_reach_the_only_verb(monkeypatch: pytest.MonkeyPatch):
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(sys, "argv", ["benchmark", "--size", "3"])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    run_command(lambda **options: given.append(options), "benchmarks.anything")
    assert given == [{"size": 3}]


def test_one_value_is_a_list_of_one():
    assert [list_values(each) for each in (0, (0, 1), "focal", ["focal"])] == [[0], [0, 1], ["focal"], ["focal"]]
