"""The page of claims is made from its records, and says of each claim what was measured."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from scripts.bootstrap import Interval

from benchmarks.claims import (
    BASE,
    CLAIMS,
    FIGURES,
    PAGE,
    REGISTRY,
    describe_ablation,
    describe_curve,
    describe_losses,
    describe_pseudo_labels,
    draw_claims,
    evaluate_finding,
    gather_noise,
    make_page,
    merge_series,
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


def test_every_run_of_the_page_stands_in_the_registry_with_its_score():
    """The registry holds the last validation, the page its evaluation by the same weights, which differ by 0.002."""
    with (ROOT / "bundle/docs/experiments.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["name"].split("+")[0] == BASE and row["status"] == "done"]
    figures = read_figures()
    for row in figures["overrides"]["rows"] + figures["again"]["rows"]:
        for seed, value in row["seeds"].items():
            same = [each for each in rows if (each["name"], each["seed"]) == (row["combination"], seed)]
            assert any(value == pytest.approx(float(each["study_map"]), abs=2e-3) for each in same)


def make_ablation(**scores: tuple[float, ...]) -> dict[str, Any]:
    """Contents of ablation.json where the sample of patients is +- 0.01; `base` is the base."""
    names = {name: BASE if name == "base" else f"{BASE}+{name}" for name in scores}
    means = {name: float(np.mean(values)) for name, values in scores.items()}

    def around(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.01, "high": value + 0.01}

    rows = [
        {
            "combination": names[name],
            "study_map": around(means[name]),
            "seeds": {str(seed): value for seed, value in enumerate(values)},
        }
        for name, values in scores.items()
    ]
    differences = [
        {"combination": names[name], "other": BASE, "patients": around(means[name] - means["base"])}
        for name in scores
        if name != "base"
    ]
    return {"rows": rows, "differences": differences}


def test_trainings_of_several_series_are_samples_of_their_row():
    """Base of 0.50, 0.52, 0.54; focal of 0.55, 0.57 in two series; Lovasz in the first alone."""
    first, again = (
        make_ablation(base=(0.50, 0.52), focal=(0.55,), lovasz=(0.49,)),
        make_ablation(base=(0.54,), focal=(0.57,)),
    )
    merged = merge_series([first, again], BASE)
    noise, freedom = merged["noise"]
    assert freedom == 3
    assert noise == pytest.approx(((0.02**2 * 2 + 0.01**2 * 2) / 3) ** 0.5)
    assert [len(row["scores"]) for row in merged["rows"]] == [3, 2, 1]
    focal, lovasz = merged["differences"]
    assert focal.total.value == pytest.approx(0.56 - 0.52)
    error = stats.t.ppf(0.975, 3) * noise * (1 / 2 + 1 / 3) ** 0.5
    assert focal.total.high - focal.total.value == pytest.approx(math.hypot(0.01, error))
    assert lovasz.total.value == pytest.approx(0.49 - 0.52)


def test_the_picture_is_of_the_tables_intervals(tmp_path: Path):
    draw_claims(read_figures(), tmp_path / "gains.png")
    with Image.open(tmp_path / "gains.png") as picture:
        assert picture.width > 900 and len(set(picture.convert("L").tobytes())) > 10


def test_one_training_a_row_takes_the_noise_that_others_show():
    merged = merge_series([make_ablation(base=(0.50,), focal=(0.60,))], BASE, (0.012, 14))
    assert merged["noise"] == [0.012, 14]
    found = merged["differences"][0].total
    assert found.high - found.value == pytest.approx(math.hypot(0.01, stats.t.ppf(0.975, 14) * 0.012 * 2**0.5))


def test_a_row_says_its_trainings_its_verdict_and_what_an_epoch_costs():
    content = merge_series([make_ablation(base=(0.50, 0.501), focal=(0.60, 0.601))], BASE)
    text = describe_ablation(content, BASE, CLAIMS, f"{BASE}+", {BASE: 10.0, f"{BASE}+focal": 11.0})
    row = next(line for line in text.splitlines() if "`focal`" in line)
    assert row.startswith("| focal loss (`focal`) | did not help | 2 | +0.1000 |")
    assert row.endswith("| **contradicts**: better | x 1.1 |")
    assert "mean of 2 trainings" in text
    assert "epoch's time" not in describe_ablation(content, BASE, CLAIMS, f"{BASE}+", {})


def test_a_named_size_outside_the_interval_is_said_to_be_too_large():
    """The mask's 5 % of 0.50 are 0.025: an interval from -0.010 excludes them, one from -0.030 does not."""
    for value, verdict in ((0.50, "**contradicts**: less than 5 %"), (0.48, "not resolved")):
        content = merge_series([make_ablation(base=(0.50,), no_auxiliary=(value,))], BASE, (1e-9, 14))
        (found,) = content["differences"]
        content["differences"] = [replace(found, total=replace(found.total, high=0.01))]
        row = describe_ablation(content, BASE, CLAIMS, f"{BASE}+", {}).splitlines()[5]
        assert row.endswith(f"| {verdict} |"), row


def test_noise_is_that_of_trainings_that_differ_by_seed_or_machine_alone(tmp_path: Path):
    names = ("name", "settings", "fold", "study_map", "status")
    rows = [
        (BASE, "epochs=4", "0", "0.50", "done"),
        (BASE, "epochs=4", "0", "0.52", "done"),
        (BASE, "epochs=4", "0", "0.10", "failed"),
        (BASE, "epochs=4", "1", "0.90", "done"),
        (BASE, "epochs=8", "0", "", "done"),
        ("baseline", "epochs=4", "0", "0.40", "done"),
        ("baseline", "epochs=4", "0", "0.44", "done"),
    ]
    others = {"seed": "0", "seconds": "1", "datalist_hash": "a"}
    registry = tmp_path / "experiments.csv"
    with registry.open("w", newline="", encoding="utf-8") as file:
        with (ROOT / REGISTRY).open(newline="", encoding="utf-8") as real:
            writer = csv.DictWriter(file, next(csv.reader(real)))
        writer.writeheader()
        writer.writerows({**others, **dict(zip(names, row, strict=True))} for row in rows)
    assert gather_noise(registry) == {
        "pretrained": (pytest.approx(0.01 * 2**0.5), 1),
        "random": (pytest.approx(0.02 * 2**0.5), 1),
        "ratio": (pytest.approx(math.nan, nan_ok=True), 0),
    }


def test_the_page_takes_the_noise_of_the_registry():
    figures = {name: tuple(each) for name, each in read_figures()["noise"].items()}
    assert figures == {name: pytest.approx(each) for name, each in gather_noise(ROOT / REGISTRY).items()}


def test_losses_and_pseudo_labels_become_tables():
    rows = [{"epoch": 2, "train_loss": 2.0, "validation_loss": 2.2, "study_map": 0.5}, {"epoch": 3, "train_loss": 1.0}]
    losses = describe_losses({"crop and mask": rows}, {"ratio": (0.01, 30), "pretrained": (0.02, 30)})
    assert "| validation / training loss, crop and mask | 1.10 |" in losses
    assert losses.endswith("of 4 epochs: ratio 0.020, study mAP 0.041.")  # 2.04 times the standard deviation
    value = {"value": 0.5, "low": 0.4, "high": 0.6}
    labels = {
        "no external images": {"study_map": {"fold 0": value}, "seeds": {"fold 0": [0.5]}, "gains": {}},
        "leaking": {"study_map": {"fold 0": value}, "seeds": {"fold 0": [0.5]}, "gains": {"fold 0": value}},
    }
    content = {"rows": labels, "between_seeds": {"fold 0": [None, 0]}, "labels": {"honest labels": value}}
    lines = describe_pseudo_labels(content, (1e-9, 30)).splitlines()
    header, _, first, second, *_, noise, _, quality = lines
    assert noise == "Seeds: 1; the intervals hold the noise between other trainings of the same budget."
    assert quality == "honest labels 0.5000 (0.4000 to 0.6000)."
    assert header == "| labels | study mAP, fold 0 | gain, fold 0 |"
    assert first == "| no external images | 0.5000 |  |"
    assert second == "| leaking | 0.5000 | +0.5000 (+0.4000 to +0.6000) |"


def test_a_gain_of_one_training_each_is_widened_by_the_noise_of_two_and_between_sets_of_four():
    value = {"value": 0.5, "low": 0.5, "high": 0.5}
    sets = ("fold 0", "untouched")
    row = {"study_map": dict.fromkeys(sets, value), "seeds": dict.fromkeys(sets, [0.5])}
    gains = dict.fromkeys((*sets, "fold 0 more than untouched"), value)
    content = {
        "rows": {"no external images": {**row, "gains": {}}, "leaking": {**row, "gains": gains}},
        "between_seeds": dict.fromkeys(sets, [None, 0]),
        "labels": {},
    }
    found = describe_pseudo_labels(content, (0.01, 30)).splitlines()[3].split(" | ")[3:]
    half = stats.t.ppf(0.975, 30) * 0.01
    assert found[0] == f"+0.5000 (+{0.5 - half * 2**0.5:.4f} to +{0.5 + half * 2**0.5:.4f})"
    assert found[2].startswith(f"+0.5000 (+{0.5 - half * 2:.4f} to +{0.5 + half * 2:.4f})")
    content["between_seeds"] = dict.fromkeys(sets, [0.01, 4])  # the gains hold it already
    assert "+0.5000 (+0.5000 to +0.5000)" in describe_pseudo_labels(content, (0.01, 30))


@pytest.mark.parametrize(
    ("freedom", "noise", "low"), [(0, "other trainings of the same budget", -0.6408), (6, "them", -0.6)]
)
def test_the_curve_says_whose_noise_between_trainings_it_holds(freedom: int, noise: str, low: float):
    value = {"value": 0.5, "low": 0.4, "high": 0.6}
    row = {"study_map": value, "seeds": {"0": 0.5}, "loss_ratios": [1.1]}
    point = {
        "patients": 270,
        "rows": [row, row],
        "differences": [{"patients": value, "total": value, "freedom": freedom}],
    }
    lines = describe_curve([point], (0.03535, 100)).splitlines()
    # 0.05 is the standard error of two trainings: the root of 0.1 squared and (1.98 * 0.05) squared
    assert lines[2].startswith("| 270 | 0.5000 |") and f"| {low:.4f} to " in lines[2]
    assert lines[-1] == f"Seeds: 1; the intervals hold the noise between {noise}."


@pytest.mark.parametrize(
    ("sign", "low", "high", "verdict"),
    [
        (-1, -0.03, -0.01, "agrees"),
        (-1, 0.01, 0.03, "**contradicts**"),
        (-1, -0.01, 0.02, "not resolved"),
        (1, 0.01, 0.02, "agrees"),
        (0, -0.01, 0.02, "no gain shown"),
        (0, -0.03, -0.01, "agrees: worse"),
        (0, 0.01, 0.02, "**contradicts**: better"),
        (None, 0.01, 0.02, "better"),
    ],
)
def test_a_finding_is_evaluated_by_its_interval(sign: int | None, low: float, high: float, verdict: str):
    assert evaluate_finding(sign, Interval((low + high) / 2, low, high)) == verdict
