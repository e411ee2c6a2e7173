"""The application by its documented command, and the same films through `python -m monai.bundle run`.

Run in the Deploy environment, from the repository's root, with `dist/` assembled:

    ulimit -s 32768
    .venv-deploy/bin/python -m pytest -q -p no:cacheprovider apps/deploy

Where DOORS names a folder, `deploy/` and `deploy.json` in it are what `python -m apps.doors tell` looks for.
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

from apps.doors import compare_answers, overlap_masks, read_films, run_bundle, write_cost
from apps.films import FILMS, draw_films
from scripts.synthetic import FilmStyle, draw_chest, store_picture, write_broken_film

ROOT = Path(__file__).resolve().parents[2]
APP = Path(__file__).with_name("app.py")
BUNDLE = ROOT / "dist" / "chest_xray_covid19"
#: The objects of a film.
KINDS = {
    uid.ComprehensiveSRStorage: "SR",
    uid.GrayscaleSoftcopyPresentationStateStorage: "GSPS",
    uid.SegmentationStorage: "SEG",
    uid.SecondaryCaptureImageStorage: "SC",
}
#: So often the films are repeated where they are timed.
COPIES = 4
#: What the films of the archive's broken study must be refused for, by image id.
REFUSED = {"cut": "truncated", "lateral": "out_of_scope", "note": "not_dicom"}


@dataclass(frozen=True)
class Run:
    """One command that ran: its status, what it said, the peak memory of its largest process in MiB, and its folder."""

    status: int
    said: str
    memory_mib: float
    folder: Path

    def read_films(self) -> dict[str, dict[str, Any]]:
        """The films of predictions.json by image id."""
        assert self.status == 0, self.said
        return read_films(self.folder)

    def read_mask(self, image_id: str) -> NDArray[np.bool_]:
        """A film's mask `(H, W)`."""
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


def run_app(films: Path, folder: Path, bundle: Path = BUNDLE) -> Run:
    """The command of the application's own description, with these folders."""
    lines = (ast.get_docstring(ast.parse(APP.read_text())) or "").splitlines()
    command = "\n".join(line.strip() for line in lines if line.startswith("    "))
    names = {"INPUT_FOLDER": films, "OUTPUT_FOLDER": folder, "dist/chest_xray_covid19": bundle}
    for name, path in names.items():
        assert command.count(name) == 1
        command = command.replace(name, shlex.quote(str(path)))
    return run_command(command, folder)


def write_slice(path: Path, seed: int, study_uid: str = "", patient_id: str = "DRAWN") -> None:
    """A CT slice, in a study of its own or in that of a film."""
    drawing = draw_chest(128, 128, "negative", (seed, seed, seed))
    style = FilmStyle(modality="CT", study_uid=study_uid, patient_id=patient_id)
    values, style = store_picture(drawing.pixels, style, "full")
    write_broken_film(path, values, style, "ct_slice")


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The films of every door, in a folder of their own."""
    folder = tmp_path_factory.mktemp("films")
    draw_films(folder)
    return folder


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same films among what else an archive sends: CT, in a study of a film and in one of its own, broken films."""
    folder = tmp_path_factory.mktemp("archive")
    first = dcmread(next(iter(draw_films(folder).values())), stop_before_pixels=True)
    beside = folder / f"study-{next(iter(FILMS))}" / "ct" / "slice.dcm"
    write_slice(beside, 21, str(first.StudyInstanceUID), str(first.PatientID))
    write_slice(folder / "study-ct" / "ct" / "alone.dcm", 22)
    drawing = draw_chest(256, 256, "typical", (23, 23, 23))
    values, style = store_picture(drawing.pixels, FilmStyle(), "full")
    for name, breakage in (("cut", "cut_file"), ("lateral", "lateral"), ("note", "text_file")):
        write_broken_film(folder / "study-broken" / "series" / f"{name}.dcm", values, style, breakage)
    return folder


@pytest.fixture(scope="session")
def deployed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The application on the archive."""
    return run_app(archive, tmp_path_factory.mktemp("deploy") / "archive")


@pytest.fixture(scope="session")
def bundled(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What MONAI's own command answers about the films."""
    folder = tmp_path_factory.mktemp("bundle")
    run_bundle(films, folder, BUNDLE)
    return folder


def test_every_film_gets_tables_mask_overlay_and_dicom_results(deployed: Run) -> None:
    assert deployed.read_films().keys() == FILMS.keys(), deployed.said
    done = json.loads((deployed.folder / "done.json").read_text())
    assert done["films"] == len(FILMS) and done["dicom_results"] == {"films": len(FILMS), "left_out": 0}
    seen: set[str] = set()
    for name in FILMS:
        assert (deployed.folder / "overlays" / f"{name}.png").is_file()
        assert deployed.read_mask(name).shape == FILMS[name][:2]
        objects = [dcmread(path) for path in (deployed.folder / "dicom" / name).glob("*.dcm")]
        kinds = sorted(KINDS[each.SOPClassUID] for each in objects)
        # a segmentation has to hold something (PS3.3 A.51): none is written of an empty mask
        assert kinds == [kind for kind in sorted(KINDS.values()) if kind != "SEG" or deployed.read_mask(name).any()]
        seen |= set(kinds)
    assert seen == set(KINDS.values())


def test_two_doors_give_one_answer(deployed: Run, bundled: Path) -> None:
    distance = compare_answers(bundled, deployed.folder)
    assert distance.films == len(FILMS) and distance.agrees, distance
    others = read_films(bundled)
    for name, film in deployed.read_films().items():
        assert film["study_id"] == others[name]["study_id"] and film["flags"] == others[name]["flags"]
        assert [film["none"], *film["scores"]] == pytest.approx(
            [others[name]["none"], *others[name]["scores"]], abs=1e-4
        )


def test_inverse_stored_twins_get_one_answer(deployed: Run) -> None:
    films = deployed.read_films()
    first, second = films["cr-monochrome1"], films["cr-monochrome2"]
    assert first["probabilities"] == pytest.approx(second["probabilities"], abs=1e-4)
    np.testing.assert_allclose(first["boxes"], second["boxes"], atol=0.5)
    masks = (deployed.folder / "masks" / f"{name}.png" for name in ("cr-monochrome1", "cr-monochrome2"))
    assert overlap_masks(*masks) >= 0.999


def test_other_modalities_are_left_out_and_told(deployed: Run) -> None:
    assert "left out, neither CR nor DX: 2 series of modality CT" in deployed.said
    assert "1 of the studies without a CR or DX series" in deployed.said
    assert not {"slice", "alone"} & {row["image_id"] for row in read_refused(deployed)}


def test_refused_films_are_told_and_never_answered(deployed: Run) -> None:
    assert {row["image_id"]: row["reason"] for row in read_refused(deployed)} == REFUSED
    assert not REFUSED.keys() & deployed.read_films().keys()
    assert "3 of 8 films refused" in deployed.said


def test_a_study_without_radiographs_ends_with_one_line(tmp_path: Path) -> None:
    write_slice(tmp_path / "in" / "study" / "ct" / "slice.dcm", 24)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "done.json").write_text("{}")
    run = run_app(tmp_path / "in", tmp_path / "out")
    check_error(run, "expected at least one CR or DX film, found 1 series of modality CT; check")
    assert not (tmp_path / "out" / "predictions.json").exists() and not (tmp_path / "out" / "done.json").exists()


def test_files_that_are_no_films_end_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "note.txt").write_text("no film\n")
    run = run_app(tmp_path / "in", tmp_path / "out")
    check_error(run, "expected at least one readable film, found 1 refused, not_dicom 1; see")
    assert [row["reason"] for row in read_refused(run)] == ["not_dicom"]


@pytest.mark.parametrize("missing", ["bundle", "films"])
def test_a_missing_folder_ends_with_one_line(missing: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    if missing == "bundle":
        run = run_app(tmp_path / "empty", tmp_path / "out", tmp_path / "empty")
        check_error(run, f"expected a packed bundle, found none in {tmp_path / 'empty'}; name its folder with -m")
    else:
        run = run_app(tmp_path / "absent", tmp_path / "out")
        check_error(run, f"expected a folder of DICOM files, found no folder {tmp_path / 'absent'}; name one with -i")
    assert len(run.said.splitlines()) == 1


def test_figures_are_recorded(films: Path, deployed: Run, tmp_path: Path) -> None:
    """Start-up, seconds a film and memory in a run of many films; answers and figures go where DOORS says."""
    for number in range(COPIES):
        shutil.copytree(films, tmp_path / "many" / f"{number}")
    start = time.time()
    run = run_app(tmp_path / "many", tmp_path / "answers")
    num_films = len(run.read_films())
    assert num_films == COPIES * len(FILMS)
    # refused.csv is written when the networks are loaded and all films were read once, done.json last
    ready, done = ((run.folder / name).stat().st_mtime for name in ("refused.csv", "done.json"))
    figures = {
        "seconds_to_start": round(ready - start, 1),
        "seconds_per_film": round((done - ready) / num_films, 2),
        "peak_memory_mib": round(run.memory_mib),
    }
    if out := os.environ.get("DOORS"):
        shutil.rmtree(Path(out, "deploy"), ignore_errors=True)
        shutil.copytree(deployed.folder, Path(out, "deploy"))
        write_cost(out, "deploy", **figures)


def read_refused(run: Run) -> list[dict[str, str]]:
    """Rows of refused.csv."""
    with (run.folder / "refused.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def check_error(run: Run, line: str) -> None:
    """One line of error that begins so, no traceback, status 1."""
    assert run.status == 1, run.said
    assert "Traceback" not in run.said, run.said
    errors = [each for each in run.said.splitlines() if each.startswith("error: ")]
    assert len(errors) == 1 and errors[0].startswith(f"error: {line}"), run.said
