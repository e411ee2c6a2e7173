"""Nothing that a verb writes or prints names a patient, whether it ends well or not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scripts import __main__ as verbs
from scripts import research
from scripts.datalist import read_datalist
from scripts.errors import InputError
from scripts.labels import STUDY_CLASSES
from scripts.outputs.study_pages import StudyPages
from scripts.predictions import read_predictions
from scripts.radiographs import read_radiograph
from scripts.synthetic import write_image

from tests.images import draw_noise
from tests.reports import write_predicted_run

CANARY = "CANARY"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two prepared trees of one's own images; their headers name patients, and neither paths nor tables do."""
    folder = tmp_path_factory.mktemp("canaries")
    for tree, first in (("tree", 0), ("external", 100)):
        rows = ["study,image,label,boxes"]
        for seed in range(first, first + 8):
            names = {"patient_name": f"{CANARY}^{seed}", "patient_id": f"{CANARY}{seed}", "study_id": CANARY}
            write_image(folder / tree / f"{seed}.dcm", draw_noise(seed), **names)
            rows.append(f"s{seed},{seed}.dcm,{STUDY_CLASSES[seed % 4]},")
        (folder / f"{tree}.csv").write_text("\n".join(rows))
        verbs.prepare(str(folder / tree), str(folder / f"{tree}_prepared"), str(folder / f"{tree}.csv"), 2, workers=1)
    return folder


def prepare_one_study_over_patients(data: Path, out: Path) -> str:
    table = (data / "tree.csv").read_text().replace("s4,4.dcm", "s0,4.dcm")
    (out / "table.csv").write_text(table)
    return verbs.prepare(str(data / "tree"), str(out / "prepared"), str(out / "table.csv"), 2, workers=1)


def prepare_two_labels(data: Path, out: Path) -> str:
    (out / "table.csv").write_text((data / "tree.csv").read_text().replace("s1,1.dcm", "s0,1.dcm"))
    return verbs.prepare(str(data / "tree"), str(out / "prepared"), str(out / "table.csv"), 2, workers=1)


def prepare_broken_images(data: Path, out: Path) -> str:
    shutil.copytree(data / "tree", out / "tree")
    for path in (out / "tree").iterdir():
        path.write_bytes(path.read_bytes()[:-500])
    return verbs.prepare(str(out / "tree"), str(out / "prepared"), str(data / "tree.csv"), 2, workers=1)


def check(data: Path, out: Path) -> str:
    return verbs.check(str(data / "tree_prepared/datalist.json"), str(data / "tree"), workers=1)


def check_exchanged(data: Path, out: Path) -> str:
    shutil.copytree(data / "tree", out / "tree")
    shutil.copy(data / "tree/1.dcm", out / "tree/0.dcm")
    return verbs.check(str(data / "tree_prepared/datalist.json"), str(out / "tree"), workers=1)


def extract_metadata(data: Path, out: Path) -> str:
    return research.extract_metadata(
        str(data / "tree_prepared/datalist.json"), str(data / "tree"), str(out / "metadata.csv")
    )


def add_external(data: Path, out: Path) -> str:
    places = ("tree_prepared/datalist.json", "tree", "external_prepared/datalist.json", "external")
    return research.add_external(*(str(data / place) for place in places), out=str(out), workers=1)


def add_external_twice(data: Path, out: Path) -> str:
    """External images that are the datalist's own are left out, each with its pair."""
    places = ("tree_prepared/datalist.json", "tree", "tree_prepared/datalist.json", "tree")
    return research.add_external(*(str(data / place) for place in places), out=str(out), workers=1)


def report(data: Path, out: Path) -> str:
    """Study pages, and a report with pictures."""
    datalist = data / "tree_prepared/datalist.json"
    run = write_predicted_run(out / "run", datalist, 2)
    pages, paths = (
        StudyPages(run, "1"),
        {each["image_id"]: each["image"] for each in read_datalist(datalist)["training"]},
    )
    images = read_predictions(run / "predictions.json")
    for image in images:
        pixels = read_radiograph(data / "tree" / paths[image.image_id]).pixels[0]
        pages.write_layers(image.image_id, pixels, np.ones(pixels.shape, np.uint8))
    pages.write(images, [], None)
    options = {"ground_truth": str(datalist), "tree": str(data / "tree"), "num_resamples": 5}
    return research.report(str(run), out=str(out / "report.html"), **options)


@pytest.mark.filterwarnings("ignore:The least populated class")
@pytest.mark.parametrize(
    ("verb", "fails"),
    [
        (prepare_one_study_over_patients, False),
        (prepare_two_labels, True),
        (prepare_broken_images, True),
        (check, False),
        (check_exchanged, True),
        (extract_metadata, False),
        (add_external, False),
        (add_external_twice, True),
        (report, False),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_no_verb_names_a_patient(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], verb: Callable[[Path, Path], str], fails: bool
):
    if fails:
        with pytest.raises(InputError) as caught:
            verb(data, tmp_path)
        reported = str(caught.value)
    else:
        reported = verb(data, tmp_path)
    reported += "".join(capfd.readouterr())
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix not in (".dcm",)]
    texts = {"what was printed": reported, **{path.name: path.read_bytes().decode("latin-1") for path in written}}
    assert [name for name, text in texts.items() if CANARY in text or CANARY.lower() in text.lower()] == []
    assert reported


def test_the_canaries_are_there(data: Path):
    assert CANARY.encode() in (data / "tree/0.dcm").read_bytes()
    assert len(json.loads((data / "tree_prepared/datalist.json").read_text())["training"]) == 8
