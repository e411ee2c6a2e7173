"""Atomic files: written beside their name, synchronised, then moved onto it."""

from __future__ import annotations

import csv
import hashlib
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@contextmanager
def replace_file(path: str | Path) -> Iterator[Path]:
    """A temporary path in the same folder; when the block ends well, it is synchronised and takes the name `path`.

    The temporary file is removed when the block fails, and `path` is left as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=f".{path.name}")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        _synchronise(temporary)
        os.chmod(temporary, 0o644)  # mkstemp gives it to its owner alone
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _synchronise(path.parent)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text as a whole."""
    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_csv(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as a whole, with text cells that no spreadsheet takes for a formula."""
    _write_table(path, header, ([escape_cell(cell) for cell in row] for row in rows))


def add_rows(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table anew with rows added to what stands in it; a table that is not there is begun."""
    path, before = Path(path), []
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            before = list(csv.reader(file))[1:]
    # what stands there was escaped when it was written: a number below 0 is text by now, and no formula
    _write_table(path, header, [*before, *([escape_cell(cell) for cell in row] for row in rows)])


def replace_undefined(content: Any) -> Any:
    """The same dictionaries and lists with None in place of numbers that JSON does not know, NaN and infinity."""
    if isinstance(content, Mapping):
        return {key: replace_undefined(each) for key, each in content.items()}
    if isinstance(content, (list, tuple)):
        return [replace_undefined(each) for each in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def escape_cell(cell: object) -> object:
    """A text cell with an apostrophe before what a spreadsheet would run as a formula (OWASP, CSV injection)."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell


def compute_sha256(path: str | Path) -> str:
    """SHA-256 of a file, as hex digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_table(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with replace_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
