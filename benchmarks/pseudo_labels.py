"""Benchmark of pseudo-labels, with and without a leak: `python -m benchmarks.pseudo_labels third` or `unlabelled`.

Teachers hold out one fold each and label external images; students hold out fold 0, and learn from these images too,
under labels of
    honest    the teacher of fold 0
    leaking   the mean of all teachers: all but one of them know the images of fold 0
A student takes more steps an epoch, so one row without external images takes as many.

`third`: a patient-disjoint third of the labelled images hides its labels and plays the external images, so that the
labels of the teachers are scored too, and a further row learns from the readers' own. Of the rest, folds 0 to 3 are
trained on, and fold 4 by nobody: a leak lifts the score of fold 0 more than that of these untouched images.

`unlabelled`: real images without labels, of other patients, as `add-external` joined them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scripts.bootstrap import Interval, summarise_values
from scripts.datalist import compute_labelled_hash, read_datalist, training_images, write_datalist
from scripts.datalist.joining import label_images
from scripts.datalist.selection import Image, locate_images
from scripts.errors import InputError
from scripts.experiments import Plan
from scripts.experiments.differences import pool_deviations, widen_interval
from scripts.files import write_text
from scripts.labels import STUDY_CLASSES
from scripts.metrics import GroundTruth, read_ground_truth
from scripts.metrics.resampling import resample_scores
from scripts.metrics.scores import STUDY_MAP
from scripts.predictions import average_studies, read_predictions
from scripts.preparation import add_external
from scripts.preparation.folds import assign_folds
from scripts.pseudo_labels import label_external
from scripts.submission import Predictions, read_submission
from scripts.tabulation import align_columns, format_interval, format_number
from scripts.verbs import list_values

from benchmarks.commandline import run_command

CONFIGS = Path("bundle/configs")
TRAIN, EVALUATE = str(CONFIGS / "train.json"), str(CONFIGS / "evaluate.json")
PREDICT = str(CONFIGS / "predict_unlabelled.json")
EXPERIMENTS = CONFIGS / "experiments"

#: The fold that students hold out, and in `third` the one that nobody trains on.
FOLD, UNTOUCHED = 0, 4

NONE, LONGER = "no external images", "the same, as many steps"

Runs = dict[str, Path]

#: Probabilities `(4,)` by study, of each kind of label.
Labels = dict[str, dict[str, list[float]]]

#: Study mAP `(S, 1 + R)` of each row on each set, by seed; and between seeds, by set: deviation, degrees of freedom.
Values = Mapping[str, Mapping[str, np.ndarray]]
Noise = Mapping[str, tuple[float, int]]


@dataclass(frozen=True)
class Setting:
    """The images of teachers and students.

    Args:
        labelled: datalist of the teachers.
        external, external_tree: datalist and tree of the images to be labelled.
        joined: both in one datalist, as `add-external` writes it.
        teachers: folds that they hold out.
        scored: datalist and fold of each set that rows are scored on.
        truth: of the external studies, where known.
    """

    labelled: Path
    external: Path
    external_tree: Path
    joined: Path
    teachers: Sequence[int]
    scored: Mapping[str, tuple[Path, int]]
    truth: GroundTruth | None = None


def third(
    datalist: str = "runs/prepared/datalist.json",
    tree: str = "runs/images",
    out: str = "runs/pseudo_labels_third",
    base: str = "",
    seeds: int | Sequence[int] = (0,),
    num_resamples: int = 1000,
    epochs: int = 4,
    slots: int = 1,
    **options: Any,
) -> str:
    """Train what is missing, with a third of the labelled images as external ones; the table is in table.txt too.

    Args:
        datalist: with five folds.
        tree: of its images.
        out: folder of everything.
        base: override that all trainings share, such as `imagenet_lite0`.
        seeds: of the trainings; scores are averaged over them.
        num_resamples: resamples of patients.
        epochs: of every training but the longer one.
        slots: trainings at a time.
        options: of every training, such as `image_size`.
    """
    folder = Path(out)
    parts = split_images(read_datalist(datalist), folder)
    joined = folder / "joined" / "datalist.json"
    if not joined.is_file():
        add_external(parts["labelled"], tree, parts["hidden"], tree, joined.parent)
    if compute_labelled_hash(read_datalist(joined)) != compute_labelled_hash(read_datalist(parts["labelled"])):
        raise InputError(f"in {joined} the images of {datalist}", "those of another one", "choose another --out")
    scored = {"fold 0": (parts["labelled"], FOLD), "untouched": (parts["untouched"], UNTOUCHED)}
    truth = read_study_truth(datalist, parts["hidden"])
    setting = Setting(parts["labelled"], parts["hidden"], Path(tree), joined, (0, 1, 2, 3), scored, truth)
    plan = Plan(parts["labelled"], Path(tree), {**options, "epochs": epochs}).side_by_side(slots)
    return compare(setting, plan, folder, base, list_values(seeds), num_resamples, describe_parts(parts))


def unlabelled(
    joined: str,
    external: str,
    external_tree: str,
    datalist: str = "runs/prepared/datalist.json",
    tree: str = "runs/images",
    out: str = "runs/pseudo_labels_unlabelled",
    base: str = "",
    seeds: int | Sequence[int] = (0,),
    num_resamples: int = 1000,
    epochs: int = 4,
    slots: int = 1,
    **options: Any,
) -> str:
    """Train what is missing, with real external images; the table is in table.txt too.

    Each student also predicts the datalist's images without labels: `submission.csv` in its folder `test`.

    Args:
        joined: datalist of `add-external`.
        external, external_tree: datalist and tree of the external images, with lung boxes.
        datalist, tree, out, base, seeds, num_resamples, epochs, slots, options: as for `third`.
    """
    folder = Path(out)
    teachers = range(int(read_datalist(datalist)["num_folds"]))
    scored = {"fold 0": (Path(datalist), FOLD)}
    setting = Setting(Path(datalist), Path(external), Path(external_tree), Path(joined), teachers, scored)
    plan = Plan(Path(datalist), Path(tree), {**options, "epochs": epochs}).side_by_side(slots)
    counts = f"images: {len(read_datalist(datalist)['training'])} labelled, "
    counts += f"{len(read_datalist(joined)['external']['images'])} external"
    return compare(setting, plan, folder, base, list_values(seeds), num_resamples, counts, predicts_test=True)


def compare(
    setting: Setting,
    plan: Plan,
    folder: Path,
    base: str,
    seeds: Sequence[int],
    num_resamples: int,
    counts: str,
    predicts_test: bool = False,
) -> str:
    """Train, score and tabulate all rows; table.txt and table.json."""
    configs = [TRAIN, *([str(EXPERIMENTS / f"{base}.json")] if base else [])]
    scored, labels = [], []
    for seed in seeds:
        runs, given = train_all(setting, plan, configs, folder / f"seed{seed}", seed)
        if setting.truth is not None:
            labels.append({name: score_labels(each, setting.truth, num_resamples) for name, each in given.items()})
        calls = [partial(score_run, setting, plan, configs, weights, num_resamples) for weights in runs.values()]
        scored.append(dict(zip(runs, plan.make_all(calls), strict=True)))
        for weights in runs.values() if predicts_test else ():
            testing = replace(plan, evaluate=PREDICT)
            testing.evaluate_fold([*configs, EVALUATE], weights, weights.parent / "test", FOLD)
    values = {
        row: {name: np.stack([each[row][name] for each in scored]) for name in setting.scored} for row in scored[0]
    }
    noise = {name: pool_deviations([each[name][:, 0].tolist() for each in values.values()]) for name in setting.scored}
    quality = summarise_labels(labels)
    reported = [
        f"study mAP, {name}: {format_number(each.value)} ({format_interval(each)})" for name, each in quality.items()
    ]
    table = "\n".join([counts, *reported, "", tabulate(values, noise, num_resamples)])
    write_text(folder / "table.txt", table + "\n")
    described = {**describe(values, noise), "labels": {name: asdict(each) for name, each in quality.items()}}
    write_text(folder / "table.json", json.dumps(described, indent=1) + "\n")
    return table


def split_images(datalist: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Datalists of the labelled images (folds 0 to 3), of the untouched ones (fold 4), and of the hidden third."""
    studies = {image["study_id"]: image for image in datalist["training"]}
    names = sorted(studies)
    thirds = assign_folds([studies[n]["label"] for n in names], [studies[n]["patient"] for n in names], num_folds=3)
    third = dict(zip(names, thirds.tolist(), strict=True))
    rest = [image for image in datalist["training"] if third[image["study_id"]] != 0]
    unknown = {"label": None, "fold": None, "boxes": []}
    parts = {
        "labelled": ([image for image in rest if image["fold"] != UNTOUCHED], []),
        "untouched": ([image for image in rest if image["fold"] == UNTOUCHED], []),
        "hidden": ([], [image | unknown for image in datalist["training"] if third[image["study_id"]] == 0]),
    }
    for name, (training, test) in parts.items():
        write_datalist(folder / f"{name}.json", training, test, datalist["num_folds"], datalist["seed"])
    return {name: folder / f"{name}.json" for name in parts}


def read_study_truth(datalist: str, hidden: Path) -> GroundTruth:
    """Labels and patients of the studies that hide them, without their images."""
    names = {image["study_id"] for image in read_datalist(hidden)["test"]}
    images = [image for image in read_datalist(datalist)["training"] if image["study_id"] in names]
    labels = {image["study_id"]: STUDY_CLASSES[image["label"]] for image in images}
    return GroundTruth(labels, {}, {}, {image["study_id"]: image["patient"] for image in images})


def train_all(setting: Setting, plan: Plan, configs: Sequence[str], folder: Path, seed: int) -> tuple[Runs, Labels]:
    """Weights of each row of the table, and the labels that the students got, where their truth is known."""
    joined, configs = setting.joined, list(configs)
    outside = replace(plan, datalist_file=setting.external, dataset_dir=setting.external_tree, evaluate=PREDICT)

    def teach(fold: int) -> tuple[Path, Path]:
        weights = plan.train(configs, folder / f"teacher{fold}", fold, seed)
        return weights, outside.evaluate_fold([*configs, EVALUATE], weights, weights.parent / "external", fold)

    taught = dict(
        zip(setting.teachers, plan.make_all([partial(teach, fold) for fold in setting.teachers]), strict=True)
    )
    teachers, predicted = ({fold: pair[place] for fold, pair in taught.items()} for place in (0, 1))
    label_external(joined, [predicted[FOLD]], [teachers[FOLD].parent], folder / "honest")
    leaking = write_leaking_override(folder / "leaking" / "leaking.json", list(predicted.values()))
    students = replace(plan, options={**plan.options, "external_dir": setting.external_tree})
    honest = replace(students, datalist_file=folder / "honest" / "datalist.json")
    pseudo, own = ([*configs, str(EXPERIMENTS / f"{name}.json")] for name in ("pseudo_labels", "external_data"))
    leaky = replace(students, datalist_file=joined)
    calls = {
        LONGER: partial(_take_as_many_steps(plan, joined).train, configs, folder / "longer"),
        "honest": partial(honest.train, pseudo, folder / "honest" / "student"),
        "leaking": partial(leaky.train, [*pseudo, str(leaking)], folder / "leaking" / "student"),
    }
    if setting.truth is not None:
        write_ground_truth(joined, folder / "ground_truth" / "datalist.json", setting.truth)
        ground_truth = replace(students, datalist_file=folder / "ground_truth" / "datalist.json")
        calls["ground truth"] = partial(ground_truth.train, own, folder / "ground_truth" / "student")
    weights = plan.make_all([partial(call, FOLD, seed) for call in calls.values()])
    runs = {NONE: teachers[FOLD], **dict(zip(calls, weights, strict=True))}
    if setting.truth is None:
        return runs, {}
    return runs, {
        "honest": average_predictions([predicted[FOLD]]),
        "leaking": average_predictions(list(predicted.values())),
    }


def write_ground_truth(joined: Path, path: Path, truth: GroundTruth) -> None:
    """The joined datalist with the readers' labels, and like the others without their boxes."""
    content = read_datalist(joined)
    images = [
        image | {"label": STUDY_CLASSES.index(truth.study_labels[image["study_id"]]), "boxes_known": False}
        for image in content["external"]["images"]
    ]
    external = content["external"] | {"images": images}
    write_datalist(path, content["training"], content["test"], content["num_folds"], content["seed"], external)


def write_leaking_override(path: Path, predictions: Sequence[Path]) -> Path:
    """Write a config override that the project's own one rejects: over pseudo_labels.json, labels by all teachers."""
    names = ("datalist_file", "dataset_dir", "external_dir", "fold")
    source = {"_target_": "benchmarks.pseudo_labels.list_leaking_images", **{name: f"@{name}" for name in names}}
    overlay = {"train_datalist": {**source, "predictions": [str(each) for each in predictions]}}
    write_text(path, json.dumps(overlay, indent=4) + "\n")
    return path


def list_leaking_images(
    datalist_file: str, dataset_dir: str, external_dir: str, fold: int, predictions: Sequence[str]
) -> list[Image]:
    """The images of a training as the 17th-place solution [4] had them: every fold gets the mean of all models."""
    entries = read_datalist(datalist_file)["external"]["images"]
    located = locate_images(entries, external_dir, "external images", datalist_file)
    labels = average_predictions([Path(each) for each in predictions])
    return training_images(datalist_file, dataset_dir, fold) + label_images(located, labels)


def average_predictions(predictions: Sequence[Path]) -> dict[str, list[float]]:
    """Mean probabilities `(4,)` of each study."""
    reported = [average_studies(read_predictions(path)) for path in predictions]
    return {study: np.mean([list(each[study].values()) for each in reported], axis=0).tolist() for study in reported[0]}


def score_labels(labels: Mapping[str, Sequence[float]], truth: GroundTruth, num_resamples: int) -> np.ndarray:
    """Study mAP `(1 + R,)` of probabilities `(4,)` by study: of all patients, then of each resample."""
    studies = {name: dict(zip(STUDY_CLASSES, labels[name], strict=True)) for name in truth.study_labels}
    return resample_scores(Predictions(studies, {}), truth, num_resamples).values[STUDY_MAP]


def summarise_labels(scored: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Interval]:
    """Mean scores of the labels themselves, and how much better the leaking ones are.

    Args:
        scored: values `(1 + R,)` of both kinds, for each seed; may be empty.
    """
    if not scored:
        return {}
    honest, leaking = (np.mean([each[name] for each in scored], axis=0) for name in ("honest", "leaking"))
    values = {"honest labels": honest, "leaking labels": leaking, "leaking minus honest": leaking - honest}
    return {name: summarise_values(each) for name, each in values.items()}


def score_run(
    setting: Setting, plan: Plan, configs: Sequence[str], weights: Path, num_resamples: int
) -> dict[str, np.ndarray]:
    """Study mAP `(1 + R,)` on each scored set: of all patients, then of each resample.

    Rows are paired, as they share the seed of the resamples; each set has a seed of its own.
    """
    values = {}
    for place, (name, (datalist, fold)) in enumerate(setting.scored.items()):
        asked = replace(plan, datalist_file=datalist)
        predicted = asked.evaluate_fold(list(configs), weights, weights.parent / name.replace(" ", "_"), fold)
        submission = read_submission(predicted.with_name("submission.csv"))
        scores = resample_scores(submission, read_ground_truth(datalist, fold), num_resamples, seed=place)
        values[name] = scores.values[STUDY_MAP]
    return values


def describe_parts(parts: Mapping[str, Path]) -> str:
    """Describe the number of images of each part."""
    counts = {name: read_datalist(path) for name, path in parts.items()}
    reported = (f"{len(each['training']) + len(each['test'])} {name}" for name, each in counts.items())
    return f"images: {', '.join(reported)}"


def tabulate(values: Values, noise: Noise, num_resamples: int) -> str:
    """Scores of each row, what each gained over the first with its noise, and how much more it gained on fold 0."""
    rows, sets = list(values), list(values[NONE])
    seeds = len(values[NONE][sets[0]])
    lines = [f"study mAP, mean of {seeds} seeds; 95 % intervals from {num_resamples} resamples of patients"]
    for name, (deviation, freedom) in noise.items():
        spread = f"{deviation:.4f} ({freedom} degrees of freedom)" if freedom else "not measured: one seed"
        lines.append(f"standard deviation between seeds, {name}: {spread}")
    means = {row: [summarise_values(values[row][name].mean(axis=0)) for name in sets] for row in rows}
    cells = [(row, *(text for each in means[row] for text in _format(each))) for row in rows]
    lines += ["", align_columns(("labels", *(text for name in sets for text in (name, ""))), cells), ""]
    gains = []
    for row in rows[1:]:
        found = list_gains(values, noise, row)
        gains.append((row, *(text for each in found.values() for text in _format(each, "+.4f"))))
    header = (f"minus {NONE}", *(text for name in list_gains(values, noise, rows[1]) for text in (name, "")))
    return "\n".join([*lines, align_columns(header, gains)])


def list_gains(values: Values, noise: Noise, row: str) -> dict[str, Interval]:
    """Gain of a row over the first on each set, patients and seeds; with two sets how much more on the first."""
    each = {name: values[row][name] - values[NONE][name] for name in values[row]}
    gains = {name: _widen(differences, [noise[name]]) for name, differences in each.items()}
    if len(each) == 2:
        first, second = each
        gains[f"{first} more than {second}"] = _widen(each[first] - each[second], list(noise.values()))
    return gains


def describe(values: Values, noise: Noise) -> dict[str, Any]:
    """The table's figures, for whoever reads them again."""
    rows = {
        row: {
            "study_map": {name: asdict(summarise_values(sets[name].mean(axis=0))) for name in sets},
            "seeds": {name: sets[name][:, 0].tolist() for name in sets},
            "gains": {} if row == NONE else {name: asdict(v) for name, v in list_gains(values, noise, row).items()},
        }
        for row, sets in values.items()
    }
    return {
        "rows": rows,
        "between_seeds": {name: [spread if freedom else None, freedom] for name, (spread, freedom) in noise.items()},
    }


def _widen(differences: np.ndarray, noise: Sequence[tuple[float, int]]) -> Interval:
    """Interval of differences `(S, 1 + R)`: patients, and the noise between seeds of both trainings on each set."""
    freedom = min(pair[1] for pair in noise)
    error = math.sqrt(sum(pair[0] ** 2 for pair in noise) * 2 / len(differences)) if freedom else math.nan
    return widen_interval(summarise_values(differences.mean(axis=0)), error, freedom)


def _take_as_many_steps(plan: Plan, joined: Path) -> Plan:
    """Epochs of the labelled images alone that hold as many images as those of a student."""
    content = read_datalist(joined)
    labelled = sum(image["fold"] != FOLD and image["duplicate_of"] is None for image in content["training"])
    factor = 1 + len(content["external"]["images"]) / labelled
    return replace(plan, options={**plan.options, "epochs": round(plan.options["epochs"] * factor)})


def _format(interval: Interval, form: str = ".4f") -> tuple[str, str]:
    return format_number(interval.value, form), format_interval(interval, form)


if __name__ == "__main__":
    run_command({"third": third, "unlabelled": unlabelled}, "benchmarks.pseudo_labels")
