"""An output folder belongs to one run: lock, refusal, removal of exactly the earlier results."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from scripts.errors import InputError
from scripts.output_folders import LOCK, claim_folder

RESULTS = ("last.pt*", "masks", "history.json")
CLAIM = """
import sys, time
from scripts.output_folders import claim_folder
claim_folder(sys.argv[1], ())
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


def start_holder(folder: Path, seconds: float) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(folder), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "held"
    return holder


def test_a_new_folder_is_made_and_names_who_holds_it(tmp_path: Path):
    folder = claim_folder(tmp_path / "new" / "run", RESULTS)
    assert (folder / LOCK).read_text().startswith(f"process {os.getpid()} on ")


def test_a_folder_with_results_is_rejected_with_advice(tmp_path: Path):
    (tmp_path / "last.pt").touch()
    with pytest.raises(InputError, match=r"found last\.pt in .*--resume true, or .*--replace true"):
        claim_folder(tmp_path, RESULTS)


def test_other_files_are_no_results(tmp_path: Path):
    (tmp_path / "notes.txt").touch()
    claim_folder(tmp_path, RESULTS)


def test_replace_removes_results_and_nothing_else(tmp_path: Path):
    for name in ("last.pt", "last.pt.sha256", "history.json", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "masks" / "a").mkdir(parents=True)
    (tmp_path / "masks" / "a" / "b.png").touch()
    claim_folder(tmp_path, RESULTS, replace="true")
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK, "notes.txt"]


def test_a_linked_folder_is_unlinked_and_not_emptied(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.png").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "masks").symlink_to(tmp_path / "elsewhere")
    claim_folder(tmp_path / "run", RESULTS, replace=True)
    assert (tmp_path / "elsewhere" / "mine.png").is_file()
    assert not (tmp_path / "run" / "masks").exists()


def test_resume_keeps_results(tmp_path: Path):
    (tmp_path / "last.pt").touch()
    claim_folder(tmp_path, RESULTS, resume=True)
    assert (tmp_path / "last.pt").is_file()


def test_half_written_files_of_a_dead_run_are_removed(tmp_path: Path):
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / ".tmp-x.a.png").touch()
    (tmp_path / ".tmp-y.last.pt").touch()
    claim_folder(tmp_path, (), resume=True)
    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_second_process_is_told_who_holds_the_folder(tmp_path: Path):
    holder = start_holder(tmp_path, 60)
    try:
        with pytest.raises(InputError, match=f"held by process {holder.pid} on "):
            claim_folder(tmp_path, RESULTS)
    finally:
        holder.kill()
        holder.wait()
    claim_folder(tmp_path, RESULTS)  # a killed run holds nothing


def test_a_run_that_ends_removes_its_lock(tmp_path: Path):
    start_holder(tmp_path, 0).wait()
    assert not (tmp_path / LOCK).exists()
