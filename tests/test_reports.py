"""Report: its figures are those of the metrics, its sections those that its runs allow, and nothing is fetched."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scripts import research
from scripts.errors import InputError
from scripts.metrics import compare_predictions, read_ground_truth, score_predictions
from scripts.metrics.reliability import gather_images
from scripts.reports import write_report
from scripts.reports.cases import HEIGHT, list_cases
from scripts.reports.evaluation import ANY, evaluate_run, trace_precision_recall
from scripts.reports.runs import read_runs
from scripts.submission import read_submission
from sklearn.metrics import confusion_matrix, roc_auc_score

from tests.markup import Element, Page
from tests.reports import HEAT_COLOUR, write_explained_run, write_predicted_run, write_trained_run

FEW = {"num_resamples": 20}


@pytest.fixture(scope="module")
def runs(datalist_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        "good": write_predicted_run(folder / "good", datalist_file, skill=3),
        "bad": write_predicted_run(folder / "bad", datalist_file, skill=1, seed=1),
        "baseline": write_trained_run(folder / "trainings" / "baseline"),
        "other": write_trained_run(folder / "trainings" / "whole", "whole_image", metrics={"study_map": 0.4}),
        "explained": write_explained_run(folder / "explained", datalist_file),
    }


@pytest.fixture(scope="module")
def whole(runs: dict[str, Path], images: Path, datalist_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    out = tmp_path_factory.mktemp("report") / "report.html"
    folders = [runs["good"], runs["bad"], runs["baseline"].parent, runs["explained"]]
    reported = write_report(folders, out, datalist_file, tree=images, num_cases=2, **FEW)
    assert reported.startswith(f"2 runs scored, 2 trainings, pictures of 4 studies: {out}")
    return Page(out.read_text())


def list_pictures(page: Page) -> list[Element]:
    return [each for each in page.find("img") if each.attributes["src"].startswith("data:image/jpeg;base64,")]


def read_plots(page: Page) -> dict[str, Any]:
    scripts = [each for each in page.find("script") if each.attributes.get("type") == "application/json"]
    return {each.attributes["id"].removeprefix("plot-"): json.loads(each.text) for each in scripts}


def list_words(page: Page) -> str:
    return " ".join(page.find("main")[0].text.split())


def test_a_report_is_one_sound_page_that_names_no_address(whole: Page):
    assert whole.list_faults() == []
    sections = [each.attributes["id"] for each in whole.find("section")]
    assert sections == [
        "scores", "curves", "operating-point", "calibration", "subgroups", "comparison", "studies", "learning",
        "registry",
    ]  # fmt: skip
    links = [each.attributes["href"].removeprefix("#") for each in whole.find("a")]
    assert set(sections) <= set(links) <= {*sections, "main"}


def test_every_figure_has_its_data_and_a_name(whole: Page):
    plots, canvases = read_plots(whole), [each for each in whole.find("div") if "data-plot" in each.attributes]
    assert {each.attributes["data-plot"] for each in canvases} == set(plots) == {
        "scores", "precision-recall", "roc", "calibration", "differences", "learning",
    }  # fmt: skip
    assert all(each.attributes["aria-label"] for each in canvases)
    assert [trace["name"] for trace in plots["scores"]["data"]] == ["good", "bad"]


def test_scores_and_differences_are_those_of_the_metrics(whole: Page, runs: dict[str, Path], datalist_file: Path):
    known = read_ground_truth(datalist_file)
    good, bad = (read_submission(runs[name] / "submission.csv") for name in ("good", "bad"))
    words, scores = list_words(whole), score_predictions(good, known)
    assert f"study mAP {scores['study_map']:.3f}" in words and f"challenge mAP {scores['map']:.3f}" in words
    difference = compare_predictions(bad, good, known, 20)["study_map"]
    assert f"{difference.value:+.3f} {difference.low:+.3f} to {difference.high:+.3f} worse" in words


def test_the_area_under_each_curve_is_its_score(runs: dict[str, Path], datalist_file: Path):
    (run,) = read_runs([runs["bad"]]).predicted
    known = read_ground_truth(datalist_file)
    curves, scores = trace_precision_recall(run, known), score_predictions(run.predictions, known)
    assert {name: curve.area for name, curve in curves.items()} == pytest.approx(
        {name: scores[name] for name in curves}
    )
    for curve in curves.values():
        area = float((np.diff(curve.x) * curve.y[1:]).sum())  # as "vh" draws it
        assert area == pytest.approx(curve.area) and (np.diff(curve.y) <= 0).all()


def test_roc_and_confusion_are_scikit_learns(runs: dict[str, Path], datalist_file: Path):
    (run,) = read_runs([runs["bad"]]).predicted
    evaluated = evaluate_run(run, read_ground_truth(datalist_file), datalist_file, threshold=0.6, **FEW)
    labels, probabilities = evaluated.studies.labels, evaluated.studies.probabilities
    assert evaluated.roc[ANY].area == pytest.approx(roc_auc_score(labels != 0, 1 - probabilities[:, 0]))
    assert evaluated.roc["typical"].area == pytest.approx(roc_auc_score(labels == 1, probabilities[:, 1]))
    assert evaluated.clinical.auroc.value == pytest.approx(evaluated.roc[ANY].area)
    predicted = probabilities.argmax(axis=1)
    np.testing.assert_array_equal(evaluated.count_predictions(), confusion_matrix(labels, predicted))
    calls = evaluated.count_calls()
    assert calls[1:, 1].sum() / calls[1:].sum() == pytest.approx(evaluated.clinical.sensitivity.value)
    assert calls[0, 0] / calls[0].sum() == pytest.approx(evaluated.clinical.specificity.value)


def test_studies_stand_from_the_worst_to_the_best(whole: Page, runs: dict[str, Path], datalist_file: Path):
    (run,) = read_runs([runs["good"]]).predicted
    cases = list_cases(evaluate_run(run, read_ground_truth(datalist_file), datalist_file, **FEW))
    assert [case.of_label for case in cases] == sorted(case.of_label for case in cases)
    listed = [each for each in whole.find("tr") if "data-predicted" in each.attributes]
    assert len(listed) == len(cases) == 24
    assert sum("data-wrong" in each.attributes for each in listed) == sum(not case.right for case in cases)
    shown = [each.text.split()[0] for each in whole.find("h4")]
    ids = [case.study_id for case in cases]
    assert shown == [*ids[:2], *ids[::-1][:2]]


def test_pictures_stand_side_by_side_with_the_map(whole: Page):
    pictures = list_pictures(whole)
    titles = [each.text for each in whole.find("figcaption") if "article" in each.ancestors]
    assert len(titles) == len(pictures) and titles[:5] == [
        "image and lungs",
        "ground truth",
        "mask",
        "boxes",
        "Grad-CAM",
    ]
    opened = [Image.open(io.BytesIO(base64.b64decode(each.attributes["src"].partition(",")[2]))) for each in pictures]
    assert {picture.height for picture in opened} == {HEIGHT} and not opened[0].getexif()
    heat = np.asarray(opened[4].convert("RGB")).reshape(-1, 3)
    assert np.abs(heat.mean(axis=0) - HEAT_COLOUR).max() < 3, "the map's panel alone"


def test_pictures_are_left_out_by_option(runs: dict[str, Path], images: Path, datalist_file: Path, tmp_path: Path):
    write_report([runs["good"]], tmp_path / "a.html", datalist_file, tree=images, pictures="false", **FEW)
    write_report([runs["good"]], tmp_path / "b.html", datalist_file, **FEW)
    for name in ("a", "b"):
        page = Page((tmp_path / f"{name}.html").read_text())
        assert page.find("img") == [] and page.list_faults() == []
        assert "Comparison" not in list_words(page) and "Experiment registry" not in list_words(page)


def test_a_fold_is_scored_alone(runs: dict[str, Path], datalist_file: Path, tmp_path: Path):
    write_report([runs["good"]], tmp_path / "fold.html", datalist_file, fold=1, **FEW)
    known = read_ground_truth(datalist_file, 1)
    page = Page((tmp_path / "fold.html").read_text())
    assert f"fold 1: {len(known.study_labels)} studies" in list_words(page)
    assert len([each for each in page.find("tr") if "data-predicted" in each.attributes]) == len(known.study_labels)
    assert len(gather_images([runs["good"] / "predictions.json"], datalist_file, fold=1).flags) == len(
        known.image_boxes
    )


def test_trainings_alone_make_a_report_too(runs: dict[str, Path], tmp_path: Path):
    research.report(str(runs["baseline"]), str(runs["other"]), out=str(tmp_path / "trainings.html"))
    page = Page((tmp_path / "trainings.html").read_text())
    assert page.list_faults() == []
    assert [each.attributes["id"] for each in page.find("section")] == ["learning", "registry"]
    words = list_words(page)
    assert "0.4321" in words and "-0.0321 noise not measured" in words
    losses = [trace["name"] for trace in read_plots(page)["learning"]["data"]]
    assert losses == ["baseline"] * 3 + ["whole"] * 3


def test_runs_are_named_by_as_many_parts_as_tell_them_apart(datalist_file: Path, tmp_path: Path):
    folders = [write_predicted_run(tmp_path / place / "evaluation", datalist_file, 2) for place in ("a", "b")]
    assert [run.name for run in read_runs(folders).predicted] == ["a/evaluation", "b/evaluation"]


def test_names_are_text_wherever_they_stand(datalist_file: Path, tmp_path: Path):
    name = "<img src=x onerror=alert(1)>"
    folder = write_predicted_run(tmp_path / name, datalist_file, 2)
    write_report([folder], tmp_path / "report.html", datalist_file, **FEW)
    page = Page((tmp_path / "report.html").read_text())
    assert page.find("h1")[0].text == name and page.find("img") == []
    assert read_plots(page)["scores"]["data"][0]["name"] == name


@pytest.mark.parametrize(
    ("named", "options", "match"),
    [
        ([], {}, "one folder of a run or more"),
        (["nothing"], {}, r"expected predictions.json with submission.csv.* found none of them at .*nothing"),
        (["good"], {}, "a ground truth to score predictions against, or a training"),
        (["good", "good"], {"scored": True}, "each run once"),
        (["good"], {"scored": True, "pictures": "perhaps"}, "pictures true or false"),
        (["good"], {"scored": True, "fold": 9}, "images of fold 9"),
    ],
)
def test_what_cannot_be_reported_is_an_error(
    runs: dict[str, Path], datalist_file: Path, tmp_path: Path, named: list[str], options: dict[str, Any], match: str
):
    (tmp_path / "nothing").mkdir()
    folders = [runs.get(name, tmp_path / name) for name in named]
    scored = options.pop("scored", False)
    with pytest.raises(InputError, match=match):
        write_report(folders, tmp_path / "out.html", datalist_file if scored else None, **options, **FEW)
    assert not (tmp_path / "out.html").exists()


def test_no_patient_is_named(whole: Page, images: Path, datalist_file: Path):
    patients = {image["patient"] for image in json.loads(datalist_file.read_text())["training"]}
    text = re.sub(r"data:image/jpeg;base64,[^\"]+", "", whole.html)
    assert not [patient for patient in patients if patient in text]
