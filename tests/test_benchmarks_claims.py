"""The page of claims is made from its records, and says of each claim what was measured."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts.bootstrap import Interval

from benchmarks.claims import (
    BASE,
    CLAIMS,
    FIGURES,
    PAGE,
    describe_curve,
    describe_losses,
    describe_pseudo_labels,
    describe_repetition,
    evaluate_finding,
    make_page,
)

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENTS = ROOT / "bundle/configs/experiments"


def read_figures() -> dict[str, Any]:
    return json.loads((ROOT / FIGURES).read_text(encoding="utf-8"))


def test_the_page_is_made_from_its_figures():
    assert (ROOT / PAGE).read_text(encoding="utf-8") == make_page(read_figures())


def test_every_override_exists_and_everything_that_did_not_work_there_is_named():
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert all((EXPERIMENTS / f"{claim.override}.json").is_file() for claim in CLAIMS)
    tried = "focal bi_tempered lovasz swin weight_by_images just_train_twice mixup cutmix random_erasing"
    assert all(f"`{name}`" in page for name in tried.split())


def test_means_and_differences_are_those_of_the_runs():
    """Each mean is that of its seeds, and each difference that of two means."""
    figures = read_figures()["overrides"]
    means = {row["combination"]: np.mean(list(row["seeds"].values())) for row in figures["rows"]}
    for row in figures["rows"]:
        assert row["study_map"]["value"] == pytest.approx(means[row["combination"]])
    for each in figures["differences"]:
        expected = means[each["combination"]] - means[each["other"]]
        assert each["total"]["value"] == pytest.approx(expected)
        assert each["total"]["low"] <= each["patients"]["low"] <= each["patients"]["high"] <= each["total"]["high"]


def test_every_run_of_the_page_stands_in_the_ledger_with_its_score():
    """The ledger holds the last validation, the page its evaluation by the same weights, which differ by 0.002."""
    with (ROOT / "bundle/docs/experiments.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["name"].split("+")[0] == BASE and row["status"] == "done"]
    figures = read_figures()
    for row in figures["overrides"]["rows"] + figures["again"]["rows"]:
        for seed, value in row["seeds"].items():
            same = [each for each in rows if (each["name"], each["seed"]) == (row["combination"], seed)]
            assert any(value == pytest.approx(float(each["study_map"]), abs=2e-3) for each in same)


def test_a_repetition_shows_the_noise_and_not_what_moves_all_rows_alike():
    """Rows of 0.50, 0.52 and 0.48 score 0.02 more on another machine, and one of them 0.03 beside that."""

    def score(*values: float) -> dict[str, Any]:
        names = (BASE, f"{BASE}+focal", f"{BASE}+lovasz")
        rows = [{"combination": name, "seeds": {"0": value}} for name, value in zip(names, values, strict=True)]
        differences = [
            {
                "combination": name,
                "patients": {"value": value - values[0], "low": value - values[0], "high": value - values[0]},
            }
            for name, value in zip(names[1:], values[1:], strict=True)
        ]
        return {"rows": rows, "differences": differences}

    text = describe_repetition(score(0.50, 0.52, 0.48), score(0.52, 0.54, 0.50))
    assert "standard deviation of one training 0.0000 (2 degrees of freedom)" in text
    assert "| `focal` | +0.0200 | +0.0200 | +0.0200 | +0.0200 to +0.0200 | **contradicts**: better |" in text
    moved = describe_repetition(score(0.50, 0.52, 0.48), score(0.52, 0.54, 0.53))
    assert f"{0.03 / 3**0.5 / 2**0.5:.4f}" in moved  # standard deviation of 0, 0 and 0.03, over the root of 2
    assert "| `lovasz` | -0.0200 | +0.0100 | -0.0050 |" in moved


def test_losses_and_pseudo_labels_become_tables():
    rows = [{"epoch": 2, "train_loss": 2.0, "validation_loss": 2.2, "study_map": 0.5}, {"epoch": 3, "train_loss": 1.0}]
    assert "| validation / training loss, crop and mask | 1.10 |" in describe_losses({"crop and mask": rows})
    value = {"value": 0.5, "low": 0.4, "high": 0.6}
    labels = {
        "no external images": {"study_map": {"fold 0": value}, "seeds": {"fold 0": [0.5]}, "gains": {}},
        "leaking": {"study_map": {"fold 0": value}, "seeds": {"fold 0": [0.5]}, "gains": {"fold 0": value}},
    }
    content = {"rows": labels, "between_seeds": {"fold 0": [None, 0]}, "labels": {"honest labels": value}}
    header, _, first, second, *_, noise, _, quality = describe_pseudo_labels(content).splitlines()
    assert noise == "Seeds: 1; the noise between them is not measured."
    assert quality == "honest labels 0.5000 (0.4000 to 0.6000)."
    assert header == "| labels | study mAP, fold 0 | gain, fold 0 |"
    assert first == "| no external images | 0.5000 |  |"
    assert second == "| leaking | 0.5000 | +0.5000 (+0.4000 to +0.6000) |"


@pytest.mark.parametrize(("freedom", "noise"), [(0, "not measured"), (6, "in the intervals")])
def test_the_curve_says_if_it_holds_the_noise_between_seeds(freedom: int, noise: str):
    value = {"value": 0.5, "low": 0.4, "high": 0.6}
    row = {"study_map": value, "seeds": {"0": 0.5}, "loss_ratios": [1.1]}
    point = {
        "patients": 270,
        "rows": [row, row],
        "differences": [{"patients": value, "total": value, "freedom": freedom}],
    }
    lines = describe_curve([point]).splitlines()
    assert lines[2].startswith("| 270 | 0.5000 |") and lines[-1] == f"Seeds: 1; the noise between them is {noise}."


@pytest.mark.parametrize(
    ("sign", "low", "high", "verdict"),
    [
        (-1, -0.03, -0.01, "agrees"),
        (-1, 0.01, 0.03, "**contradicts**"),
        (-1, -0.01, 0.02, "not resolved"),
        (1, 0.01, 0.02, "agrees"),
        (0, -0.01, 0.02, "agrees: no gain"),
        (0, -0.03, -0.01, "agrees: worse"),
        (0, 0.01, 0.02, "**contradicts**: better"),
        (None, 0.01, 0.02, "better"),
    ],
)
def test_a_finding_is_evaluated_by_its_interval(sign: int | None, low: float, high: float, verdict: str):
    assert evaluate_finding(sign, Interval((low + high) / 2, low, high)) == verdict
