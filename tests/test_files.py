"""Files are whole or not there, whatever fails while they are written."""

from __future__ import annotations

import csv
import hashlib
import os
import stat
from pathlib import Path

import pytest
from scripts import files


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_a_file_appears_with_its_content_and_nothing_beside_it(tmp_path: Path):
    files.write_text(tmp_path / "new" / "folder" / "a.txt", "Łucja\r\n")
    assert (tmp_path / "new" / "folder" / "a.txt").read_bytes() == "Łucja\r\n".encode()
    assert list_names(tmp_path / "new" / "folder") == ["a.txt"]


def test_a_file_can_be_read_by_others(tmp_path: Path):
    files.write_text(tmp_path / "a.txt", "a")
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit, OSError])
def test_a_write_that_fails_leaves_the_old_file_and_no_rest(tmp_path: Path, failure: type[BaseException]):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write() -> None:
        with files.replace_file(path) as temporary:
            temporary.write_text("half of the ne")
            raise failure

    with pytest.raises(failure):
        write()
    assert path.read_text() == "old"
    assert list_names(tmp_path) == ["a.txt"]


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with files.replace_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent, "a rename is atomic within a file system only"
    assert path.read_text() == "new"


def test_the_content_is_on_disk_before_the_name_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    order: list[str] = []
    synchronise, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (order.append("fsync"), synchronise(descriptor)))
    monkeypatch.setattr(os, "replace", lambda *names: (order.append("replace"), replace(*names)))
    files.write_text(tmp_path / "a.txt", "a")
    assert order == ["fsync", "replace", "fsync"], "the file, its name, then the folder that holds the name"


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert list_names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_a_cell_that_a_spreadsheet_would_run_is_escaped(cell: str):
    assert files.escape_cell(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["", "a=b", "1-1", "text", 0.5, -0.5, 3, None])
def test_other_cells_stay_as_they_are(cell: object):
    assert files.escape_cell(cell) == cell


def test_a_table_is_read_back_with_its_commas_quotes_and_line_ends(tmp_path: Path):
    rows = [["a,b", 'say "no"', -1.5], ["two\nlines", "=evil()", 2]]
    files.write_csv(tmp_path / "a.csv", ["one", "two", "three"], rows)
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        found = list(csv.reader(file))
    assert found == [["one", "two", "three"], ["a,b", 'say "no"', "-1.5"], ["two\nlines", "'=evil()", "2"]]


def test_a_row_that_fails_leaves_no_half_table(tmp_path: Path):
    def rows():
        yield ["first"]
        raise ValueError("second")

    with pytest.raises(ValueError, match="second"):
        files.write_csv(tmp_path / "a.csv", ["one"], rows())
    assert list_names(tmp_path) == []


def read_table(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_rows_are_added_to_a_table_and_begin_one_that_is_not_there(tmp_path: Path):
    path = tmp_path / "new" / "a.csv"
    files.add_rows(path, ["one", "two"], [["a,b", 1]])
    assert read_table(path) == [["one", "two"], ["a,b", "1"]]
    files.add_rows(path, ["one", "two"], [['say "no"', "two\nlines"], ["c", 2]])
    assert read_table(path) == [["one", "two"], ["a,b", "1"], ['say "no"', "two\nlines"], ["c", "2"]]


def test_rows_that_stand_in_a_table_are_not_changed_when_others_are_added(tmp_path: Path):
    """A cell is escaped once, and a number below 0, which is read back as text, not at all."""
    rows = [["=evil()", -1.5], ["-text", "+1"]]
    files.write_csv(tmp_path / "a.csv", ["one", "two"], rows)
    written = (tmp_path / "a.csv").read_bytes()
    files.add_rows(tmp_path / "a.csv", ["one", "two"], [])
    assert (tmp_path / "a.csv").read_bytes() == written
    files.add_rows(tmp_path / "a.csv", ["one", "two"], rows)
    expected = [["'=evil()", "-1.5"], ["'-text", "'+1"]]
    assert read_table(tmp_path / "a.csv")[1:] == expected + expected


def test_a_row_that_fails_to_be_added_leaves_the_table_as_it_was(tmp_path: Path):
    def rows():
        yield ["second"]
        raise ValueError("third")

    files.write_csv(tmp_path / "a.csv", ["one"], [["first"]])
    with pytest.raises(ValueError, match="third"):
        files.add_rows(tmp_path / "a.csv", ["one"], rows())
    assert read_table(tmp_path / "a.csv") == [["one"], ["first"]] and list_names(tmp_path) == ["a.csv"]


def test_a_hash_is_that_of_the_content(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"chest" * 100_000)
    assert files.compute_sha256(tmp_path / "a") == hashlib.sha256(b"chest" * 100_000).hexdigest()


def test_names_that_are_no_utf8_are_escaped_in_texts_and_tables(tmp_path: Path):
    """One file with a Latin-1 name costs itself, and no table."""
    name = os.fsdecode(b"M\xfcller")
    files.write_text(tmp_path / "a.txt", name)
    files.write_csv(tmp_path / "a.csv", ["path"], [[name]])
    assert (tmp_path / "a.txt").read_text() == r"M\udcfcller"
    files.add_rows(tmp_path / "a.csv", ["path"], [[name]])
    assert (tmp_path / "a.csv").read_text().splitlines() == ["path", r"M\udcfcller", r"M\udcfcller"]


def test_a_carriage_return_in_a_cell_is_read_back_in_its_row(tmp_path: Path):
    """MacOS names a file of each folder `Icon` and a carriage return."""
    rows = [["a\rb", "1"], ["plain", "2"], ["two\nlines", "3"]]
    files.write_csv(tmp_path / "a.csv", ["path", "number"], rows)
    read = list(files.read_csv(tmp_path / "a.csv", ["path", "number"], what="a table"))
    assert [list(row.cells.values()) for row in read] == rows
    assert (tmp_path / "a.csv").read_text().splitlines()[0] == "path,number" and b"\nplain,2\n" in (
        tmp_path / "a.csv"
    ).read_bytes()
