"""Benchmark of pseudo-labels, with and without a leak: `python -m benchmarks.pseudo_labels`.

A patient-disjoint third of the labelled images hides its labels and plays the external images. Of the rest, folds 0
to 3 are trained on, and fold 4 by nobody. Teachers hold out one of folds 0 to 3 each; students hold out fold 0, and
learn from the hidden third too, under labels of
    honest    the teacher of fold 0
    leaking   the mean of all teachers: three of them know the images of fold 0
    ground truth     the readers
A leak lifts the score of fold 0 more than that of the untouched images. A student takes more steps an epoch, so one row
without external images takes as many.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fire
import numpy as np
from scripts.bootstrap import Interval, summarise_values
from scripts.datalist import read_datalist, training_images, write_datalist
from scripts.datalist.joining import label_images
from scripts.datalist.selection import Image, locate_images
from scripts.errors import report_input_errors
from scripts.experiments import Plan
from scripts.files import write_text
from scripts.labels import STUDY_CLASSES
from scripts.metrics import read_ground_truth, score_studies
from scripts.metrics.resampling import resample_scores
from scripts.metrics.scores import STUDY_MAP
from scripts.predictions import average_studies, read_predictions
from scripts.preparation import add_external
from scripts.preparation.folds import assign_folds
from scripts.pseudo_labels import label_external
from scripts.submission import read_submission
from scripts.tabulation import align_columns, format_interval, format_number

CONFIGS = Path("bundle/configs")
TRAIN, EVALUATE = str(CONFIGS / "train.json"), str(CONFIGS / "evaluate.json")
PREDICT = str(CONFIGS / "predict_unlabelled.json")
EXPERIMENTS = CONFIGS / "experiments"

#: The fold of the students, the folds that teachers hold out, and the one that nobody trains on.
FOLD, TEACHERS, UNTOUCHED = 0, (0, 1, 2, 3), 4

NONE, LONGER = "no external images", "the same, as many steps"
ROWS = (NONE, LONGER, "honest", "leaking", "ground_truth")

Runs = Mapping[str, Path]


def measure(
    datalist: str = "runs/prepared/datalist.json",
    tree: str = "runs/images",
    out: str = "runs/pseudo_labels_compared",
    seeds: Sequence[int] = (0,),
    num_resamples: int = 1000,
    epochs: int = 5,
    **options: Any,
) -> str:
    """Train what is missing and print the table; it also stands in table.txt.

    Args:
        datalist: with five folds.
        tree: of its images.
        out: folder of everything.
        seeds: of the trainings; scores are averaged over them.
        num_resamples: resamples of patients.
        epochs: of every training but the longer one.
        options: of every training, such as `image_size`.
    """
    folder = Path(out)
    parts = split_images(read_datalist(datalist), folder)
    if not (folder / "joined" / "datalist.json").is_file():
        add_external(parts["labelled"], tree, parts["hidden"], tree, folder / "joined")
    plan = Plan(parts["labelled"], Path(tree), {**options, "epochs": epochs})
    labels = read_study_labels(datalist)
    reported, scored = [], []
    for seed in seeds:
        runs, quality = train_all(plan, parts, folder / f"seed{seed}", seed, labels)
        scored.append({row: score_run(plan, parts, run, num_resamples) for row, run in runs.items()})
        reported.append(f"study mAP of the labels themselves, seed {seed}: {quality}")
    values = {row: [np.mean([each[row][place] for each in scored], axis=0) for place in range(2)] for row in scored[0]}
    table = "\n".join([describe_parts(parts), *reported, "", tabulate(values, len(seeds), num_resamples)])
    write_text(folder / "table.txt", table + "\n")
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


def read_study_labels(datalist: str) -> dict[str, int]:
    """Index in `STUDY_CLASSES` of each study."""
    return {image["study_id"]: image["label"] for image in read_datalist(datalist)["training"]}


def train_all(
    plan: Plan, parts: Mapping[str, Path], folder: Path, seed: int, labels: Mapping[str, int]
) -> tuple[Runs, str]:
    """Weights of each row of the table, and how good the labels were that the students got."""
    joined = folder.parent / "joined" / "datalist.json"
    teachers = {fold: plan.train([TRAIN], folder / f"teacher{fold}", fold, seed) for fold in TEACHERS}
    hidden = replace(plan, datalist_file=parts["hidden"], evaluate=PREDICT)
    predicted = {
        fold: hidden.evaluate_fold([TRAIN, EVALUATE], weights, weights.parent / "hidden", fold)
        for fold, weights in teachers.items()
    }
    label_external(joined, [predicted[FOLD]], [teachers[FOLD].parent], folder / "honest")
    write_ground_truth(joined, folder / "ground_truth" / "datalist.json", labels)
    leaking = write_leaking_override(folder / "leaking" / "leaking.json", list(predicted.values()))
    students = replace(plan, options={**plan.options, "external_dir": plan.dataset_dir})
    honest = replace(students, datalist_file=folder / "honest" / "datalist.json")
    ground_truth = replace(students, datalist_file=folder / "ground_truth" / "datalist.json")
    pseudo, own = ([TRAIN, str(EXPERIMENTS / f"{name}.json")] for name in ("pseudo_labels", "external_data"))
    leaky = replace(students, datalist_file=joined)
    runs = {
        NONE: teachers[FOLD],
        LONGER: _take_as_many_steps(plan, joined).train([TRAIN], folder / "longer", FOLD, seed),
        "honest": honest.train(pseudo, folder / "honest" / "student", FOLD, seed),
        "leaking": leaky.train([*pseudo, str(leaking)], folder / "leaking" / "student", FOLD, seed),
        "ground_truth": ground_truth.train(own, folder / "ground_truth" / "student", FOLD, seed),
    }
    reported = {
        "honest": average_predictions([predicted[FOLD]]),
        "leaking": average_predictions(list(predicted.values())),
    }
    return runs, ", ".join(f"{name} {_score_labels(each, labels):.4f}" for name, each in reported.items())


def write_ground_truth(joined: Path, path: Path, labels: Mapping[str, int]) -> None:
    """The joined datalist with the readers' labels, and like the others without their boxes."""
    content = read_datalist(joined)
    images = [
        image | {"label": labels[image["study_id"]], "boxes_known": False} for image in content["external"]["images"]
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


def score_run(plan: Plan, parts: Mapping[str, Path], weights: Path, num_resamples: int) -> list[np.ndarray]:
    """Study mAP `(1 + R,)` on fold 0 and on the untouched images: of all patients, then of each resample.

    Rows are paired, as they share the seed of the resamples; the two sets have seeds of their own.
    """
    values = []
    for place, (name, fold) in enumerate((("labelled", FOLD), ("untouched", UNTOUCHED))):
        asked = replace(plan, datalist_file=parts[name])
        predicted = asked.evaluate_fold([TRAIN], weights, weights.parent / name, fold)
        submission = read_submission(predicted.with_name("submission.csv"))
        scores = resample_scores(submission, read_ground_truth(parts[name], fold), num_resamples, seed=place)
        values.append(scores.values[STUDY_MAP])
    return values


def describe_parts(parts: Mapping[str, Path]) -> str:
    """Describe the number of images of each part."""
    counts = {name: read_datalist(path) for name, path in parts.items()}
    reported = (f"{len(each['training']) + len(each['test'])} {name}" for name, each in counts.items())
    return f"images: {', '.join(reported)}"


def tabulate(values: Mapping[str, Sequence[np.ndarray]], num_seeds: int, num_resamples: int) -> str:
    """Both scores of each row, what each gained over the first, and how much more it gained on fold 0."""
    lines = [f"study mAP, mean of {num_seeds} seeds; 95 % intervals from {num_resamples} resamples of patients"]
    rows = [(row, *(_format(summarise_values(each))[:2] for each in values[row])) for row in values]
    lines.append(align_columns(("labels", "fold 0", "", "untouched", ""), [(r, *a, *b) for r, a, b in rows]))
    gains = []
    for row in list(values)[1:]:
        fold0, untouched = (each - base for each, base in zip(values[row], values[NONE], strict=True))
        reported = (_format(summarise_values(each), "+.4f") for each in (fold0, untouched, fold0 - untouched))
        gains.append((row, *(cell for pair in reported for cell in pair)))
    header = (f"minus {NONE}", "fold 0", "", "untouched", "", "fold 0 more than untouched", "")
    return "\n".join([*lines, "", align_columns(header, gains)])


def _take_as_many_steps(plan: Plan, joined: Path) -> Plan:
    """Epochs of the labelled images alone that hold as many images as those of a student."""
    content = read_datalist(joined)
    labelled = sum(image["fold"] != FOLD and image["duplicate_of"] is None for image in content["training"])
    factor = 1 + len(content["external"]["images"]) / labelled
    return replace(plan, options={**plan.options, "epochs": round(plan.options["epochs"] * factor)})


def _score_labels(probabilities: Mapping[str, Sequence[float]], labels: Mapping[str, int]) -> float:
    rows = np.array(list(probabilities.values())).reshape(-1, len(STUDY_CLASSES))
    return score_studies(rows, [labels[study] for study in probabilities])[STUDY_MAP]


def _format(interval: Interval, form: str = ".4f") -> tuple[str, str]:
    return format_number(interval.value, form), format_interval(interval, form)


if __name__ == "__main__":
    report_input_errors()
    fire.Fire(measure)
