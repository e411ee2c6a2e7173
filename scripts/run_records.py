"""Run record beside the weights: experiment, settings, code, data, machine, and outcome."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from scripts.datalist import read_datalist_hash
from scripts.errors import InputError
from scripts.files import compute_sha256, write_text
from scripts.switches import read_switch

RECORD = "record.json"
BASELINE = "baseline"

RUNNING, DONE, FAILED = "running", "done", "failed"

#: Options of a command that say where things lie, or how fast: no part of what was measured.
PLACES = {
    "bundle_root", "cache_dir", "cache_rate", "config_file", "dataset_dir", "datalist_file", "external_dir",
    "first_run", "fold", "soft_labels_file", "logging_file", "meta_file", "num_workers", "output_dir", "replace",
    "resume", "seed",
}  # fmt: skip

#: Names of fields in records that were written before version 0.4.0.
_OLD_FIELDS = {"idea": "description", "overlays": "overrides"}

_EXPECTED = re.compile(r"\s*Expected: (.*?)\.?$")


@dataclass(frozen=True)
class Record:
    """One training.

    Args:
        name: what its overrides are called, joined by "+"; "baseline" for train.json alone.
        description: what the overrides say of themselves.
        expected: what was hoped for, as the overrides report it.
        status: "running", "done" or "failed"; a run that was killed stays "running".
        overrides: configuration files in their order, relative to the configs' folder.
        settings: options of the command that change what is measured, as text.
        fold: the fold held out, a list of several, None where nothing was.
        seed: of the run.
        datalist_hash: content hash of the datalist.
        code: commit, with "+" where files differed from it; empty where there is no repository.
        machine: processor or GPU, cores, torch.
        started: UTC.
        seconds: that the run took.
        metrics: of the last epoch that was validated.
        loss_ratio: validation / training loss of that epoch.
        weights_sha256: of the weights beside the record, by file name.
        error: why it failed.
        config_hash: SHA-256 of the content of its configuration files, over one another.
        resumed: how often it went on after it had stopped; `seconds` holds all its parts.
    """

    name: str
    description: str
    expected: str
    status: str
    overrides: tuple[str, ...]
    settings: dict[str, str]
    fold: int | list[int] | None
    seed: int
    datalist_hash: str
    code: str
    machine: str
    started: str
    seconds: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    loss_ratio: float | None = None
    weights_sha256: dict[str, str] = field(default_factory=dict)
    error: str = ""
    config_hash: str = ""
    resumed: int = 0

    @property
    def held_out(self) -> str:
        """The folds held out as one name: "0", "0-3" where two were, "" where none was."""
        if self.fold is None:
            return ""
        return str(self.fold) if isinstance(self.fold, int) else "-".join(map(str, self.fold))


def read_held_out(name: str) -> int | list[int] | None:
    """The folds that `Record.held_out` names.

    Raises:
        ValueError: where it names none.
    """
    folds = [int(fold) for fold in name.split("-") if fold]
    return folds if len(folds) > 1 else folds[0] if folds else None


def read_record(path: str | Path) -> Record:
    """A record, from its file or from the folder that it stands in.

    Raises:
        InputError: where it is absent or not a record.
    """
    path = Path(path)
    path = path / RECORD if path.is_dir() else path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content = {_OLD_FIELDS.get(name, name): value for name, value in content.items()}
        record = Record(**{**content, "overrides": tuple(content["overrides"])})
    except OSError as error:
        raise InputError(f"a {RECORD}", f"none at {path} ({error.strerror})", "train with this version") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        keys = ", ".join(each.name for each in fields(Record))
        raise InputError(f"a record with {keys}", f"another content at {path}", "train again") from None
    return record


def write_record(record: Record, folder: str | Path) -> None:
    """Write a record as a whole into the folder of its run."""
    write_text(Path(folder) / RECORD, json.dumps(asdict(record), indent=1) + "\n")


class RunRecorder:
    """Writes record.json when a training starts, and again when it ends, well or not.

    Args:
        output_dir: of the run; history.json and the weights stand there.
        datalist_file: that the images come from.
        fold: the fold held out.
        seed: of the run.
        resume: go on with the record that stands there.

    What the configuration was is read from the command line (`python -m monai.bundle run ...`).

    Raises:
        InputError: when a training starts that is to be resumed, where the record is of another one.
    """

    def __init__(
        self, output_dir: str | Path, datalist_file: str | Path, fold: int | None, seed: int, resume: bool | str = False
    ) -> None:
        self.output_dir, self.datalist_file = Path(output_dir), Path(datalist_file)
        self.fold, self.seed, self.resume = fold, seed, read_switch(resume, "resume")
        self.record: Record | None = None
        self._start = time.monotonic()

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.COMPLETED, self._complete)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def _begin(self, engine: Engine) -> None:
        self._start = time.monotonic()
        options = read_options(sys.argv)
        record = describe_run(options, self.datalist_file, self.fold, self.seed)
        if self.resume:
            before = read_record(self.output_dir)
            reject_other_run(before, record, self.output_dir)
            times = {"started": before.started, "seconds": before.seconds, "resumed": before.resumed + 1}
            record = Record(**{**asdict(record), **times})
        self.record = record
        write_record(record, self.output_dir)

    def _complete(self, engine: Engine) -> None:
        self._end(status=DONE, **summarise_history(self.output_dir), weights_sha256=hash_weights(self.output_dir))

    def _fail(self, engine: Engine, error: BaseException) -> None:
        self._end(status=FAILED, error=f"{type(error).__name__}: {error}"[:300])
        raise error  # ignite leaves that to whoever listens

    def _end(self, **changes: Any) -> None:
        if self.record is not None:
            seconds = round(self.record.seconds + time.monotonic() - self._start, 1)
            ended = Record(**{**asdict(self.record), **changes, "seconds": seconds})
            self.record = None  # a second end of the same run would count its seconds again
            write_record(ended, self.output_dir)


#: What makes a run: two with the same of all these are the same run.
RUN_FIELDS = ("overrides", "settings", "fold", "seed", "datalist_hash", "config_hash")


def reject_other_run(before: Record, now: Record, folder: str | Path) -> None:
    """Reject going on with a run that was another one.

    Raises:
        InputError: naming the first thing in which they differ.
    """
    for name in RUN_FIELDS:
        there, here = getattr(before, name), getattr(now, name)
        there, here = (list(each) if isinstance(each, tuple) else each for each in (there, here))
        if there != here and there != "":
            raise InputError(
                f"the run of {folder} with {name.replace('_', ' ')} {_shorten(there, here)}",
                _shorten(here, there),
                "resume with the same command, or name another --output_dir",
            )


def _shorten(value: Any, other: Any) -> str:
    """A value for a message; of two mappings what differs."""
    if isinstance(value, Mapping) and isinstance(other, Mapping):
        names = sorted(name for name in {*value, *other} if value.get(name) != other.get(name))
        return ", ".join(f"{name} {value.get(name, 'unset')}" for name in names)
    return str(value)[:100]


def describe_run(options: dict[str, str], datalist_file: str | Path, fold: int | None, seed: int) -> Record:
    """The record of a run that begins now.

    Args:
        options: of its command, as `read_options` gives them.
        datalist_file, fold, seed: what it is trained on.
    """
    files = list_config_files(options.get("config_file", ""))
    descriptions = [_read_description(file) for file in files]
    return Record(
        name=name_run(files),
        description=" ".join(description for description, _ in descriptions[1:] or descriptions),
        expected=" ".join(expected for _, expected in descriptions if expected),
        status=RUNNING,
        overrides=tuple(_place_in_configs(file) for file in files),
        settings={name: value for name, value in sorted(options.items()) if name not in PLACES},
        fold=fold,
        seed=seed,
        datalist_hash=read_datalist_hash(datalist_file),
        code=_read_commit(),
        machine=describe_machine(),
        config_hash=hash_configs(files),
        started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


def read_options(arguments: Sequence[str]) -> dict[str, str]:
    """`--name value` and `--name=value` of a command line; all else is left out."""
    options: dict[str, str] = {}
    rest = list(arguments)
    for index, text in enumerate(rest):
        if not text.startswith("--"):
            continue
        name, separator, value = text[2:].partition("=")
        if not separator and index + 1 < len(rest):
            value = rest[index + 1]
        options[name] = value
    return options


def list_config_files(config_file: str) -> list[str]:
    """The files of MONAI's option `config_file`: one name, or a list written as Python writes it."""
    if not config_file.startswith(("[", "(")):
        return [config_file] if config_file else []
    return [str(file) for file in ast.literal_eval(config_file)]


def hash_configs(files: Sequence[str]) -> str:
    """SHA-256 of the content of configuration files in their order, without their descriptions; "" without a file."""
    paths = [Path(file) for file in files if Path(file).is_file()]
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    kept = [{key: value for key, value in content.items() if key != "_desc_"} for content in contents]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest() if kept else ""


def name_run(files: Sequence[str]) -> str:
    """Stems of the overrides joined by "+"; a whole config other than train.json is named too."""
    return "+".join(stem for file in files if (stem := Path(file).stem) != "train") or BASELINE


def describe_machine() -> str:
    """The GPU, or the processor with its cores; and torch's version."""
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}"
    return f"{_name_processor()}, {os.cpu_count()} cores, torch {torch.__version__}"


def read_history(output_dir: str | Path) -> list[dict[str, float]]:
    """Rows of history.json, one an epoch; none where nothing was trained yet."""
    path = Path(output_dir) / "history.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def summarise_history(output_dir: str | Path) -> dict[str, Any]:
    """`metrics` and `loss_ratio` of the last validated epoch of history.json; nothing where none was."""
    rows = read_history(output_dir)
    own = {"epoch", "learning_rate", "seconds"}
    validated = [row for row in rows if set(row) - own - {"train_loss"}]
    if not validated:
        return {}
    last = validated[-1]
    ratio = last["validation_loss"] / last["train_loss"] if last.get("validation_loss") and last["train_loss"] else None
    return {"metrics": {name: value for name, value in last.items() if name not in own}, "loss_ratio": ratio}


def hash_weights(output_dir: str | Path) -> dict[str, str]:
    """SHA-256 of last.pt and best.pt, by name, of those that are there."""
    files = (Path(output_dir) / name for name in ("last.pt", "best.pt"))
    return {file.name: compute_sha256(file) for file in files if file.is_file()}


def _read_description(file: str) -> tuple[str, str]:
    """Read a config's description, and the expectation in it."""
    path = Path(file)
    text = str(json.loads(path.read_text(encoding="utf-8")).get("_desc_", "")) if path.is_file() else ""
    expected = _EXPECTED.search(text)
    return _EXPECTED.sub("", text), expected[1] if expected else ""


def _place_in_configs(file: str) -> str:
    """Without the folders that differ from one machine to another."""
    parts = Path(file).parts
    return "/".join(parts[-2:] if len(parts) > 1 and parts[-2] == "experiments" else parts[-1:])


def _read_commit() -> str:
    def ask(*arguments: str) -> str:
        output = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
        )
        return output.stdout.strip() if output.returncode == 0 else ""

    try:
        commit = ask("rev-parse", "--short=12", "HEAD")
        return f"{commit}{'+' if commit and ask('status', '--porcelain', '--untracked-files=no') else ''}"
    except OSError:  # no git on this machine
        return ""


def _name_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
