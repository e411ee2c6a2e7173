"""A training that was cut short goes on as the same training: equal weights, optimizer and history, to the bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts.checkpoints import read_weights
from scripts.files import compute_sha256
from scripts.synthetic import generate_tree

from tests.test_commands import TINY, Commands, Outcome, check_rejection, succeed

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = "bundle/configs"
STACKS = {
    "train": ["train.json"],
    "detector": ["train.json", "train_detector.json"],
    "stacked": ["train.json", "stacked.json"],
    "average": ["train.json", "experiments/ema.json"],
    "mixup": ["train.json", "experiments/mixup.json"],
}
EPOCHS = 4

#: Torchrun keeps one store over its restarts, where new processes find the addresses of dead ones, unless this is set.
NEW_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    commands = Commands(tmp_path_factory.mktemp("resumed"))
    yield commands
    commands.close()


@pytest.fixture(scope="module")
def data(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    tree = tmp_path_factory.mktemp("data") / "tree"
    generate_tree(tree, num_studies=24, num_test_studies=3, size=96, workers=1)
    succeed(commands.run("scripts", "prepare", tree=tree, out=tree.parent / "prepared", num_folds=3, workers=1))
    return {"dataset_dir": tree, "datalist_file": tree.parent / "prepared" / "datalist.json"}


def train(commands: Commands, stack: str, out: Path, data: dict[str, Path], **options: Any) -> Outcome:
    files = str([f"{CONFIGS}/{name}" for name in STACKS[stack]])
    return commands.run_bundle("training", files, **list_options(out, data), **options)


def list_options(out: Path, data: dict[str, Path]) -> dict[str, Any]:
    return {**data, **TINY, "epochs": EPOCHS, "val_interval": 1, "output_dir": out}


def read_rows(folder: Path) -> list[dict[str, float]]:
    rows = json.loads((folder / "history.json").read_text())
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def list_tensors(state: Any) -> Iterator[Any]:
    """All values of a checkpoint but the seconds of its history, in order."""
    if isinstance(state, dict):
        for name in state:
            if name != "seconds":
                yield from list_tensors(state[name])
    elif isinstance(state, list | tuple):
        for value in state:
            yield from list_tensors(value)
    else:
        yield state


def check_equal_trainings(one: Path, other: Path) -> None:
    assert compute_sha256(one / "best.pt") == compute_sha256(other / "best.pt")
    pairs = zip(*(list_tensors(read_weights(folder / "last.pt")) for folder in (one, other)), strict=True)
    assert all(a.equal(b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)
    assert read_rows(one) == read_rows(other)


def cut_short(folder: Path, epoch: int) -> None:
    """Leave what a kill in the epoch behind this one leaves: the history may be an epoch ahead of the checkpoint."""
    state = read_weights(folder / "previous.pt")
    assert state["epoch"] == EPOCHS - 1 == epoch
    for suffix in ("", ".sha256"):
        (folder / f"previous.pt{suffix}").replace(folder / f"last.pt{suffix}")
    hash_file = folder / "last.pt.sha256"
    hash_file.write_text(hash_file.read_text().replace("previous.pt", "last.pt"))
    for name in ("best.pt", "best.pt.sha256"):
        (folder / name).unlink()
    (folder / ".tmp-abc.last.pt").write_bytes(b"half")


@pytest.fixture(scope="module")
def whole(commands: Commands, data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A training of a kind that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")

    @cache
    def make(stack: str) -> Path:
        succeed(train(commands, stack, folder / stack, data))
        return folder / stack

    return make


def start_training(commands: Commands, stack: str, out: Path, data: dict[str, Path], **options: Any) -> Future[Outcome]:
    return ThreadPoolExecutor(1).submit(train, commands, stack, out, data, **options)


def send(sent: signal.Signals, out: Path) -> None:
    """To the process that holds the folder."""
    os.kill(int((out / ".lock").read_text().split()[1]), sent)


@pytest.mark.parametrize(
    ("stack", "workers"),
    [
        ("train", 0),
        ("train", 2),
        ("stacked", 0),
        ("average", 0),
        pytest.param("detector", 0, marks=pytest.mark.slow),
        pytest.param("detector", 2, marks=pytest.mark.slow),
        pytest.param("mixup", 2, marks=pytest.mark.slow),
        pytest.param("average", 2, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_training_is_the_same_training(
    commands: Commands, data: dict[str, Path], whole: Callable[[str], Path], tmp_path: Path, stack: str, workers: int
):
    out = tmp_path / "out"
    undisturbed = whole(stack)
    started = start_training(commands, stack, out, data, num_workers=workers)
    wait_for_epoch(out, 2)
    send(signal.SIGKILL, out)
    assert started.result().status == -signal.SIGKILL
    assert json.loads((out / "record.json").read_text())["status"] == "running"
    succeed(train(commands, stack, out, data, resume=True, num_workers=workers))
    check_equal_trainings(undisturbed, out)
    record = json.loads((out / "record.json").read_text())
    assert (record["status"], record["resumed"]) == ("done", 1)
    assert not list(out.glob(".tmp-*")) and not (out / ".lock").exists()


def wait_for_epoch(out: Path, epoch: int, seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (out / "history.json").is_file() and len(read_rows(out)) >= epoch and (out / "last.pt").is_file():
            return
        time.sleep(0.02)
    raise AssertionError(f"no epoch {epoch} within {seconds} s")


def test_a_training_between_two_epochs_files_is_the_same(
    commands: Commands, data: dict[str, Path], whole: Callable[[str], Path], tmp_path: Path
):
    """Its history was written, its checkpoint was not; and best.pt, which that epoch wrote, is written again."""
    out = tmp_path / "out"
    succeed(train(commands, "train", out, data))
    cut_short(out, EPOCHS - 1)
    if read_rows(out)[-1]["study_map"] < max(row["study_map"] for row in read_rows(out)[:-1]):
        pytest.skip("the last epoch is not the best one")
    succeed(train(commands, "train", out, data, resume=True))
    check_equal_trainings(whole("train"), out)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_after_the_iteration_and_the_training_goes_on(
    commands: Commands, data: dict[str, Path], whole: Callable[[str], Path], tmp_path: Path, sent: signal.Signals
):
    out = tmp_path / "out"
    undisturbed = whole("train")
    started = start_training(commands, "train", out, data)
    wait_for_epoch(out, 1)
    send(sent, out)
    outcome = started.result()
    printed = outcome.stdout + outcome.stderr
    assert outcome.status == 128 + sent
    assert f"stopped by {sent.name} in epoch" in printed and "Traceback" not in printed
    record = json.loads((out / "record.json").read_text())
    assert (record["status"], record["error"]) == ("failed", f"Stopped: stopped by {sent.name}")
    succeed(train(commands, "train", out, data, resume=True))
    check_equal_trainings(undisturbed, out)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.0001}, r"with settings learning_rate unset, found learning_rate 0\.0001; resume with"),
        ({"fold": 1}, r"with fold 0, found 1; resume with the same command"),
        ({"seed": 7}, r"with seed 0, found 7; resume with the same command"),
        ({"stack": "mixup"}, r"with overrides \['train\.json'\], found"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_another_training_is_not_gone_on_with(
    commands: Commands, data: dict[str, Path], whole: Callable[[str], Path], changes: dict[str, Any], message: str
):
    options = {"stack": "train", **changes}
    before = compute_sha256(whole("train") / "last.pt")
    outcome = train(commands, options.pop("stack"), whole("train"), data, resume=True, **options)
    assert outcome.status == 1 and compute_sha256(whole("train") / "last.pt") == before
    check_rejection(outcome, message, whole("train") / "none")


def test_a_used_folder_is_rejected_unless_it_is_replaced(commands: Commands, data: dict[str, Path], tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("best.pt", "notes.txt"):
        (out / name).write_text("mine")
    outcome = train(commands, "train", out, data)
    assert outcome.status == 1
    assert "expected an output folder without results of an earlier run, found best.pt" in outcome.last_line
    assert (out / "best.pt").read_text() == "mine"
    succeed(train(commands, "train", out, data, replace=True))
    assert (out / "notes.txt").read_text() == "mine" and read_weights(out / "best.pt")


def test_resuming_without_a_checkpoint_is_an_error(commands: Commands, data: dict[str, Path], tmp_path: Path):
    outcome = train(commands, "train", tmp_path / "out", data, resume=True)
    assert outcome.status == 1 and "error: expected a record.json, found none" in outcome.last_line


def run_two(out: Path, data: dict[str, Path], stack: str) -> subprocess.Popen[bytes]:
    """Start torchrun with two processes, which it starts again once."""
    files = str([f"{CONFIGS}/{name}" for name in (*STACKS[stack], "multi_gpu_train.json")])
    options = {"config_file": files, **list_options(out, data)}
    del options["device"]
    words = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--max_restarts=1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **NEW_STORE}
    with (out.parent / f"{out.name}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, *command, "-m", "monai.bundle", "run", "training", *words],
            env=environment, cwd=ROOT, stdout=log, stderr=log,
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("stack", ["train", "detector"])
def test_torchrun_starts_again_and_goes_on_as_the_same_training(data: dict[str, Path], tmp_path: Path, stack: str):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert run_two(whole, data, stack).wait() == 0
    process = run_two(out, data, stack)
    wait_for_epoch(out, 2)
    send(signal.SIGKILL, out)
    assert process.wait() == 0, (tmp_path / "out.log").read_text()[-3000:]
    assert json.loads((out / "record.json").read_text())["resumed"] == 1
    check_equal_trainings(whole, out)
