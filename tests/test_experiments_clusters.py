"""Runs on a local Ray cluster: side by side, begun again where they were lost, and the same as in turn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts.checkpoints import save_weights
from scripts.datalist import read_datalist
from scripts.errors import InputError
from scripts.experiments import Plan, RayCluster, ablate, crossvalidate
from scripts.experiments.clusters import list_resources
from scripts.experiments.running import make_in_turn
from scripts.research import _plan_runs
from scripts.run_records import describe_run, read_options, read_record, write_record

from tests.configs import CONFIGS
from tests.test_experiments import Runner

FILES = [str(CONFIGS / "train.json")]


@dataclass(frozen=True)
class Accident:
    """A `Runner` in another process, whose first training of one fold ends in the middle.

    Args:
        runner: what goes well.
        fold: of the accident.
        kind: "killed" takes the worker with it, "failed" is a status.
    """

    runner: Runner
    fold: int
    kind: str

    def __call__(self, arguments: Sequence[str], log: Path) -> int:
        options = read_options(arguments)
        folder, first = Path(options["output_dir"]), not (Path(options["output_dir"]) / "tries.txt").exists()
        if arguments[3] == "training":
            with (folder / "tries.txt").open("a") as file:
                file.write(f"{os.getpid()} {options['resume']} {os.environ.get('OMP_NUM_THREADS')}\n")
            if first and int(options["fold"]) == self.fold:
                return self._break_off(options, folder, log)
        return self.runner(arguments, log)

    def _break_off(self, options: dict[str, str], folder: Path, log: Path) -> int:
        write_record(describe_run(options, options["datalist_file"], self.fold, int(options["seed"])), folder)
        save_weights({"half": torch.zeros(1)}, folder / "last.pt")
        log.write_text("out of memory\n")
        if self.kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return 1


@pytest.fixture
def plan(datalist_file: Path, images: Path) -> Plan:
    return Plan(datalist_file, images, {"epochs": 1}, start=Runner(read_datalist(datalist_file)))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One local cluster for all tests."""
    with RayCluster().connect():
        yield


def read_tries(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "tries.txt").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("kind", ["killed", "failed"])
def test_folds_on_two_workers_score_as_in_turn_though_one_is_lost_and_resumed(plan: Plan, tmp_path: Path, kind: str):
    in_turn = crossvalidate(plan, FILES, tmp_path / "in_turn", folds=(0, 1, 2))
    spread = replace(plan, start=Accident(plan.start, 1, kind), make_all=RayCluster())  # type: ignore[arg-type]
    assert crossvalidate(spread, FILES, tmp_path / "spread", folds=(0, 1, 2)) == in_turn
    tries = {fold: read_tries(tmp_path / "spread" / f"fold{fold}") for fold in range(3)}
    assert [len(each) for each in tries.values()] == [1, 2, 1]
    assert [resumes for _, resumes, _ in tries[1]] == ["False", "True"]
    workers = {process for each in tries.values() for process, _, _ in each}
    assert len(workers) > 1 and str(os.getpid()) not in workers
    assert {threads for each in tries.values() for _, _, threads in each} == {"1"}
    assert [read_record(tmp_path / "spread" / f"fold{fold}").status for fold in range(3)] == ["done"] * 3


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_an_ablation_on_two_workers_reports_as_in_turn_and_trains_once_what_differs_in_evaluation_only(
    plan: Plan, tmp_path: Path
):
    rows, seeds = ("baseline", "tta_flips_1", "no_auxiliary"), (0, 1)
    options = {"rows": rows, "seeds": seeds, "configs": CONFIGS, "num_resamples": 20}
    in_turn = ablate(plan, tmp_path / "in_turn", **options)
    spread = replace(plan, start=Accident(plan.start, 9, ""), make_all=RayCluster())  # type: ignore[arg-type]
    assert ablate(spread, tmp_path / "spread", **options) == in_turn
    tries = [read_tries(path.parent) for path in (tmp_path / "spread").rglob("tries.txt")]
    assert [len(each) for each in tries] == [1] * 4, "two trainings of two seeds"


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_run_that_fails_every_time_is_reported_in_one_line_and_the_others_are_finished(plan: Plan, tmp_path: Path):
    spread = replace(plan, start=Failing(plan.start, 0), make_all=RayCluster(retries=1))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^expected a training that ends well, found status 1: no more; read \S+log$"):
        crossvalidate(spread, FILES, tmp_path, folds=(0, 1))
    assert read_record(tmp_path / "fold1").status == "done" and len(read_tries(tmp_path / "fold0")) == 2


@dataclass(frozen=True)
class Failing:
    """A `Runner` that never trains one fold."""

    runner: Runner
    fold: int

    def __call__(self, arguments: Sequence[str], log: Path) -> int:
        options = read_options(arguments)
        if int(options["fold"]) != self.fold:
            return self.runner(arguments, log)
        with (Path(options["output_dir"]) / "tries.txt").open("a") as file:
            file.write(f"{os.getpid()} {options['resume']} 1\n")
        log.write_text("no more\n")
        return 1


def start_and_die(folder: Path) -> int:
    """Start a process that would write for ever, and kill the worker that it belongs to, the first time."""
    if (folder / "process").exists():
        return int((folder / "process").read_text())
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (folder / "process").write_text(str(child.pid))
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_what_a_killed_worker_started_ends_with_it(tmp_path: Path):
    """A training that lived on would hold its folder against the next try."""
    (process,) = RayCluster()([partial(start_and_die, tmp_path)])
    end = time.monotonic() + 30
    while is_alive(process) and time.monotonic() < end:
        time.sleep(0.2)
    assert not is_alive(process)


def is_alive(process: int) -> bool:
    status = Path(f"/proc/{process}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_worker_that_is_lost_every_time_is_reported_in_one_line():
    with pytest.raises(
        InputError, match=r"^expected a worker that lives .* found WorkerCrashedError after 1 more tries"
    ):
        RayCluster(retries=1)([die])


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def make_node(cores: float, gpus: float = 0, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cores, **({"GPU": gpus} if gpus else {})}}


@pytest.mark.parametrize(
    ("nodes", "resources"),
    [
        ([make_node(2)], {"num_cpus": 1, "num_gpus": 0}),
        ([make_node(16, 1)], {"num_cpus": 16, "num_gpus": 1}),
        ([make_node(64, 8), make_node(12, 4), make_node(8)], {"num_cpus": 3, "num_gpus": 1}),
        ([make_node(2, 4)], {"num_cpus": 1, "num_gpus": 1}),
        ([make_node(4), make_node(16, 1, alive=False)], {"num_cpus": 1, "num_gpus": 0}),
    ],
)
def test_a_run_takes_a_gpu_and_its_cores_where_there_is_one(nodes: list[dict[str, Any]], resources: dict[str, int]):
    assert list_resources(nodes) == resources


@pytest.mark.parametrize(("option", "cluster"), [(True, RayCluster()), ("auto", RayCluster("auto"))])
def test_the_option_ray_names_the_cluster_of_a_plan(option: bool | str, cluster: RayCluster):
    assert _plan_runs("datalist.json", "tree", option, 1, {"epochs": 1}).make_all == cluster
    assert _plan_runs("datalist.json", "tree", False, 1, {}).make_all is make_in_turn
