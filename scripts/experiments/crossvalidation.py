"""Cross-validation: every image predicted once, by a network that never saw its patient; the folds pooled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from scripts.errors import InputError
from scripts.experiments.running import Plan
from scripts.files import write_text
from scripts.metrics import CHALLENGE_MAP, SCORES, STUDY_MAP, read_ground_truth, report_score, score_predictions
from scripts.outputs import write_tables
from scripts.predictions import ImageFindings, read_predictions
from scripts.submission import read_submission, write_submission
from scripts.tabulation import align_columns, format_number


def crossvalidate(plan: Plan, files: Sequence[str], out: Path, folds: Sequence[int], seed: int = 0) -> str:
    """Train and predict each fold, pool what was predicted, and score it; what is done already is not done again.

    Args:
        plan: data and options of the runs.
        files: configuration files, one over the other.
        out: folder of the runs (fold0, fold1, ...), and of the pooled tables, predictions.json and submission.csv.
        folds: the folds to hold out.
        seed: of every training.

    Returns:
        The scores in plain text: those of each fold, and those of all images together with their intervals.

    Raises:
        InputError: where a run fails, or an image would count twice.
    """
    calls = [partial(_predict_fold, plan, files, out / f"fold{fold}", fold, seed) for fold in folds]
    predicted = dict(zip(folds, plan.make_all(calls), strict=True))
    images = pool_images(read_predictions(path) for path in predicted.values())
    write_tables(images, out)
    write_submission(images, out / "submission.csv")
    pooled = report_score(out / "submission.csv", plan.datalist_file, tuple(folds))
    report = f"{_tabulate_folds(predicted, plan.datalist_file)}\n\n{pooled}"
    write_text(out / "score.txt", report + "\n")
    return report


def pool_images(parts: Iterable[Sequence[ImageFindings]]) -> list[ImageFindings]:
    """The images of several folds; two images of one study stay two, and are averaged where the study is evaluated.

    Raises:
        InputError: where an image stands in two folds.
    """
    pooled: dict[str, ImageFindings] = {}
    for image in (image for part in parts for image in part):
        if image.image_id in pooled:
            advice = "score folds of one datalist, each once"
            raise InputError("every image in one fold", f"{image.image_id} in two", advice)
        pooled[image.image_id] = image
    return list(pooled.values())


def _predict_fold(plan: Plan, files: Sequence[str], folder: Path, fold: int, seed: int) -> Path:
    weights = plan.train(files, folder, fold, seed)
    return plan.evaluate_fold(files, weights, folder / "evaluation", fold)


def _tabulate_folds(predicted: dict[int, Path], datalist_file: Path) -> str:
    rows = []
    for fold, path in predicted.items():
        ground_truth = read_ground_truth(datalist_file, fold)
        scores = score_predictions(read_submission(path.with_name("submission.csv")), ground_truth)
        studies = str(len(ground_truth.study_labels))
        rows.append((f"fold {fold}", studies, *(format_number(scores[name]) for name in SCORES)))
    titles = [{STUDY_MAP: "study mAP", CHALLENGE_MAP: "mAP (6)"}.get(name, name) for name in SCORES]
    return align_columns(("out of fold", "studies", *titles), rows)
