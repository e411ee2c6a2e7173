"""Plan of a screening: the archive's files in shards, as lines of a file, so that no list of all files is in memory."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from scripts.datalist import walk_files
from scripts.errors import InputError
from scripts.files import replace_file

PLAN_FILE = "plan.jsonl"

#: A shard of N images ends from N on where a folder and the one above it end (<study>/<series>/<image>: a study), from
#: 1.5 N on where a folder ends, and at 2 N anywhere.
_FOLDER_END, _ANYWHERE = 1.5, 2


@dataclass(frozen=True)
class Shard:
    """Files that one inference takes.

    Args:
        number: from 0 on.
        files: paths relative to the archive.
        digest: of paths, sizes and times of the files.
        offset: of its line in the plan, bytes.
    """

    number: int
    files: tuple[str, ...]
    digest: str
    offset: int = 0


@dataclass(frozen=True)
class Plan:
    """A plan on disk: a first line of what must be the same when it is gone on with, then a line for each shard."""

    path: Path
    num_shards: int
    num_files: int

    def read(self, first: int = 0, step: int = 1) -> Iterator[Shard]:
        """Every `step`-th shard from `first` on, one at a time."""
        with self.path.open("rb") as file:
            offset = len(next(file))
            for number, line in enumerate(file):
                if number % step == first:
                    yield _read_shard(number, line, offset)
                offset += len(line)

    def read_one(self, number: int, offset: int) -> Shard:
        """The shard of this number, whose line begins at this byte."""
        with self.path.open("rb") as file:
            file.seek(offset)
            return _read_shard(number, next(file), offset)


def make_plan(tree: str | Path, out: str | Path, shard_size: int, identity: Mapping[str, Any]) -> Plan:
    """Walk an archive and write its plan, or compare it with the plan that is there.

    Args:
        tree: the archive.
        out: folder of the plan.
        shard_size: files of a shard; a few more where a folder does not end there.
        identity: of the run, as JSON.

    Raises:
        InputError: where the archive or the identity is another than that of the plan, or there is no file.
    """
    path, tree = Path(out) / PLAN_FILE, Path(tree)
    if shard_size < 1:
        raise InputError("shards of at least one file", str(shard_size), "leave --shard_size out for 1000")
    head = json.dumps({**identity, "shard_size": shard_size}, sort_keys=True)
    shards = (_describe(tree, files) for files in split_files(_list_relative(tree), shard_size))
    sizes = _compare_plan(path, head, shards) if path.is_file() else _write_plan(path, head, shards)
    if not sizes:
        raise InputError("an archive of images", f"no file below {tree}", "check the path")
    return Plan(path, len(sizes), sum(sizes))


def split_files(files: Iterable[Path], shard_size: int) -> Iterator[list[str]]:
    """Split files, in their order, into shards that keep folders whole as far as they allow it."""
    shard: list[str] = []
    last = Path()
    for file in files:
        same, same_above = file.parent == last.parent, file.parent.parent == last.parent.parent
        at_end = (
            (len(shard) >= shard_size and not same and not same_above)
            or (len(shard) >= _FOLDER_END * shard_size and not same)
            or len(shard) >= _ANYWHERE * shard_size
        )
        if at_end:
            yield shard
            shard = []
        shard.append(str(file))
        last = file
    if shard:
        yield shard


def _list_relative(tree: Path) -> Iterator[Path]:
    return (path.relative_to(tree) for path in walk_files(tree, Counter()))


def _describe(tree: Path, files: list[str]) -> str:
    """A shard's line: its files, and a digest that a changed file changes."""
    digest = hashlib.sha256()
    for file in files:
        try:
            status = (tree / file).stat()
            size, time = status.st_size, status.st_mtime_ns
        except OSError:  # it is rejected where it is read
            size, time = -1, -1
        digest.update(json.dumps([file, size, time]).encode())
    return json.dumps({"digest": digest.hexdigest()[:16], "files": files})


def _write_plan(path: Path, head: str, shards: Iterable[str]) -> list[int]:
    sizes = []
    with replace_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(f"{head}\n")
        for number, line in enumerate(shards):
            file.write(f"{line}\n")
            sizes.append(len(_read_shard(number, line).files))
        if not sizes:
            raise InputError("an archive of images", "no file in it", "check the path")
    return sizes


def _compare_plan(path: Path, head: str, shards: Iterable[str]) -> list[int]:
    sizes, changed, first = [], 0, None
    with path.open(encoding="utf-8") as file:
        _compare_heads(json.loads(next(file)), json.loads(head))
        for number, (known, line) in enumerate(zip_longest((each.rstrip("\n") for each in file), shards)):
            if known != line:
                changed, first = changed + 1, number if first is None else first
            if line is not None:
                sizes.append(len(_read_shard(number, line).files))
    if changed:
        found = f"files added, removed or changed: {changed} of {len(sizes)} shards differ, the first is {first}"
        raise InputError("the archive as it was when its screening began", found, "screen it with another --out")
    return sizes


def _compare_heads(known: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    if different := sorted(name for name in {*known, *own} if known.get(name) != own.get(name)):
        raise InputError(
            "the screening that began in this folder",
            f"another one: {', '.join(different)} differ",
            "repeat its command, or name another --out",
        )


def _read_shard(number: int, line: str | bytes, offset: int = 0) -> Shard:
    content = json.loads(line)
    return Shard(number, tuple(content["files"]), content["digest"], offset)
