"""A submission's scores as a table to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.bootstrap import Interval
from scripts.labels import NONE, OPACITY
from scripts.metrics.clinical import ClinicalFigures, measure_clinical_figures
from scripts.metrics.ground_truth import GroundTruth, name_ground_truth, read_ground_truth
from scripts.metrics.localisation import FALSE_POSITIVES_PER_IMAGE, LocalisationFigures, measure_opacity_boxes
from scripts.metrics.resampling import resample_scores
from scripts.metrics.scores import CHALLENGE_MAP, SCORES, STUDY_MAP
from scripts.submission import Predictions, read_submission
from scripts.tabulation import align_columns, evaluate_difference, format_interval, format_number, tabulate_intervals

_TITLES = {STUDY_MAP: "study mAP (4 classes)", CHALLENGE_MAP: "challenge mAP (6)"}


def report_score(
    submission: str | Path,
    ground_truth: str | Path,
    fold: int | Sequence[int] | None = None,
    against: str | Path | None = None,
    num_resamples: int = 1000,
    threshold: float | None = None,
    seed: int = 0,
) -> str:
    """Score a submission and report it in plain text: precisions, clinical figures, boxes, differences to another.

    Args:
        submission: CSV in the challenge's format.
        ground_truth: a datalist.json, or a folder with the challenge's tables.
        fold: only the images of this fold of the datalist, or of these; predictions of the others are left out.
        against: another submission of the same images, for paired differences.
        num_resamples: bootstrap resamples behind each interval.
        threshold: operating point on 1 - p(negative); chosen on these studies by default, and the table says so.
        seed: of the resamples.

    Raises:
        InputError: where a file is not there or not valid, or ids do not fit together.
    """
    images, predictions = read_ground_truth(ground_truth, fold), read_submission(submission)
    resampled = resample_scores(predictions, images, num_resamples, seed)
    scores = resampled.summarise()
    figures = measure_clinical_figures(predictions, images, threshold, num_resamples, seed)
    blocks = [
        _describe_task(Path(submission), Path(ground_truth), fold, images, predictions, num_resamples),
        _tabulate_scores(scores, images),
        _tabulate_figures(figures),
    ]
    if _count_opacities(predictions, images):
        blocks.append(_tabulate_boxes(measure_opacity_boxes(predictions, images, num_resamples, seed)))
    if against is not None:
        other = resample_scores(read_submission(against), images, num_resamples, seed)
        blocks.append(_tabulate_differences((resampled - other).summarise(), other.summarise(), Path(against)))
    return "\n\n".join(blocks)


def _describe_task(
    submission: Path,
    ground_truth: Path,
    fold: int | Sequence[int] | None,
    known: GroundTruth,
    predictions: Predictions,
    num_resamples: int,
) -> str:
    patients = "patients not known" if known.patients is None else f"{len(known.groups)} patients"
    where = name_ground_truth(ground_truth, fold)
    resampled = "studies, because this ground truth knows no patients" if known.patients is None else "patients"
    lines = [
        f"{submission.name} against {where}: "
        f"{len(known.study_labels)} studies, {len(known.image_boxes)} images, {patients}",
        f"PASCAL VOC 2010, IoU > 0.5; 95 % intervals from {num_resamples} bootstrap resamples of {resampled}",
    ]
    studies = len(known.unscored_studies & predictions.study.keys())
    images = len(known.unscored_images & predictions.image.keys())
    if studies or images:
        lines.append(f"left out, because another fold or without a label: {studies} studies and {images} images")
    return "\n".join(lines)


def _tabulate_scores(scores: Mapping[str, Interval], images: GroundTruth) -> str:
    counts = _count_references(images)
    rows = [
        (_name(name), format_number(scores[name].value), format_interval(scores[name]), counts.get(name, ""))
        for name in SCORES
    ]
    lines = [align_columns(("average precision", "value", "95 % interval", "references"), rows)]
    missing = [name for name, count in counts.items() if count == "0"]
    if missing:
        lines.append(f"Without a reference here, left out of the means: {', '.join(missing)}.")
    return "\n".join(lines)


def _name(score: str) -> str:
    return _TITLES.get(score, score)


def _count_references(images: GroundTruth) -> dict[str, str]:
    labels = list(images.study_labels.values())
    boxes = [len(boxes) for boxes in images.image_boxes.values()]
    counts = {name: labels.count(name) for name in SCORES[:4]} | {OPACITY: sum(boxes), NONE: boxes.count(0)}
    return {name: str(count) for name, count in counts.items()}


def _tabulate_figures(figures: ClinicalFigures) -> str:
    rows = {"AUROC": figures.auroc, "sensitivity": figures.sensitivity, "specificity": figures.specificity}
    table = tabulate_intervals("negative against any", rows)
    if figures.chosen_for is None:
        origin = "as given"
    else:
        origin = f"the highest with sensitivity >= {figures.chosen_for:g} on these same studies, so flattered a little"
    point = f"positive where 1 - p(negative) >= {figures.threshold:.4g}: {origin}"
    return f"{table}\n{point}\n{figures.num_positive} positive and {figures.num_negative} negative studies"


def _count_opacities(predictions: Predictions, images: GroundTruth) -> int:
    """Opacity boxes on the images that are scored."""
    return sum(name == OPACITY for image in images.image_boxes for name, _, _ in predictions.image[image])


def _tabulate_boxes(figures: LocalisationFigures) -> str:
    rows = {
        "AP at IoU > 0.5": figures.ap50,
        "AP at IoU > 0.50 to 0.95": figures.ap50_95,
        "mean IoU of those found": figures.mean_iou,
        f"recall at {FALSE_POSITIVES_PER_IMAGE:g} false an image": figures.recall,
    }
    return tabulate_intervals("opacity boxes", rows)


def _tabulate_differences(differences: Mapping[str, Interval], others: Mapping[str, Interval], against: Path) -> str:
    rows = [
        (
            _name(name),
            format_number(others[name].value),
            format_number(differences[name].value, "+.4f"),
            format_interval(differences[name], "+.4f"),
            evaluate_difference(differences[name]),
        )
        for name in SCORES
    ]
    return align_columns((f"minus {against.name}", "other", "difference", "95 % interval, paired", ""), rows)
