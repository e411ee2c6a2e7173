"""Screening of an archive: shards, parts, kills, changed archives, and the ways to share the work."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from scripts.errors import InputError
from scripts.files import TEMPORARY_PREFIX
from scripts.screening import screen_archive
from scripts.screening.plan import make_plan, split_files

from tests.test_commands import CANARY, TINY, Commands, Outcome, commands
from tests.test_commands_inference import check_line, weights, write_study_image

__all__ = ["commands", "weights"]  # fixtures

OPTIONS = {**TINY, "batch_size": 2}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images of three studies, <patient>/<study>/<image>, and two files that are rejected."""
    tree = tmp_path_factory.mktemp("archive") / "tree"
    for seed in range(5):
        path = tree / f"p{seed // 2}" / "study" / f"{seed}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_study_image(path, seed)
    (tree / "p1" / "study" / "text.dcm").write_text(CANARY)
    (tree / "p2" / "study" / "cut.dcm").write_bytes((tree / "p0" / "study" / "0.dcm").read_bytes()[:3000])
    return tree


def screen(
    commands: Commands, tree: Path, out: Path, weights: Path, stop: int | None = None, **options: Any
) -> Outcome:
    named = {"tree": tree, "out": out, "shard_size": 2, "weights": weights, **OPTIONS, **options}
    if stop is not None:
        return commands.run("tests.stopped_bundle", str(stop), "SIGKILL", "screen", **named)
    return commands.run("scripts", "screen", **named)


def read_parts(out: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in (out / "parts").iterdir() if not path.name.startswith(TEMPORARY_PREFIX)
    }


def read_rows(out: Path, kind: str) -> list[dict[str, str]]:
    tables = [path.read_text().splitlines() for path in sorted((out / "parts").glob(f"{kind}-*.csv"))]
    return [row for table in tables for row in csv.DictReader(table)]


@pytest.fixture(scope="module")
def whole(commands: Commands, archive: Path, weights: Path) -> tuple[Path, Outcome]:
    """A screening without interruption."""
    out = archive.parent / "whole"
    return out, screen(commands, archive, out, weights)


def test_every_file_is_scored_or_rejected_with_its_reason(archive: Path, whole: tuple[Path, Outcome]):
    out, outcome = whole
    check_line(outcome, 0, r"3 of 3 shards are done, 7 files, 5 scored, 2 rejected")
    assert {row["reason"] for row in read_rows(out, "rejected")} == {"not_dicom", "truncated"}
    rows = [*read_rows(out, "images"), *read_rows(out, "rejected")]
    assert sorted(row["path"] for row in rows) == sorted(
        path.relative_to(archive).as_posix() for path in archive.rglob("*.dcm")
    )


def test_a_line_for_each_shard_says_rate_and_time_left(whole: tuple[Path, Outcome]):
    check_line(whole[1], 0, r"2 of 7 files, shard 1 of 3, .* files/s, \d+:\d\d:\d\d left")
    check_line(whole[1], 0, r"7 of 7 files, shard 3 of 3, .* files/s, 0:00:00 left")


def test_a_studys_images_stand_in_one_part_with_their_mean(whole: tuple[Path, Outcome]):
    first = list(csv.DictReader((whole[0] / "parts" / "images-000000.csv").read_text().splitlines()))
    assert len(first) == 2 and len({row["study_id"] for row in first}) == 1
    mean = sum(float(row["typical"]) for row in first) / 2
    assert float(first[0]["study_typical"]) == pytest.approx(mean)
    assert not (whole[0] / "work").exists() or not any((whole[0] / "work").iterdir())


@pytest.mark.parametrize("stop", [5, 14, 30])
def test_a_killed_screening_goes_on_by_the_same_command_to_the_same_parts(
    commands: Commands, archive: Path, weights: Path, whole: tuple[Path, Outcome], tmp_path: Path, stop: int
):
    assert screen(commands, archive, tmp_path, weights, stop).status == -9
    check_line(screen(commands, archive, tmp_path, weights), 0, "3 of 3 shards are done, 7 files, 5 scored, 2 rejected")
    assert read_parts(tmp_path) == read_parts(whole[0])


def test_a_finished_screening_does_nothing_again_and_a_changed_archive_is_named(
    commands: Commands, archive: Path, weights: Path, whole: tuple[Path, Outcome], tmp_path: Path
):
    tree, out = tmp_path / "tree", tmp_path / "out"
    shutil.copytree(archive, tree)
    screen(commands, tree, out, weights)
    before = read_parts(out)
    check_line(screen(commands, tree, out, weights), 0, "3 of 3 shards are done")
    assert read_parts(out) == before
    (tree / "p2" / "study" / "new.dcm").write_text("new")
    changed = "expected the archive as it was when its screening began, found files added, removed or changed: 1 of 3"
    check_line(screen(commands, tree, out, weights), 1, changed)
    check_line(screen(commands, tree, out, weights, none_weight=0.5), 1, "found another one: options differ")


def test_two_parts_of_the_work_make_the_whole(
    commands: Commands, archive: Path, weights: Path, whole: tuple[Path, Outcome], tmp_path: Path
):
    check_line(screen(commands, archive, tmp_path, weights, part="2/2"), 0, "1 of 3 shards are done")
    check_line(screen(commands, archive, tmp_path, weights, part="1/2"), 0, "3 of 3 shards are done")
    assert read_parts(tmp_path) == read_parts(whole[0])


def test_parquet_holds_what_csv_holds(commands: Commands, archive: Path, weights: Path, whole: tuple, tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet")
    check_line(screen(commands, archive, tmp_path, weights, table_format="parquet"), 0, "3 of 3 shards are done")
    tables = [parquet.read_table(path) for path in sorted((tmp_path / "parts").glob("images-*.parquet"))]
    rows = [{name: str(cell) for name, cell in row.items()} for table in tables for row in table.to_pylist()]
    assert rows == read_rows(whole[0], "images")


@pytest.mark.slow
def test_ray_makes_the_same_parts(
    commands: Commands, archive: Path, weights: Path, whole: tuple[Path, Outcome], tmp_path: Path
):
    pytest.importorskip("ray")
    outcome = screen(commands, archive, tmp_path, weights, ray="local", workers=2)
    check_line(outcome, 0, "3 of 3 shards are done, 7 files, 5 scored, 2 rejected")
    assert read_parts(tmp_path) == read_parts(whole[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"part": "3/2"}, "expected a part such as 2/4, found 3/2"),
        ({"table_format": "xlsx"}, "expected a format among csv, parquet, found xlsx"),
        ({"shard_size": 0}, "expected shards of at least one file"),
    ],
)
def test_a_wrong_option_is_one_line(archive: Path, weights: Path, tmp_path: Path, options: dict, message: str):
    with pytest.raises(InputError, match=message):
        screen_archive(
            archive, tmp_path, "bundle/configs/inference.json", options={**OPTIONS, "weights": str(weights)}, **options
        )


def test_no_line_and_no_part_names_a_patient(whole: tuple[Path, Outcome]):
    texts = [*read_parts(whole[0]).values(), whole[1].stdout.encode(), whole[1].stderr.encode()]
    assert not [text for text in texts if CANARY.encode() in text]


def test_shards_end_with_studies_or_folders_where_these_allow_it():
    def split(*files: str) -> list[list[str]]:
        return list(split_files(map(Path, files), 4))

    studies = [f"s{number // 3}/r{number}/i.dcm" for number in range(9)]
    assert split(*studies) == [studies[:6], studies[6:]]  # <study>/<series>/<image>
    folders = [f"s{number // 3}/{number}.dcm" for number in range(9)]
    assert split(*folders) == [folders[:6], folders[6:]]
    flat = [f"{number}.dcm" for number in range(9)]
    assert split(*flat) == [flat[:8], flat[8:]]


def test_a_plan_is_read_shard_by_shard_and_from_the_middle(tmp_path: Path):
    (tmp_path / "tree").mkdir()
    for number in range(7):
        (tmp_path / "tree" / f"{number}.dcm").write_text("x")
    plan = make_plan(tmp_path / "tree", tmp_path, 2, {})
    shards = list(plan.read())
    assert (plan.num_shards, plan.num_files) == (2, 7)
    assert [file for shard in shards for file in shard.files] == [f"{number}.dcm" for number in range(7)]
    assert plan.read_one(1, shards[1].offset) == shards[1]
    assert [shard.number for shard in plan.read(1, 2)] == [1]
    assert json.loads(plan.path.read_text().splitlines()[0]) == {"shard_size": 2}
