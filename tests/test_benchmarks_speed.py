"""The benchmark of speed: ratios, the page, and each part once at a small size; no time is asserted."""

from __future__ import annotations

import json
import pstats
from pathlib import Path

import pytest
from scripts.errors import InputError

from benchmarks.speed import __main__ as bench
from benchmarks.speed import augmentation, folder, inference, preparation, training
from benchmarks.speed.comparison import Comparison, tabulate_comparisons, time_in_turn


def test_the_ratio_is_of_medians_and_above_one_where_ours_is_faster():
    comparison = Comparison("a thing", "another", ours=[1.0, 2.0, 9.0], theirs=[4.0, 6.0, 100.0])
    assert comparison.ratio == 3.0


def test_rates_are_amounts_in_a_second_and_times_have_their_spread():
    timed = Comparison("a thing", "another", [0.5, 0.25], [2.0], unit="images", amount=10)
    assert timed.format_row()[1] == "26.7 images/s (20 to 40)"
    assert Comparison("a thing", "another", [0.25], [0.5]).format_row()[3] == "500 ms (500 to 500)"


def test_what_was_not_measured_says_so():
    row = Comparison("a thing", "another", note="needs a GPU").format_row()
    assert row[0] == "a thing (needs a GPU)"
    assert "not measured" in row


def test_ways_run_in_turn():
    order: list[str] = []
    seconds = time_in_turn([lambda: order.append("a"), lambda: order.append("b")], repeats=2, warm_up=1)
    assert order == ["a", "b"] * 3
    assert [len(each) for each in seconds] == [2, 2]


def test_the_page_holds_all_parts_that_were_measured_and_keeps_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    page = tmp_path / "results.md"
    for name, part, seconds in (("augmentation", augmentation, 1.0), ("inference", inference, 2.0)):
        rows = [Comparison(f"row of {name}", "another", [seconds], [2 * seconds])]
        monkeypatch.setattr(part, "measure", lambda folder, rows=rows: rows)
        bench.measure(str(tmp_path / "bench"), name, str(page))
    text = page.read_text()
    assert text.index("row of augmentation") < text.index("row of inference")
    assert set(json.loads((tmp_path / "results.json").read_text())) == {"augmentation", "inference"}


def test_an_unknown_part_is_an_error_that_names_the_known_ones(tmp_path: Path):
    with pytest.raises(InputError, match="expected parts among preparation, .*, found speed"):
        bench.measure(str(tmp_path), "speed")


def check_rows(rows: list[Comparison]) -> None:
    assert rows
    for row in rows:
        assert row.ours or row.note
        assert all(seconds > 0 for seconds in (*row.ours, *row.theirs))
    assert tabulate_comparisons(rows).count("\n") == len(rows) + 1


def test_augmentation_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(augmentation, "COUNT", 32)
    monkeypatch.setattr(augmentation, "DISTINCT", 4)
    monkeypatch.setattr(augmentation, "SIZE", 64)
    monkeypatch.setattr(augmentation, "WORKERS", 0)
    check_rows(augmentation.measure(tmp_path))


def test_preparation_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(preparation, "STUDIES", 20)
    monkeypatch.setattr(preparation, "SIZE", 96)
    monkeypatch.setattr(preparation, "REPEATS", 1)
    check_rows(preparation.measure(tmp_path))


def test_a_training_step_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(training, "STUDIES", 20)
    monkeypatch.setattr(training, "SIZE", 32)
    monkeypatch.setattr(training, "BATCH", 4)
    monkeypatch.setattr(training, "EPOCHS", 1)
    monkeypatch.setattr(training, "ENCODER", "test_efficientnet")
    check_rows(training.measure(tmp_path))


@pytest.mark.slow
def test_inference_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inference, "SIZE", 128)
    monkeypatch.setattr(inference, "BATCH", 2)
    monkeypatch.setattr(inference, "REPEATS", 1)
    check_rows(inference.measure(tmp_path))


def test_stages_of_a_run_are_shares_of_its_time_and_leave_nothing_out():
    def call(file: str, name: str, seconds: float) -> dict[tuple[str, int, str], tuple[int, int, float, float, dict]]:
        return {(f"/somewhere/scripts/{file}", 1, name): (1, 1, 0.0, seconds, {})}

    profile = pstats.Stats()
    profile.total_tt = 20.0  # type: ignore[attr-defined]
    profile.stats = {  # type: ignore[attr-defined]
        **call("inferers/images.py", "__call__", 10.0),
        **call("inferers/lungs.py", "__call__", 2.0),
        **call("inferers/images.py", "_add_opacities", 5.0),
        **call("outputs/writer.py", "_write_images", 1.0),
        **call("outputs/writer.py", "_write_tables", 0.5),
        **call("elsewhere.py", "__call__", 7.0),
    }
    text = folder.describe_stages(profile)
    assert text.startswith("start, and all else 42 %, boxes 25 %, classes and masks 15 %, lungs 10 %, pictures, tables")
    assert "findings at full size 0 %" in text
