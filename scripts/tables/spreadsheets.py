"""Reader of tables that people export: separator, encoding and decimal commas are those of their spreadsheet."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.errors import InputError
from scripts.files import Row

#: Separators of cells, the likelier first; Excel takes the one of the computer's region, and tabs for Unicode text.
SEPARATORS = (",", ";", "\t", "|")

#: First bytes of workbooks: the ZIP file of .xlsx and .ods, and the compound file of .xls.
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
#: Encodings in the order in which they are tried; the last one takes any bytes. Excel writes Windows' own for "CSV".
_ENCODINGS = ("utf-8-sig", "cp1252", "latin-1")
#: Line that names the separator to Excel; saved again by a spreadsheet it is quoted, or has separators behind it.
_SEPARATOR_LINE = re.compile(r'\s*"?sep=([,;\t|])"?[,;\t| ]*(?:\r\n|\r|\n|$)', re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"(?<![\d.,])(-?\d+),(\d+)(?![\d.,])")
_EXPORT = "export it as CSV UTF-8"


@dataclass(frozen=True)
class Spreadsheet:
    """Cells of a table.

    Args:
        file: name of the file.
        columns: names of its columns, in order; a column without a name is left out.
        rows: the rows below them; those without any content are left out.
    """

    file: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def reject_missing(self, columns: Sequence[str], expected: str = "") -> None:
        """Reject a table without one of these columns.

        Args:
            columns: their names.
            expected: how the message lists them, by default as they are.

        Raises:
            InputError: naming those that are missing.
        """
        if missing := [name for name in columns if name not in self.columns]:
            raise InputError(
                f"the columns {expected or ', '.join(columns)}",
                f"no {', '.join(missing)} in {self.file}",
                "correct its first line; commas, semicolons, tabs or pipes separate its cells",
            )


def read_spreadsheet(path: str | Path, known: Sequence[str], numbers: Sequence[str] = ()) -> Spreadsheet:
    """Read a table that a person or a spreadsheet wrote.

    Commas, semicolons, tabs or pipes separate its cells: whichever finds most of the known columns, and of several the
    one that a line `sep=;` announces. Its text is UTF-8, UTF-16 with a byte order mark, or Latin-1 as Windows has it.
    Empty rows, columns without a name and separators at the end of a row are passed over.

    Args:
        path: the file.
        known: columns that it may have; found in upper and lower case, and named as here.
        numbers: columns that hold numbers: unless commas separate the cells, a comma in a number is a decimal comma.

    Raises:
        InputError: naming file and line, where the file is absent, no text or without rows, a column is there twice, or
            a row has another number of cells than the first line.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"a table with the columns {', '.join(known)}", f"no file {path}", "check the path")
    skipped, body, separator = _take_apart(_read_text(path), known)
    try:
        lines = _split_rows(body, separator)
        header = next(lines, (0, []))[1]
        columns, below = _name_columns(header, known, path.name), list(lines)
        width = _find_width(len(header), [len(cells) for _, cells in below])
        rows = [_build_row(path.name, line + skipped, cells, columns, width) for line, cells in below]
    except csv.Error as error:
        raise InputError("rows of cells, quoted by double quotes", f"{path.name}: {error}", _EXPORT) from None
    if separator != ",":
        rows = [_replace_decimal_commas(row, numbers) for row in rows]
    return Spreadsheet(path.name, tuple(filter(None, columns)), tuple(rows))


def read_columns(path: str | Path, known: Sequence[str]) -> tuple[str, ...]:
    """Names of a table's columns as `read_spreadsheet` finds them, whatever its rows; none where they cannot be found.

    Raises:
        InputError: where the file is no text.
    """
    _, body, separator = _take_apart(_read_text(Path(path)), known)
    try:
        return tuple(filter(None, _name_columns(next(_split_rows(body, separator), (0, []))[1], known, "")))
    except (csv.Error, InputError):
        return ()


def _take_apart(text: str, known: Sequence[str]) -> tuple[int, str, str]:
    """Number of lines that only name the separator, the text below them, and the separator."""
    announced = _SEPARATOR_LINE.match(text)
    body, skipped = (text[announced.end() :], len(announced[0].splitlines())) if announced else (text, 0)
    return skipped, body, _choose_separator(body, known, announced[1] if announced else SEPARATORS[0])


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError("a table that can be read", f"{path.name}: {error.strerror}", "check the file") from None
    if content.startswith(_WORKBOOKS):
        raise InputError("a table as UTF-8 text", f"{path.name}, a workbook", f"open it in a spreadsheet and {_EXPORT}")
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    for encoding in ("utf-16",) if wide else _ENCODINGS:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise InputError("a table as UTF-8 text", f"{path.name} with bytes that are none", _EXPORT)


def _split_rows(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of each row that has content, without blanks around the cells."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    for cells in reader:
        stripped = [cell.strip() for cell in cells]
        if any(stripped):
            yield reader.line_num, stripped


def _choose_separator(text: str, known: Sequence[str], announced: str) -> str:
    counts = {}
    for separator in (announced, *SEPARATORS):
        try:
            names = {name.casefold() for name in next(_split_rows(text, separator), (0, []))[1]}
        except csv.Error:  # a quoted cell that ends before another separator
            names = set()
        counts[separator] = len(names & {name.casefold() for name in known})
    return max(counts, key=lambda separator: counts[separator])


def _name_columns(header: Sequence[str], known: Sequence[str], file: str) -> list[str]:
    """Columns of the first line up to the last one that has a name, the known ones as they are spelled there."""
    spelled = {name.casefold(): name for name in known if name not in header}
    columns = [spelled.get(name.casefold(), name) for name in header]
    while columns and not columns[-1]:
        columns.pop()
    repeated = sorted({name for name in columns if name and columns.count(name) > 1})
    if repeated:
        raise InputError("each column once", f"{', '.join(repeated)} twice in {file}", "correct its first line")
    return columns


def _find_width(header: int, rows: Sequence[int]) -> int:
    """Cells that a row may have: those of the first line, or more where all rows have as many of them.

    One row with more is none with separators at its end: a cell of it may hold a separator that is not quoted.
    """
    return max(header, rows[0]) if len(set(rows)) == 1 else header


def _build_row(file: str, line: int, cells: Sequence[str], columns: Sequence[str], width: int) -> Row:
    row = Row(file, line, {name: cell for name, cell in zip(columns, cells, strict=False) if name})
    if not len(columns) <= len(cells) <= width or any(cells[len(columns) :]):
        found = f"{len(cells)} at {row.locate(row.cells.get('image') or row.cells.get('id', ''))}"
        advice = "correct the row; a cell that holds a separator stands in double quotes"
        raise InputError(f"{len(columns)} cells", found, advice)
    return row


def _replace_decimal_commas(row: Row, numbers: Sequence[str]) -> Row:
    cells = {name: _DECIMAL_COMMA.sub(r"\1.\2", cell) if name in numbers else cell for name, cell in row.cells.items()}
    return Row(row.file, row.line, cells)
