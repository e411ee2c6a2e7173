"""Pictures of the documents: made by the present weights, and the parts of the tool that makes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scripts.errors import InputError
from scripts.predictions import ImageFindings

from apps.site import pictures
from apps.site.pictures import (
    MODELS,
    OPERATING_POINT,
    OVERLAY,
    PICTURES_FILE,
    SCREENSHOTS,
    STEPS,
    choose_images,
    make_results,
    name_weights,
    read_hashes,
    run_command,
    write_part,
    write_smaller,
)
from tests.test_outputs import make_image

DOCS = Path(__file__).resolve().parents[1] / "bundle" / "docs"
MAX_BYTES = 400_000


def test_the_pictures_were_made_by_the_present_weights():
    made = json.loads((DOCS / "images" / PICTURES_FILE).read_text(encoding="utf-8"))
    present = read_hashes(MODELS)
    assert {"model.pt", "lite0_student.pt", "lung_detector.pt", "opacity_detector.pt"} == made["weights"].keys()
    assert made["weights"] == {name: present.get(name) for name in made["weights"]}, "run make pictures"


def test_every_picture_is_there_and_small():
    made = json.loads((DOCS / "images" / PICTURES_FILE).read_text(encoding="utf-8"))
    assert made["pictures"] == sorted([*SCREENSHOTS, OVERLAY])
    sizes = {name: (DOCS / "images" / name).stat().st_size for name in made["pictures"]}
    assert {name: size for name, size in sizes.items() if size > MAX_BYTES} == {}


def test_the_operating_point_is_that_of_the_page_on_reports():
    assert OPERATING_POINT in (DOCS / "reports.md").read_text(encoding="utf-8")


def make_findings(name: str, negative: float, **changes: Any) -> ImageFindings:
    """An image of a study of its own, with a sure box on each side."""
    boxes = ((10.0, 20.0, 40.0, 60.0), (70.0, 20.0, 100.0, 60.0))
    return make_image(name, name, negative, **{"boxes": boxes, "scores": (0.8, 0.7), **changes})


def test_the_most_suspicious_images_with_a_box_on_each_side_are_shown():
    images = [
        make_findings("faint", 0.01, scores=(0.8, 0.3)),
        make_findings("one_side", 0.02, boxes=((10.0, 20.0, 40.0, 60.0),) * 2),
        make_findings("whole", 0.03, flags=("whole_image",)),
        *(make_image(f"two{number}", "two", 0.04) for number in (1, 2)),
        make_findings("second", 0.06, flags=("body_part",)),
        make_findings("first", 0.05),
    ]
    assert [image.image_id for image in choose_images(images)] == ["first", "second"]
    with pytest.raises(InputError, match="a flagged image with a box on each side"):
        choose_images(images[:-2])


def test_weights_are_named_by_their_files_and_others_are_rejected():
    files = {"a.pt": "1" * 64, "b.pt": "2" * 64}
    assert name_weights(["2" * 64], files) == {"b.pt": "2" * 64}
    with pytest.raises(InputError, match="weights 333333333333"):
        name_weights(["1" * 64, "3" * 64], files)


def test_a_result_is_kept_until_what_made_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ran: list[str] = []

    def run(command: str, work: Path, log: Path) -> None:
        ran.append(log.stem.removesuffix(".html"))
        (work / log.name.removesuffix(".log")).mkdir(parents=True)

    monkeypatch.setattr(pictures, "run_command", run)
    monkeypatch.setattr(pictures, "hash_files", lambda: "weights")
    names = [name.removesuffix(".html") for name in STEPS]
    make_results(tmp_path)
    assert ran == names
    make_results(tmp_path)
    assert ran == names, "nothing has changed"
    monkeypatch.setattr(pictures, "hash_files", lambda: "other weights")
    make_results(tmp_path)
    assert ran[len(names) :] == names[2:], "synthetic images are those that they were"
    monkeypatch.setitem(STEPS, "images", "another command")
    make_results(tmp_path)
    assert ran[2 * len(names) - 2 :] == names


def test_a_command_that_fails_is_named_with_its_log(tmp_path: Path):
    run_command("platform", tmp_path, tmp_path / "well.log")
    assert (tmp_path / "well.log").stat().st_size
    with pytest.raises(InputError, match=r"exit code 2: .*read .*ill.log"):
        run_command("json.tool WORK/none", tmp_path, tmp_path / "ill.log")


def test_a_part_of_a_page_is_shown_without_the_others(tmp_path: Path):
    (tmp_path / "report.html").write_text("<head></head><main><nav></nav><section id='studies'></section></main>")
    shown = write_part(tmp_path / "report.html#studies")
    assert shown.name == "report_studies.html"
    assert "main > :not(nav, #studies) { display: none }</style></head><main>" in shown.read_text()


def test_few_colours_leave_a_picture_as_it_looks(tmp_path: Path):
    pixels = np.repeat(np.tile(np.arange(256, dtype=np.uint8), (256, 1))[..., None], 3, axis=2)
    pixels[100:140, 100:140] = (255, 176, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    write_smaller(tmp_path / "a.png", tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as picture:
        assert picture.mode == "P"
        assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - pixels).max() <= 16
