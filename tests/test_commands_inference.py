"""Inference as a command: exit statuses, a summary, its folder, and what a kill, a full disk or bad weights leave."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pydicom
import pytest
import torch
from monai.bundle import ConfigParser
from scripts.checkpoints import read_weights, save_weights
from scripts.files import TEMPORARY_PREFIX
from scripts.output_folders import LOCK
from scripts.synthetic import write_image

from tests import images as made
from tests.configs import INFERENCE, METADATA
from tests.test_commands import CANARY, TINY, Commands, Outcome, commands, plant_canaries

__all__ = ["commands"]  # a fixture

CONFIG = "bundle/configs/inference.json"
#: Elements of DICOM objects that hold the moment of a run, or identifiers made at it.
TIMES = re.compile(r"Date|Time$|InstanceUID$")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parser = ConfigParser()
    parser.read_config(str(INFERENCE))
    parser.read_meta(str(METADATA))
    parser.update({name: TINY[name] for name in ("encoder", "image_size")})
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.manual_seed(0)
    save_weights(parser.get_parsed_content("network_def").state_dict(), path)
    return path


def write_study_image(path: Path, seed: int) -> None:
    """Write an image of a study that two seeds share, with identifiers in every text."""
    write_image(path, made.draw_values(rows=96, columns=80, seed=seed).astype("uint16"))
    image = pydicom.dcmread(path)
    image.StudyInstanceUID = f"1.2.3.{seed // 2}"
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.4.{seed}"
    image.save_as(path)
    plant_canaries(path)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images of three studies with identifiers in every text."""
    folder = tmp_path_factory.mktemp("images") / "good"
    folder.mkdir()
    for seed in range(5):
        path = folder / f"{seed}.dcm"
        write_study_image(path, seed)
    return folder


@pytest.fixture(scope="module")
def mixed(good: Path) -> Path:
    """The same with two files that are rejected."""
    folder = good.parent / "mixed"
    shutil.copytree(good, folder)
    (folder / "1x.dcm").write_bytes((good / "1.dcm").read_bytes()[:3000])
    (folder / "text.dcm").write_text(CANARY)
    return folder


def infer(
    commands: Commands, folder: Path, out: Path, weights: Path, stop: tuple[int, str] | None = None, **options: Any
) -> Outcome:
    asked = {**TINY, "batch_size": 2, "dataset_dir": folder, "output_dir": out, "weights": weights, **options}
    named = {"config_file": CONFIG, **asked}
    if stop is not None:
        return commands.run("tests.stopped_bundle", str(stop[0]), stop[1], "run", "inferring", **named)
    return commands.run("monai.bundle", "run", "inferring", **named)


def read_all(folder: Path) -> dict[str, Any]:
    """Contents by path; of DICOM objects the elements that do not change with the moment."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith((LOCK, TEMPORARY_PREFIX)):
            name = path.relative_to(folder).as_posix()
            found[name] = list_elements(pydicom.dcmread(path)) if path.suffix == ".dcm" else path.read_bytes()
    return found


def list_elements(dataset: pydicom.Dataset) -> list[tuple[str, str]]:
    elements = (element for element in dataset.iterall() if element.VR not in ("SQ", "UI", "DA", "TM", "DT"))
    return [(element.keyword, repr(element.value)) for element in elements if not TIMES.search(element.keyword)]


def check_line(outcome: Outcome, status: int, message: str) -> None:
    """The status, one line for a person, and no traceback."""
    assert outcome.status == status, outcome.stderr[-3000:]
    assert re.search(message, outcome.stderr + outcome.stdout), outcome.stderr[-3000:]
    assert "Traceback" not in outcome.stderr + outcome.stdout
    assert CANARY not in outcome.stderr + outcome.stdout


@pytest.fixture(scope="module")
def whole(commands: Commands, mixed: Path, weights: Path) -> tuple[Path, Outcome]:
    """A run without interruption, DICOM results included."""
    out = mixed.parent / "whole"
    return out, infer(commands, mixed, out, weights, dicom_results=True, overlays=1)


def test_some_rejected_ends_with_3_and_a_summary(whole: tuple[Path, Outcome]):
    out, outcome = whole
    summary = r"7 images found; 5 scored in 3 studies; 2 rejected \(not_dicom 1, truncated 1\): see rejected\.csv"
    check_line(outcome, 3, rf"{summary}; tables in {out}")
    record = json.loads((out / "done.json").read_text())
    assert (record["found"], record["images"], record["rejected"]) == (7, 5, {"not_dicom": 1, "truncated": 1})


def test_all_scored_ends_with_0(commands: Commands, good: Path, weights: Path, tmp_path: Path):
    check_line(infer(commands, good, tmp_path, weights), 0, r"5 images found; 5 scored in 3 studies; none rejected")


def test_nothing_scored_ends_with_4(commands: Commands, weights: Path, tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dcm").write_text(CANARY)
    outcome = infer(commands, tmp_path / "in", tmp_path / "out", weights)
    check_line(outcome, 4, r"1 images found; 0 scored in 0 studies; 1 rejected \(not_dicom 1\)")


@pytest.mark.parametrize(
    ("number", "num_workers"), [(8, 0), pytest.param(20, 2, marks=pytest.mark.slow), (31, 2), (45, 0)]
)
def test_a_killed_run_goes_on_by_the_same_command_to_the_same_results(
    commands: Commands,
    mixed: Path,
    weights: Path,
    whole: tuple[Path, Outcome],
    tmp_path: Path,
    number: int,
    num_workers: int,
):
    options = {"dicom_results": True, "overlays": 1, "num_workers": num_workers}
    assert infer(commands, mixed, tmp_path, weights, (number, "SIGKILL"), **options).status == -9
    assert not (tmp_path / "done.json").exists()
    assert CANARY.encode() not in (tmp_path / "journal.jsonl").read_bytes()
    check_line(infer(commands, mixed, tmp_path, weights, **options), 3, "going on behind [0-7] of 7 images")
    assert read_all(tmp_path) == read_all(whole[0])


def test_a_finished_folder_is_kept_unless_it_is_to_be_replaced(
    commands: Commands, good: Path, weights: Path, whole: tuple[Path, Outcome]
):
    out, before = whole[0], read_all(whole[0])
    check_line(infer(commands, good, out, weights), 1, r"error: expected an output folder without results, found those")
    assert read_all(out) == before
    check_line(infer(commands, good, out, weights, replace="maybe"), 1, "expected replace true or false")
    assert read_all(out) == before


def test_another_run_does_not_go_on_with_a_journal(commands: Commands, good: Path, weights: Path, tmp_path: Path):
    infer(commands, good, tmp_path, weights, (20, "SIGKILL"))
    outcome = infer(commands, good, tmp_path, weights, none_weight=0.5)
    check_line(outcome, 1, "error: expected the unfinished run of .* again, found another one: options, command differ")
    outcome = infer(commands, good, tmp_path, weights, none_weight=0.5, replace=True)
    check_line(outcome, 0, "5 scored")


@pytest.mark.parametrize(("fault", "status"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_stop_by_signal_keeps_what_is_done(
    commands: Commands, good: Path, weights: Path, tmp_path: Path, fault: str, status: int
):
    outcome = infer(commands, good, tmp_path, weights, (6, fault))
    check_line(outcome, status, f"{fault}: stopping behind this batch; the same command goes on")
    assert (tmp_path / "journal.jsonl").read_bytes().count(b"\n") == 2, "its head and one batch"
    check_line(infer(commands, good, tmp_path, weights), 0, "going on behind 2 of 5 images")


def test_a_full_disk_is_one_line(commands: Commands, good: Path, weights: Path, tmp_path: Path):
    outcome = infer(commands, good, tmp_path, weights, (24, "ENOSPC"))
    check_line(outcome, 1, r"error: expected an output folder that can be written, .*found No space left on device")
    assert outcome.stderr.count("error:") == 1 and not (tmp_path / "done.json").exists()
    check_line(infer(commands, good, tmp_path, weights), 0, "going on behind 2 of 5 images")


def spoil_weights(weights: Path, folder: Path, harm: str) -> Path:
    path = folder / "spoilt.pt"
    if harm == "a number":
        save_weights({"network": 3}, path)
    elif harm == "NaN":
        state = read_weights(weights)
        name = next(name for name, value in state.items() if value.is_floating_point())
        save_weights({**state, name: torch.full_like(state[name], float("nan"))}, path)
    elif harm == "infinite":
        state = read_weights(weights)
        save_weights({name: each * 1e30 if each.is_floating_point() else each for name, each in state.items()}, path)
    else:
        path.write_bytes(weights.read_bytes()[:5000])
    return path


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("a number", r"expected weights of a network, found int at .*spoilt\.pt"),
        ("NaN", r"expected finite weights, found NaN or infinity in .* at .*spoilt\.pt"),
        ("infinite", r"expected finite predictions, found NaN or infinity in \w+ by .*spoilt\.pt on [0-9a-f]{12};"),
        ("truncated", r"expected a whole file of weights, found \w+ at .*spoilt\.pt"),
    ],
)
def test_weights_that_are_not_right_are_one_line_and_publish_nothing(
    commands: Commands, good: Path, weights: Path, tmp_path: Path, harm: str, message: str
):
    """An earlier run's results go first where they are to be replaced: they do not stand as today's."""
    out = tmp_path / "out"
    out.mkdir()
    for name in ("done.json", "images.csv"):
        (out / name).write_text("{}")
    outcome = infer(commands, good, out, spoil_weights(weights, tmp_path, harm), replace=True)
    check_line(outcome, 1, f"error: {message}")
    assert set(read_all(out)) <= {"journal.jsonl", "rejected.csv"}


def test_nothing_that_a_failing_run_leaves_names_a_patient(commands: Commands, mixed: Path, weights: Path):
    """Behind all tests above: every file and every line that the commands wrote."""
    written = [*mixed.parent.glob("whole/**/*"), *commands.folder.iterdir()]
    texts = {path: path.read_bytes() for path in written if path.is_file() and path.suffix != ".dcm"}
    assert len(texts) > 20
    assert not [path for path, text in texts.items() if CANARY.encode() in text or CANARY in path.name]
