"""A mistyped option of a run is an error that names the nearest one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scripts.errors import InputError
from scripts.options import reject_unknown_options

from tests.configs import CONFIGS, INFERENCE

ROOT = Path(__file__).resolve().parents[1]
TRAIN = str(CONFIGS / "train.json")


def give(*arguments: str, command: str = "monai.bundle") -> None:
    reject_unknown_options([command, "run", "training", *arguments])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--epochs", "3"],
        ["--epochs=3", "--fold", "-1"],
        ["--batch-size", "4"],
        ["--train#trainer#max_epochs", "2"],
        ["--train::trainer::max_epochs", "2"],
        ["--meta_file", "metadata.json", "--logging_file", "a.conf"],
    ],
)
def test_names_of_the_configs_pass(arguments: list[str]):
    give("--config_file", TRAIN, *arguments)


@pytest.mark.parametrize(
    ("arguments", "found", "nearest"),
    [
        (["--epoch", "3"], "epoch", "did you mean --epochs?"),
        (["--learning-rte=0.1"], "learning_rte", "did you mean --learning_rate?"),
        (["--trian#trainer", "1"], "trian", "did you mean --train?"),
        (["--zzzz", "1"], "zzzz", "see the top-level names"),
        (["--soft_labels_file", "a.json"], "soft_labels_file", ""),
    ],
)
def test_other_names_do_not(arguments: list[str], found: str, nearest: str):
    with pytest.raises(InputError) as caught:
        give("--config_file", TRAIN, *arguments)
    assert caught.value.found == f"--{found}" and nearest in str(caught.value)


def test_an_overlay_brings_its_names():
    overlay = str(CONFIGS / "experiments" / "soft_labels.json")
    give("--config_file", f"['{TRAIN}', '{overlay}']", "--soft_labels_file", "a.json")


def test_tracking_brings_its_names():
    give(
        "--config_file", TRAIN, "--tracking", "mlflow", "--experiment_name", "tried", "--tracking_uri", "sqlite:///a.db"
    )
    with pytest.raises(InputError, match="--experiment_name"):
        give("--config_file", TRAIN, "--experiment_name", "tried")


def test_the_names_of_an_args_file_are_compared_too(tmp_path: Path):
    (tmp_path / "args.json").write_text(json.dumps({"config_file": [TRAIN], "epoch": 3}))
    with pytest.raises(InputError, match="--epochs"):
        give("--args_file", str(tmp_path / "args.json"))


@pytest.mark.parametrize(
    ("text", "read"),
    [("2020.10", "2020.1"), ("ward#2", "ward"), ("1_000", "1000"), ("[x]", r"\['x'\]"), ("a,b", r"\('a', 'b'\)")],
)
def test_a_path_that_would_be_read_as_another_one_is_rejected(text: str, read: str):
    """The folder 2020.1 may be there as well, and of other patients."""
    for name in ("--dataset_dir", "--output_dir", "--datalist_file"):
        with pytest.raises(InputError, match=f"found {re.escape(text)}, which is read as {read}; write ./"):
            give("--config_file", TRAIN, name, text)
        give("--config_file", TRAIN, name, f"./{text}")


@pytest.mark.parametrize("text", ["2020", "runs/images", "/data/ward#2", "None", "'2020.10'", "$@bundle_root + '/x'"])
def test_other_paths_are_taken_as_they_are_typed(text: str):
    give("--config_file", TRAIN, "--dataset_dir", text)


def test_other_commands_are_left_alone():
    give("--epoch", "3", command="pytest")
    reject_unknown_options(["monai.bundle", "verify_metadata", "--epoch", "3"])
    give("--epoch", "3")  # without config files MONAI itself says what is missing


def test_the_command_ends_with_one_line(tmp_path: Path):
    command = [sys.executable, "-m", "monai.bundle", "run", "inferring", "--config_file", str(INFERENCE)]
    done = subprocess.run(
        [*command, "--datset_dir", str(tmp_path), "--output_dir", str(tmp_path / "out")],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    expected = "error: expected an option that the config files have, found --datset_dir; did you mean --dataset_dir?"
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == expected
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()
