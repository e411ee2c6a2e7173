"""Experiments: run records, cross-validation, ablation, the experiment registry. Nothing is trained here."""

from __future__ import annotations

import csv
import json
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from PIL import Image
from scipy import stats
from scripts.bootstrap import Interval
from scripts.charts import COLOURS
from scripts.checkpoints import save_weights
from scripts.datalist import read_datalist
from scripts.errors import InputError
from scripts.experiments import (
    Plan,
    Slots,
    ablate,
    crossvalidate,
    draw_gains,
    draw_losses,
    find_records,
    group_runs,
    pool_images,
    read_leaderboard,
    tabulate_runs,
    write_registry,
)
from scripts.experiments.combinations import Combination, parse_combination
from scripts.experiments.differences import Measured, list_differences, pool_noise, widen_interval
from scripts.experiments.figures import cut_overrides, list_legend
from scripts.experiments.registry import find_baselines, measure_gain, measure_noise
from scripts.files import compute_sha256
from scripts.labels import STUDY_CLASSES
from scripts.metrics import read_ground_truth, score_studies
from scripts.outputs import write_tables
from scripts.predictions import ImageFindings, read_predictions
from scripts.research import run_ablation
from scripts.run_records import (
    Record,
    RunRecorder,
    describe_run,
    hash_weights,
    list_config_files,
    name_run,
    read_options,
    read_record,
    summarise_history,
    write_record,
)
from scripts.submission import write_submission

from tests.configs import CONFIGS, merge

RECORD = Record(
    name="focal",
    description="Focal loss.",
    expected="nothing",
    status="done",
    overrides=("train.json", "experiments/focal.json"),
    settings={"epochs": "4"},
    fold=0,
    seed=0,
    datalist_hash="d" * 64,
    code="abc",
    machine="a machine",
    started="2026-01-01T00:00:00Z",
    metrics={"study_map": 0.5},
)


@dataclass
class Runner:
    """Stands in for MONAI's command: writes what a run leaves, with probabilities that a combination's skill decides.

    Args:
        skills: how far the true class stands out, by the name of the row's overrides.
    """

    datalist: dict[str, Any]
    skills: dict[str, float] = field(default_factory=dict)
    fails: bool = False
    commands: list[list[str]] = field(default_factory=list)

    def __call__(self, arguments: Sequence[str], log: Path) -> int:
        self.commands.append(list(arguments))
        log.write_text("first\nerror: something is wrong\n" if self.fails else "fine\n")
        if self.fails:
            return 1
        options = read_options(arguments)
        folder, fold = Path(options["output_dir"]), int(options["fold"])
        if arguments[3] == "training":
            self._train(options, folder, fold)
        else:
            self._evaluate(options, folder, fold)
        return 0

    def _train(self, options: dict[str, str], folder: Path, fold: int) -> None:
        save_weights({"seed": torch.tensor([int(options["seed"]), fold, len(self.commands)])}, folder / "last.pt")
        history = [{"epoch": 1, "train_loss": 2.0, "validation_loss": 2.2, "study_map": 0.4, "seconds": 1.0}]
        (folder / "history.json").write_text(json.dumps(history))
        record = describe_run(options, options["datalist_file"], fold, int(options["seed"]))
        ended = replace(record, status="done", **summarise_history(folder), weights_sha256=hash_weights(folder))
        write_record(ended, folder)

    def _evaluate(self, options: dict[str, str], folder: Path, fold: int) -> None:
        files = [name for name in list_config_files(options["config_file"]) if Path(name).stem != "evaluate"]
        record = read_record(Path(options["weights"]).parent)
        rng = np.random.default_rng(record.seed)
        skill = self.skills.get(name_run(files), 1.0)
        images = [make_image(image, skill, rng) for image in self.datalist["training"] if image["fold"] == fold]
        write_tables(images, folder)
        write_submission(images, folder / "submission.csv")
        hashed = {"weights_sha256": compute_sha256(options["weights"])}
        (folder / "done.json").write_text(json.dumps(hashed))


def make_image(image: dict[str, Any], skill: float, rng: np.random.Generator) -> ImageFindings:
    logits = rng.normal(size=4)
    logits[image["label"]] += skill
    probabilities = np.exp(logits) / np.exp(logits).sum()
    named = dict(zip(STUDY_CLASSES, probabilities.tolist(), strict=True))
    return ImageFindings(image["image_id"], image["study_id"], named, (), (), float(probabilities[0]), (0, 0, 9, 9))


@pytest.fixture
def runner(datalist_file: Path) -> Runner:
    return Runner(read_datalist(datalist_file))


@pytest.fixture
def plan(datalist_file: Path, images: Path, runner: Runner) -> Plan:
    return Plan(datalist_file, images, {"epochs": 1}, start=runner)


def test_every_run_sets_only_names_that_its_configs_have(datalist_file: Path, images: Path, tmp_path: Path):
    """MONAI accepts an unknown name in silence, so a misspelt one would change nothing."""
    commands: list[list[str]] = []

    def start(arguments: Sequence[str], log: Path) -> int:
        commands.append(list(arguments))
        return 0

    plan, weights = Plan(datalist_file, images, {"epochs": 1, "cache_dir": tmp_path}, start=start), tmp_path / "last.pt"
    files = [str(CONFIGS / "train.json"), str(CONFIGS / "stacked.json")]
    plan.train(files, tmp_path / "training", 0, seed=0)
    plan.evaluate_fold(files, weights, tmp_path / "evaluation", 0)
    plan.with_options({"external_dir": images}).predict(files, weights, tmp_path / "prediction", [0, 1], "table.json")
    plan.with_options({"external_dir": images, "num_workers": 1}).fill_cache(files, tmp_path / "cache", [0, 1])
    assert [command[3] for command in commands] == ["training", "evaluating", "predicting", "caching"]
    for command in commands:
        names = {text[2:] for text in command if text.startswith("--")} - {"config_file"}
        stack = [Path(file) for file in list_config_files(command[command.index("--config_file") + 1])]
        assert names <= set(merge(stack)), command[3]


# records


def test_a_training_leaves_a_record_that_says_how_it_ended(datalist_file: Path, tmp_path: Path, monkeypatch):
    override = CONFIGS / "experiments" / "no_auxiliary.json"
    files = [str(CONFIGS / "train.json"), str(override)]
    monkeypatch.setattr("sys.argv", ["run", "training", "--config_file", str(files), "--epochs=3", "--output_dir", "x"])
    engine, seen = Engine(lambda engine, batch: None), []
    recorder = RunRecorder(tmp_path, datalist_file, fold=1, seed=7)
    recorder.attach(engine)
    (tmp_path / "history.json").write_text(
        '[{"epoch": 1, "train_loss": 4.0, "validation_loss": 5.0, "study_map": 0.3}, {"epoch": 2, "train_loss": 3.0}]'
    )
    save_weights({"a": torch.zeros(1)}, tmp_path / "last.pt")
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: seen.append(read_record(tmp_path).status))
    engine.run([0])
    record = read_record(tmp_path)
    assert seen == ["running"]
    assert record.status == "done"
    assert (record.name, record.fold, record.seed) == ("no_auxiliary", 1, 7)
    assert record.overrides == ("train.json", "experiments/no_auxiliary.json")
    assert record.settings == {"epochs": "3"}, "places are no settings"
    assert record.description == json.loads(override.read_text())["_desc_"].partition(" Expected:")[0]
    assert record.datalist_hash == read_datalist(datalist_file)["content_hash"]
    assert record.metrics["study_map"] == 0.3
    assert record.loss_ratio == pytest.approx(1.25)
    assert record.weights_sha256 == {"last.pt": compute_sha256(tmp_path / "last.pt")}
    assert str(tmp_path) not in (tmp_path / "record.json").read_text()


def test_a_training_that_fails_is_recorded_and_still_fails(datalist_file: Path, tmp_path: Path):
    def fail(engine: Engine, batch: Any) -> None:
        raise RuntimeError("no such luck")

    engine = Engine(fail)
    RunRecorder(tmp_path, datalist_file, fold=0, seed=0).attach(engine)
    with pytest.raises(RuntimeError, match="no such luck"):
        engine.run([0])
    assert (read_record(tmp_path).status, read_record(tmp_path).error) == ("failed", "RuntimeError: no such luck")


@pytest.mark.parametrize("content", ["{", "[]", '{"name": "a"}', '{"overrides": [], "what": 1}'])
def test_what_is_no_record_is_rejected(content: str, tmp_path: Path):
    (tmp_path / "record.json").write_text(content)
    with pytest.raises(InputError, match=r"a record with name, .*found another content"):
        read_record(tmp_path)


def test_a_folder_without_a_record_is_reported(tmp_path: Path):
    with pytest.raises(InputError, match=r"a record.json, found none at"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["run", "training", "--a", "1", "--b=2=3"], {"a": "1", "b": "2=3"}),
        (["--c", "-5", "--d", "['x','y']"], {"c": "-5", "d": "['x','y']"}),
        (["training"], {}),
    ],
)
def test_options_are_read_as_they_were_written(arguments: list[str], options: dict[str, str]):
    assert read_options(arguments) == options


@pytest.mark.parametrize(
    ("config_file", "name"),
    [
        ("bundle/configs/train.json", "baseline"),
        ("['bundle/configs/train.json','bundle/configs/experiments/focal.json']", "focal"),
        ("['c/train.json', 'c/a.json', 'c/b.json']", "a+b"),
        ("['c/train_detector.json','c/lungs.json']", "train_detector+lungs"),
    ],
)
def test_a_run_is_named_by_its_overrides(config_file: str, name: str):
    assert name_run(list_config_files(config_file)) == name


# folds in a combination


def test_folds_are_pooled_and_every_image_is_scored_once(plan: Plan, runner: Runner, tmp_path: Path):
    report = crossvalidate(plan, [str(CONFIGS / "train.json")], tmp_path, folds=(0, 1, 2))
    images = read_predictions(tmp_path / "predictions.json")
    assert sorted(image.image_id for image in images) == sorted(
        each["image_id"] for each in runner.datalist["training"]
    )
    ground_truth = read_ground_truth(plan.datalist_file)
    means = {study: [] for study in ground_truth.study_labels}
    for image in images:
        means[image.study_id].append(list(image.probabilities.values()))
    labels = [STUDY_CLASSES.index(label) for label in ground_truth.study_labels.values()]
    expected = score_studies([np.mean(rows, axis=0) for rows in means.values()], labels)["study_map"]
    assert f"study mAP (4 classes)  {expected:.4f}" in report
    assert (tmp_path / "score.txt").read_text() == report + "\n"
    assert [line.split()[0:2] for line in report.splitlines()[1:4]] == [["fold", "0"], ["fold", "1"], ["fold", "2"]]


def test_what_is_done_is_not_done_again(plan: Plan, runner: Runner, tmp_path: Path):
    files = [str(CONFIGS / "train.json")]
    first = crossvalidate(plan, files, tmp_path, folds=(0, 1))
    assert [command[3] for command in runner.commands] == ["training", "evaluating"] * 2
    assert crossvalidate(plan, files, tmp_path, folds=(0, 1)) == first
    assert len(runner.commands) == 4


def test_an_evaluation_by_other_weights_is_done_again(plan: Plan, runner: Runner, tmp_path: Path):
    files = [str(CONFIGS / "train.json")]
    crossvalidate(plan, files, tmp_path, folds=(0,))
    done = tmp_path / "fold0" / "evaluation" / "done.json"
    done.write_text('{"weights_sha256": "another"}')
    crossvalidate(plan, files, tmp_path, folds=(0,))
    assert [command[3] for command in runner.commands] == ["training", "evaluating", "evaluating"]


def test_a_run_that_was_cut_is_trained_again(plan: Plan, runner: Runner, tmp_path: Path):
    files = [str(CONFIGS / "train.json")]
    crossvalidate(plan, files, tmp_path, folds=(0,))
    record = read_record(tmp_path / "fold0")
    write_record(replace(record, status="running"), tmp_path / "fold0")
    crossvalidate(plan, files, tmp_path, folds=(0,))
    assert [command[3] for command in runner.commands].count("training") == 2


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        ({"options": {"epochs": 2}}, r"'epochs': '1'"),
        ({"seed": 5}, "one with 0"),
        ({"files": ["train.json", "experiments/no_auxiliary.json"]}, r"\['train.json'\]"),
    ],
)
def test_another_run_in_the_folder_is_not_taken_for_this_one(
    change: dict[str, Any], reported: str, plan: Plan, tmp_path: Path
):
    crossvalidate(plan, [str(CONFIGS / "train.json")], tmp_path, folds=(0,))
    files = [str(CONFIGS / name) for name in change.get("files", ["train.json"])]
    other = replace(plan, options=change.get("options", plan.options))
    with pytest.raises(InputError, match=reported):
        crossvalidate(other, files, tmp_path, folds=(0,), seed=change.get("seed", 0))


def test_a_run_that_fails_is_reported_by_its_last_line_and_its_log(plan: Plan, runner: Runner, tmp_path: Path):
    runner.fails = True
    with pytest.raises(InputError, match=r"status 1: error: something is wrong; read .*training.log"):
        crossvalidate(plan, [str(CONFIGS / "train.json")], tmp_path, folds=(0,))


def test_an_image_in_two_folds_is_rejected(runner: Runner):
    image = make_image(runner.datalist["training"][0], 1.0, np.random.default_rng(0))
    with pytest.raises(InputError, match=f"{image.image_id} in two"):
        pool_images([[image], [image]])


# experiments against a baseline


def test_an_experiment_that_helps_is_resolved_and_one_that_does_nothing_is_not(
    plan: Plan, runner: Runner, tmp_path: Path
):
    runner.skills = {"no_auxiliary": 0.0, "baseline": 6.0, "auxiliary_1": 6.0}
    report = ablate(plan, tmp_path, ["baseline", "no_auxiliary", "auxiliary_1"], folds=(0, 1, 2), seeds=(0, 1, 2))
    reported = json.loads((tmp_path / "ablation.json").read_text())
    verdicts = {each["combination"]: each["resolved"] for each in reported["differences"]}
    assert verdicts == {"no_auxiliary": "worse", "auxiliary_1": "not resolved"}
    assert [len(combination["seeds"]) for combination in reported["rows"]] == [3, 3, 3]
    assert reported["rows"][0]["loss_ratios"] == pytest.approx([1.1] * 9)
    assert (tmp_path / "ablation.txt").read_text() == report + "\n"
    assert "no_auxiliary minus baseline" in report
    line = next(line for line in report.splitlines() if line.startswith("auxiliary_1 "))
    assert line.split()[-1] == "1.10", "validation / training loss, rounded"


def test_views_use_the_weights_of_the_row_without_them(plan: Plan, runner: Runner, tmp_path: Path):
    ablate(plan, tmp_path, ["baseline", "tta_flips_1"], seeds=(0, 1))
    assert [command[3] for command in runner.commands].count("training") == 2
    evaluated = [read_options(command) for command in runner.commands if command[3] == "evaluating"]
    assert {Path(each["output_dir"]).name for each in evaluated} == {"evaluation", "evaluation+tta_flips_1"}
    assert {Path(each["weights"]).parts[-3] for each in evaluated} == {"baseline"}
    with_flips = [list_config_files(each["config_file"]) for each in evaluated if "tta_flips_1" in each["output_dir"]]
    assert [Path(name).stem for name in with_flips[0]] == ["train", "tta_flips_1", "evaluate"]


def test_what_is_finished_is_reported_without_training_more(plan: Plan, runner: Runner, tmp_path: Path):
    with pytest.raises(InputError, match=r"runs that are finished, found none in .*; leave --finished out"):
        ablate(plan, tmp_path, ["baseline"], finished=True)
    ablate(plan, tmp_path, ["baseline"], seeds=(0, 1, 2))
    ablate(plan, tmp_path, ["no_auxiliary"], seeds=(1,))
    runner.commands.clear()
    report = ablate(plan, tmp_path, ["baseline", "no_auxiliary", "whole_image"], seeds=(0, 1, 2), finished=True)
    reported = json.loads((tmp_path / "ablation.json").read_text())
    assert not runner.commands
    assert [list(row["seeds"]) for row in reported["rows"]] == [["0", "1", "2"], ["1"]]
    assert [line.split()[:2] for line in report.splitlines()[4:6]] == [["baseline", "3"], ["no_auxiliary", "1"]]


def test_one_seed_says_that_its_noise_is_not_known(plan: Plan, tmp_path: Path):
    report = ablate(plan, tmp_path, ["baseline", "no_auxiliary"], seeds=(0,))
    assert "standard deviation between seeds, all rows together: not measured: one seed" in report
    assert report.endswith("noise not measured"), "no verdict by patients alone"


def test_a_combination_of_an_unknown_override_is_rejected():
    with pytest.raises(InputError, match=r"an override among .*whole_image.*'no_such_experiment'"):
        parse_combination("whole_image+no_such_experiment", CONFIGS)


def test_an_override_brings_those_along_that_it_lies_over():
    files = parse_combination("efficientnetv2_l+tta_flips_1", CONFIGS).list_files(CONFIGS, evaluating=True)
    assert [Path(file).stem for file in files] == [
        "train",
        "seventeenth_place_recipe",
        "efficientnetv2_l",
        "tta_flips_1",
    ]
    both = parse_combination("seventeenth_place_recipe+efficientnetv2_l", CONFIGS).list_files(CONFIGS)
    assert [Path(file).stem for file in both] == ["train", "seventeenth_place_recipe", "efficientnetv2_l"]


def test_an_override_of_inference_is_no_row():
    with pytest.raises(InputError, match=r"an override of train.json, found one of inference.json"):
        parse_combination("tta_flips_8", CONFIGS).list_files(CONFIGS)


def measure(name: str, values: list[float], noise: float = 0.0) -> Measured:
    resamples = np.random.default_rng(0).normal(0, noise, size=(1, 200)) if noise else np.zeros((1, 200))
    scores = np.array(values)[:, None]
    combination = Combination(tuple(name.split("+")) if name != "baseline" else (), ())
    seeds = tuple(range(len(values)))
    return Measured(combination, np.concatenate([scores, scores + resamples], axis=1), seeds, ())


def test_the_noise_is_pooled_over_rows_and_widens_a_difference():
    rows = [measure("baseline", [0.50, 0.52, 0.54]), measure("a", [0.53, 0.55, 0.60])]
    noise, freedom = pool_noise(rows)
    assert (noise, freedom) == (pytest.approx(math.sqrt((0.02**2 + np.var([0.53, 0.55, 0.60], ddof=1)) / 2)), 4)
    (difference,) = list_differences(rows)
    half = stats.t.ppf(0.975, 4) * noise * math.sqrt(2 / 3)
    assert difference.total.low == pytest.approx(0.04 - half)
    assert difference.total.high == pytest.approx(0.04 + half)
    assert difference.patients == Interval(pytest.approx(0.04), pytest.approx(0.04), pytest.approx(0.04))
    assert difference.resolved == "not resolved"


def test_more_seeds_of_one_row_narrow_its_differences_to_the_others():
    rows = [measure("baseline", [0.50, 0.52, 0.54]), measure("a", [0.57])]
    noise, freedom = pool_noise(rows)
    (difference,) = list_differences(rows)
    half = stats.t.ppf(0.975, freedom) * noise * math.sqrt(1 / 3 + 1)
    assert difference.total == Interval(pytest.approx(0.05), pytest.approx(0.05 - half), pytest.approx(0.05 + half))


def test_two_errors_add_as_independent_ones_do():
    wide = widen_interval(Interval(0.1, 0.07, 0.15), 0.02, 1000)
    more = stats.t.ppf(0.975, 1000) * 0.02
    assert (wide.low, wide.high) == (
        pytest.approx(0.1 - math.hypot(0.03, more)),
        pytest.approx(0.1 + math.hypot(0.05, more)),
    )
    assert widen_interval(Interval(0.1, 0.07, 0.15), math.nan, 0) == Interval(0.1, 0.07, 0.15)


def test_a_combination_is_compared_with_every_combination_that_has_part_of_its_overrides():
    rows = [measure(name, [0.5, 0.5]) for name in ("baseline", "a", "b", "a+b")]
    pairs = {(each.combination, each.other) for each in list_differences(rows)}
    assert pairs == {("a", "baseline"), ("b", "baseline"), ("a+b", "baseline"), ("a+b", "a"), ("a+b", "b")}


# the experiment registry


def write_runs(folder: Path, *records: Record) -> list[Record]:
    for number, record in enumerate(records):
        (folder / str(number)).mkdir(parents=True)
        write_record(record, folder / str(number))
    return list(records)


def name_seeds(name: str, values: list[float], **changes: Any) -> list[Record]:
    return [
        replace(RECORD, name=name, seed=seed, metrics={"study_map": value}, **changes)
        for seed, value in enumerate(values)
    ]


def test_a_gain_below_the_noise_between_seeds_is_not_resolved():
    records = name_seeds("baseline", [0.50, 0.52, 0.54]) + name_seeds("small", [0.53, 0.55, 0.57])
    records += name_seeds("large", [0.80, 0.82, 0.84])
    entries = group_runs(records)
    noise = measure_noise(entries)
    assert noise == {(("datalist", "dddddddd"), ("epochs", "4")): (pytest.approx(0.02), 6)}, "pooled over all three"
    gains = {entry.name: measure_gain(entry, entries[0], noise[entry.settings]) for entry in entries}
    assert gains["small"].bound == pytest.approx(stats.t.ppf(0.975, 6) * 0.02 * math.sqrt(2 / 3))
    assert {name: gain.resolved for name, gain in gains.items() if name != "baseline"} == {
        "small": "not resolved",
        "large": "better",
    }


def test_only_runs_of_equal_settings_and_folds_are_compared():
    records = name_seeds("baseline", [0.5, 0.6]) + [replace(RECORD, name="a", seed=1, metrics={"study_map": 0.65})]
    records += [replace(RECORD, name="b", settings={"epochs": "9"}, metrics={"study_map": 0.9})]
    records += [replace(RECORD, name="d", datalist_hash="e" * 64)]
    records += [replace(RECORD, name="c", fold=3, metrics={"study_map": 0.9})]
    entries = {entry.name: entry for entry in group_runs(records)}
    noise = measure_noise(list(entries.values()))[entries["a"].settings]
    gain = measure_gain(entries["a"], entries["baseline"], noise)
    assert gain.value == pytest.approx(0.1), "the mean of the seeds that each has"
    assert gain.bound == pytest.approx(stats.t.ppf(0.975, 1) * noise[0] * math.sqrt(1 + 1 / 2))
    assert math.isnan(measure_gain(entries["c"], entries["baseline"], noise).value)
    lines = tabulate_runs(records).splitlines()
    for name in "bd":
        assert "nothing to compare with" in next(line for line in lines if line.startswith(f"{name} "))


def test_the_baseline_is_what_all_experiments_of_the_same_settings_build_on():
    start = [replace(RECORD, name="lite0", seed=seed, metrics={"study_map": 0.5}) for seed in range(2)]
    records = [*start, *(replace(RECORD, name=f"lite0+{name}", metrics={"study_map": 0.6}) for name in ("a", "b"))]
    (baseline,) = find_baselines(group_runs(records)).values()
    assert baseline.name == "lite0"
    reported = tabulate_runs(records)
    assert "standard deviation between seeds, all experiments together: 0.0000 (1 degrees of freedom)" in reported
    assert next(line for line in reported.splitlines() if line.startswith("lite0+a")).split()[3] == "+0.1000"
    assert not find_baselines(group_runs([*start, replace(RECORD, name="other")])), "nothing is shared"
    assert not find_baselines(group_runs(start)), "nothing to compare with it"
    assert find_baselines(group_runs(name_seeds("baseline", [0.5])))


def test_runs_that_did_not_end_are_named_and_not_counted():
    records = [*name_seeds("baseline", [0.5, 0.6]), replace(RECORD, name="cut", status="running")]
    reported = tabulate_runs(records)
    assert "not finished, and not counted: cut (running)" in reported
    assert next(line for line in reported.splitlines() if line.startswith("cut")).split()[1] == "0"


def test_the_correlation_with_the_leaderboard_needs_three_experiments():
    records = [
        record for name, value in zip("abc", (0.1, 0.2, 0.4), strict=True) for record in name_seeds(name, [value])
    ]
    scores = {"a": 0.3, "b": 0.5, "c": 0.45}
    pearson, spearman = stats.pearsonr([0.1, 0.2, 0.4], [0.3, 0.5, 0.45])[0], 0.5
    assert f"over 3 experiments: Pearson {pearson:.2f}, Spearman {spearman:.2f}" in tabulate_runs(records, scores)
    assert "2 experiments have both scores, 3 are needed" in tabulate_runs(records[:2], scores)


def test_the_experiment_registry_holds_a_row_for_every_run_and_a_board_of_all(tmp_path: Path):
    write_runs(tmp_path / "runs", *name_seeds("baseline", [0.5, 0.6]), replace(RECORD, description="=1+1"))
    (tmp_path / "runs" / "0" / "history.json").write_text('[{"epoch": 1, "train_loss": 3.0}]')
    text = write_registry(find_records(tmp_path / "runs"), tmp_path / "out", {"focal": 0.62})
    with (tmp_path / "out" / "experiments.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [combination["name"] for combination in rows] == ["baseline", "baseline", "focal"]
    assert (rows[2]["leaderboard"], rows[0]["leaderboard"], rows[2]["study_map"]) == ("0.62", "", "0.5")
    assert rows[2]["description"] == "'=1+1", "no spreadsheet runs it"
    assert (tmp_path / "out" / "experiments.txt").read_text() == text + "\n"
    boards = sorted(path.name for path in (tmp_path / "out" / "tensorboard").iterdir())
    assert len(boards) == 3
    assert all(list((tmp_path / "out" / "tensorboard" / name).rglob("events*")) for name in boards)


def test_a_registry_outlives_the_folders_of_its_runs(tmp_path: Path):
    settings = {"epochs": "4", "members": "{'a': 'runs/a b'}"}
    records = [
        replace(RECORD, settings=settings, weights_sha256={"last.pt": "12", "best.pt": "34"}, loss_ratio=1.05),
        replace(RECORD, name="failed", metrics={}, fold=None, status="failed", error="a, b"),
    ]
    write_runs(tmp_path / "runs", *records)
    found = find_records(tmp_path / "runs")
    write_registry(found, tmp_path / "out")
    table = tmp_path / "out" / "experiments.csv"
    kept = list(find_records(table).values())
    for record, again in zip(found.values(), kept, strict=True):
        metrics = {name: value for name, value in record.metrics.items() if name == "study_map"}
        assert again == replace(record, metrics=metrics, config_hash="", resumed=0)
    assert len(find_records(table, tmp_path / "runs")) == 2, "the same runs once"
    before = table.read_bytes()
    write_registry(find_records(table), tmp_path / "again")
    assert (tmp_path / "again" / "experiments.csv").read_bytes() == before


def test_a_damaged_registry_is_reported_by_its_line(tmp_path: Path):
    write_runs(tmp_path / "runs", RECORD)
    write_registry(find_records(tmp_path / "runs"), tmp_path)
    table = tmp_path / "experiments.csv"
    table.write_text(table.read_text().replace(f",{RECORD.seconds},", ",soon,"))
    with pytest.raises(InputError, match="soon.* at experiments.csv line 2"):
        find_records(table)


def test_a_folder_without_runs_is_reported(tmp_path: Path):
    with pytest.raises(InputError, match="runs with a record.json, found none below"):
        find_records(tmp_path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("name,what\na,1\n", "the columns name, score, found no score in scores.csv"),
        ("name,score\na,much\n", "numbers in the column score, found .*much"),
    ],
)
def test_a_leaderboard_of_another_form_is_rejected(content: str, match: str, tmp_path: Path):
    (tmp_path / "scores.csv").write_text(content)
    with pytest.raises(InputError, match=match):
        read_leaderboard(tmp_path / "scores.csv")


# pictures


def test_losses_are_drawn_with_their_ratio(tmp_path: Path):
    history = [{"epoch": 1, "train_loss": 2.0}, {"epoch": 2, "train_loss": 1.0, "validation_loss": 1.2}]
    draw_losses({"with": [history, history], "without": [history]}, tmp_path / "losses.png")
    with Image.open(tmp_path / "losses.png") as picture:
        assert picture.width > picture.height
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50


def test_gains_are_drawn_for_the_settings_with_most_experiments(tmp_path: Path):
    records = name_seeds("baseline", [0.50, 0.52]) + name_seeds("a", [0.8, 0.82]) + name_seeds("b", [0.51, 0.52])
    draw_gains(group_runs([*records, *name_seeds("c", [0.1], settings={})]), tmp_path / "gains.png")
    with Image.open(tmp_path / "gains.png") as picture:
        assert picture.size == (1050, int((0.8 + 0.36 * 2) * 150))


def test_a_legend_of_losses_explains_the_lines_and_the_colours_of_several_runs():
    assert [key.get_label() for key in list_legend(1)] == ["training", "validation"]
    keys = {key.get_label(): key.get_color() for key in list_legend(3)}
    assert list(keys) == ["training", "validation", "run 1", "run 2", "run 3"]
    assert [keys[f"run {number}"] for number in (1, 2, 3)] == list(COLOURS[:3])


@pytest.mark.parametrize(
    ("baseline", "names"),
    [
        ("baseline", {"focal": "focal", "focal+mixup": "focal+mixup"}),
        ("imagenet_lite0", {"imagenet_lite0+focal": "focal", "mixup+imagenet_lite0+focal": "mixup+focal"}),
    ],
)
def test_labels_of_gains_leave_out_what_the_baseline_has_too(baseline: str, names: dict[str, str]):
    (entry,) = group_runs(name_seeds(baseline, [0.5]))
    assert {name: cut_overrides(name, entry) for name in names} == names
    assert cut_overrides("imagenet_lite0+focal", None) == "imagenet_lite0+focal"


def test_slots_run_side_by_side_and_keep_the_order():
    barrier, lock, running = threading.Barrier(2, timeout=20), threading.Lock(), []

    def call(number: int) -> int:
        with lock:
            running.append(number)
            assert len(running) <= 2
        barrier.wait()
        with lock:
            running.remove(number)
        return number

    assert Slots(2)([partial(call, number) for number in range(6)]) == list(range(6))


def test_the_others_are_finished_before_a_failure_is_reported():
    done = []

    def call(number: int) -> None:
        if number == 0:
            raise InputError("a run that ends well", "another", "read its log")
        done.append(number)

    with pytest.raises(InputError, match="a run that ends well"):
        Slots(2)([partial(call, number) for number in range(5)])
    assert sorted(done) == [1, 2, 3, 4]


@pytest.mark.parametrize(("slots", "threads"), [(2, "4"), (8, "1"), (100, "1")])
def test_runs_in_slots_share_the_cores(slots: int, threads: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    plan = Plan(tmp_path / "datalist.json", tmp_path, {}).side_by_side(slots)
    words = ["-c", "import os; print(os.environ['OMP_NUM_THREADS'])"]
    assert plan.start(words, tmp_path / "log") == 0 and (tmp_path / "log").read_text().strip() == threads
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert plan.start(words, tmp_path / "log") == 0 and (tmp_path / "log").read_text().strip() == "3"


def test_slots_are_a_number_and_not_beside_ray():
    with pytest.raises(InputError, match="at least one slot"):
        Plan(Path("datalist.json"), Path("."), {}).side_by_side(0)
    with pytest.raises(InputError, match="--ray or --slots"):
        run_ablation(ray=True, slots=2)


@pytest.mark.parametrize("fold", [0, None, [0, 3]])
def test_the_registry_reads_back_what_a_run_held_out(fold: int | list[int] | None, tmp_path: Path):
    """Networks that hold out two folds teach others; their runs stand in the registry like all others."""
    write_record(replace(RECORD, fold=fold), tmp_path / "runs" / "a")
    write_record(replace(RECORD, fold=fold, seed=1), tmp_path / "runs" / "b")
    write_registry(find_records(tmp_path / "runs"), tmp_path / "out")
    again = find_records(tmp_path / "out" / "experiments.csv").values()
    assert [(each.fold, each.seed) for each in again] == [(fold, 0), (fold, 1)]
    (entry,) = group_runs(list(again))
    assert len(entry.values) == 2
