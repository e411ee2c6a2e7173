"""Typed cells of a table: ids, classes and boxes; what cannot be one is named by file, line and column."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from scripts.errors import InputError
from scripts.files import Row
from scripts.labels import TABLE_COLUMNS
from scripts.tables.records import Box

#: Words that libraries write into empty cells.
EMPTY_WORDS = ("", "nan", "na", "n/a", "none", "null", "<na>")
#: Ids as spreadsheets and libraries leave them that took them for numbers: 2.02E+15, 1,23457E+15, 7.0 and errors such
#: as #NAME?. A spreadsheet signs every exponent; without a sign, 12e4 may be an id of hexadecimal digits.
_MANGLED = re.compile(
    r"[+-]?\d(?:[.,]\d+)?e\+\d{2,3}|[+-]?\d[.,]\d+e-\d{2,3}|\d+[.,]0+|#(?:n/a|name\?|value!|ref!|num!|null!|div/0!|#+)",
    re.IGNORECASE,
)
#: Ids as a spreadsheet shows those that it took for a day (2-1 is 02-Jan, in German 2. Jan) or a month (Mar-20), and
#: days with a time of 0, which libraries write. A day in ISO order alone may be the name of a study.
_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec|Mrz|Mär|Mai|Okt|Dez)"
_DATE = re.compile(
    rf"\d{{1,2}}(?:-|\. ?){_MONTH}(?:[-. ]\d{{2,4}})?|{_MONTH}[-. ]\d{{2}}"
    r"|\d{1,2}([./])\d{1,2}\1(?:\d{2}|\d{4})|\d{4}-\d{2}-\d{2} 00:00(?::00)?"
)
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")


def take_id(row: Row, column: str, suffix: str = "") -> str:
    """The id in a cell, without its suffix.

    Raises:
        InputError: where it is empty, lacks the suffix, or a spreadsheet has made a number of it.
    """
    text = row.cells[column]
    if not text or not text.endswith(suffix) or text == suffix:
        ending = f" ending in {suffix}" if suffix else ""
        raise InputError(f"an id{ending}", f"{text!r} at {row.locate(column)}", "correct it")
    reject_mangled(row, column)
    return text.removesuffix(suffix)


def take_optional(row: Row, column: str) -> str | None:
    """The text of a cell that may be empty, or say that it is."""
    text = row.cells.get(column, "")
    return None if text.casefold() in EMPTY_WORDS else text


def reject_mangled(row: Row, column: str) -> None:
    """Reject an id that a spreadsheet took for a number or a day: a part of it is lost, and different ids become one.

    Raises:
        InputError: naming the cell, but not its content, which may be a patient's number.
    """
    text = row.cells.get(column, "")
    if _MANGLED.fullmatch(text) or _DATE.fullmatch(text):
        raise InputError(
            "an id as it was given",
            f"one that a spreadsheet has made a number or a date of at {row.locate(f'column {column}')}",
            "format the column as text where the ids are whole, and export the table again",
        )


def parse_switch(row: Row, column: str) -> bool | None:
    """1 or 0, yes or no; None for an empty cell.

    Raises:
        InputError: where it holds something else.
    """
    text = take_optional(row, column)
    if text is None:
        return None
    if text.casefold() not in (*_YES, *_NO):
        raise InputError("1, 0 or an empty cell", f"{text[:40]!r} at {row.locate(f'column {column}')}", "correct it")
    return text.casefold() in _YES


def parse_class(row: Row, name: str) -> str | None:
    """The class of a row by its label, its class columns or both; None without one.

    Args:
        row: with the column `label`, or a column for each class that holds 1 or 0.
        name: of the row, for messages.

    Raises:
        InputError: where the label is unknown, or label and class columns contradict each other.
    """
    text, spellings = row.cells.get("label", ""), _list_spellings()
    if text and text.casefold() not in spellings:
        raise InputError(f"one of {', '.join(TABLE_COLUMNS)}", f"{text!r} at {row.locate(name)}", "correct the label")
    label = spellings[text.casefold()] if text else None
    columns = {spellings[column.casefold()]: column for column in row.cells if column.casefold() in spellings}
    cells = {each: row.cells[column].casefold() for each, column in columns.items()}
    chosen = [each for each, cell in cells.items() if cell in _YES]
    if "label" not in row.cells:
        return parse_one_hot(cells, row.locate(name)) if any(cells.values()) else None
    # probabilities and remarks may stand in columns of these names: they are no classes
    if all(cell in ("", *_YES, *_NO) for cell in cells.values()) and any(cells.values()):
        agree = set(chosen) <= {label} and (label is None or cells.get(label, "") not in _NO)
        if not agree:
            found = f"another class in the label than in the columns at {row.locate(name)}"
            raise InputError("one class in a row", found, "correct the row")
    return label


def parse_one_hot(cells: Mapping[str, str], where: str) -> str:
    """The class whose cell is 1.

    Raises:
        InputError: where another number of cells than one is, or one is neither 1 nor 0.
    """
    chosen = [name for name, cell in cells.items() if cell in _YES]
    if len(chosen) != 1 or any(cell not in (*_YES, *_NO) for cell in cells.values()):
        raise InputError(
            "1 in exactly one of the class columns and 0 in the others",
            f"{', '.join(map(repr, cells.values()))} at {where}",
            "correct the row",
        )
    return chosen[0]


def has_class_columns(columns: Iterable[str]) -> bool:
    """Look for a column for each class."""
    spellings = _list_spellings()
    return {spellings[name.casefold()] for name in columns if name.casefold() in spellings} == set(TABLE_COLUMNS)


def parse_box(text: str, where: str) -> Box:
    """A box of four numbers, in image pixels.

    Raises:
        InputError: where there are not four of them, or the box is empty.
    """
    try:
        xmin, ymin, xmax, ymax = (float(word) for word in text.split())
    except ValueError:
        found = f"{text.strip()[:40]!r} at {where}"
        raise InputError("four numbers xmin ymin xmax ymax", found, "correct the box") from None
    if not all(map(math.isfinite, (xmin, ymin, xmax, ymax))) or xmax <= xmin or ymax <= ymin:
        raise InputError("xmin < xmax and ymin < ymax", f"{text.strip()[:40]!r} at {where}", "correct the box")
    return xmin, ymin, xmax, ymax


def parse_edges(row: Row, columns: Sequence[str], where: str) -> Box | None:
    """A box whose four numbers stand in columns of their own; None where all are empty.

    Args:
        row: of the table.
        columns: xmin, ymin, xmax, ymax by their names; a last one whose name begins with h says that the last two are
            the size.
        where: file, line and id of the row, for the message.

    Raises:
        InputError: as `parse_box`.
    """
    texts = [take_optional(row, column) for column in columns]
    if not any(texts):
        return None
    if not columns[-1].startswith("h"):
        return parse_box(" ".join(text or "-" for text in texts), where)
    try:
        x, y, width, height = (float(text or "-") for text in texts)
    except ValueError:
        found = f"{' '.join(text or '-' for text in texts)[:40]!r} at {where}"
        raise InputError(f"four numbers {' '.join(columns)}", found, "correct the box") from None
    return parse_box(f"{x!r} {y!r} {x + width!r} {y + height!r}", where)


def _list_spellings() -> dict[str, str]:
    """Class name by every spelling of it, in lower case."""
    return {spelling.casefold(): name for name, column in TABLE_COLUMNS.items() for spelling in (name, column)}
