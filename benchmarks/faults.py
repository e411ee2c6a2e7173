"""Faults that hours bring, done on purpose: `python -m benchmarks.faults measure` (`make faults`).

Each row is one kind of fault: how often it was tried, what was lost, what the user saw, and the exit status. Small
networks and synthetic images; what is tried is the code of the bundle's own commands, in processes of their own.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from scripts.checkpoints import read_weights, save_weights
from scripts.datalist import read_datalist
from scripts.errors import InputError
from scripts.files import compute_sha256, write_text
from scripts.output_folders import LOCK
from scripts.recipe.forking import begin_forked
from scripts.synthetic import generate_tree

from benchmarks.commandline import run_command

ROOT = Path(__file__).resolve().parents[1]
TRAIN, INFERENCE = "bundle/configs/train.json", "bundle/configs/inference.json"
NETWORK = {
    "image_size": 64,
    "batch_size": 8,
    "encoder": "test_efficientnet",
    "device": "$torch.device('cpu')",
    "precision": "float32",
}
EPOCHS = 4

#: Makes one fsync of so many fail, in every process that finds this module on its path.
FAILING_FSYNC = """
import os
_fsync, _left = os.fsync, [int(os.environ["FAIL_FSYNC"])]
def fsync(descriptor):
    _left[0] -= 1
    if _left[0] == 0:
        raise OSError(5, "Input/output error")
    _fsync(descriptor)
os.fsync = fsync
"""


@dataclass
class Row:
    """Outcome of one kind of fault.

    Args:
        fault: in words.
        tries: how often it was tried.
        lost: how often something that was finished was lost, or an output was wrong.
        seen: last line that the user saw.
        statuses: exit statuses.
        tracebacks: how often a traceback was printed.
    """

    fault: str
    tries: int = 0
    lost: int = 0
    seen: str = ""
    statuses: set[int] = field(default_factory=set)
    tracebacks: int = 0

    def add(self, status: int, printed: str, kept: bool) -> None:
        """Count a try."""
        self.tries += 1
        self.lost += not kept
        self.statuses.add(status)
        self.tracebacks += "Traceback" in printed
        lines = [line for line in re.split(r"[\n\r]", printed) if re.search(r"error:|WARNING", line)]
        self.seen = re.sub(r"^.*?(error: |WARNING - )", "", lines[-1]) if lines else self.seen


@dataclass(frozen=True)
class Bench:
    """Data and reference runs of all rows.

    Args:
        folder: of everything.
        tree, datalist: synthetic images, and what `prepare` made of them.
        training: of a training that nothing disturbed.
        inference: of an inference that nothing disturbed.
    """

    folder: Path
    tree: Path
    datalist: Path
    training: Path
    inference: Path

    def train(self, out: Path, **options: Any) -> list[str]:
        """Arguments of the training whose result is known."""
        data = {"dataset_dir": self.tree, "datalist_file": self.datalist, "output_dir": out}
        schedule = {"epochs": EPOCHS, "val_interval": 1}
        return build_command("training", TRAIN, {**data, **NETWORK, **schedule, **options})

    def infer(self, out: Path, **options: Any) -> list[str]:
        """Arguments of the inference whose result is known."""
        weights = {"weights": self.training / "last.pt", "overlays": 2, "batch_size": 2}
        return build_command(
            "inferring",
            INFERENCE,
            {"dataset_dir": self.tree / "train", "output_dir": out, **NETWORK, **weights, **options},
        )


def build_command(act: str, config: str, options: Mapping[str, Any]) -> list[str]:
    """`-m monai.bundle run ACT --config_file CONFIG --NAME VALUE ...`."""
    named = {"config_file": config, **options}
    return ["-m", "monai.bundle", "run", act, *(t for name, value in named.items() for t in (f"--{name}", str(value)))]


def run(command: list[str], **environment: str) -> tuple[int, str]:
    """Run python in a process of its own, as a user does; its exit status and all that it printed."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", **environment}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def finish(command: list[str], log: Path) -> tuple[int, str]:
    """Run python in a child of a fork server, which starts faster."""
    process = begin_forked(command, log)
    process.join()
    return int(process.exitcode or 0), log.read_text(errors="replace")


def is_same_training(one: Path, other: Path) -> bool:
    """Equal best weights to the bit, and equal figures of every epoch but the seconds."""
    rows = [json.loads((folder / "history.json").read_text()) for folder in (one, other)]
    figures = [[{k: v for k, v in row.items() if k != "seconds"} for row in each] for each in rows]
    last = [read_weights(folder / "last.pt")["network"] for folder in (one, other)]
    same = all(value.equal(last[1][name]) for name, value in last[0].items())
    return same and figures[0] == figures[1] and compute_sha256(one / "best.pt") == compute_sha256(other / "best.pt")


def is_same_inference(one: Path, other: Path) -> bool:
    """The same files with the same bytes, but for done.json and the journal of the run."""
    listed = [
        {
            path.relative_to(folder): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.name != "done.json" and not path.name.startswith((".", "journal"))
        }
        for folder in (one, other)
    ]
    return listed[0] == listed[1]


def kill_training(bench: Bench, kills: int) -> Row:
    """Kill -9 at random instants; each training is resumed until it ends, and compared with the undisturbed one."""
    row, chance = Row("training: kill -9 at a random instant, then --resume"), random.Random(0)
    out, log, number = bench.folder / "killed", bench.folder / "killed.log", 0
    seconds = time_undisturbed(bench.train(out), log)
    shutil.rmtree(out)
    while row.tries < kills:
        before = read_epoch(out)
        process = begin_forked(bench.train(out, resume=before > 0, replace=before == 0), log)
        if wait_or_kill(process, chance.uniform(0, seconds)):
            kept = read_epoch(out) >= before
            row.add(-signal.SIGKILL, log.read_text(errors="replace"), kept)
        else:
            number += 1
            kept = process.exitcode == 0 and is_same_training(bench.training, out)
            row.lost += not kept
            shutil.rmtree(out)
    if out.exists():
        status, _ = finish(bench.train(out, resume=read_epoch(out) > 0, replace=read_epoch(out) == 0), log)
        row.lost += status != 0 or not is_same_training(bench.training, out)
        number += 1
    row.seen = f"nothing; {number} trainings ended, each equal to the undisturbed one to the bit"
    return row


def time_undisturbed(command: list[str], log: Path) -> float:
    """Seconds that a run takes here and now; kills are spread over them."""
    begun = time.monotonic()
    status, printed = finish(command, log)
    if status:
        raise InputError("a run that nothing disturbs", f"status {status}: {printed[-300:]}", "mend it first")
    return time.monotonic() - begun


def read_epoch(out: Path) -> int:
    """The epoch of the newest checkpoint that loads; 0 without one."""
    for name in ("last.pt", "previous.pt"):
        if (out / name).is_file():
            return int(read_weights(out / name)["epoch"])
    return 0


def wait_or_kill(process: BaseProcess, seconds: float) -> bool:
    """Report if a process had to be killed after so many seconds."""
    process.join(seconds)
    if process.exitcode is not None:
        return False
    process.kill()
    process.join()
    return True


def kill_inference(bench: Bench, kills: int) -> Row:
    """Kill -9 at random instants; the same command goes on, and its outputs are compared with the undisturbed ones."""
    row, chance = Row("inference: kill -9 at a random instant, then the same command"), random.Random(1)
    out, log, number, before = bench.folder / "killed_inference", bench.folder / "killed_inference.log", 0, 0
    seconds = time_undisturbed(bench.infer(out), log)
    shutil.rmtree(out)
    while row.tries < kills:
        process = begin_forked(bench.infer(out), log)
        if wait_or_kill(process, chance.uniform(0, seconds)):
            now = len(list((out / "masks").glob("[!.]*.png"))) if (out / "masks").is_dir() else 0
            row.add(-signal.SIGKILL, log.read_text(errors="replace"), now >= before)
            before = now
        else:
            number += 1
            row.lost += not is_same_inference(bench.inference, out)
            shutil.rmtree(out)
            before = 0
    if out.exists():
        finish(bench.infer(out), log)
        row.lost += not is_same_inference(bench.inference, out)
        number += 1
    row.seen = f"nothing; {number} runs ended, each with the files of the undisturbed one to the byte"
    return row


def stop_training(bench: Bench) -> Iterator[Row]:
    """SIGTERM and Ctrl-C in an epoch."""
    for sent, name in ((signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")):
        row, out = Row(f"training: {name} in an epoch, then --resume"), bench.folder / f"stopped_{name}"
        process, log = start(bench.train(out), bench.folder / f"{name}.log")
        wait_for(lambda out=out: read_epoch(out) >= 1)
        process.send_signal(sent)
        status = process.wait()
        resumed, _ = finish(bench.train(out, resume=True), bench.folder / "again.log")
        stopped = status == 128 + sent
        row.add(status, log.read_text(), stopped and resumed == 0 and is_same_training(bench.training, out))
        yield row


def start(command: list[str], log: Path, **environment: str) -> tuple[subprocess.Popen[bytes], Path]:
    """Start python, with all that it prints in a file."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", **environment}
    with log.open("wb") as file:
        return subprocess.Popen([sys.executable, *command], cwd=ROOT, env=env, stdout=file, stderr=file), log


def wait_for(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    """Wait for something that a process in the background does.

    Raises:
        TimeoutError: where it does not.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"nothing within {seconds} s")
        time.sleep(0.05)


def run_twice_at_once(bench: Bench) -> Iterator[Row]:
    """Two trainings, and two inferences, in one folder: the second is rejected, the first ends well."""
    for name, build in (("trainings", bench.train), ("inferences", bench.infer)):
        row, out = Row(f"two {name} in one folder"), bench.folder / f"two_{name}"
        process, _ = start(build(out), bench.folder / f"two_{name}.log")
        wait_for(lambda out=out: (out / LOCK).is_file())
        process.send_signal(signal.SIGSTOP)  # or it might end before the second begins
        status, printed = run(build(out, replace=True))
        process.send_signal(signal.SIGCONT)
        process.wait()
        same = is_same_training(bench.training, out) if name == "trainings" else is_same_inference(bench.inference, out)
        row.add(status, printed, same and status == 1)
        yield row


def use_again(bench: Bench) -> Iterator[Row]:
    """A folder with an earlier run's results; and a resume of another training."""
    for name, build, finished in (
        ("training", bench.train, bench.training),
        ("inference", bench.infer, bench.inference),
    ):
        row, before = Row(f"{name}: the folder of an earlier run"), list_times(finished)
        status, printed = run(build(finished))
        row.add(status, printed, before.items() <= list_times(finished).items() and status == 1)
        yield row
    row, before = Row("training: --resume with another learning rate"), list_times(bench.training)
    status, printed = run(bench.train(bench.training, resume=True, learning_rate=0.1))
    row.add(status, printed, before.items() <= list_times(bench.training).items() and status == 1)
    yield row


def list_times(folder: Path) -> dict[str, int]:
    """Results of a folder by their times."""
    return {p.name: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")}


def damage_checkpoints(bench: Bench) -> Iterator[Row]:
    """The last checkpoint cut, with a flipped bit, or both damaged; then --resume."""
    for harm in ("cut", "flipped bit", "cut, the one before too"):
        row, out = Row(f"training: last.pt {harm}, then --resume"), bench.folder / "damaged"
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(bench.training, out)
        damage(out / "last.pt", harm)
        if "too" in harm:
            damage(out / "previous.pt", harm)
        status, printed = run(bench.train(out, resume=True))
        kept = status == 1 if "too" in harm else status == 0 and is_same_training(bench.training, out)
        row.add(status, printed, kept)
        yield row


def damage(path: Path, harm: str) -> None:
    """Cut a file, or flip one bit in its middle."""
    content = bytearray(path.read_bytes())
    if harm == "flipped bit":
        content[len(content) // 2] ^= 1
    path.write_bytes(content if harm == "flipped bit" else content[: len(content) // 2])


def give_bad_weights(bench: Bench) -> Iterator[Row]:
    """Weights of an inference that are damaged, foreign, not finite, or without their hash."""
    state = read_weights(bench.training / "last.pt")["network"]
    not_finite = {k: v * torch.nan if v.is_floating_point() else v for k, v in state.items()}
    contents: dict[str, Any] = {
        "NaN": not_finite,
        '{"network": 3}': {"network": 3},
        "of another network": {"a": torch.ones(1)},
    }
    for name in ("cut", "flipped bit", "without its SHA-256", "absent", *contents):
        row, weights = Row(f"inference: weights {name}"), bench.folder / "weights" / "bad.pt"
        shutil.rmtree(weights.parent, ignore_errors=True)
        weights.parent.mkdir()
        if name in contents:
            save_weights(contents[name], weights)
        elif name != "absent":
            for suffix in ("", ".sha256"):
                shutil.copyfile(f"{bench.training / 'last.pt'}{suffix}", f"{weights}{suffix}")
            if name == "without its SHA-256":
                Path(f"{weights}.sha256").unlink()
            else:
                damage(weights, name)
        out = bench.folder / "bad_weights"
        shutil.rmtree(out, ignore_errors=True)
        status, printed = run(bench.infer(out, weights=weights))
        row.add(status, printed, status == 1 and not (out / "done.json").exists() and not (out / "images.csv").exists())
        yield row


def fill_disks(bench: Bench) -> Iterator[Row]:
    """A disk that fills up at several sizes; then it is made larger, and the run goes on."""
    for name, build, sizes in (
        ("training", bench.train, (200, 400, 700, 1000, 1300)),
        ("inference", bench.infer, (16, 40, 80, 160, 320)),
    ):
        row = Row(f"{name}: the disk fills up ({', '.join(map(str, sizes))} KiB), then it is made larger")
        for size in sizes:
            with mounted_disk(bench.folder / "disk", size) as disk:
                if disk is None:
                    row.seen = "not measured: needs the right to mount"
                    break
                out = disk / "out"
                status, printed = run(build(out))
                before = read_epoch(out) if name == "training" else 0
                subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
                going_on = {"resume": before > 0, "replace": before == 0} if name == "training" else {}
                again, _ = finish(build(out, **going_on), bench.folder / "again.log")
                if name == "training":
                    same = again == 0 and is_same_training(bench.training, out)
                else:
                    same = is_same_inference(bench.inference, out)
                row.add(status, printed, same)
        yield row


@contextmanager
def mounted_disk(folder: Path, kibibytes: int) -> Iterator[Path | None]:
    """A disk of a size in memory; None where nobody may mount one."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def write_read_only(bench: Bench) -> Iterator[Row]:
    """An output folder on a disk that takes nothing."""
    for name, build in (("training", bench.train), ("inference", bench.infer)):
        row = Row(f"{name}: output on a read-only disk")
        with mounted_disk(bench.folder / "disk", 1024) as disk:
            if disk is None:
                row.seen = "not measured: needs the right to mount"
            else:
                subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
                status, printed = run(build(disk / "out"))
                row.add(status, printed, status == 1)
        yield row


def fail_fsync(bench: Bench) -> Iterator[Row]:
    """An fsync that fails, early and late; then the run goes on."""
    shim, log = bench.folder / "shim", bench.folder / "again.log"
    shim.mkdir(exist_ok=True)
    (shim / "sitecustomize.py").write_text(FAILING_FSYNC)
    for name, build in (("training", bench.train), ("inference", bench.infer)):
        row = Row(f"{name}: an fsync fails, then it goes on")
        for number in (1, 7, 20, 33):
            out = bench.folder / f"fsync_{name}_{number}"
            status, printed = run(build(out), PYTHONPATH=str(shim), FAIL_FSYNC=str(number))
            if name == "training":
                before = read_epoch(out)
                again, _ = finish(build(out, resume=before > 0, replace=before == 0), log)
                same = again == 0 and is_same_training(bench.training, out)
            else:
                finish(build(out), log)
                same = is_same_inference(bench.inference, out)
            row.add(status, printed, same and status == 1)
        yield row


def harm_images(bench: Bench) -> Iterator[Row]:
    """An image that is cut or exchanged after preparation, a damaged cache entry, and a worker that is killed."""
    first, *others = read_datalist(bench.datalist)["training"]
    other = next(each for each in others if (each["height"], each["width"]) == (first["height"], first["width"]))
    for harm, workers in (("cut", 0), ("cut", 2), ("exchanged", 0), ("exchanged", 2)):
        row, tree = Row(f"training: an image {harm}, {workers} workers"), bench.folder / "harmed"
        shutil.rmtree(tree, ignore_errors=True)
        shutil.copytree(bench.tree, tree)
        if harm == "cut":
            damage(tree / first["image"], harm)
        else:
            shutil.copyfile(tree / other["image"], tree / first["image"])
        options = {"dataset_dir": tree, "num_workers": workers, "cache_rate": 0.0, "fold": first["fold"] + 1}
        status, printed = run(bench.train(bench.folder / "harmed_out", **options, replace=True))
        row.add(status, printed, status == 1 and first["image_id"] in printed)
        yield row
    row, out = Row("training: a cache entry cut"), bench.folder / "cached"
    finish(bench.train(out, cache_dir=bench.folder / "cache"), bench.folder / "again.log")
    damage(sorted((bench.folder / "cache").iterdir())[0], "cut")
    status, printed = run(bench.train(out, cache_dir=bench.folder / "cache", replace=True))
    row.add(status, printed, status == 0 and is_same_training(bench.training, out))
    yield row
    row, out = Row("training: a worker killed, then --resume"), bench.folder / "worker"
    process, log = start(bench.train(out, num_workers=2), bench.folder / "worker.log")
    wait_for(lambda: read_epoch(out) >= 1)
    subprocess.run(["pkill", "-9", "-P", str(process.pid)], check=False)
    status = process.wait()
    again, _ = finish(bench.train(out, num_workers=2, resume=True), bench.folder / "again.log")
    row.add(status, log.read_text(), again == 0 and is_same_training(bench.training, out) and status == 1)
    yield row


def prepare_bench(folder: Path) -> Bench:
    """Images, and the two runs that nothing disturbs."""
    tree, prepared = folder / "tree", folder / "prepared"
    generate_tree(tree, num_studies=24, num_test_studies=3, size=96, workers=1)
    bench = Bench(folder, tree, prepared / "datalist.json", folder / "training", folder / "inference")
    made = run(["-m", "scripts", "prepare", "--tree", str(tree), "--out", str(prepared), "--num_folds", "3"])
    for status, printed in (made, run(bench.train(bench.training)), run(bench.infer(bench.inference))):
        if status:
            raise InputError("runs that nothing disturbs", f"status {status}: {printed[-300:]}", "mend them first")
    return bench


def tabulate(rows: list[Row], folder: Path) -> str:
    """The table in Markdown."""
    lines = [
        "| fault | tries | lost or wrong | tracebacks | exit | last line that the user saw |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        seen = re.sub(rf"{re.escape(str(folder))}/?", "", row.seen).replace("|", "/")
        statuses = ", ".join(map(str, sorted(row.statuses))) or "-"
        lines.append(f"| {row.fault} | {row.tries} | {row.lost} | {row.tracebacks} | {statuses} | {seen[:240]} |")
    return "\n".join(lines) + "\n"


def report(row: Row, folder: Path) -> None:
    """Show a row as soon as it is there."""
    sys.stdout.write(tabulate([row], folder).splitlines()[-1] + "\n")
    sys.stdout.flush()


def measure(out: str = "runs/faults", kills: int = 50, only: str = "") -> str:
    """Do every fault and tabulate what became of it.

    Args:
        out: folder, made anew; the table goes there as faults.md.
        kills: of a training, and of an inference.
        only: parts of the names of the functions to run, with + between them; all by default.
    """
    folder = Path(out).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background job would hand down that it is ignored
    bench, start_time = prepare_bench(folder), time.monotonic()
    several = (
        stop_training, run_twice_at_once, use_again, damage_checkpoints, give_bad_weights, harm_images, fill_disks,
        write_read_only, fail_fsync,
    )  # fmt: skip
    rows: list[Row] = []

    def is_wanted(function: Callable[..., Any]) -> bool:
        return any(part in function.__name__ for part in only.split("+"))

    for count in (kill_training, kill_inference):
        if is_wanted(count):
            rows.append(count(bench, kills))
            report(rows[-1], folder)
    for each in several:
        if not is_wanted(each):
            continue
        for row in each(bench):
            rows.append(row)
            report(row, folder)
    table = tabulate(rows, folder)
    write_text(folder / "faults.md", table)
    bad = [row.fault for row in rows if row.lost or row.tracebacks]
    if bad:
        raise InputError(
            "every fault without loss and without a traceback", f"{len(bad)}: {'; '.join(bad)}", "mend them"
        )
    tries, seconds = sum(row.tries for row in rows), time.monotonic() - start_time
    return f"{tries} faults, nothing lost, in {seconds:.0f} s: {folder / 'faults.md'}"


def survive(out: str, config_file: str, kills: int = 10, seconds: float = 1800.0, **options: Any) -> str:
    """Train twice side by side, one of both killed at random instants and resumed; compare their weights.

    Args:
        out: folder of both, made anew.
        config_file: as MONAI takes it.
        kills: how often the second is killed.
        seconds: of its own time, in which the instants lie.
        options: of both trainings.
    """
    folder = Path(out).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    whole, killed = folder / "whole", folder / "killed"
    control, _ = start(build_command("training", config_file, {**options, "output_dir": whole}), folder / "whole.log")
    chance, begun, done, resumed = random.Random(0), time.monotonic(), 0, 0
    instants = sorted(chance.uniform(0, seconds) for _ in range(kills))
    while True:
        before = read_epoch(killed)
        going_on = {"resume": before > 0, "replace": before == 0, "output_dir": killed}
        resumed += before > 0
        command = build_command("training", config_file, {**options, **going_on})
        process, log = start(command, folder / f"killed{done}.log")
        try:
            left = instants[done] - (time.monotonic() - begun) if done < kills else None
            process.wait(None if left is None else max(left, 0.0))
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            done += 1
            if read_epoch(killed) < before:
                raise InputError("no epoch lost", f"epoch {read_epoch(killed)} after {before}", f"see {log}") from None
    seconds_killed = time.monotonic() - begun
    statuses = (control.wait(), process.returncode)
    if statuses != (0, 0) or not is_same_training(whole, killed):
        raise InputError("two equal trainings", f"statuses {statuses}, or other weights", f"see {folder}")
    digest = compute_sha256(killed / "best.pt")
    return (
        f"{done} kills in {seconds_killed / 60:.1f} minutes, {resumed} resumed; both trainings end equal to the bit: "
        f"network, history, best.pt with SHA-256 {digest[:16]}..."
    )


if __name__ == "__main__":
    run_command({"measure": measure, "survive": survive}, "benchmarks.faults")
