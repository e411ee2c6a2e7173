"""The application by its documented command, and the same images through `python -m monai.bundle run`.

Run in the Deploy environment, from the repository's root, with `dist/` assembled:

    ulimit -s 32768
    .venv-deploy/bin/python -m pytest -q -p no:cacheprovider apps/deploy

Where INTEGRATIONS names a folder, `deploy/` and `deploy.json` in it are what `python -m apps.integrations report` looks
for.
"""

from __future__ import annotations

import ast
import csv
import json
import os
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread, uid
from scripts.synthetic import ImageStyle, draw_chest, store_picture, write_broken_image

from apps.images import IMAGES, INVERSE, PLAIN, write_images
from apps.integrations import compare_results, overlap_masks, read_images, run_bundle, write_cost

ROOT = Path(__file__).resolve().parents[2]
APP = Path(__file__).with_name("app.py")
BUNDLE = ROOT / "dist" / "chest_xray_covid19"
#: The objects of an image.
KINDS = {
    uid.ComprehensiveSRStorage: "SR",
    uid.GrayscaleSoftcopyPresentationStateStorage: "GSPS",
    uid.SegmentationStorage: "SEG",
    uid.SecondaryCaptureImageStorage: "SC",
}
#: So often the images are repeated where they are timed.
COPIES = 4
#: What the images of the archive's broken study must be rejected for, by the file's name.
REJECTED = {"cut": "truncated", "lateral": "out_of_scope", "note": "not_dicom"}


@dataclass(frozen=True)
class Run:
    """One command that ran: its status, its output, the peak memory of its largest process in MiB, and its folder."""

    status: int
    reported: str
    memory_mib: float
    folder: Path

    def read_images(self) -> dict[str, dict[str, Any]]:
        """The images of predictions.json by image id."""
        assert self.status == 0, self.reported
        return read_images(self.folder)

    def read_mask(self, image_id: str) -> NDArray[np.bool_]:
        """An image's mask `(H, W)`."""
        with Image.open(self.folder / "masks" / f"{image_id}.png") as picture:
            return np.asarray(picture) > 0


def run_command(command: str, folder: Path) -> Run:
    """Run lines of bash from the repository's root; `folder` is where they write."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = folder.with_suffix(".log")
    with log.open("wb") as stream:
        process = subprocess.Popen(["bash", "-ec", command], cwd=ROOT, stdout=stream, stderr=stream)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Run(process.returncode, log.read_text(), usage.ru_maxrss / 1024, folder)


def run_app(images: Path, folder: Path, bundle: Path = BUNDLE) -> Run:
    """The command of the application's own description, with these folders."""
    lines = (ast.get_docstring(ast.parse(APP.read_text())) or "").splitlines()
    command = "\n".join(line.strip() for line in lines if line.startswith("    "))
    names = {"INPUT_FOLDER": images, "OUTPUT_FOLDER": folder, "dist/chest_xray_covid19": bundle}
    for name, path in names.items():
        assert command.count(name) == 1
        command = command.replace(name, shlex.quote(str(path)))
    return run_command(command, folder)


def write_slice(path: Path, seed: int, study_uid: str = "", patient_id: str = "SYNTHETIC") -> None:
    """A CT slice, in a study of its own or in that of an image."""
    drawing = draw_chest(128, 128, "negative", (seed, seed, seed))
    style = ImageStyle(modality="CT", study_uid=study_uid, patient_id=patient_id)
    values, style = store_picture(drawing.pixels, style, "full")
    write_broken_image(path, values, style, "ct_slice")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of every entry point, in a folder of their own."""
    folder = tmp_path_factory.mktemp("images")
    write_images(folder)
    return folder


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images among all else that an archive sends: CT, in a study of an image and in its own, bad images."""
    folder = tmp_path_factory.mktemp("archive")
    path = next(iter(write_images(folder).values()))
    first, beside = dcmread(path, stop_before_pixels=True), path.parents[1] / "ct" / "slice.dcm"
    write_slice(beside, 21, str(first.StudyInstanceUID), str(first.PatientID))
    write_slice(folder / "study-ct" / "ct" / "alone.dcm", 22)
    drawing = draw_chest(256, 256, "typical", (23, 23, 23))
    values, style = store_picture(drawing.pixels, ImageStyle(), "full")
    for name, breakage in (("cut", "cut_file"), ("lateral", "lateral"), ("note", "text_file")):
        write_broken_image(folder / "study-broken" / "series" / f"{name}.dcm", values, style, breakage)
    return folder


@pytest.fixture(scope="session")
def deployed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The application on the archive."""
    return run_app(archive, tmp_path_factory.mktemp("deploy") / "archive")


@pytest.fixture(scope="session")
def bundled(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of the images by MONAI's own command."""
    folder = tmp_path_factory.mktemp("bundle")
    run_bundle(images, folder, BUNDLE)
    return folder


def test_every_image_gets_tables_mask_overlay_and_dicom_results(deployed: Run) -> None:
    assert deployed.read_images().keys() == IMAGES.keys(), deployed.reported
    done = json.loads((deployed.folder / "done.json").read_text())
    assert done["images"] == len(IMAGES) and done["dicom_results"] == {"images": len(IMAGES), "left_out": 0}
    seen: set[str] = set()
    for name in IMAGES:
        assert (deployed.folder / "overlays" / f"{name}.png").is_file()
        assert deployed.read_mask(name).shape == IMAGES[name][:2]
        objects = [dcmread(path) for path in (deployed.folder / "dicom" / name).glob("*.dcm")]
        kinds = sorted(KINDS[each.SOPClassUID] for each in objects)
        # a segmentation has to hold something (PS3.3 A.51): none is written of an empty mask
        assert kinds == [kind for kind in sorted(KINDS.values()) if kind != "SEG" or deployed.read_mask(name).any()]
        seen |= set(kinds)
    assert seen == set(KINDS.values())


def test_two_integrations_give_one_answer(deployed: Run, bundled: Path) -> None:
    distance = compare_results(bundled, deployed.folder)
    assert distance.images == len(IMAGES) and distance.agrees, distance
    others = read_images(bundled)
    for name, image in deployed.read_images().items():
        assert image["study_id"] == others[name]["study_id"] and image["flags"] == others[name]["flags"]
        assert [image["none"], *image["scores"]] == pytest.approx(
            [others[name]["none"], *others[name]["scores"]], abs=1e-4
        )


def test_inverse_stored_twins_get_one_answer(deployed: Run) -> None:
    images = deployed.read_images()
    first, second = images[INVERSE], images[PLAIN]
    assert first["probabilities"] == pytest.approx(second["probabilities"], abs=1e-4)
    np.testing.assert_allclose(first["boxes"], second["boxes"], atol=0.5)
    masks = (deployed.folder / "masks" / f"{name}.png" for name in (INVERSE, PLAIN))
    assert overlap_masks(*masks) >= 0.999


def test_other_modalities_are_left_out_and_reported(deployed: Run) -> None:
    assert "left out, neither CR nor DX: 2 series of modality CT" in deployed.reported
    assert "1 of the studies without a CR or DX series" in deployed.reported
    assert not {"slice", "alone"} & {Path(row["path"]).stem for row in read_rejected(deployed)}


def test_rejected_images_are_reported_and_never_answered(deployed: Run) -> None:
    rows = read_rejected(deployed)
    assert {Path(row["path"]).stem: row["reason"] for row in rows} == REJECTED
    assert not {row["image_id"] for row in rows} & deployed.read_images().keys()
    assert "8 images found; 5 scored in 5 studies; 3 rejected" in deployed.reported


def test_a_study_without_radiographs_ends_with_one_line(tmp_path: Path) -> None:
    write_slice(tmp_path / "in" / "study" / "ct" / "slice.dcm", 24)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "done.json").write_text("{}")
    run = run_app(tmp_path / "in", tmp_path / "out")
    check_error(run, "expected at least one CR or DX image, found 1 series of modality CT; check")
    assert not (tmp_path / "out" / "predictions.json").exists() and not (tmp_path / "out" / "done.json").exists()


def test_files_that_are_no_images_end_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "note.txt").write_text("no image\n")
    run = run_app(tmp_path / "in", tmp_path / "out")
    check_error(run, "expected at least one image that can be scored, found 1 rejected, not_dicom 1; see")
    assert [row["reason"] for row in read_rejected(run)] == ["not_dicom"]


@pytest.mark.parametrize("missing", ["bundle", "images"])
def test_a_missing_folder_ends_with_one_line(missing: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    if missing == "bundle":
        run = run_app(tmp_path / "empty", tmp_path / "out", tmp_path / "empty")
        check_error(run, f"expected a packed bundle, found none in {tmp_path / 'empty'}; name its folder with -m")
    else:
        run = run_app(tmp_path / "absent", tmp_path / "out")
        check_error(run, f"expected a folder of DICOM files, found no folder {tmp_path / 'absent'}; name one with -i")
    assert len(run.reported.splitlines()) == 1


def test_figures_are_recorded(images: Path, deployed: Run, tmp_path: Path) -> None:
    """Start-up, seconds an image and memory in a run of many images; results and figures go where INTEGRATIONS says."""
    for number in range(COPIES):
        shutil.copytree(images, tmp_path / "many" / f"{number}")
    start = time.time()
    run = run_app(tmp_path / "many", tmp_path / "results")
    num_images = len(run.read_images())
    assert num_images == COPIES * len(IMAGES)
    # rejected.csv is written when the networks are loaded and all images were read once, done.json last
    ready, done = ((run.folder / name).stat().st_mtime for name in ("rejected.csv", "done.json"))
    figures = {
        "seconds_to_start": round(ready - start, 1),
        "seconds_per_image": round((done - ready) / num_images, 2),
        "peak_memory_mib": round(run.memory_mib),
    }
    if out := os.environ.get("INTEGRATIONS"):
        shutil.rmtree(Path(out, "deploy"), ignore_errors=True)
        shutil.copytree(deployed.folder, Path(out, "deploy"))
        write_cost(out, "deploy", **figures)


def read_rejected(run: Run) -> list[dict[str, str]]:
    """Rows of rejected.csv."""
    with (run.folder / "rejected.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def check_error(run: Run, line: str) -> None:
    """One line of error that begins so, no traceback, status 1."""
    assert run.status == 1, run.reported
    assert "Traceback" not in run.reported, run.reported
    errors = [each for each in run.reported.splitlines() if each.startswith("error: ")]
    assert len(errors) == 1 and errors[0].startswith(f"error: {line}"), run.reported
