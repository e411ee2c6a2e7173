"""Trainings and evaluations as processes of their own: finished ones are not run again, failures are reported."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from scripts.checkpoints import has_checkpoint
from scripts.datalist import read_datalist_hash
from scripts.errors import InputError
from scripts.outputs import read_prediction_table
from scripts.predictions import DONE_FILE, PREDICTIONS_FILE, read_done
from scripts.run_records import DONE, PLACES, RECORD, read_record
from tqdm import tqdm

WEIGHTS = "last.pt"

T = TypeVar("T")


class FailedRun(InputError):
    """A run that did not end well; what its folder holds is gone on with when it is begun again."""


def start_process(arguments: Sequence[str], log: Path, threads: int | None = None) -> int:
    """Run python with arguments, everything that it says into a file; its exit status.

    It takes so many threads, unless OMP_NUM_THREADS says otherwise.
    """
    environment = {**({"OMP_NUM_THREADS": str(threads)} if threads else {}), **os.environ}
    with log.open("w", encoding="utf-8") as file:
        command = [sys.executable, "-W", "ignore", *arguments]
        return subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False).returncode


def make_in_turn(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Results of calls, one after the other."""
    return [call() for call in tqdm(calls, "runs", unit="run", disable=None)]


@dataclass(frozen=True)
class Slots:
    """Calls of a series side by side on this machine, so many at a time: trainings that share a GPU, or the cores."""

    number: int

    def __call__(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Results in the order of the calls; where one fails, the others are finished first.

        Raises:
            InputError: of the first call that failed.
        """
        with ThreadPoolExecutor(max_workers=self.number) as pool:
            futures = [pool.submit(call) for call in calls]
            for _ in tqdm(as_completed(futures), "runs", total=len(futures), unit="run", disable=None):
                pass
        return [future.result() for future in futures]


@dataclass(frozen=True)
class Plan:
    """Common data and options of a series of runs.

    Args:
        datalist_file: that images and folds come from.
        dataset_dir: the tree of its paths.
        options: further options of every command, such as `image_size`, `epochs` or `cache_dir`.
        evaluate: the override that turns a training's config into its evaluation.
        predicting: the override that turns it into the prediction of images that it never saw.
        caching: the override that turns it into the preparation of all images.
        start: starts a command (arguments of python, file of its log) and gives its exit status.
        make_all: makes the calls of a series that do not need one another, and gives their results in their order; in
            turn by default, or `Slots`, or a `RayCluster`.
    """

    datalist_file: Path
    dataset_dir: Path
    options: Mapping[str, Any]
    evaluate: str = "bundle/configs/evaluate.json"
    predicting: str = "bundle/configs/predict.json"
    caching: str = "bundle/configs/cache.json"
    start: Callable[[Sequence[str], Path], int] = start_process
    make_all: Callable[[Sequence[Callable[[], Any]]], list[Any]] = make_in_turn

    def side_by_side(self, slots: int) -> Plan:
        """The same plan with so many runs at a time, which share the machine's cores.

        Raises:
            InputError: where there is no slot.
        """
        if slots < 1:
            raise InputError("at least one slot", str(slots), "leave slots out for one run after the other")
        if slots == 1:
            return self
        threads = max(1, (os.cpu_count() or 1) // slots)
        return replace(self, make_all=Slots(slots), start=partial(start_process, threads=threads))

    def with_options(self, options: Mapping[str, Any]) -> Plan:
        """The same plan with further options."""
        return replace(self, options={**self.options, **options})

    def is_done(self, files: Sequence[str], folder: Path, fold: int, seed: int) -> bool:
        """Tell if this run has ended in its folder.

        Raises:
            InputError: where another one has.
        """
        if not (folder / RECORD).is_file() or read_record(folder).status != DONE:
            return False
        if differing := self._find_difference(files, folder, fold, seed):
            advice = "choose another folder, or remove this one"
            raise InputError(f"in {folder} the requested run", f"one with {differing}", advice)
        return True

    def train(self, files: Sequence[str], folder: Path, fold: int, seed: int) -> Path:
        """Train by config files, one over the other, unless the same run is done already; path of its weights.

        One that was cut short is resumed from its last epoch; what another unfinished run left there is replaced.

        Raises:
            InputError: where another run stands in the folder, or the training fails (`FailedRun`).
        """
        if not self.is_done(files, folder, fold, seed):
            unfinished = has_checkpoint(folder) and not self._find_difference(files, folder, fold, seed)
            options = {**self.options, "fold": fold, "seed": seed, "resume": unfinished, "replace": not unfinished}
            self._run("training", files, folder, options)
        return folder / WEIGHTS

    def evaluate_fold(self, files: Sequence[str], weights: Path, folder: Path, fold: int) -> Path:
        """Predict the images of the fold that was held out, unless it was done by these weights; predictions.json.

        Raises:
            InputError: where the evaluation fails.
        """
        known = read_done(folder)["weights_sha256"] if (folder / DONE_FILE).is_file() else None
        if known is None or known not in read_record(weights.parent).weights_sha256.values():
            options = {**self.options, "fold": fold, "weights": weights, "overlays": 0, "replace": True}
            self._run("evaluating", [*files, self.evaluate], folder, options)
        return folder / PREDICTIONS_FILE

    def predict(
        self, files: Sequence[str], weights: Path, folder: Path, fold: int | Sequence[int] | None, table: str
    ) -> Path:
        """Predict the images that a training never saw, unless it was done by these weights; the table's path.

        Raises:
            InputError: where the prediction fails.
        """
        path = folder / table
        known = read_prediction_table(path)["weights_sha256"] if path.is_file() else None
        if known is None or known not in read_record(weights.parent).weights_sha256.values():
            options = {**self.options, "fold": fold, "weights": weights, "table_file": path, "writes": False}
            self._run("predicting", [*files, self.predicting], folder, options)
        return path

    def fill_cache(self, files: Sequence[str], folder: Path, folds: Sequence[int]) -> None:
        """Prepare all images of these folds into the cache that the plan's options name."""
        self._run("caching", [*files, self.caching], folder, {**self.options, "fold": list(folds), "writes": False})

    def _find_difference(self, files: Sequence[str], folder: Path, fold: int, seed: int) -> str:
        """Name what the run of a folder has and the requested one has not; "" where they are the same run."""
        if not (folder / RECORD).is_file():
            return "no record"
        record = read_record(folder)
        datalist_hash = read_datalist_hash(self.datalist_file)
        asked = ([Path(file).name for file in files], fold, seed, datalist_hash, self._list_settings())
        names = [Path(file).name for file in record.overrides]
        found = (names, record.fold, record.seed, record.datalist_hash, record.settings)
        return next((str(there) for here, there in zip(asked, found, strict=True) if here != there), "")

    def _list_settings(self) -> dict[str, str]:
        return {name: str(value) for name, value in sorted(self.options.items()) if name not in PLACES}

    def _run(self, run_id: str, files: Sequence[str], folder: Path, options: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        places = {"dataset_dir": self.dataset_dir, "datalist_file": self.datalist_file, "output_dir": folder}
        named = {"config_file": str([str(file) for file in files]), **places, **options}
        command = ["-m", "monai.bundle", "run", run_id]
        command += [text for name, value in named.items() for text in (f"--{name}", str(value))]
        log = folder / f"{run_id}.log"
        if status := self.start(command, log):
            last = log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2][:200]
            raise FailedRun(f"a {run_id} that ends well", f"status {status}: {last}", f"read {log}")
