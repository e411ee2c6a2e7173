"""Rows of CSV tables, with errors that name file and line."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from scripts.errors import InputError


def read_rows(
    path: Path, table: str, advice: str, check_header: Callable[[Sequence[str]], None], naming_first: bool = False
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Read a CSV: file and line of each row, its header and its cells.

    Args:
        path: the file.
        table: what it is, for the message where there is none.
        advice: what to do then.
        check_header: raises where the first line is not as it should be.
        naming_first: whether a row is reported by its first cell, an id, as well.

    Raises:
        InputError: where the file is not there or no table, or a row has another number of cells than the first line.
    """
    if not path.is_file():
        raise InputError(table, f"no file {path}", advice)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            check_header(header)
            for cells in reader:
                where = f"{path.name} line {reader.line_num}"
                if naming_first:
                    where += f" ({cells[0][:80] if cells else 'empty'})"
                if len(cells) != len(header):
                    raise InputError(f"{len(header)} cells", f"{len(cells)} at {where}", "correct the row")
                yield where, header, cells
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise InputError("comma-separated UTF-8 text", f"{path.name}: {error}", "write it again") from error


def expect_columns(columns: Sequence[str], path: Path) -> Callable[[Sequence[str]], None]:
    """A check of `read_rows` for a table with exactly these columns."""

    def check(header: Sequence[str]) -> None:
        if tuple(header) != tuple(columns):
            raise InputError(f"the columns {','.join(columns)}", f"others in {path.name}", "correct its first line")

    return check
