"""The commands of the documentation as whole processes: what they leave behind, and what they say of bad input."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from scripts.__main__ import RENAMED_VERBS
from scripts.checkpoints import read_origin, read_weights
from scripts.files import compute_sha256
from scripts.labels import STUDY_CLASSES
from scripts.metrics import read_ground_truth, score_predictions
from scripts.output_folders import LOCK
from scripts.predictions import MIN_SHOWN_SCORE
from scripts.submission import read_submission
from scripts.synthetic import generate_tree

from tests import configs
from tests.configs import DETECTOR, LUNGS

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = Path("bundle/configs")
TRAIN, INFERENCE = str(CONFIGS / "train.json"), str(CONFIGS / "inference.json")
EVALUATE = f"['{TRAIN}','{CONFIGS / 'evaluate.json'}']"
EXPERIMENTS = sorted((configs.CONFIGS / "experiments").glob("*.json"))
INFERABLE = [path for path in EXPERIMENTS if configs.find_base(path) == configs.INFERENCE]
TRAINABLE = [DETECTOR, LUNGS, *(path for path in EXPERIMENTS if path not in INFERABLE)]

#: Small enough for a second, on the CPU wherever the tests run.
TINY: dict[str, Any] = {
    "image_size": 64,
    "batch_size": 8,
    "encoder": "test_efficientnet",
    "device": "$torch.device('cpu')",
    "precision": "float32",
}
TINY_TRAINING = TINY | {"epochs": 1, "val_interval": 1}

#: Planted in every text of every image that may hold a name, a number or a remark.
CANARY = "CANARY"
TEXTS = (
    "PatientName", "PatientAddress", "PatientComments", "OtherPatientIDs", "PatientTelephoneNumbers", "InstitutionName",
    "ReferringPhysicianName", "OperatorsName", "AccessionNumber", "StudyDescription", "SeriesDescription",
    "ProtocolName", "ImageComments", "RequestedProcedureDescription", "StationName", "DeviceSerialNumber",
)  # fmt: skip
BIRTH_DATE = "19010203"
#: Patients of the broken images, which keep the headers that they were drawn with.
SYNTHETIC_NAMES = ("Gezeichnet", "Zmyślona", "Рисунков", "Synthetic^Image")


@dataclass(frozen=True)
class Outcome:
    """Outcome of a command."""

    status: int
    stdout: str
    stderr: str

    @property
    def last_line(self) -> str:
        return self.stderr.rstrip().rpartition("\n")[2]  # a progress bar that was open leaves blanks


class Commands:
    """Runs commands in forks of one warm interpreter, in a repository's root, and keeps what each of them said."""

    def __init__(self, folder: Path, root: Path = ROOT) -> None:
        self.folder, self.numbers = folder, count()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm_interpreter"],
            cwd=root,
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read_response() == "ready"

    def run(self, *arguments: str, **options: Any) -> Outcome:
        """`python -m <arguments> --<option> <value> ...`, from the root."""
        named = [text for key, value in options.items() for text in (f"--{key}", str(value))]
        number = next(self.numbers)
        stdout, stderr = (self.folder / f"{number}.{name}" for name in ("stdout", "stderr"))
        request = {"arguments": [*arguments, *named], "stdout": str(stdout), "stderr": str(stderr)}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return Outcome(int(self._read_response()), stdout.read_text(), stderr.read_text())

    def run_bundle(self, run_id: str, config_file: str, **options: Any) -> Outcome:
        return self.run("monai.bundle", "run", run_id, config_file=config_file, **options)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _read_response(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    commands = Commands(tmp_path_factory.mktemp("reported"))
    yield commands
    commands.close()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic tree with broken images, and with identifiers in every header that can be written again."""
    tree = tmp_path_factory.mktemp("commands") / "tree"
    generate_tree(tree, num_studies=24, num_test_studies=3, size=96, workers=1, broken=True)
    broken = {row["path"] for row in read_csv(tree / "broken_images.csv")}
    for path in tree.rglob("*.dcm"):
        if path.relative_to(tree).as_posix() not in broken:
            plant_canaries(path)
    return tree


def plant_canaries(path: Path) -> None:
    image = pydicom.dcmread(path)
    image.PatientID = f"{CANARY}{image.PatientID}"
    image.PatientBirthDate = BIRTH_DATE
    for keyword in TEXTS:
        setattr(image, keyword, CANARY)
    image.save_as(path)


def succeed(outcome: Outcome, status: int = 0) -> Outcome:
    assert outcome.status == status, outcome.stderr[-3000:]
    return outcome


@pytest.fixture(scope="module")
def prepared(commands: Commands, tree: Path) -> tuple[Path, Outcome]:
    """Folder of the datalist, and what the command said."""
    out = tree.parent / "prepared"
    return out, succeed(commands.run("scripts", "prepare", tree=tree, out=out, num_folds=3, workers=1))


def place_data(tree: Path) -> dict[str, Path]:
    return {"dataset_dir": tree, "datalist_file": tree.parent / "prepared" / "datalist.json"}


@pytest.fixture(scope="module")
def trained(commands: Commands, tree: Path, prepared: tuple[Path, Outcome]) -> Path:
    out = tree.parent / "training"
    succeed(commands.run_bundle("training", TRAIN, **place_data(tree), **TINY_TRAINING, output_dir=out))
    return out


@pytest.fixture(scope="module")
def evaluated(commands: Commands, tree: Path, trained: Path) -> Path:
    out = tree.parent / "evaluation"
    options = {**place_data(tree), **TINY, "weights": trained / "last.pt", "output_dir": out, "overlays": 2}
    succeed(commands.run_bundle("evaluating", EVALUATE, **options))
    return out


@pytest.fixture(scope="module")
def inferred(commands: Commands, tree: Path, trained: Path) -> tuple[Path, Outcome]:
    """A folder of images without a datalist: 23 of them are broken."""
    out = tree.parent / "inference"
    options = {**TINY, "weights": trained / "last.pt", "output_dir": out, "overlays": 2}
    return out, succeed(commands.run_bundle("inferring", INFERENCE, dataset_dir=tree / "train", **options), status=3)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def list_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def find_names(folder: Path) -> set[str]:
    return {path.stem for path in folder.iterdir()}


def read_images(prepared: Path) -> list[dict[str, Any]]:
    return json.loads((prepared / "datalist.json").read_text())["training"]


def test_preparing_reports_what_it_made_and_rejects_broken_images_by_reason(tree: Path, prepared: tuple[Path, Outcome]):
    out, outcome = prepared
    assert list_files(out) == {"datalist.json", "decisions.csv"}
    assert re.search(r"\d+ images with label of \d+ patients, \d+ without: .*datalist\.json", outcome.stdout)
    rejected = {row["image_id"]: row["why"] for row in read_csv(out / "decisions.csv") if row["decision"] == "rejected"}
    broken = {row["image"]: row["reason"] for row in read_csv(tree / "broken_images.csv")}
    assert {image_id: why.partition(":")[0] for image_id, why in rejected.items()} == broken
    assert not broken.keys() & {image["image_id"] for image in read_images(out)}


def test_training_leaves_weights_with_their_hashes_and_a_history(trained: Path):
    files = list_files(trained)
    weights = {"last.pt", "best.pt", "last.pt.sha256", "best.pt.sha256"}
    tables = {"history.json", "record.json"}
    assert files >= weights | tables
    assert all(name.startswith("events.out.tfevents") for name in files - weights - tables)
    assert json.loads((trained / "record.json").read_text())["status"] == "done"
    state = read_weights(trained / "last.pt")
    assert set(state) == {"network", "optimizer", "lr_scheduler", "history", "epoch", "best"} and state["epoch"] == 1
    assert read_origin(state)["encoder"] == TINY["encoder"]
    (row,) = json.loads((trained / "history.json").read_text())
    assert 0 < row["study_map"] <= 1 and row["train_loss"] > 0 and row["validation_loss"] > 0


def test_evaluation_writes_every_image_of_the_fold_that_was_held_out(evaluated: Path, prepared: tuple[Path, Outcome]):
    held_out = {image["image_id"]: image for image in read_images(prepared[0]) if image["fold"] == 0}
    rows = read_csv(evaluated / "images.csv")
    assert {row["image_id"]: row["study_id"] for row in rows} == {
        image_id: image["study_id"] for image_id, image in held_out.items()
    }
    assert find_names(evaluated / "masks") == set(held_out)
    assert len(find_names(evaluated / "overlays")) == 2
    for image_id, image in held_out.items():
        with Image.open(evaluated / "masks" / f"{image_id}.png") as mask:
            assert mask.size == (image["width"], image["height"])


def test_all_outputs_of_a_run_agree_with_one_another(evaluated: Path):
    content = json.loads((evaluated / "predictions.json").read_text())
    images, studies = read_csv(evaluated / "images.csv"), read_csv(evaluated / "studies.csv")
    submission = read_submission(evaluated / "submission.csv")
    for image, row in zip(content["images"], images, strict=True):
        shown = sum(score >= MIN_SHOWN_SCORE for score in image["scores"])
        assert (image["image_id"], shown) == (row["image_id"], int(row["num_boxes"]))
        assert [image["probabilities"][name] for name in STUDY_CLASSES] == pytest.approx(
            [float(row[name]) for name in STUDY_CLASSES], abs=1e-6
        )
        boxes = [box for name, _, box in submission.image[image["image_id"]] if name == "opacity"]
        np.testing.assert_allclose(np.reshape(boxes, (-1, 4)), np.reshape(image["boxes"], (-1, 4)), atol=1e-3)
    for row in studies:
        seen = [image["probabilities"] for image in content["images"] if image["study_id"] == row["study_id"]]
        assert int(row["num_images"]) == len(seen)
        for name in STUDY_CLASSES:
            assert float(row[name]) == pytest.approx(np.mean([each[name] for each in seen]), abs=1e-6)
            assert submission.study[row["study_id"]][name] == pytest.approx(float(row[name]), abs=1e-6)
    assert submission.image.keys() == {row["image_id"] for row in images}
    assert submission.study.keys() == {row["study_id"] for row in studies}


def test_the_record_names_the_weights_that_were_used(evaluated: Path, trained: Path):
    record = json.loads((evaluated / "done.json").read_text())
    assert record["weights_sha256"] == compute_sha256(trained / "last.pt")
    assert record["images"] == len(read_csv(evaluated / "images.csv"))
    assert record["studies"] == len(read_csv(evaluated / "studies.csv"))


def test_the_submission_scores_what_the_trainings_validation_measured(evaluated: Path, trained: Path, tree: Path):
    ground_truth = read_ground_truth(place_data(tree)["datalist_file"], fold=0)
    score = score_predictions(read_submission(evaluated / "submission.csv"), ground_truth)
    (row,) = json.loads((trained / "history.json").read_text())
    assert score["study_map"] == pytest.approx(row["study_map"], abs=1e-3)


def test_explaining_asks_the_network_of_the_evaluation_about_the_same_images(
    commands: Commands, evaluated: Path, trained: Path, tree: Path
):
    out, files = tree.parent / "explanations", [TRAIN, str(CONFIGS / "evaluate.json"), str(CONFIGS / "explain.json")]
    options = {**place_data(tree), **TINY, "weights": trained / "last.pt", "output_dir": out, "overlays": 1}
    succeed(commands.run_bundle("run", str(files), **options))
    rows, evaluations = read_csv(out / "explanations.csv"), read_csv(evaluated / "images.csv")
    for row, image in zip(rows, evaluations, strict=True):
        assert row["image_id"] == image["image_id"]
        assert [float(row[name]) for name in STUDY_CLASSES] == pytest.approx(
            [float(image[name]) for name in STUDY_CLASSES], abs=1e-5
        )
    assert len(read_csv(out / "corners.csv")) == 4 * len(rows)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["num_images"] == len(rows) and summary["weights_sha256"] == compute_sha256(trained / "last.pt")
    assert list_files(out / "overlays") == {f"{rows[0]['image_id']}.png"}


def test_scoring_prints_the_table(commands: Commands, evaluated: Path, tree: Path):
    ground_truth = place_data(tree)["datalist_file"]
    submission = str(evaluated / "submission.csv")
    outcome = succeed(commands.run("scripts", "score", submission, ground_truth=ground_truth, fold=0, num_resamples=10))
    assert "study mAP (4 classes)" in outcome.stdout and "challenge mAP (6)" in outcome.stdout


def test_a_broken_image_is_rejected_with_its_reason_and_never_negative(tree: Path, inferred: tuple[Path, Outcome]):
    broken = {row["image"]: row for row in read_csv(tree / "broken_images.csv")}
    rejected = {row["image_id"]: row for row in read_csv(inferred[0] / "rejected.csv")}
    assert {image: row["reason"] for image, row in rejected.items()} == {
        image: row["reason"] for image, row in broken.items()
    }
    assert len(rejected) == 23
    studies = {Path(row["path"]).parts[1] for row in broken.values()}
    assert not studies & {row["study_id"] for row in read_csv(inferred[0] / "studies.csv")}
    assert not broken.keys() & {row["image_id"] for row in read_csv(inferred[0] / "images.csv")}
    text = (inferred[0] / "submission.csv").read_text() + (inferred[0] / "predictions.json").read_text()
    assert not [name for name in (*broken, *studies) if name in text]


def test_a_folder_of_images_is_inferred_as_a_whole(tree: Path, inferred: tuple[Path, Outcome]):
    out, outcome = inferred
    broken = {row["image"] for row in read_csv(tree / "broken_images.csv")}
    readable = {path.stem for path in (tree / "train").rglob("*.dcm")} - broken
    assert {row["image_id"] for row in read_csv(out / "images.csv")} == readable
    assert json.loads((out / "done.json").read_text())["images"] == len(readable)
    whole = [row for row in read_csv(out / "images.csv") if "whole_image" in row["flags"]]
    assert len(whole) < len(readable) / 4, "the lungs of most synthetic images are found, though none was trained on"
    assert "; 23 rejected (" in outcome.stdout, "the rejected are counted"


@pytest.fixture(scope="module")
def unlabelled(commands: Commands, tree: Path, trained: Path) -> Path:
    """Findings of the part of a datalist that has no labels."""
    out = tree.parent / "unlabelled"
    options = {**place_data(tree), **TINY, "weights": trained / "last.pt", "output_dir": out, "overlays": 0}
    succeed(commands.run_bundle("inferring", INFERENCE, **options))
    return out


def test_the_unlabelled_part_of_a_datalist_is_inferred_on_its_lungs(tree: Path, unlabelled: Path):
    rows = read_csv(unlabelled / "images.csv")
    assert {row["image_id"] for row in rows} == {path.stem for path in (tree / "test").rglob("*.dcm")}
    assert {row["flags"] for row in rows} <= {"", "burned_in_annotation"}  # DX images say of their letters


def test_shipped_weights_infer_alike(commands: Commands, tree: Path, trained: Path, unlabelled: Path):
    model, out = tree.parent / "model.pt", tree.parent / "shipped"
    assert "wrote" in succeed(commands.run("scripts", "export-weights", str(trained / "last.pt"), out=model)).stdout
    options = {**place_data(tree), **TINY, "weights": model, "output_dir": out, "overlays": 0}
    succeed(commands.run_bundle("inferring", INFERENCE, **options))
    half, full = (json.loads((folder / "predictions.json").read_text()) for folder in (out, unlabelled))
    for image, other in zip(half["images"], full["images"], strict=True):
        assert image["probabilities"] == pytest.approx(other["probabilities"], abs=0.01)


def copy_weights(trained: Path, folder: Path) -> Path:
    for name in ("last.pt", "last.pt.sha256"):
        shutil.copy(trained / name, folder)
    return folder / "last.pt"


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def check_rejection(outcome: Outcome, message: str, out: Path) -> None:
    """One line at the end, no traceback to the terminal, a status that scripts notice, nothing half-written."""
    assert outcome.status == 1
    assert re.fullmatch(f"error: .*{message}.*", outcome.last_line), outcome.stderr[-3000:]
    assert outcome.stderr.count("error: expected") == 1
    assert "Traceback" not in outcome.stderr + outcome.stdout
    assert not out.exists() or list_files(out) <= {LOCK}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset_dir": "absent"}, "found no folder absent; check dataset_dir"),
        ({"datalist_file": "absent.json"}, "absent.json"),
        ({"fold": 9}, "expected a fold from 0 to 2, found fold 9; choose another fold"),
        ({"encoder": "efficientnet_v9"}, "expected the name of a timm model, found 'efficientnet_v9'"),
        ({"encoder_weights": "absent.safetensors"}, "found nothing at absent.safetensors"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_training_that_cannot_begin_says_why_in_one_line(
    commands: Commands, tree: Path, prepared: tuple[Path, Outcome], tmp_path: Path, changes: dict, message: str
):
    options = {**place_data(tree), **TINY_TRAINING, "output_dir": tmp_path / "out", **changes}
    check_rejection(commands.run_bundle("training", TRAIN, **options), message, tmp_path / "out")


def test_an_inference_without_a_folder_says_so_in_one_line(commands: Commands, trained: Path, tmp_path: Path):
    options = {**TINY, "weights": trained / "last.pt", "output_dir": tmp_path / "out", "dataset_dir": "absent"}
    outcome = commands.run_bundle("inferring", INFERENCE, **options)
    check_rejection(
        outcome, "expected a folder of DICOM images, found no folder absent; check the path", tmp_path / "out"
    )


@pytest.mark.parametrize("harm", ["missing", "flipped bit", "truncated", "another network"])
@pytest.mark.parametrize("command", ["inferring", "evaluating"])
def test_weights_that_are_not_right_are_rejected_in_one_line(
    commands: Commands, tree: Path, trained: Path, tmp_path: Path, command: str, harm: str
):
    weights, changes = copy_weights(trained, tmp_path), {}
    if harm == "missing":
        weights.unlink()
    elif harm == "flipped bit":
        flip_bit(weights)
    elif harm == "truncated":
        weights.write_bytes(weights.read_bytes()[:5000])
    else:
        changes = {"mask_widths": "[8,8,8,8,8]"}
    options = {**place_data(tree), **TINY, "weights": weights, "output_dir": tmp_path / "out", **changes}
    outcome = commands.run_bundle(command, INFERENCE if command == "inferring" else EVALUATE, **options)
    message = {"missing": "found nothing at", "another network": "expected weights of this network"}
    check_rejection(outcome, message.get(harm, r"expected .*last\.pt with the SHA-256 in"), tmp_path / "out")


def test_a_training_that_diverges_stops_with_one_line_and_no_weights(
    commands: Commands, tree: Path, prepared: tuple[Path, Outcome], tmp_path: Path
):
    options = {**place_data(tree), **TINY_TRAINING, "output_dir": tmp_path / "out", "learning_rate": 1e30}
    outcome = commands.run_bundle("training", TRAIN, **options)
    assert outcome.status == 1
    assert re.fullmatch(r"error: expected a finite loss, found -?(nan|inf) in epoch 1, .*", outcome.last_line)
    assert not [name for name in list_files(tmp_path / "out") if name.endswith(".pt")]


def test_a_bad_label_is_named_with_its_line(commands: Commands, tree: Path, tmp_path: Path):
    image = next((tree / "train").rglob("*.dcm")).relative_to(tree).as_posix()
    (tmp_path / "own.csv").write_text(f"study,image,label,boxes\ns1,{image},covid,\n")
    outcome = commands.run("scripts", "prepare", tree=tree, tables=tmp_path / "own.csv", out=tmp_path / "out")
    check_rejection(
        outcome, r"one of negative, .* found 'covid' at own\.csv line 2 .*; correct the label", tmp_path / "out"
    )


@pytest.mark.parametrize(("old", "new"), RENAMED_VERBS.items())
def test_a_verbs_former_name_is_answered_with_the_present_one(commands: Commands, old: str, new: str):
    outcome = commands.run("scripts", old, "--help")
    response = f"error: expected the verb {new}, found {old}, its former name; run python -m scripts {new}"
    assert outcome.status == 1 and outcome.last_line == response


@pytest.mark.parametrize("verb", ["find-lungs", "find_lungs"])
def test_a_verb_may_be_written_with_hyphens_or_underscores(commands: Commands, verb: str):
    outcome = commands.run("scripts", verb, "--help")
    assert outcome.status == 0 and "find the lungs" in (outcome.stdout + outcome.stderr).lower()


def test_a_submission_that_is_not_there_is_named(commands: Commands, tree: Path, tmp_path: Path):
    outcome = commands.run("scripts", "score", "absent.csv", ground_truth=tree)
    check_rejection(outcome, "found no file absent.csv; check the path", tmp_path)


def run_fresh(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A process from the beginning, as a user starts it."""
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_fresh_process_says_the_same(tmp_path: Path):
    (tmp_path / "kept.txt").write_text("kept")
    done = run_fresh("scripts", "generate-synthetic", "--out", str(tmp_path))
    check_rejection(Outcome(done.returncode, done.stdout, done.stderr), "found something in", tmp_path / "out")
    assert done.stderr.count("\n") == 1, "nothing but this line"
    assert list_files(tmp_path) == {"kept.txt"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run_id", "config_file"), [("training", TRAIN), ("evaluating", EVALUATE), ("inferring", INFERENCE)]
)
def test_a_fresh_bundle_run_says_the_same(tmp_path: Path, run_id: str, config_file: str):
    arguments = ["--dataset_dir", "absent", "--output_dir", str(tmp_path / "out")]
    arguments += [] if run_id == "training" else ["--weights", "absent.pt"]
    done = run_fresh("monai.bundle", "run", run_id, "--config_file", config_file, *arguments)
    check_rejection(Outcome(done.returncode, done.stdout, done.stderr), "absent", tmp_path / "out")


@pytest.mark.parametrize("experiment", TRAINABLE, ids=lambda path: path.stem)
def test_every_detector_and_experiment_trains_for_an_epoch(
    commands: Commands,
    images: Path,
    external_images: Path,
    joined_datalist_file: Path,
    tmp_path: Path,
    experiment: Path,
):
    files = list(map(str, configs.stack(experiment)))
    config = json.loads(experiment.read_text())
    places = {"dataset_dir": images, "external_dir": external_images, "datalist_file": joined_datalist_file}
    places |= {"first_run": configs.write_first_run(joined_datalist_file, tmp_path)}
    places |= {"soft_labels_file": configs.write_soft_labels_file(joined_datalist_file, tmp_path / "soft_labels.json")}
    if configs.merge([Path(file) for file in files]).get("cache_dir"):
        places |= {"cache_dir": tmp_path / "cache"}
    small = {**TINY_TRAINING, "encoder_weights": None, "encoder_options": {}, **{k: str(v) for k, v in places.items()}}
    if config.get("mask_widths"):
        small["mask_widths"] = [4] * len(config["mask_widths"])
    (tmp_path / "small.json").write_text(json.dumps({**small, "output_dir": str(tmp_path / "out")}))
    succeed(commands.run_bundle("training", str([*files, str(tmp_path / "small.json")])))
    (row,) = json.loads((tmp_path / "out" / "history.json").read_text())
    if str(DETECTOR) in files:
        assert np.isfinite([row["train_loss"], row["box_ap"]]).all()
        return
    assert np.isfinite([row["train_loss"], row["validation_loss"], row["study_map"]]).all()
    has_decoder = any("decoder." in key for key in read_weights(tmp_path / "out" / "last.pt")["network"])
    assert has_decoder is (config.get("mask_widths", True) is not None)


@pytest.mark.parametrize("detector", [DETECTOR, LUNGS], ids=lambda path: path.stem)
def test_a_detector_reads_its_images_once_for_all_trainings(
    commands: Commands, images: Path, datalist_file: Path, tmp_path: Path, detector: Path
):
    (tmp_path / "small.json").write_text(json.dumps({**TINY_TRAINING, "encoder_options": {}}))
    files = str([*map(str, configs.stack(detector)), str(tmp_path / "small.json")])
    cache = tmp_path / "cache"
    places = {"dataset_dir": images, "datalist_file": datalist_file, "cache_dir": cache}
    losses, ages = [], []
    for name in ("first", "second"):
        succeed(commands.run_bundle("training", files, **places, output_dir=tmp_path / name))
        (row,) = json.loads((tmp_path / name / "history.json").read_text())
        losses.append(row["train_loss"])
        ages.append({path.name: path.stat().st_mtime_ns for path in cache.glob("*.safetensors")})
        (board,) = (tmp_path / name).glob("events.out.tfevents.*")
        assert b"loss/train" in board.read_bytes()
    assert ages[0] and ages[0] == ages[1] and losses[0] == losses[1]


@pytest.mark.parametrize("experiment", INFERABLE, ids=lambda path: path.stem)
def test_every_experiment_of_inference_runs(
    commands: Commands, tree: Path, trained: Path, tmp_path: Path, experiment: Path
):
    files = str(list(map(str, configs.stack(experiment))))
    options = {**place_data(tree), **TINY, "weights": trained / "last.pt", "output_dir": tmp_path, "overlays": 0}
    succeed(commands.run_bundle("inferring", files, **options))
    assert len(read_csv(tmp_path / "images.csv")) == len(list((tree / "test").rglob("*.dcm")))


def test_an_ensemble_of_a_network_with_itself_says_what_the_network_reports(
    commands: Commands, tree: Path, trained: Path, inferred: tuple[Path, Outcome], tmp_path: Path
):
    files = f"['{INFERENCE}','{CONFIGS / 'inference_ensemble.json'}']"
    members = {name: str(trained / "last.pt") for name in ("one", "other")}
    asked = {"members": members, "ensemble_weights": [1, 3], "dataset_dir": tree / "train", "overlays": 0}
    options = {**TINY, **asked, "output_dir": tmp_path}
    succeed(commands.run_bundle("inferring", files, **options), status=3)
    rows, alone = read_csv(tmp_path / "images.csv"), read_csv(inferred[0] / "images.csv")
    for row, image in zip(rows, alone, strict=True):
        assert row["image_id"] == image["image_id"]
        assert [float(row[name]) for name in STUDY_CLASSES] == pytest.approx(
            [float(image[name]) for name in STUDY_CLASSES], abs=1e-5
        )
    hashes = json.loads((tmp_path / "done.json").read_text())["weights_sha256"]
    assert {name for name in hashes if name.startswith("study")} == {"study_classifier one", "study_classifier other"}


def test_folds_are_trained_and_scored_in_a_row(commands: Commands, tree: Path, prepared: object, tmp_path: Path):
    places = {"tree": tree, "datalist": tree.parent / "prepared" / "datalist.json", "out": tmp_path}
    reported = succeed(commands.run("scripts", "cross-validate", **places, folds="0,2", **TINY_TRAINING)).stdout
    held_out = [image["image_id"] for image in read_images(tree.parent / "prepared") if image["fold"] in (0, 2)]
    assert sorted(row["image_id"] for row in read_csv(tmp_path / "images.csv")) == sorted(held_out)
    assert "datalist.json, fold 0, 2" in reported
    printed = succeed(commands.run("scripts", "list-experiments", str(tmp_path), out=tmp_path / "registry")).stdout
    assert "standard deviation between seeds, all experiments together: not measured" in printed
    assert {"experiments.csv", "experiments.txt", "gains.png"} <= list_files(tmp_path / "registry")
    synthetic = succeed(
        commands.run("scripts", "plot-losses", str(tmp_path / "losses.png"), folds=f"['{tmp_path / 'fold0'}']")
    )
    assert synthetic.stdout.startswith("drew 1 runs")


def test_an_image_that_a_first_training_gets_wrong_weighs_more_in_the_second(
    commands: Commands, tree: Path, trained: Path, tmp_path: Path
):
    """Just Train Twice by its three commands: train, evaluate on the training images, train again."""
    places, first = {**place_data(tree), **TINY}, tmp_path / "first"
    asked = {"val_datalist": "@train_datalist", "weights": trained / "last.pt", "overlays": 0}
    succeed(commands.run_bundle("evaluating", EVALUATE, **places, **asked, output_dir=first))
    files = f"['{TRAIN}','{CONFIGS / 'experiments' / 'just_train_twice.json'}']"
    options = {**places, **TINY_TRAINING, "output_dir": tmp_path / "second"}
    succeed(commands.run_bundle("training", files, **options, first_run=first))
    before, after = (json.loads((folder / "history.json").read_text())[0] for folder in (trained, tmp_path / "second"))
    assert after["train_loss"] != pytest.approx(before["train_loss"], rel=1e-4)
    outcome = commands.run_bundle("training", files, **{**options, "output_dir": tmp_path / "out"}, first_run="absent")
    check_rejection(outcome, "check the path, or train the first run and evaluate", tmp_path / "out")


def test_external_images_are_labelled_by_the_training_that_held_the_fold_out(
    commands: Commands, tree: Path, trained: Path, external_images: Path, tmp_path: Path
):
    external_set, table = external_images, tmp_path / "images.csv"
    images = [path.relative_to(external_set) for path in sorted(external_set.rglob("*.dcm"))]
    rows = [f"{image.parts[1]},{image.as_posix()},,\n" for image in images]
    table.write_text("".join(["study,image,label,boxes\n", *rows]))
    succeed(
        commands.run("scripts", "prepare", tree=external_set, tables=table, out=tmp_path / "external_set", workers=1)
    )
    other, source = (folder / "datalist.json" for folder in (tmp_path / "external_set", tree.parent / "prepared"))
    places = {"tree": tree, "external": other, "external_tree": external_set, "out": tmp_path / "joined", "workers": 1}
    added = succeed(commands.run("scripts", "add-external", datalist=source, **places))
    joined = json.loads((tmp_path / "joined" / "datalist.json").read_text())
    assert added.stdout.startswith(f"{len(joined['external']['images'])} external images")
    files = str([TRAIN, str(CONFIGS / "evaluate.json"), str(CONFIGS / "predict_unlabelled.json")])
    options = {**TINY, "weights": trained / "last.pt", "output_dir": tmp_path / "predicted", "overlays": 0}
    succeed(commands.run_bundle("evaluating", files, dataset_dir=external_set, datalist_file=other, **options))
    given = {"datalist": tmp_path / "joined" / "datalist.json", "predictions": tmp_path / "predicted/predictions.json"}
    reported = succeed(
        commands.run("scripts", "label-external", **given, runs=f"['{trained}']", out=tmp_path / "labelled")
    )
    assert reported.stdout.startswith("labels for fold 0 by 1 models")
    (labels,) = json.loads((tmp_path / "labelled" / "datalist.json").read_text())["external"]["pseudo_labels"]
    assert labels["fold"] == 0 and labels["models"][0]["weights_sha256"] == compute_sha256(trained / "last.pt")


def test_a_training_is_the_same_whenever_it_is_run(commands: Commands, tree: Path, trained: Path, tmp_path: Path):
    """Seeded before anything is built: one seed, one result, on one machine."""
    options = {**place_data(tree), **TINY_TRAINING, "output_dir": tmp_path / "out"}
    succeed(commands.run_bundle("training", TRAIN, **options))
    first, second = (read_weights(folder / "last.pt")["network"] for folder in (trained, tmp_path / "out"))
    assert all(value.equal(second[key]) for key, value in first.items())


def test_no_command_names_a_patient_anywhere(
    commands: Commands, tree: Path, evaluated: Path, inferred: tuple[Path, Outcome], prepared: tuple[Path, Outcome]
):
    """Neither in what is written, nor in names of files, nor in what was said on the way, failing commands included."""
    forbidden = [text.encode() for text in (CANARY, BIRTH_DATE, *SYNTHETIC_NAMES)]
    written = [*(path for path in tree.parent.rglob("*") if tree not in path.parents), *commands.folder.iterdir()]
    assert len(written) > 60
    assert not [path for path in written if any(text in str(path.name).encode() for text in forbidden)]
    contents = {path: path.read_bytes() for path in written if path.is_file()}
    assert not [path for path, content in contents.items() if any(text in content for text in forbidden)]
    for path in tree.parent.rglob("*.png"):
        with Image.open(path) as picture:
            assert not picture.info


#: MONAI's own notice before each config is read: a config is code. README.md says it too.
NOTICE = re.compile(r"parsing config_file .*GHSA-873f-pvrv-4x83\)\.\n?")


@pytest.mark.parametrize("run", ["training", "evaluating", "inferring"])
def test_the_console_of_a_run_is_clean(
    commands: Commands, tree: Path, trained: Path, prepared: tuple[Path, Outcome], tmp_path: Path, run: str
):
    """Progress, rate and result; no warning, and no line of a progress bar for each epoch."""
    options = {**place_data(tree), **TINY, "output_dir": tmp_path / "out"}
    options |= {"epochs": 2, "val_interval": 1} if run == "training" else {"weights": trained / "last.pt"}
    config = {"training": TRAIN, "evaluating": EVALUATE, "inferring": INFERENCE}[run]
    outcome = succeed(commands.run_bundle("run", config, **options))
    printed = NOTICE.sub("", outcome.stdout + outcome.stderr)
    assert not re.search(r"warning|ignoring|deprecated|does not exist|may lead to", printed, re.IGNORECASE), printed
    assert re.search(rf"INFO - {run}: \d+ (batches|images) in [\d.]+ s, [\d.]+ (batches|images)/s", outcome.stdout)
    assert len(re.findall(rf"{run}\b.*(it|batch|image)", outcome.stderr)) == 0, "no bar where there is no terminal"
    assert (tmp_path / "out" / "last.pt").is_file() == (run == "training")
