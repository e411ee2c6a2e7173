"""Localisation figures: cases counted by hand, a slow twin image by image, the reports and their errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripts import metrics
from scripts.bootstrap import sample_weights
from scripts.datalist import write_datalist
from scripts.errors import InputError
from scripts.labels import UNIT_BOX
from scripts.metrics import GroundTruth
from scripts.submission import Predictions

Box = tuple[float, float, float, float]

#: Patient, (confidence, box) of each detection, references.
Image = tuple[str, Sequence[tuple[float, Box]], Sequence[Box]]

# The hand-made case of the challenge's rule: the first of I2 overlaps its ground truth by exactly one half.
HAND_MADE: list[Image] = [
    ("p1", [(0.9, (0, 0, 100, 100)), (0.8, (0, 0, 100, 95))], [(0, 0, 100, 100)]),
    ("p2", [(0.7, (50, 50, 150, 100)), (0.6, (200, 200, 300, 300))], [(50, 50, 150, 150), (200, 200, 300, 300)]),
    ("p3", [(0.95, (0, 0, 50, 50))], []),
]


def make_case(cases: Sequence[Image]) -> tuple[Predictions, GroundTruth]:
    """A study of one image for each image."""
    detections = {f"i{n}": [("opacity", *pair) for pair in case[1]] for n, case in enumerate(cases)}
    none = {image: [("none", 0.5, UNIT_BOX)] for image in detections}
    ground_truth = GroundTruth(
        study_labels={f"s{n}": "typical" for n in range(len(cases))},
        image_boxes={f"i{n}": np.array(case[2], dtype=float).reshape(-1, 4) for n, case in enumerate(cases)},
        image_studies={f"i{n}": f"s{n}" for n in range(len(cases))},
        patients={f"s{n}": case[0] for n, case in enumerate(cases)},
    )
    return Predictions({}, {image: none[image] + detections[image] for image in detections}), ground_truth


def measure_values(images: Sequence[Image]) -> dict[str, float]:
    figures = metrics.measure_opacity_boxes(*make_case(images), num_resamples=1)
    return {name: getattr(figures, name).value for name in ("ap50", "ap50_95", "mean_iou", "recall")}


# Opacity boxes


def test_hand_made_case_of_the_challenge():
    expected = {"ap50": 0.3, "ap50_95": 0.3, "mean_iou": 1.0, "recall": 2 / 3}
    assert measure_values(HAND_MADE) == pytest.approx(expected)


def test_average_precision_at_one_half_is_the_score_of_the_class_opacity():
    predictions, ground_truth = make_case(HAND_MADE)
    score = metrics.score_predictions(predictions, ground_truth)["opacity"]
    assert metrics.measure_opacity_boxes(predictions, ground_truth, num_resamples=1).ap50.value == score


@pytest.mark.parametrize(
    ("height", "num_found"),
    [(100, 10), (96, 10), (95, 9), (76, 6), (75, 5), (51, 1), (50, 0)],  # an overlap of 0.95 is not greater than 0.95
)
def test_a_box_counts_at_each_of_ten_overlaps_that_it_exceeds(height: float, num_found: int):
    values = measure_values([("p", [(0.5, (0, 0, 10, height))], [(0, 0, 10, 100)])])
    assert values["ap50_95"] == pytest.approx(num_found / 10)
    assert values["ap50"] == float(num_found > 0)


def test_mean_overlap_is_that_of_the_most_confident_detection_of_each_ground_truth_that_is_found():
    better_but_later = [(0.9, (0, 0, 10, 60)), (0.8, (0, 0, 10, 100))]
    second, missed = (50, 0, 60, 100), (90, 0, 95, 5)
    images = [("p", [*better_but_later, (0.1, (50, 0, 60, 80))], [(0, 0, 10, 100), second, missed])]
    assert measure_values(images)["mean_iou"] == pytest.approx((0.6 + 0.8) / 2)


@pytest.mark.parametrize(
    ("confidences", "expected"),
    [
        ([0.9, 0.8, 0.7, 0.6, 0.5], 1.0),  # four false ones on two images are two an image
        ([0.9, 0.8, 0.7, 0.6, 0.4], 0.5),  # a fifth comes before the second ground truth
        ([0.9, 0.8, 0.7, 0.6, 0.45], 0.5),  # ... or together with it
    ],
)
def test_recall_is_reported_at_two_false_positives_an_image_on_average(confidences: list[float], expected: float):
    references = [(0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0)]
    nowhere = (70.0, 70.0, 80.0, 80.0)
    false = [(confidence, nowhere) for confidence in [*confidences[:4], 0.45]]
    images = [("p", [(0.95, references[0]), (confidences[4], references[1]), *false], references), ("q", [], [])]
    assert measure_values(images)["recall"] == expected


def test_recall_is_zero_where_already_the_most_confident_step_has_too_many_false_positives():
    ground_truth = (0.0, 0.0, 10.0, 10.0)
    images = [("p", [(0.5, ground_truth), *[(0.5, (50.0, 50.0, 60.0, 60.0))] * 3], [ground_truth])]
    assert measure_values(images)["recall"] == 0


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([("p", [(0.5, (0, 0, 1, 1))], [])], (math.nan, math.nan, math.nan, math.nan)),
        ([("p", [], [(0, 0, 1, 1)])], (0, 0, math.nan, 0)),
        ([("p", [(0.5, (5, 5, 6, 6))], [(0, 0, 1, 1)])], (0, 0, math.nan, 0)),
    ],
)
def test_figures_of_nothing_to_find_are_undefined_and_of_nothing_found_zero(images: list[Image], expected: tuple):
    assert tuple(measure_values(images).values()) == pytest.approx(expected, nan_ok=True)


def test_predictions_of_no_image_or_of_others_are_rejected():
    predictions, ground_truth = make_case(HAND_MADE)
    with pytest.raises(InputError, match="predictions of images, found none"):
        metrics.measure_opacity_boxes(Predictions({}, {}), ground_truth)
    with pytest.raises(InputError, match="found no prediction for 1, first i2"):
        metrics.measure_opacity_boxes(Predictions({}, {i: predictions.image[i] for i in ("i0", "i1")}), ground_truth)


# The slow twin


def overlap_slowly(box: Box, other: Box) -> float:
    across = max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
    along = max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
    areas = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
    return across * along / (areas - across * along) if areas else 0.0


def find_hits_slowly(images: Sequence[Image], threshold: float) -> list[tuple[float, float]]:
    """(confidence, overlap) of each detection, by falling confidence; an overlap of 0 stands for a false positive."""
    pooled = [(c, number, box) for number, (_, detections, _) in enumerate(images) for c, box in detections]
    taken, hits = set(), []
    for confidence, number, box in sorted(pooled, key=lambda detection: -detection[0]):
        overlaps = [overlap_slowly(box, ground_truth) for ground_truth in images[number][2]]
        best = overlaps.index(max(overlaps)) if overlaps else None
        right = best is not None and overlaps[best] > threshold and (number, best) not in taken
        hits.append((confidence, overlaps[best] if right else 0.0))
        taken |= {(number, best)} if right else set()
    return hits


def list_steps_slowly(hits: Sequence[tuple[float, float]]) -> list[tuple[int, int]]:
    """True and false positives at each confidence, from the highest on."""
    kept = [
        [iou > 0 for c, iou in hits if c >= confidence] for confidence in sorted({c for c, _ in hits}, reverse=True)
    ]
    return [(sum(step), len(step) - sum(step)) for step in kept]


def average_slowly(images: Sequence[Image], threshold: float) -> float:
    steps, area, before = list_steps_slowly(find_hits_slowly(images, threshold)), 0.0, 0
    for place, (found, _) in enumerate(steps):
        area += (found - before) * max(true / (true + false) for true, false in steps[place:])
        before = found
    return area / sum(len(references) for _, _, references in images)


def measure_slowly(images: Sequence[Image]) -> dict[str, float]:
    num_references = sum(len(references) for _, _, references in images)
    if not num_references:
        return dict.fromkeys(("ap50", "ap50_95", "mean_iou", "recall"), math.nan)
    hits = find_hits_slowly(images, 0.5)
    overlaps = [overlap for _, overlap in hits if overlap > 0]
    recalls = [true / num_references for true, false in list_steps_slowly(hits) if false / len(images) <= 2]
    ten = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    return {
        "ap50": average_slowly(images, 0.5),
        "ap50_95": sum(average_slowly(images, threshold) for threshold in ten) / 10,
        "mean_iou": sum(overlaps) / len(overlaps) if overlaps else math.nan,
        "recall": recalls[-1] if recalls else 0.0,
    }


def repeat_patients(images: Sequence[tuple], seed: int) -> list[tuple]:
    """The images of one bootstrap resample, each as often as its patient was drawn."""
    patients = sorted({image[0] for image in images})
    weights = sample_weights(len(patients), 1, seed)[0]
    return [image for image in images for _ in range(int(weights[patients.index(image[0])]))]


SPANS = st.sampled_from([(0, 20), (0, 19), (0, 10), (0, 15), (5, 20), (10, 20), (2, 20)])  # overlaps of 1/2 among them
BOX = st.builds(lambda x, y: (float(x[0]), float(y[0]), float(x[1]), float(y[1])), SPANS, SPANS)
CONFIDENCES = st.sampled_from([0.1, 0.2, 0.5, 0.9])  # few, so that ties are many
IMAGES = st.lists(
    st.tuples(st.sampled_from("abc"), st.lists(st.tuples(CONFIDENCES, BOX), max_size=7), st.lists(BOX, max_size=3)),
    min_size=1,
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(IMAGES, st.integers(0, 99))
def test_figures_and_resamples_equal_those_of_the_slow_twin(images: list[Image], seed: int):
    figures = metrics.measure_opacity_boxes(*make_case(images), num_resamples=1, seed=seed)
    expected, synthetic = measure_slowly(images), measure_slowly(repeat_patients(images, seed))
    for name, value in expected.items():
        interval = getattr(figures, name)
        assert interval.value == pytest.approx(value, nan_ok=True)
        assert interval.low == interval.high == pytest.approx(synthetic[name], nan_ok=True) or math.isnan(
            synthetic[name]
        )


def test_intervals_are_by_patient():
    one_patient = [("p", *image[1:]) for image in HAND_MADE]
    figures = metrics.measure_opacity_boxes(*make_case(one_patient), num_resamples=20)
    for interval in (figures.ap50, figures.ap50_95, figures.mean_iou, figures.recall):
        assert interval.low == pytest.approx(interval.value) == interval.high


# Lung boxes

TRUE_LUNGS = {"a": (10, 5, 90, 60), "b": (0, 0, 10, 100), "c": (0, 0, 10, 100), "d": (0, 0, 10, 100)}
FOUND_LUNGS = {"a": ((10, 5, 90, 60), 0.7), "b": ((0, 0, 10, 80), 0.9), "c": ((0, 0, 10, 40), 0.8), "d": (None, 0.0)}
LUNG_PATIENTS = {"a": "p", "b": "p", "c": "q", "d": "r"}


def test_lung_figures_counted_by_hand():
    figures = metrics.measure_lung_boxes(FOUND_LUNGS, TRUE_LUNGS, LUNG_PATIENTS, num_resamples=50)
    assert (figures.num_images, figures.num_without_box) == (4, 1)
    assert figures.mean_iou.value == pytest.approx((1 + 0.8 + 0.4 + 0) / 4)
    assert figures.ap50.value == pytest.approx(1 / 4 + 2 / 3 / 4)  # 0.9 right, 0.8 wrong, 0.7 right
    alone = 1 / 3 / 4  # above 0.75 only the box of "a" is right, third by confidence
    assert figures.ap50_95.value == pytest.approx((6 * figures.ap50.value + 4 * alone) / 10)
    assert figures.mean_iou.low < figures.mean_iou.value < figures.mean_iou.high


def test_lungs_found_on_images_without_a_reference_are_left_out():
    found = FOUND_LUNGS | {"e": ((0.0, 0.0, 5.0, 5.0), 1.0)}
    args = (TRUE_LUNGS, LUNG_PATIENTS, 20)
    assert metrics.measure_lung_boxes(found, *args) == metrics.measure_lung_boxes(FOUND_LUNGS, *args)


def test_lung_figures_of_no_image_are_rejected():
    with pytest.raises(ValueError, match="at least one image with a lung box"):
        metrics.measure_lung_boxes(FOUND_LUNGS, {}, LUNG_PATIENTS)


LUNG_IMAGES = st.lists(st.tuples(st.sampled_from("abc"), st.none() | BOX, CONFIDENCES, BOX), min_size=1, max_size=6)


@settings(max_examples=100, deadline=None)
@given(LUNG_IMAGES, st.integers(0, 99))
def test_lung_figures_and_resamples_equal_those_of_the_slow_twin(images: list[tuple], seed: int):
    found = {str(n): (box, confidence) for n, (_, box, confidence, _) in enumerate(images)}
    ground_truth = {str(n): image[3] for n, image in enumerate(images)}
    patients = {str(n): image[0] for n, image in enumerate(images)}
    figures = metrics.measure_lung_boxes(found, ground_truth, patients, num_resamples=1, seed=seed)
    expected, synthetic = measure_lungs_slowly(images), measure_lungs_slowly(repeat_patients(images, seed))
    for name, value in expected.items():
        interval = getattr(figures, name)
        assert interval.value == pytest.approx(value)
        assert interval.low == interval.high == pytest.approx(synthetic[name])


def measure_lungs_slowly(images: Sequence[tuple]) -> dict[str, float]:
    pooled = [(patient, [(score, box)] if box else [], [ground_truth]) for patient, box, score, ground_truth in images]
    figures = measure_slowly(pooled)
    overlaps = [overlap_slowly(box, ground_truth) if box else 0.0 for _, box, _, ground_truth in images]
    return {"ap50": figures["ap50"], "ap50_95": figures["ap50_95"], "mean_iou": sum(overlaps) / len(overlaps)}


# Reports


def write_images(folder: Path, **changes: dict[str, Any]) -> Path:
    """A datalist of the lung images, "d" in fold 1 and "t" without a label and without an annotated box."""
    images = {}
    for number, image in enumerate([*TRUE_LUNGS, "t"]):
        box = TRUE_LUNGS.get(image)
        images[image] = {
            "image": f"{image}.dcm",
            "image_id": image,
            "study_id": f"study {image}",
            "patient": LUNG_PATIENTS.get(image, "unknown"),
            "label": number % 4,
            "fold": int(image == "d"),
            "boxes": [[20.0, 20.0, 40.0, 50.0]] if image == "b" else [],
            "boxes_known": True,
            "lung_box": list(map(float, box)) if box else None,
            "height": 100,
            "width": 120,
            "duplicate_of": None,
        } | changes.get(image, {})
    test = [images.pop("t") | {"label": None, "fold": None}]
    write_datalist(folder / "datalist.json", list(images.values()), test, 2, 0)
    return folder / "datalist.json"


def write_lungs(folder: Path, header: str = "image_id,xmin,ymin,xmax,ymax,score,flags", **changed: str) -> Path:
    """The detected lung boxes as a table; `changed` rows stand by image id, an empty one leaves the row out."""
    rows = {
        image: ",".join([image, *(map(str, box) if box else [""] * 4), str(score) if box else "", ""])
        for image, (box, score) in FOUND_LUNGS.items()
    } | changed
    (folder / "lungs.csv").write_text("\n".join([header, *(row for row in rows.values() if row)]) + "\n")
    return folder / "lungs.csv"


def test_report_of_lungs_reports_figures_and_the_images_to_look_at(tmp_path: Path):
    lungs = write_lungs(tmp_path, c="c,0,0,10,40,0.8,low_score second_try", d="d,,,,,,whole_image", t="t,1,1,2,2,0.5,")
    text = metrics.report_lungs(lungs, write_images(tmp_path), num_resamples=20)
    for words in (
        "lungs.csv against datalist.json: 4 images with an annotated lung box, 3 patients",
        "20 bootstrap resamples of patients",
        "images without box: 1",
        "images flagged: 2 (low_score 1, second_try 1, whole_image 1)",
        "smallest IoU: d 0.000, c 0.400, b 0.800, a 1.000",
    ):
        assert words in text
    values = {line[:24].strip(): line[24:].split()[0] for line in text.splitlines()[4:7]}
    assert values == {"AP at IoU > 0.5": "0.4167", "AP at IoU > 0.50 to 0.95": "0.2833", "mean IoU": "0.5500"}


def test_report_of_lungs_compares_with_the_annotated_box_where_the_lung_box_was_found(tmp_path: Path):
    found = {"a": {"annotated_lung_box": [10.0, 5.0, 90.0, 60.0], "lung_box": [0.0, 0.0, 9.0, 9.0]}}
    text = metrics.report_lungs(write_lungs(tmp_path), write_images(tmp_path, **found), num_resamples=5)
    assert "a 1.000" in text
    text = metrics.report_lungs(
        write_lungs(tmp_path), write_images(tmp_path, a={"annotated_lung_box": None}), num_resamples=5
    )
    assert "3 images with an annotated lung box" in text


def test_report_of_lungs_of_a_fold_leaves_the_other_images_out(tmp_path: Path):
    text = metrics.report_lungs(write_lungs(tmp_path), write_images(tmp_path), fold=1, num_resamples=5)
    assert "datalist.json, fold 1: 1 images with an annotated lung box, 1 patients" in text
    assert "smallest IoU: d 0.000" in text and "images flagged: 0\n" in text
    with pytest.raises(InputError, match=r"images with an annotated lung box, found none in datalist\.json, fold 7"):
        metrics.report_lungs(write_lungs(tmp_path), write_images(tmp_path), fold=7)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"c": ""}, "a prediction for every one of 4 image ids, found no prediction for 1, first c"),
        ({"x": "x,0,0,1,1,0.5,"}, "only image ids of the ground truth, found predictions for 1, first x"),
        ({"x": "a,0,0,1,1,0.5,"}, r"each image id once, found an empty one or a second row at lungs\.csv line 6"),
        ({"c": ",0,0,1,1,0.5,"}, r"each image id once, .* lungs\.csv line 4"),
        ({"c": "c,0,0,1,1,0.5"}, r"7 cells, found 6 at lungs\.csv line 4"),
        ({"c": "c,0,,1,1,0.5,"}, r"four edges and a score, .* lungs\.csv line 4"),
        ({"c": "c,0,0,1,1,,"}, r"four edges and a score, .* lungs\.csv line 4"),
        ({"c": "c,0,0,1,1,high,"}, r"four edges and a score, .* lungs\.csv line 4"),
        ({"c": "c,0,0,1,1,nan,"}, r"a finite score, found lungs\.csv line 4"),
        ({"c": "c,1,0,1,1,0.5,"}, r"xmin < xmax .* lungs\.csv line 4"),
        ({"header": "image,box"}, "the columns image_id, xmin"),
        (dict.fromkeys("abcd", ""), r"at least one row, found none in lungs\.csv"),
        ({"c": 'c,"0,0'}, "comma-separated UTF-8 text"),
    ],
)
def test_malformed_tables_of_lungs_are_rejected_in_one_line(tmp_path: Path, changed: dict[str, str], match: str):
    with pytest.raises(InputError, match=match) as caught:
        metrics.report_lungs(write_lungs(tmp_path, **changed), write_images(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_table_of_lungs_that_is_not_there_and_no_resamples_are_rejected(tmp_path: Path):
    with pytest.raises(InputError, match="a table of lung boxes with the columns .*, found no file"):
        metrics.report_lungs(tmp_path / "absent.csv", write_images(tmp_path))
    with pytest.raises(InputError, match="at least one resample, found 0"):
        metrics.report_lungs(write_lungs(tmp_path), write_images(tmp_path), num_resamples=0)


@pytest.mark.parametrize(("row", "reported"), [("opacity 0.5 20 20 40 50", True), ("none 0.5 0 0 1 1", False)])
def test_report_of_a_score_reports_of_opacity_boxes_where_there_are_any(tmp_path: Path, row: str, reported: bool):
    studies = [f"study {image}_study,negative 0.5 0 0 1 1" for image in TRUE_LUNGS]
    images = [f"{image}_image,{row if image == 'b' else 'none 0.5 0 0 1 1'}" for image in TRUE_LUNGS]
    submission = tmp_path / "submission.csv"
    submission.write_text("\n".join(["id,PredictionString", *studies, *images]) + "\n")
    text = metrics.report_score(submission, write_images(tmp_path), num_resamples=5)
    assert ("opacity boxes" in text) == reported
    if reported:
        lines = text.split("opacity boxes")[1].splitlines()[1:]
        names = (
            "AP at IoU > 0.5 ",
            "AP at IoU > 0.50 to 0.95 ",
            "mean IoU of those found ",
            "recall at 2 false an image ",
        )
        assert [line.removeprefix(name).split()[0] for line, name in zip(lines, names, strict=True)] == ["1.0000"] * 4
