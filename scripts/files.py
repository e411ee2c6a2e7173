"""Atomic files, written beside their name, synchronised, then moved onto it; and the one reader of CSV tables."""

from __future__ import annotations

import csv
import hashlib
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from scripts.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

#: Begins the name of every file that is not written to its end.
TEMPORARY_PREFIX = ".tmp-"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Row:
    """Row of a table: its file's name, its line from 1, and its cells by column, without blanks around them."""

    file: str
    line: int
    cells: Mapping[str, str]

    def locate(self, name: str = "") -> str:
        """Name file and line for a message, and by option the id or column there."""
        return f"{self.file} line {self.line}" + (f" ({name[:80]})" if name else "")


@contextmanager
def replace_file(path: str | Path, durable: bool = True) -> Iterator[Path]:
    """A temporary path in the same folder; when the block ends well, it is synchronised and takes the name `path`.

    The temporary file is removed when the block fails, and `path` is left as it was. With `durable` false nothing is
    synchronised: faster, for files that can be made anew.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY_PREFIX, suffix=f".{path.name}")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        if durable:
            _synchronise(temporary)
        os.chmod(temporary, 0o644)  # mkstemp gives it to its owner alone
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _synchronise(path.parent)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text as a whole; bytes of a file's name that are no UTF-8 are escaped."""
    with replace_file(path) as temporary, _open_text(temporary) as file:
        file.write(text)


def write_png(path: str | Path, picture: Image.Image, **options: Any) -> None:
    """Write a picture as a PNG as a whole, with further options of Pillow's writer.

    It is compressed lightly: four times as fast as Pillow's default, for a file that is some tenths larger.
    """
    with replace_file(path) as temporary:
        picture.save(temporary, format="PNG", **{"compress_level": 1, **options})


def read_csv(
    path: str | Path,
    columns: Sequence[str],
    exact: bool = False,
    what: str = "a CSV table",
    advice: str = "check the path",
) -> Iterator[Row]:
    """Read the rows of a CSV table; blank lines are passed over.

    Args:
        path: the file.
        columns: those that it must have.
        exact: reject others, or another order.
        what, advice: the table and the mend in the message where there is no such file.

    Raises:
        InputError: naming file and line, where the file is absent or no table, a column is missing or there twice, or a
            row has another number of cells than the first line.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{what} with the columns {', '.join(columns)}", f"no file {path}", advice)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(header, columns, exact, path)
            for cells in filter(None, reader):
                row = Row(path.name, reader.line_num, dict(zip(header, map(str.strip, cells), strict=False)))
                if len(cells) != len(header):
                    found = f"{len(cells)} at {row.locate(cells[0])}"
                    raise InputError(f"{len(header)} cells", found, "correct the row")
                yield row
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise InputError("comma-separated UTF-8 text", f"{path.name}: {error}", "write it again") from error


def write_csv(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as a whole, its text as `write_text`, with no cell that a spreadsheet takes for a formula."""
    _write_table(path, header, ([escape_cell(cell) for cell in row] for row in rows))


def add_rows(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table anew with rows added to what stands in it; a table that is not there is begun."""
    path = Path(path)
    before = [list(row.cells.values()) for row in read_csv(path, header, exact=True)] if path.is_file() else []
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


def check_file_name(name: str) -> None:
    """Reject an image's name that would lead into another folder.

    Raises:
        InputError: where it does.
    """
    if Path(name).name != name:
        raise InputError("an image id that can be a file's name", repr(name[:80]), "prepare the datalist again")


def compute_sha256(path: str | Path) -> str:
    """SHA-256 of a file, as hex digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_header(header: Sequence[str], columns: Sequence[str], exact: bool, path: Path) -> None:
    missing = [name for name in columns if name not in header]
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    if missing or repeated or (exact and list(header) != list(columns)):
        others = f"{', '.join(repeated)} twice" if repeated else "others"
        found = f"no {', '.join(missing)}" if missing else others
        raise InputError(f"the columns {', '.join(columns)}", f"{found} in {path.name}", "correct its first line")


def _write_table(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with replace_file(path) as temporary, _open_text(temporary) as file:
        writer, quoting = (
            csv.writer(file, lineterminator="\n", quoting=each) for each in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
        )
        writer.writerow(header)
        for row in rows:
            # a bare carriage return ends a line for whoever reads, and Python 3.11 leaves it bare
            (quoting if any("\r" in str(cell) for cell in row) else writer).writerow(row)


def _open_text(path: Path) -> IO[str]:
    return path.open("w", encoding="utf-8", newline="", errors="backslashreplace")


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
