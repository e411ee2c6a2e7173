"""The challenge's score: golden values, a slow and obvious twin, the mistakes of published solutions, bad input."""

from __future__ import annotations

import math
import time
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
from scripts.labels import SCORED_CLASSES, STUDY_CLASSES, TABLE_COLUMNS, UNIT_BOX
from scripts.metrics import GroundTruth, score_predictions
from scripts.metrics.scores import measure_scores, rank_predictions
from scripts.submission import Predictions, read_submission
from sklearn.metrics import roc_auc_score

from tests.slow_score import score_slowly

REAL_TABLES = Path(__file__).parents[1].parent / "shared" / "data" / "siim-covid19-256"
JUST_BELOW_HALF = np.nextafter(0.5, 0)  # "> this" is ">= 0.5"

# Five studies, six images: small enough to count by hand.
STUDIES = {"A": "negative", "B": "typical", "C": "typical", "D": "atypical", "E": "indeterminate"}
IMAGES = {"A1": "A", "B1": "B", "B2": "B", "C1": "C", "D1": "D", "E1": "E"}
BOXES = {
    "A1": [],
    "B1": [(0, 0, 10, 20)],
    "B2": [],
    "C1": [(0, 0, 10, 10), (20, 20, 40, 40)],
    "D1": [],
    "E1": [(5, 5, 9, 9)],
}
PATIENTS = {"A": "p1", "B": "p2", "C": "p2", "D": "p3", "E": "p4"}


def make_ground_truth(
    studies: dict = STUDIES, images: dict = IMAGES, boxes: dict = BOXES, patients: Any = PATIENTS
) -> GroundTruth:
    arrays = {image: np.array(rows, dtype=float).reshape(-1, 4) for image, rows in boxes.items()}
    return GroundTruth(studies, arrays, images, patients)


def predict_all(classes: Sequence[str], ground_truth: GroundTruth) -> Predictions:
    none = [("none", 1.0, UNIT_BOX)]
    return Predictions(
        {study: dict.fromkeys(classes, 1.0) for study in ground_truth.study_labels},
        dict.fromkeys(ground_truth.image_boxes, none),
    )


def predict_well(ground_truth: GroundTruth) -> Predictions:
    study = {key: {name: 0.7 if name == label else 0.1 for name in STUDY_CLASSES} for key, label in STUDIES.items()}
    image = {
        key: [("opacity", 0.9, tuple(box)) for box in boxes.tolist()] or [("none", 0.8, UNIT_BOX)]
        for key, boxes in ground_truth.image_boxes.items()
    }
    return Predictions(study, image)


# The challenge's score


def test_golden_values_of_the_small_table():
    ground_truth = make_ground_truth()
    assert score_predictions(predict_all(["negative"], ground_truth), ground_truth)["map"] == pytest.approx(
        (1 / 5 + 3 / 6) / 6
    )
    scores = score_predictions(predict_all(STUDY_CLASSES, ground_truth), ground_truth)
    assert scores["study_map"] == pytest.approx((1 + 2 + 1 + 1) / 5 / 4)
    assert scores["map"] == pytest.approx((1 + 3 / 6) / 6)
    assert list(scores) == [*SCORED_CLASSES, "study_map", "map"] == list(metrics.SCORES)


@pytest.mark.skipif(not REAL_TABLES.is_dir(), reason="../shared/data/siim-covid19-256 is not there")
@pytest.mark.parametrize(("classes", "golden"), [(["negative"], 0.10024), (STUDY_CLASSES, 0.22066)])
def test_golden_values_of_the_challenge_tables(classes: Sequence[str], golden: float):
    ground_truth = metrics.read_ground_truth(REAL_TABLES)
    assert score_predictions(predict_all(classes, ground_truth), ground_truth)["map"] == pytest.approx(golden, abs=5e-6)


def test_perfect_predictions_score_one_and_empty_ones_zero():
    ground_truth = make_ground_truth()
    assert set(score_predictions(predict_well(ground_truth), ground_truth).values()) == {1.0}
    silent = Predictions({study: {} for study in STUDIES}, {image: [] for image in IMAGES})
    assert set(score_predictions(silent, ground_truth).values()) == {0.0}


HAND_MADE = {  # references I1: one box, I2: two, I3: none; the first of I2's overlaps its reference by exactly one half
    "confidences": [0.9, 0.8, 0.7, 0.6, 0.95],
    "boxes": [(0, 0, 100, 100), (0, 0, 100, 95), (50, 50, 150, 100), (200, 200, 300, 300), (0, 0, 50, 50)],
    "owners": [1, 1, 2, 2, 3],
    "reference_boxes": [(0, 0, 100, 100), (50, 50, 150, 150), (200, 200, 300, 300)],
    "reference_owners": [1, 2, 2],
}


@pytest.mark.parametrize(("threshold", "golden"), [(0.5, 0.3), (JUST_BELOW_HALF, 0.6)])
def test_an_overlap_of_exactly_one_half_is_no_match_because_matching_is_not_at_least(threshold: float, golden: float):
    hits = metrics.match_detections(**HAND_MADE, iou_threshold=threshold)
    assert metrics.average_precision(HAND_MADE["confidences"], hits, 3) == pytest.approx(golden)


def test_area_is_taken_at_all_recall_points_not_at_11_or_101():
    # One of three references is found at full precision: 1/3, where 101 points give 34/101 and 11 points 4/11.
    assert metrics.average_precision([0.9, 0.1], [1, 0], 3) == pytest.approx(1 / 3, abs=1e-12)


def test_precision_is_made_monotone_from_the_right():
    # Precisions 0, 1/2, 2/3: the later, better one counts for the earlier recall.
    assert metrics.average_precision([0.9, 0.8, 0.7], [0, 1, 1], 2) == pytest.approx(2 / 3)


@pytest.mark.parametrize("hits", [[1, 0, 1], [0, 1, 1], [1, 1, 0]])
def test_tied_confidences_are_one_step_whatever_their_order(hits: list[int]):
    assert metrics.average_precision([0.5, 0.5, 0.5], hits, 2) == pytest.approx(2 / 3)


@pytest.mark.parametrize(("second", "golden"), [(0.9, 0.5), (0.8, 1.0)])
def test_a_second_detection_of_one_ground_truth_is_false_also_at_the_same_confidence(second: float, golden: float):
    ground_truth = make_ground_truth({"A": "typical"}, {"A1": "A"}, {"A1": [(0, 0, 10, 10)]}, None)
    both = [("opacity", 0.9, (0, 0, 10, 9)), ("opacity", second, (0, 0, 10, 10))]
    for detections in (both, both[::-1]):
        assert score_predictions(Predictions({}, {"A1": detections}), ground_truth)["opacity"] == pytest.approx(golden)


def test_a_detection_belongs_to_the_ground_truth_it_overlaps_best_even_when_that_is_taken():
    references = [(0, 0, 10, 10), (0, 0, 10, 7)]
    hits = metrics.match_detections([0.9, 0.8], [(0, 0, 10, 10), (0, 0, 10, 9)], [0, 0], references, [0, 0])
    assert hits.tolist() == [True, False]


def test_a_detection_between_two_references_belongs_to_the_first():
    references = [(0, 0, 10, 8), (0, 2, 10, 10)]
    hits = metrics.match_detections([0.9, 0.8], [(0, 0, 10, 10), references[0]], [0, 0], references, [0, 0])
    assert hits.tolist() == [True, False]


def test_a_box_of_another_image_is_no_match():
    assert not metrics.match_detections([0.9], [(0, 0, 9, 9)], [1], [(0, 0, 9, 9)], [0]).any()


def test_class_without_ground_truth_is_left_out_of_the_means_and_said_to_be_undefined():
    ground_truth = make_ground_truth({"A": "negative", "B": "typical"}, {}, {}, None)
    scores = score_predictions(Predictions({"A": {"negative": 1.0}, "B": {"negative": 0.5}}, {}), ground_truth)
    assert math.isnan(scores["atypical"]) and scores["study_map"] == 0.5
    assert math.isnan(scores["map"])  # no image was predicted: that is not a score of zero


def test_confidence_that_is_not_finite_is_rejected():
    with pytest.raises(ValueError, match="finite confidences"):
        metrics.average_precision([np.nan], [1], 1)


# The slow twin


CONFIDENCES = st.sampled_from([0.1, 0.2, 0.5, 0.9])  # few, so that ties are many
SPANS = st.sampled_from([(0, 2), (0, 4), (0, 3), (1, 4), (2, 4), (1, 3), (2, 2)])  # overlaps of exactly 1/2 among them
BOX = st.builds(lambda x, y: (float(x[0]), float(y[0]), float(x[1]), float(y[1])), SPANS, SPANS)
DETECTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("opacity"), CONFIDENCES, BOX), st.tuples(st.just("none"), CONFIDENCES, st.just(UNIT_BOX))
    ),
    max_size=6,
)


@st.composite
def draw_cases(draw: st.DrawFn) -> tuple[Predictions, GroundTruth]:
    """Up to six studies of one to three images and up to four patients."""
    studies = {f"s{n}": draw(st.sampled_from(STUDY_CLASSES)) for n in range(draw(st.integers(1, 6)))}
    images = {f"{study}i{n}": study for study in studies for n in range(draw(st.integers(1, 3)))}
    boxes = {image: draw(st.lists(BOX, max_size=3)) for image in images}
    patients = {study: draw(st.sampled_from("abcd")) for study in studies}
    confidences = st.dictionaries(st.sampled_from(STUDY_CLASSES), CONFIDENCES)
    predictions = Predictions({study: draw(confidences) for study in studies}, {i: draw(DETECTIONS) for i in images})
    return predictions, make_ground_truth(studies, images, boxes, patients)


@settings(max_examples=150, deadline=None)
@given(draw_cases())
def test_scores_equal_those_of_the_slow_twin(case: tuple[Predictions, GroundTruth]):
    assert score_predictions(*case) == pytest.approx(score_slowly(*case), nan_ok=True)


@settings(max_examples=50, deadline=None)
@given(draw_cases(), st.integers(0, 99))
def test_a_resample_scores_as_if_its_patients_stood_there_several_times(
    case: tuple[Predictions, GroundTruth], seed: int
):
    predictions, ground_truth = case
    weights = sample_weights(len(ground_truth.groups), 1, seed)
    times = {study: range(int(weights[0, group])) for study, group in ground_truth.study_group.items()}
    studies = {f"{s}#{n}": label for s, label in ground_truth.study_labels.items() for n in times[s]}
    images = {f"{i}#{n}": f"{s}#{n}" for i, s in ground_truth.image_studies.items() for n in times[s]}
    boxes = {image: ground_truth.image_boxes[image.split("#")[0]] for image in images}
    repeated = Predictions(
        {study: predictions.study[study.split("#")[0]] for study in studies},
        {image: predictions.image[image.split("#")[0]] for image in images},
    )
    scores = measure_scores(rank_predictions(predictions, ground_truth), weights)
    expected = score_slowly(repeated, make_ground_truth(studies, images, boxes, None))
    assert {name: values[0] for name, values in scores.items()} == pytest.approx(expected, nan_ok=True)


@settings(max_examples=50, deadline=None)
@given(draw_cases())
def test_arrays_of_probabilities_score_as_the_predictions_they_hold(case: tuple[Predictions, GroundTruth]):
    ground_truth = case[1]
    rows = {
        study: [case[0].study[study].get(name, 0.0) for name in STUDY_CLASSES] for study in ground_truth.study_labels
    }
    predictions = Predictions({s: dict(zip(STUDY_CLASSES, row, strict=True)) for s, row in rows.items()}, {})
    labels = [STUDY_CLASSES.index(label) for label in ground_truth.study_labels.values()]
    expected = score_predictions(predictions, ground_truth)
    scores = metrics.score_studies(list(rows.values()), labels)
    assert scores == pytest.approx({name: expected[name] for name in scores}, nan_ok=True)


# Size and certainty


def draw_many(num_studies: int, seed: int = 0, noise: float = 1.0) -> tuple[Predictions, GroundTruth]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(STUDY_CLASSES, num_studies, p=[0.28, 0.47, 0.17, 0.08])
    studies = {f"s{n}": str(label) for n, label in enumerate(labels)}
    boxes = {f"i{n}": rng.uniform(0, 128, (int(rng.integers(3)), 2)) for n in range(num_studies)}
    boxes = {image: np.hstack([low, low + 80]) for image, low in boxes.items()}
    study = {}
    for name, label in studies.items():
        logits = rng.normal(size=4) * noise + 2 * (np.array(STUDY_CLASSES) == label)
        study[name] = dict(zip(STUDY_CLASSES, (np.exp(logits) / np.exp(logits).sum()).tolist(), strict=True))
    image = {}
    for name, references in boxes.items():
        found = [("opacity", rng.random(), tuple(box)) for box in references + rng.normal(size=references.shape) * 9]
        wrong = [("opacity", rng.random() / 2, (x, x, x + 50, x + 40)) for x in rng.uniform(0, 200, 5)]
        image[name] = [*found, *wrong, ("none", rng.random(), UNIT_BOX)]
    patients = {f"s{n}": f"p{n // 2}" for n in range(num_studies)}
    return Predictions(study, image), make_ground_truth(
        studies, {f"i{n}": f"s{n}" for n in range(num_studies)}, boxes, patients
    )


def test_six_thousand_studies_score_in_under_one_second():
    predictions, ground_truth = draw_many(6000)
    seconds = []
    for _ in range(3):
        start = time.process_time()  # not the clock on the wall: other processes may own the cores
        score_predictions(predictions, ground_truth)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1


def test_intervals_hold_their_values_repeat_with_their_seed_and_shrink_with_more_patients():
    few, many = draw_many(200), draw_many(1800)
    intervals = metrics.bootstrap_scores(*few, num_resamples=200)
    assert intervals == metrics.bootstrap_scores(*few, num_resamples=200)
    assert all(each.low < each.value < each.high for each in intervals.values())
    other = metrics.bootstrap_scores(*many, num_resamples=200)["study_map"]
    assert other.high - other.low < 0.6 * (intervals["study_map"].high - intervals["study_map"].low)


def test_patients_not_studies_are_drawn():
    predictions, ground_truth = draw_many(300)
    one_patient = make_ground_truth(
        ground_truth.study_labels,
        ground_truth.image_studies,
        ground_truth.image_boxes,
        dict.fromkeys(ground_truth.study_labels, "p"),
    )
    interval = metrics.bootstrap_scores(predictions, one_patient, num_resamples=20)["map"]
    assert interval.low == pytest.approx(interval.value) == interval.high
    assert len(ground_truth.groups) == 150 and len(make_ground_truth(patients=None).groups) == len(STUDIES)


def test_paired_difference_is_narrower_than_two_intervals_and_zero_for_equal_predictions():
    (good, ground_truth), (bad, _) = draw_many(600), draw_many(600, noise=1.3)
    difference = metrics.compare_predictions(good, bad, ground_truth, num_resamples=300)
    scores = [score_predictions(each, ground_truth) for each in (good, bad)]
    assert {name: each.value for name, each in difference.items()} == pytest.approx(
        {name: scores[0][name] - scores[1][name] for name in scores[0]}
    )
    assert difference["study_map"].low > 0
    same = metrics.compare_predictions(good, good, ground_truth, num_resamples=20)
    assert all((each.value, each.low, each.high) == (0, 0, 0) for each in same.values())


# Clinical figures


def test_auroc_equals_that_of_scikit_learn_also_under_weights_and_ties():
    predictions, ground_truth = draw_many(300)
    rounded = Predictions({s: {k: round(v, 1) for k, v in row.items()} for s, row in predictions.study.items()}, {})
    figures = metrics.measure_clinical_figures(rounded, ground_truth, num_resamples=50)
    positive = np.array([label != "negative" for label in ground_truth.study_labels.values()])
    scores = np.array([1 - row["negative"] for row in rounded.study.values()])
    assert figures.auroc.value == pytest.approx(roc_auc_score(positive, scores))
    weights = sample_weights(len(ground_truth.groups), 50)[
        :, [ground_truth.study_group[study] for study in ground_truth.study_labels]
    ]
    synthetic = [roc_auc_score(positive, scores, sample_weight=row) for row in weights]
    assert (figures.auroc.low, figures.auroc.high) == pytest.approx(tuple(np.quantile(synthetic, [0.025, 0.975])))


def test_operating_point_is_the_highest_threshold_with_the_sensitivity_and_says_so():
    predictions, ground_truth = draw_many(400)
    figures = metrics.measure_clinical_figures(predictions, ground_truth, num_resamples=20)
    scores = {study: 1 - row["negative"] for study, row in predictions.study.items()}
    positive = sorted(scores[study] for study, label in ground_truth.study_labels.items() if label != "negative")
    assert figures.chosen_for == 0.95 and figures.sensitivity.value >= 0.95
    assert np.mean(np.array(positive) > figures.threshold) < 0.95
    negative = [scores[study] for study, label in ground_truth.study_labels.items() if label == "negative"]
    assert figures.specificity.value == pytest.approx(np.mean(np.array(negative) < figures.threshold))
    given_point = metrics.measure_clinical_figures(predictions, ground_truth, threshold=0.5, num_resamples=20)
    assert given_point.chosen_for is None and given_point.sensitivity.value == pytest.approx(
        np.mean(np.array(positive) >= 0.5)
    )


def test_figures_that_need_both_kinds_of_study_are_undefined_with_one():
    ground_truth = make_ground_truth({"A": "negative"}, {}, {}, None)
    figures = metrics.measure_clinical_figures(Predictions({"A": {"negative": 1.0}}, {}), ground_truth, num_resamples=3)
    assert math.isnan(figures.auroc.value) and math.isnan(figures.sensitivity.value)


# Files


def write_tables(folder: Path) -> Path:
    header = ",".join(["id", *TABLE_COLUMNS.values()])
    rows = [
        f"{study}_study,{','.join(str(int(label == name)) for name in TABLE_COLUMNS)}"
        for study, label in STUDIES.items()
    ]
    (folder / "train_study_level.csv").write_text("\n".join([header, *rows]) + "\n")
    labels = {
        image: " ".join(f"opacity 1 {' '.join(map(str, box))}" for box in boxes) or "none 1 0 0 1 1"
        for image, boxes in BOXES.items()
    }
    rows = [f"{image}_image,,{labels[image]},{study}" for image, study in IMAGES.items()]
    (folder / "train_image_level.csv").write_text("\n".join(["id,boxes,label,StudyInstanceUID", *rows]) + "\n")
    return folder


def make_image(image: str, **changes: Any) -> dict[str, Any]:
    study = IMAGES[image]
    record = {
        "image": f"train/{study}/x/{image}.dcm",
        "image_id": image,
        "study_id": study,
        "patient": PATIENTS[study],
        "label": STUDY_CLASSES.index(STUDIES[study]),
        "fold": int(study in "DE"),
        "boxes": [list(map(float, box)) for box in BOXES[image]],
        "boxes_known": True,
        "lung_box": None,
        "height": 50,
        "width": 40,
        "duplicate_of": "B1" if image == "B2" else None,
    }
    return record | changes


def write_images(folder: Path, *unlabelled: str, **changes: dict[str, Any]) -> Path:
    images = {image: make_image(image, **changes.get(image, {})) for image in IMAGES}
    test = [images.pop(image) | {"label": None, "fold": None} for image in unlabelled]
    write_datalist(folder / "datalist.json", list(images.values()), test, 2, 0)
    return folder / "datalist.json"


def write_rows(path: Path, study: str = "typical 0.5 0 0 1 1", image: str = "none 0.5 0 0 1 1", **changed: str) -> Path:
    """A submission for the small table; `changed` rows stand by id, an empty one leaves the row out."""
    rows = {f"{name}_study": study for name in STUDIES} | {f"{name}_image": image for name in IMAGES} | changed
    path.write_text(
        "\n".join(["id,PredictionString", *(f"{name},{text}" for name, text in rows.items() if text)]) + "\n"
    )
    return path


def test_ground_truth_of_tables_and_of_a_datalist_are_equal_and_count_copies(tmp_path: Path):
    tables, datalist = (
        metrics.read_ground_truth(write_tables(tmp_path)),
        metrics.read_ground_truth(write_images(tmp_path)),
    )
    assert tables.study_labels == datalist.study_labels == STUDIES
    assert tables.image_studies == datalist.image_studies == IMAGES  # B2 is a copy of B1, and is there
    assert all(np.array_equal(tables.image_boxes[image], datalist.image_boxes[image]) for image in IMAGES)
    assert tables.patients is None and datalist.patients == PATIENTS


def test_images_whose_boxes_nobody_knows_are_not_scored_as_none(tmp_path: Path):
    """Neither a right box nor "none" can be scored there; study classes can."""
    unknown = {image: {"boxes": [], "boxes_known": False} for image in IMAGES}
    nothing = metrics.read_ground_truth(write_images(tmp_path, **unknown))
    assert not nothing.image_boxes and nothing.unscored_images == set(IMAGES) and nothing.study_labels == STUDIES
    scores = score_predictions(predict_all(STUDY_CLASSES, make_ground_truth()), nothing)
    assert np.isnan([scores["opacity"], scores["none"]]).all()
    assert scores["map"] == scores["study_map"], "the mean of what is defined"
    boxed = {**unknown, "B1": {"boxes": [[1, 2, 3, 4]], "boxes_known": True}}
    assert set(metrics.read_ground_truth(write_images(tmp_path, **boxed)).image_boxes) == {"B1", "B2"}


def test_ground_truth_of_a_fold_knows_the_other_images_and_does_not_score_them(tmp_path: Path):
    ground_truth = metrics.read_ground_truth(write_images(tmp_path, "C1"), fold=1)
    assert set(ground_truth.study_labels) == {"D", "E"} and set(ground_truth.image_boxes) == {"D1", "E1"}
    assert ground_truth.unscored_studies == {"A", "B", "C"} and "C1" in ground_truth.unscored_images
    whole = predict_all(STUDY_CLASSES, make_ground_truth())
    assert score_predictions(whole, ground_truth)["atypical"] == 0.5


@pytest.mark.parametrize(
    ("changes", "fold", "match"),
    [
        ({}, 7, r"expected images of fold 7, found folds \[0, 1\]"),
        ({"B2": {"label": 3}}, None, "one label and one patient for a study, found several for B"),
        ({"B2": {"patient": "other"}}, None, "one label and one patient for a study, found several for B"),
        ({"B2": {"image_id": "B1"}}, None, "each image once, found B1 twice"),
    ],
)
def test_datalist_that_contradicts_itself_or_lacks_the_fold_is_rejected(tmp_path, changes, fold, match):
    with pytest.raises(InputError, match=match):
        metrics.read_ground_truth(write_images(tmp_path, **changes), fold)


def test_fold_of_a_folder_of_tables_is_rejected(tmp_path: Path):
    with pytest.raises(InputError, match="leave --fold out"):
        metrics.read_ground_truth(write_tables(tmp_path), fold=0)


def test_submission_is_read_as_it_stands(tmp_path: Path):
    row = "opacity 0.5 1 2 3.5 4 none 0.25 0 0 1 1"
    path = write_rows(tmp_path / "submission.csv", A_study="negative 1 0 0 1 1 typical 0.125 0 0 1 1", A1_image=row)
    predictions = read_submission(path)
    assert predictions.study["A"] == {"negative": 1.0, "typical": 0.125}
    assert predictions.image["A1"] == [("opacity", 0.5, (1.0, 2.0, 3.5, 4.0)), ("none", 0.25, UNIT_BOX)]
    path.write_text(path.read_text().replace(row, '""'))
    assert read_submission(path).image["A1"] == []


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"B_study": "typical 0.5 0 0 1"}, r"line 3 \(B_study\)"),
        ({"B_study": "typcal 0.5 0 0 1 1"}, r"one of negative, .* line 3 \(B_study\)"),
        ({"B_study": "opacity 0.5 0 0 1 1"}, r"one of negative, .* line 3 \(B_study\)"),
        ({"B_study": "typical nan 0 0 1 1"}, r"a finite confidence, .* line 3 \(B_study\)"),
        ({"B_study": "typical high 0 0 1 1"}, r"five numbers after the class, .* line 3 \(B_study\)"),
        ({"B_study": "typical 1 0 0 2 2"}, r"the box 0 0 1 1 after typical, .* line 3 \(B_study\)"),
        ({"B_study": "typical 1 0 0 1 1 typical 1 0 0 1 1"}, r"each once, .* line 3 \(B_study\)"),
        ({"B_study": " "}, r"one to four study classes, .* line 3 \(B_study\)"),
        ({"B_study": "typical 1 0 0 1 1,more"}, r"2 cells, found 3 at .* line 3 \(B_study\)"),
        ({"A1_image": "negative 1 0 0 1 1"}, r"one of opacity, none, .* line 7 \(A1_image\)"),
        ({"A1_image": "opacity 1 9 0 1 1"}, r"xmin <= xmax .* line 7 \(A1_image\)"),
        ({"A1_image": "opacity 1 0 0 inf 1"}, r"xmin <= xmax .* line 7 \(A1_image\)"),
        ({"A1_image": "opacity inf 0 0 1 1"}, r"a finite confidence, .* line 7 \(A1_image\)"),
        ({"A1_image": "none 1 0 0 1 1 none 1 0 0 1 1"}, r"none at most once, .* line 7 \(A1_image\)"),
        ({"F": "none 1 0 0 1 1"}, r"ending in _study or _image, .* line 13 \(F\)"),
        ({"F_image": "none 1 0 0 1 1\nF_image,none 1 0 0 1 1"}, r"each id once, .* line 14 \(F_image\)"),
    ],
)
def test_malformed_row_is_rejected_by_line_and_id(tmp_path: Path, changed: dict[str, str], match: str):
    with pytest.raises(InputError, match=match):
        read_submission(write_rows(tmp_path / "submission.csv", **changed))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, "no file"),
        (b"", "the columns id, PredictionString"),
        (b"image,text\n", "the columns id, PredictionString"),
        (b"id,PredictionString\n\xff\xfe", "UTF-8"),
        (b"id,PredictionString\nA_study,typical 1 0 0 1 1\n", "no image row"),
        (b"id,PredictionString\nA1_image,none 1 0 0 1 1\n", "no study row"),
    ],
)
def test_file_that_is_no_submission_is_rejected(tmp_path: Path, content: bytes | None, match: str):
    if content is not None:
        (tmp_path / "submission.csv").write_bytes(content)
    with pytest.raises(InputError, match=match):
        read_submission(tmp_path / "submission.csv")


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"B_study": ""}, "a prediction for every one of 5 study ids, found no prediction for 1, first B"),
        ({"B2_image": ""}, "a prediction for every one of 6 image ids, found no prediction for 1, first B2"),
        ({"X_study": "typical 1 0 0 1 1"}, "only study ids of the ground truth, found predictions for 1, first X"),
        ({"X_image": "none 1 0 0 1 1"}, "only image ids of the ground truth, found predictions for 1, first X"),
    ],
)
def test_missing_and_unknown_ids_are_rejected(tmp_path: Path, changed: dict[str, str], match: str):
    with pytest.raises(InputError, match=match):
        metrics.report_score(write_rows(tmp_path / "submission.csv", **changed), write_images(tmp_path))


def test_report_reports_scores_intervals_figures_and_differences(tmp_path: Path):
    good = write_rows(tmp_path / "good.csv", A_study="negative 0.9 0 0 1 1", B1_image="opacity 1 0 0 10 20")
    plain, datalist = write_rows(tmp_path / "plain.csv"), write_images(tmp_path)
    text = metrics.report_score(good, datalist, against=plain, num_resamples=50)
    for words in (
        "5 studies, 6 images, 4 patients",
        "AUROC",
        "sensitivity >= 0.95 on these same studies",
        "minus plain.csv",
    ):
        assert words in text
    lines = {line.split()[0]: line.split() for line in text.split("minus plain.csv")[1].splitlines()[1:]}
    assert lines["negative"][1:3] == ["0.0000", "+1.0000"] and lines["typical"][-1] == "resolved"
    assert not any(patient in text for patient in PATIENTS.values())


def test_report_of_a_fold_says_what_was_left_out_and_of_tables_that_patients_are_not_known(tmp_path: Path):
    submission = write_rows(tmp_path / "submission.csv")
    text = metrics.report_score(submission, write_images(tmp_path), fold=1, num_resamples=5)
    assert "datalist.json, fold 1: 2 studies" in text and "3 studies and 4 images" in text
    assert "left out of the means: negative, typical" in text
    assert "resamples of studies, because" in metrics.report_score(submission, write_tables(tmp_path), num_resamples=5)
