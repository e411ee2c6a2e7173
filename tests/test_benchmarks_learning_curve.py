"""The learning curve: parts of the patients lie in each other, and a gain is read off in data."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from scripts.datalist import read_datalist

from benchmarks.learning_curve import PARTS, read_patients, tabulate, write_part


def test_each_part_lies_in_the_next_one_beside_the_whole_fold(datalist_file: Path, tmp_path: Path):
    whole = read_datalist(datalist_file)["training"]
    held_out = {image["image_id"] for image in whole if image["fold"] == 0}
    before: set[str] = set()
    for part in PARTS:
        count = write_part(datalist_file, tmp_path / "part.json", part, 0)
        images = read_datalist(tmp_path / "part.json")["training"]
        names, patients = ({image[key] for image in images} for key in ("image_id", "patient"))
        assert held_out <= names and before <= names
        assert len(patients - {image["patient"] for image in images if image["fold"] == 0}) == count
        before = names
    assert read_datalist(tmp_path / "part.json") == read_datalist(datalist_file)


@pytest.mark.parametrize(
    ("score", "patients"), [(0.3, 100), (0.35, 100 * math.sqrt(2)), (0.4, 200), (0.5, 800), (0.2, 100)]
)
def test_patients_are_read_off_the_line_over_their_logarithm(score: float, patients: float):
    assert read_patients([100, 200, 400, 800], [0.3, 0.4, 0.39, 0.5], score) == pytest.approx(patients)


def test_a_score_that_is_never_reached_has_no_number():
    assert math.isnan(read_patients([100, 200], [0.3, 0.4], 0.41))


def test_the_table_tells_both_scores_their_difference_and_what_it_is_worth():
    def interval(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.01, "high": value + 0.01}

    points = [
        {
            "part": part,
            "patients": count,
            "rows": [
                {"study_map": interval(score), "loss_ratios": [ratio, ratio + 0.1]}
                for score, ratio in ((low, 1.5), (high, 1.2))
            ],
            "differences": [{"patients": interval(low - high), "total": interval(low - high)}],
        }
        for part, count, low, high in [(0.5, 100, 0.30, 0.35), (1, 200, 0.40, 0.42)]
    ]
    first, second = tabulate(points).splitlines()[-2:]
    assert first.split()[0] == "100" and "+0.0500" in first and first.split()[-3:] == ["1.4", "1.55", "1.25"]
    assert "+0.0100 to +0.0300" in second and "more than all" in second
