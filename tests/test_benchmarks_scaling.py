"""The comparison of two processes with one measures each way in the same two processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.speed import scaling


def test_rows_compare_two_processes_with_one_of_two_threads_and_of_one():
    ways = (scaling.TWO_PROCESSES, scaling.ONE_OF_TWO, scaling.ONE_OF_ONE, scaling.NO_EXCHANGE)
    rows = scaling.compare(dict(zip(ways, ([2.0], [3.0], [4.0], [1.0]), strict=True)), images=12)
    assert [row.ratio for row in rows] == [1.5, 2.0, 4.0]
    assert rows[0].format_row()[1] == "6 images/s (6 to 6)"


@pytest.mark.slow
def test_two_processes_time_each_way_as_often_as_asked(tmp_path: Path):
    seconds = scaling.start_processes(tmp_path / "seconds.json", "test_efficientnet", 32, 4, 1, repeats=2)
    assert len(seconds) == 4 and all(len(each) == 2 and min(each) > 0 for each in seconds.values())
