"""Ensembles: fitted weights against a slow search, no image in its own fit, and the reports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripts import ensembles
from scripts.datalist import write_datalist
from scripts.ensembles import greedy
from scripts.errors import InputError
from scripts.labels import STUDY_CLASSES, UNIT_BOX
from scripts.metrics import compare_predictions, read_ground_truth, score_predictions
from scripts.outputs import write_tables
from scripts.predictions import ImageFindings
from scripts.submission import Predictions

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def draw_arrays(number: int, seed: int = 0, noise: float = 1.0) -> Arrays:
    """negative, best, is_none, groups of images, two a patient: p(negative) and the best box both report something."""
    rng = np.random.default_rng(seed)
    is_none = rng.random(number) < 0.4
    negative, best = (1 / (1 + np.exp(-(sign * (2 * is_none - 1) + rng.normal(0, noise, number)))) for sign in (1, -1))
    return negative, best * (rng.random(number) < 0.9), is_none, np.arange(number) // 2


def average_slowly(confidences: Sequence[float], is_none: Sequence[bool]) -> float:
    """Area under the monotone precision, counted from nothing at each confidence."""
    points = []
    for threshold in sorted(set(confidences), reverse=True):
        kept = [ground_truth for value, ground_truth in zip(confidences, is_none, strict=True) if value >= threshold]
        points.append((sum(kept), sum(kept) / len(kept)))
    gains = [found - before for (found, _), (before, _) in zip(points, [(0, 0), *points], strict=False)]
    best = [max(precision for _, precision in points[place:]) for place in range(len(points))]
    return sum(gain * precision for gain, precision in zip(gains, best, strict=True)) / sum(is_none)


@pytest.mark.parametrize(("weight", "expected"), [(1, [0.8, 0.2]), (0, [1.0, 0.1]), (0.25, [0.95, 0.125])])
def test_none_is_blended_from_p_negative_and_the_best_box(weight: float, expected: list[float]):
    assert ensembles.blend_none([0.8, 0.2], [0.0, 0.9], weight) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("negative", "best", "expected"),
    [
        ([0.9, 0.8, 0.2, 0.1], [0.5, 0.5, 0.5, 0.5], 1.0),  # all weights but 0 are perfect
        ([0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 0.9, 0.8], 0.95),  # all but 1
        ([0.4, 0.4, 0.5, 0.4], [0.0, 0.0, 0.2, 0.8], 0.65),  # 0.4 w + 1 - w > 0.5 w + 0.8 (1 - w) while w < 2/3
        ([0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5], 1.0),  # nothing reports them apart
    ],
)
def test_the_weight_has_the_highest_precision_and_is_the_largest_of_equal_ones(negative, best, expected: float):
    assert ensembles.fit_none_weight(negative, best, [True, True, False, False]) == expected


def test_the_weight_is_one_where_no_image_is_none():
    assert ensembles.fit_none_weight([0.1, 0.2], [0.3, 0.4], [False, False]) == 1.0


CONFIDENCES = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.8, 1.0])  # few, so that ties are many


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(CONFIDENCES, CONFIDENCES, st.booleans()), min_size=1, max_size=12))
def test_the_weight_equals_that_of_a_slow_search(images: list[tuple]):
    negative, best, is_none = (list(column) for column in zip(*images, strict=True))
    if not any(is_none):
        return
    grid = [0.0, 0.25, 0.5, 0.75, 1.0]
    slow = [
        average_slowly([w * n + (1 - w) * (1 - b) for n, b in zip(negative, best, strict=True)], is_none) for w in grid
    ]
    expected = max(weight for weight, value in zip(grid, slow, strict=True) if value > max(slow) - 1e-9)
    assert ensembles.fit_none_weight(negative, best, is_none, grid) == expected


def recover_weights(fitted: ensembles.CrossFit, negative: np.ndarray, best: np.ndarray) -> np.ndarray:
    """The weight by which each image was blended."""
    return ((fitted.confidences - (1 - best)) / (negative - (1 - best))).round(6)


def test_each_part_is_blended_by_the_weight_of_the_others_and_a_patient_stands_in_one():
    negative, best, is_none, groups = draw_arrays(200)
    fitted = ensembles.cross_fit_none(negative, best, is_none, groups, num_parts=4, seed=3)
    weights = recover_weights(fitted, negative, best)
    assert len(fitted.part_weights) == 4 and set(weights) == {round(weight, 6) for weight in fitted.part_weights}
    assert (weights[::2] == weights[1::2]).all(), "two images a patient"


def test_the_ground_truth_of_an_image_has_no_say_in_its_own_confidence():
    """A blend fitted on the images it is evaluated on leaks: each weight has seen the references that score it."""
    negative, best, is_none, groups = draw_arrays(60, noise=2)
    whole = ensembles.cross_fit_none(negative, best, is_none, groups)
    for patient in range(5):
        changed = np.where(groups == patient, ~is_none, is_none)
        other = ensembles.cross_fit_none(negative, best, changed, groups)
        np.testing.assert_array_equal(other.confidences[groups == patient], whole.confidences[groups == patient])


def test_precisions_are_those_of_their_confidences():
    negative, best, is_none, groups = draw_arrays(300)
    fitted = ensembles.cross_fit_none(negative, best, is_none, groups)
    blended = ensembles.blend_none(negative, best, fitted.weight)
    assert fitted.weight == ensembles.fit_none_weight(negative, best, is_none)
    assert fitted.ap_before == pytest.approx(average_slowly(negative.tolist(), is_none))
    assert fitted.ap_cross_fitted == pytest.approx(average_slowly(fitted.confidences.tolist(), is_none))
    assert fitted.ap_in_sample == pytest.approx(average_slowly(blended.tolist(), is_none))
    assert fitted.ap_before < fitted.ap_cross_fitted, "both halves report something"


def test_a_box_that_reports_nothing_flatters_in_sample_and_gains_nothing_cross_fitted():
    rng = np.random.default_rng(1)
    gains = []
    for seed in range(20):
        negative, _, is_none, groups = draw_arrays(60, seed, noise=2)
        fitted = ensembles.cross_fit_none(negative, rng.random(60), is_none, groups)
        assert fitted.ap_in_sample >= fitted.ap_before
        gains.append((fitted.ap_in_sample - fitted.ap_before, fitted.ap_cross_fitted - fitted.ap_before))
    flattered, honest = np.mean(gains, axis=0)
    assert flattered > 0 >= honest


def test_the_split_repeats_with_its_seed():
    arrays = draw_arrays(100, noise=2)
    one, same, other = (ensembles.cross_fit_none(*arrays, seed=seed).confidences for seed in (0, 0, 1))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_fewer_patients_than_parts_are_rejected():
    with pytest.raises(ValueError, match="number of groups"):
        ensembles.cross_fit_none(*draw_arrays(8), num_parts=5)


# The report


def write_case(folder: Path, arrays: Arrays) -> tuple[Path, Path]:
    """predictions.json by the project's own writer, and the datalist; the last image is in fold 1."""
    findings, images = [], []
    for n, (negative, best, is_none, patient) in enumerate(zip(*(array.tolist() for array in arrays), strict=True)):
        rest = dict.fromkeys(STUDY_CLASSES[1:], (1 - negative) / 3)
        boxes, scores = (((1.0, 1.0, 5.0, 5.0), (2.0, 2.0, 5.0, 5.0)), (best, best / 2)) if best else ((), ())
        probabilities = {STUDY_CLASSES[0]: negative} | rest
        findings.append(ImageFindings(f"i{n}", f"s{n}", probabilities, boxes, scores, negative, (0.0, 0.0, 9.0, 9.0)))
        images.append(
            {
                "image": f"i{n}.dcm",
                "image_id": f"i{n}",
                "study_id": f"s{n}",
                "patient": f"p{patient:03d}",
                "label": 0 if is_none else 1,
                "fold": int(n == len(arrays[0]) - 1),
                "boxes": [] if is_none else [[1.0, 1.0, 5.0, 5.0]],
                "boxes_known": True,
                "lung_box": None,
                "height": 9,
                "width": 9,
                "duplicate_of": None,
            }
        )
    write_tables(findings, folder)
    write_datalist(folder / "datalist.json", images, [], 2, 0)
    return folder / "predictions.json", folder / "datalist.json"


def test_report_reports_what_the_blend_gains_on_the_scores_own_terms(tmp_path: Path):
    arrays = draw_arrays(120)
    predictions, datalist = write_case(tmp_path, arrays)
    text = ensembles.report_none_blend(predictions, datalist, num_resamples=50)
    ground_truth, fitted = read_ground_truth(datalist), ensembles.cross_fit_none(*arrays)
    before, after = (
        Predictions({}, {f"i{n}": [("none", float(value), UNIT_BOX)] for n, value in enumerate(values)})
        for values in (arrays[0], fitted.confidences)
    )
    gain = compare_predictions(after, before, ground_truth, num_resamples=50)["none"]
    lines = text.splitlines()
    assert f"{120} images, {arrays[2].sum()} of them none" in lines[0]
    assert lines[5].split()[2] == f"{score_predictions(before, ground_truth)['none']:.4f}"
    assert lines[6].split()[5] == f"{score_predictions(after, ground_truth)['none']:.4f}"
    assert f"{gain.value:+.4f}  {gain.low:+.4f} to {gain.high:+.4f}" in lines[7]
    assert f"{fitted.weight:.2f} (AP {fitted.ap_in_sample:.4f} on these images, flattered)" in text


def test_report_of_a_fold_leaves_the_other_images_out(tmp_path: Path):
    text = ensembles.report_none_blend(*write_case(tmp_path, draw_arrays(41)), fold=0, num_resamples=5)
    assert "predictions.json against datalist.json, fold 0: 40 images" in text


def change_predictions(path: Path, **changes: Any) -> None:
    """Change keys of the first image; a change to None leaves the image out."""
    content = json.loads(path.read_text())
    first = content["images"].pop(0) | changes
    content["images"] += [] if changes == {"image_id": None} else [first]
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"image_id": None}, "a prediction for every one of 20 image ids, found no prediction for 1, first i0"),
        ({"image_id": "i1"}, "images, each once, found 20 rows of 19 images"),
        ({"probabilities": {"typical": 1.0}}, "images with image_id, probabilities and scores"),
        ({"probabilities": {"negative": float("nan")}}, "images with image_id, probabilities and scores"),
        ({"scores": [0.5, 1.5]}, "scores between 0 and 1, found another content in predictions.json"),
        ({"scores": None}, "images with image_id, probabilities and scores"),
    ],
)
def test_predictions_that_do_not_fit_are_rejected_in_one_line(tmp_path: Path, changes: dict[str, Any], match: str):
    predictions, datalist = write_case(tmp_path, draw_arrays(20))
    change_predictions(predictions, **changes)
    with pytest.raises(InputError, match=match) as caught:
        ensembles.report_none_blend(predictions, datalist)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"images": 3}', '{"images": [3]}', '{"images": {"a": 1}}'])
def test_a_file_that_holds_no_predictions_is_rejected(tmp_path: Path, content: str):
    predictions, datalist = write_case(tmp_path, draw_arrays(20))
    predictions.write_text(content)
    with pytest.raises(InputError, match="write it again by inference"):
        ensembles.report_none_blend(predictions, datalist)
    with pytest.raises(InputError, match=r"a predictions\.json, found none"):
        ensembles.report_none_blend(tmp_path / "absent.json", datalist)


@pytest.mark.parametrize(
    ("number", "options", "match"),
    [
        (20, {"num_resamples": 0}, "at least one resample"),
        (20, {"num_parts": 1}, "2 parts or more"),
        (20, {"num_parts": 11}, "as many patients as the 11 parts, .* found 10 patients"),
        (20, {"fold": 1}, "found 1 patients"),
    ],
)
def test_too_few_images_or_parts_or_resamples_are_rejected(tmp_path: Path, number: int, options: dict, match: str):
    with pytest.raises(InputError, match=match):
        ensembles.report_none_blend(*write_case(tmp_path, draw_arrays(number)), **options)


def test_images_of_which_none_is_none_are_rejected(tmp_path: Path):
    negative, best, is_none, groups = draw_arrays(20)
    with pytest.raises(InputError, match="0 images that are none"):
        ensembles.report_none_blend(*write_case(tmp_path, (negative, best, np.zeros_like(is_none), groups)))


# several networks


def draw_members(number: int = 60, skills: Sequence[float] = (1.0, 1.0, 0.0), seed: int = 0):
    """Probabilities (M, S, 4), labels and patients of studies, two a patient; a member's skill is its signal."""
    rng = np.random.default_rng(seed)
    labels = np.arange(number) % 4
    logits = rng.normal(size=(len(skills), number, 4)) + np.array(skills)[:, None, None] * np.eye(4)[labels]
    odds = np.exp(logits)
    return odds / odds.sum(axis=2, keepdims=True), labels, [f"p{place // 2}" for place in range(number)]


def choose_slowly(probabilities: np.ndarray, labels: np.ndarray, min_gain: float) -> list[float]:
    """Greedy selection over multisets that are averaged anew at every step."""
    chosen: list[int] = []
    best = -1.0
    while len(chosen) < 32:
        scored = []
        for member in range(len(probabilities)):
            mean = np.mean([probabilities[each] for each in [*chosen, member]], axis=0)
            precisions = [average_slowly(mean[:, place].tolist(), (labels == place).tolist()) for place in range(4)]
            scored.append((sum(precisions) / 4, -member))
        score, member = max(scored)
        if score <= best + min_gain:
            break
        best = score
        chosen.append(-member)
    return [chosen.count(member) / len(chosen) for member in range(len(probabilities))]


@pytest.mark.parametrize("seed", range(4))
def test_greedy_selection_is_that_of_a_slow_twin(seed: int):
    probabilities, labels, _ = draw_members(40, (1.0, 0.8, 0.6), seed)
    weights = ensembles.choose_weights(probabilities, labels)
    assert weights == pytest.approx(choose_slowly(probabilities, labels, greedy.MIN_GAIN))
    assert weights.sum() == pytest.approx(1)


def test_a_member_without_skill_is_not_taken():
    probabilities, labels, _ = draw_members(400, (2.0, 2.0, 0.0))
    assert ensembles.choose_weights(probabilities, labels)[2] == 0


def test_a_member_is_taken_only_for_a_gain_beyond_the_bound():
    probabilities, labels, _ = draw_members(80, (1.0, 1.0))
    assert sorted(ensembles.choose_weights(probabilities, labels, min_gain=1.0)) == [0, 1]


def test_each_study_is_blended_by_weights_that_its_patient_had_no_say_in():
    probabilities, labels, patients = draw_members(60)
    fitted = ensembles.cross_fit_weights(probabilities, labels, patients, num_parts=3)
    for patient in set(patients):
        own = np.array([each == patient for each in patients])
        changed = labels.copy()
        changed[own] = (changed[own] + 1) % 4
        again = ensembles.cross_fit_weights(probabilities, changed, patients, num_parts=3)
        assert np.array_equal(again.probabilities[own], fitted.probabilities[own])


def test_the_gain_on_studies_a_blend_was_chosen_on_flatters():
    gaps = []
    for seed in range(6):
        fitted = ensembles.cross_fit_weights(*draw_members(60, (0.3,) * 12, seed))
        gaps.append(fitted.in_sample - fitted.cross_fitted)
    assert min(gaps) > 0


def write_members(folder: Path, skills: Sequence[float] = (2.0, 2.0, 0.0)) -> tuple[dict[str, list[Path]], Path]:
    """Predictions of members in two files each, and the datalist that they are of; studies have one image."""
    probabilities, labels, _ = draw_members(60, skills)
    members: dict[str, list[Path]] = {}
    for member, rows in enumerate(probabilities):
        images = [make_study_image(place, row) for place, row in enumerate(rows)]
        for part, some in enumerate((images[:30], images[30:])):
            write_tables(some, folder / f"{member}{part}")
            members.setdefault(f"m{member}", []).append(folder / f"{member}{part}" / "predictions.json")
    listed = [make_listed(place, int(label)) for place, label in enumerate(labels)]
    write_datalist(folder / "datalist.json", listed, [], num_folds=2, seed=0)
    return members, folder / "datalist.json"


def make_study_image(place: int, row: np.ndarray) -> ImageFindings:
    named = dict(zip(STUDY_CLASSES, row.tolist(), strict=True))
    return ImageFindings(f"i{place}", f"s{place}", named, (), (), float(row[0]), (0, 0, 9, 9))


def make_listed(place: int, label: int) -> dict[str, Any]:
    ids = {"image": f"i{place}.dcm", "image_id": f"i{place}", "study_id": f"s{place}", "patient": f"p{place // 2}"}
    empty = {"boxes": [], "boxes_known": True, "lung_box": None, "height": 9, "width": 9, "duplicate_of": None}
    return {**ids, **empty, "label": label, "fold": place % 2}


def test_the_report_compares_members_their_mean_and_the_blend(tmp_path: Path):
    members, datalist = write_members(tmp_path)
    report = ensembles.report_ensemble(members, datalist, out=tmp_path / "ensemble.json", num_resamples=50)
    probabilities, labels, patients = draw_members(60, (2.0, 2.0, 0.0))
    fitted = ensembles.cross_fit_weights(probabilities, labels, patients)
    assert f"{fitted.cross_fitted:.4f}" in next(line for line in report.splitlines() if line.startswith("greedy"))
    assert "best member" in report
    written = json.loads((tmp_path / "ensemble.json").read_text())
    assert written["weights"] == pytest.approx(
        {f"m{place}": weight for place, weight in enumerate(fitted.weights) if weight}
    )


def test_members_of_other_studies_are_rejected(tmp_path: Path):
    members, datalist = write_members(tmp_path)
    with pytest.raises(InputError, match="a prediction for every one of 60 study ids, found no prediction for 30"):
        ensembles.report_ensemble({**members, "m1": members["m1"][:1]}, datalist)
    with pytest.raises(InputError, match="images, each once, found one twice"):
        ensembles.report_ensemble({**members, "m1": [*members["m1"], members["m1"][0]]}, datalist)
    with pytest.raises(InputError, match="2 members or more"):
        ensembles.report_ensemble({"m0": members["m0"]}, datalist)
