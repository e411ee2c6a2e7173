"""The reliability report on synthetic predictions: folds pooled, members matched, planted effects reported."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax
from scripts.datalist import write_datalist
from scripts.errors import InputError
from scripts.labels import STUDY_CLASSES
from scripts.metrics.reliability import gather_images, report_reliability
from scripts.metrics.reliability.assessment import centre_errors
from scripts.outputs import write_tables
from scripts.predictions import ImageFindings

NUM_STUDIES = 160


def list_images() -> list[dict[str, Any]]:
    """Two studies a patient, two folds, two images in every fourth study; the last study has no label."""
    images = []
    for n in range(NUM_STUDIES):
        labelled = n < NUM_STUDIES - 1
        for k in range(2 if n % 4 == 0 else 1):
            images.append(
                {
                    "image": f"{n}_{k}.dcm", "image_id": f"i{n}_{k}", "study_id": f"s{n}", "patient": f"p{n // 2}",
                    "label": n // 2 % 4 if labelled else None, "fold": n // 2 % 2 if labelled else None, "boxes": [],
                    "boxes_known": True, "lung_box": [0, 0, 10 + n % 7, 20], "height": 20, "width": 40,
                    "duplicate_of": "i1_0" if n == 0 else None,
                }
            )  # fmt: skip
    return images


def predict_image(image: dict[str, Any], seed: int, sharpness: float) -> ImageFindings:
    """Logits that know the label, made too sure by a sharpness above 1; images of a study say the same."""
    rng = np.random.default_rng([seed, int(image["study_id"][1:])])
    logits = rng.normal(0, 1, 4) + 1.2 * (np.arange(4) == (image["label"] or 0))
    probabilities = dict(zip(STUDY_CLASSES, softmax(sharpness * logits).tolist(), strict=True))
    flags = ("whole_image",) if image["image_id"].endswith("_1") else ()
    return ImageFindings(image["image_id"], image["study_id"], probabilities, (), (), 0.5, (0, 0, 9, 9), flags)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """datalist.json, a folder of predictions for each seed and fold, and metadata.csv."""
    folder, images = tmp_path_factory.mktemp("reliability"), list_images()
    training, test = ([image for image in images if (image["label"] is None) == hidden] for hidden in (False, True))
    write_datalist(folder / "datalist.json", training, test, 2, 0)
    for seed in (0, 1):
        for fold in (0, 1):
            predicted = [
                predict_image(image, seed, 3.0) for image in images if image["fold"] in (fold, None if fold else fold)
            ]
            write_tables(predicted, folder / f"seed{seed}_fold{fold}")
    rows = "".join(f"{image['image_id']},{'PA' if int(image['study_id'][1:]) % 2 else 'AP'}\n" for image in images)
    (folder / "metadata.csv").write_text(f"image_id,view_position\n{rows}", encoding="utf-8")
    return folder


def find(case: Path, *names: str) -> list[Path]:
    return [case / name / "predictions.json" for name in names]


BOTH_FOLDS = ("seed0_fold0", "seed0_fold1")
OTHER_SEED = ("seed1_fold0", "seed1_fold1")


def test_the_report_reports_every_part(case: Path, tmp_path: Path):
    members = ",".join(map(str, find(case, *BOTH_FOLDS, *OTHER_SEED)))
    text = report_reliability(
        find(case, *BOTH_FOLDS), case / "datalist.json", tmp_path, members, case / "metadata.csv", num_resamples=30
    )
    assert "datalist.json, fold 0, 1: 159 studies, 199 images, 80 patients; 2 members" in text
    sections = ("ECE", "Brier", "log likelihood", "study mAP", "mutual information of members", "oracle", "answered")
    parts = ("lung box area", "images of the study: 2 or more", "flag whole_image: yes", "view_position: AP")
    for reported in (*sections, *parts):
        assert reported in text
    assert "near-duplicate in the set: yes" in text and "too few" in text and "WARNING" in text
    for name in ("reliability.png", "selective.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.format == "PNG" and picture.width > 600
            assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 20, "something is drawn"


@pytest.fixture(scope="module")
def reported(case: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Content of reliability.json for both folds of one seed."""
    out = tmp_path_factory.mktemp("reported")
    report_reliability(find(case, *BOTH_FOLDS), case / "datalist.json", out, num_resamples=60)
    return json.loads((out / "reliability.json").read_text(), parse_constant=pytest.fail)


def test_the_json_holds_what_was_planted(reported: dict[str, Any]):
    evaluated = reported["calibration"]
    assert 2 < evaluated["temperature"] < 5, "the logits were made three times too large"
    assert len(evaluated["part_temperatures"]) == 5
    for name in ("ece", "nll", "brier"):
        assert evaluated["after"][name]["value"] < evaluated["before"][name]["value"]
        assert evaluated["improvement"][name]["value"] == pytest.approx(
            evaluated["before"][name]["value"] - evaluated["after"][name]["value"]
        )
    moved = evaluated["improvement"]["study_map"]["value"]
    assert moved == pytest.approx(evaluated["after"]["study_map"]["value"] - evaluated["before"]["study_map"]["value"])
    areas = {name: each["value"] for name, each in reported["selection"]["areas"].items()}
    assert areas["oracle"] < areas["least_confidence"] < areas["random"], "mistakes are less sure"
    assert set(areas) == {"oracle", "least_confidence", "entropy", "random"}, "one member disagrees with nobody"
    assert reported["selection"]["gains"]["entropy"]["value"] == pytest.approx(areas["random"] - areas["entropy"])
    kept = reported["selection"]["kept"]
    assert sum(kept["0.5"]["num_of_class"]) == 80 and sum(kept["1"]["num_of_class"]) == 159
    assert kept["0.5"]["accuracy"]["value"] > kept["1"]["accuracy"]["value"]
    flagged = [each for each in reported["subgroups"] if each["trait"] == "near-duplicate in the set"]
    assert [(each["name"], sum(each["num_of_class"])) for each in flagged] == [("no", 157), ("yes", 2)]
    assert flagged[1]["scores"] == {"study_map": None, "auroc": None}


def test_intervals_of_errors_are_centred_and_other_figures_stay():
    figures = {name: np.array([0.02, 0.05, 0.07]) for name in ("ece", "class_ece", "nll")}
    centred = centre_errors(figures)
    for name in ("ece", "class_ece"):
        np.testing.assert_allclose(centred[name], [0.02, 0.01, 0.03])
    np.testing.assert_array_equal(centred["nll"], figures["nll"])


def test_errors_lie_inside_their_intervals(reported: dict[str, Any]):
    for when in ("before", "after"):
        assert all(each["low"] < each["value"] < each["high"] for each in reported["calibration"][when].values())


def test_folds_are_pooled_whatever_their_order(case: Path):
    one, other = (gather_images(find(case, *names), case / "datalist.json") for names in (BOTH_FOLDS, BOTH_FOLDS[::-1]))
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    assert one.folds == (0, 1) and one.members.shape == (1, 199, 4)
    single = gather_images(find(case, "seed0_fold1"), case / "datalist.json")
    assert single.folds == (1,) and len(single.ground_truth.study_labels) == 79
    assert "i159_0" not in single.flags, "an image without a label is left out"


def test_members_are_matched_by_image(case: Path):
    gathered = gather_images(
        find(case, *BOTH_FOLDS),
        case / "datalist.json",
        find(case, "seed1_fold1", "seed0_fold0", "seed1_fold0", "seed0_fold1"),
    )
    assert gathered.members.shape == (2, 199, 4)
    known = {record["image_id"]: record for record in list_images()}
    for place in (0, 50, 198):
        image = list(gathered.ground_truth.image_boxes)[place]
        expected = {seed: list(predict_image(known[image], seed, 3.0).probabilities.values()) for seed in (0, 1)}
        assert sorted(gathered.members[:, place].tolist()) == sorted(expected.values())
        assert gathered.probabilities[place].tolist() == expected[0]
    assert gathered.average_members().shape == (2, 159, 4)


@pytest.mark.parametrize(
    ("predictions", "members", "predicted"),
    [
        ([], [], "one predictions.json or more"),
        (["absent"], [], "none at"),
        (["seed0_fold0", "seed1_fold0"], [], "each study in one of the predictions, found s"),
        (["seed0_fold0", "seed0_fold0"], [], "each study in one of the predictions"),
        (["cut"], [], "a prediction for every one of .* image ids"),
        (["hidden"], [], "predictions of images with a label"),
        (["other"], [], "none of datalist.json"),
        (["seed0_fold0"], ["seed0_fold0", "cut"], "equally many of the members, found images in 1 or 2 of 2"),
        (["seed0_fold0"], ["seed0_fold1"], "equally many of the members, found images in 0 of 1"),
    ],
)
def test_files_that_do_not_fit_are_rejected_in_one_line(
    predictions: Sequence[str], members: Sequence[str], predicted: str, case: Path, tmp_path: Path
):
    images = list_images()
    stranger = images[0] | {"image_id": "external", "study_id": "s999"}
    parts = {"cut": [image for image in images if image["fold"] == 0][1:], "hidden": images[-1:], "other": [stranger]}
    for name, part in parts.items():
        write_tables([predict_image(image, 0, 1.0) for image in part], tmp_path / name)
    names = [
        [(tmp_path if name in parts else case) / name / "predictions.json" for name in each]
        for each in (predictions, members)
    ]
    with pytest.raises(InputError, match=predicted) as rejected:
        report_reliability(names[0], case / "datalist.json", tmp_path / "out", names[1], num_resamples=2)
    assert "\n" not in str(rejected.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(("options", "message"), [({"num_resamples": 0}, "one resample"), ({"num_parts": 1}, "2 parts"),
                                                  ({"num_parts": 81}, "80 patients for 81 parts")])  # fmt: skip
def test_options_out_of_range_are_rejected(options: dict[str, int], message: str, case: Path, tmp_path: Path):
    with pytest.raises(InputError, match=message):
        report_reliability(find(case, *BOTH_FOLDS), case / "datalist.json", tmp_path, **options)
