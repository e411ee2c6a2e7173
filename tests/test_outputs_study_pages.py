"""Study pages: what a reader sees of a study is what was found, in plain words, and names no patient."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scripts import inferers, radiographs
from scripts.errors import InputError
from scripts.files import escape_cell
from scripts.labels import STUDY_CLASSES
from scripts.outputs import write_mask
from scripts.outputs.operating_point import OperatingPoint
from scripts.outputs.pictures import OPACITY_COLOUR
from scripts.outputs.study_pages import StudyPages, describe_flags
from scripts.outputs.study_pages.pictures import LONGEST_SIDE
from scripts.predictions import RELATIONS, ImageFindings

from tests.markup import Page
from tests.test_outputs import HEIGHT, IMAGES, WIDTH, draw_gradient, draw_region, list_files, make_image, run_writer
from tests.test_outputs import synthetic as synthetic

HASHES = {"study_classifier": "ab" * 32, "lung_detector": "cd" * 32}
REJECTED = {"image_id": "r", "study_id": "A", "reason": "truncated", "path": "CANARY/r.dcm", "detail": "ends early"}


def write_pages(folder: Path, images: Any = IMAGES, rejected: Any = (REJECTED,), **options: Any) -> dict[str, Page]:
    """The pages of some findings, by name; "index" is the index."""
    pages = StudyPages(folder, "1.2.3", **options)
    for image in images:
        write_mask(draw_region(), folder / "masks" / f"{image.image_id}.png")
        pages.write_layers(image.image_id, draw_gradient(), draw_region())
    pages.write(images, rejected, HASHES)
    return {path.stem: Page(path.read_text()) for path in folder.rglob("*.html")}


def list_words(page: Page) -> str:
    return " ".join(page.find("main")[0].text.split())


def test_every_study_has_a_page_and_a_picture_and_the_index_names_them(tmp_path: Path):
    pages = write_pages(tmp_path)
    assert set(pages) == {"index", "A", "B"}
    layers = {f"studies/{kind}/{image.image_id}.png" for kind in ("images", "masks") for image in IMAGES}
    assert list_files(tmp_path) - {f"masks/{image.image_id}.png" for image in IMAGES} == {
        "index.html", "studies/A.html", "studies/A.png", "studies/B.html", "studies/B.png", *layers,
    }  # fmt: skip


def test_pages_are_sound_and_what_they_name_is_there(tmp_path: Path):
    for name, page in write_pages(tmp_path, point=OperatingPoint(0.5)).items():
        assert page.list_faults() == [], name
        folder = tmp_path if name == "index" else tmp_path / "studies"
        links = [each.attributes.get("href") or each.attributes.get("src") for each in page.find("a", "img")]
        assert [link for link in links if not link.startswith("#") and not (folder / link).is_file()] == []


def test_the_index_lists_the_most_suspicious_study_first(tmp_path: Path):
    index = write_pages(tmp_path)["index"]
    rows = [each for each in index.find("tr") if "data-label" in each.attributes]
    assert [each.attributes["data-suspicion"] for each in rows] == ["0.6000", "0.1000"]
    assert "A" in rows[0].text and "typical" not in rows[0].text.replace("data", ""), "negative 0.4 is its highest"
    assert "seen whole" in rows[1].text and rows[1].attributes["data-flagged"]


def test_a_page_says_probabilities_boxes_and_where_it_comes_from(tmp_path: Path):
    words = list_words(write_pages(tmp_path, temperature=1.25)["A"])
    assert "Suspicion of pneumonia 0.60" in words and "negative 0.40 typical 0.20" in words
    assert "1 suspected opacity, confidence 0.80" in words, "the box below 0.5 is not shown"
    assert "No box of confidence 0.5 or more" in words
    assert (
        "temperature 1.25" in words
        and "1.2.3" in words
        and set(re.findall(r"[0-9a-f]{64}", words)) == set(HASHES.values())
    )


def test_probabilities_are_not_called_scaled_where_they_were_not(tmp_path: Path):
    pages = write_pages(tmp_path, temperature=1.0)
    assert "Probabilities as the networks give them" in list_words(pages["A"])
    assert not any("calibrated" in page.html or "temperature" in page.html for page in (pages["A"], pages["index"]))


def test_a_study_is_called_at_an_operating_point_and_not_without_one(tmp_path: Path):
    called = write_pages(tmp_path / "a", point=OperatingPoint(0.5, "sensitivity 0.95"))
    assert "Positive: at or above the operating point 0.5 (sensitivity 0.95)." in list_words(called["A"])
    assert "Negative: below the operating point 0.5" in list_words(called["B"])
    free = write_pages(tmp_path / "b")
    assert "called neither positive nor negative" in list_words(free["A"])


def test_what_was_rejected_is_said_with_its_reason_and_without_its_path(tmp_path: Path):
    alone = {**REJECTED, "image_id": "x", "study_id": "nobody", "reason": "out_of_scope", "detail": "view LL"}
    pages = write_pages(tmp_path, rejected=(REJECTED, alone))
    assert "r truncated The file or its pixel data ends too early (ends early)." in list_words(pages["A"])
    assert "Rejected" not in list_words(pages["B"])
    assert "out of scope" in list_words(pages["index"]) and "2 rejected files" in list_words(pages["index"])
    assert not [name for name, page in pages.items() if "CANARY" in page.html]


def test_a_box_lies_on_the_picture_where_it_was_found(tmp_path: Path):
    page = write_pages(tmp_path, images=[make_image("a1", "A", boxes=((12.0, 48.0, 60.0, 72.0),), scores=(0.9,))])["A"]
    (box,) = [each.attributes for each in page.find("rect") if each.attributes["class"] == "box"]
    assert [float(box[name]) for name in ("x", "y", "width", "height")] == [12, 48, 48, 24]
    assert page.find("svg")[0].attributes["viewbox"] == f"0 0 {WIDTH} {HEIGHT}"


def test_layers_are_the_image_and_its_mask_at_one_size(tmp_path: Path):
    pages = StudyPages(tmp_path, "1")
    wide = np.repeat(draw_gradient(), 20, axis=1)
    pages.write_layers("a", wide, np.repeat(draw_region(), 20, axis=1))
    with Image.open(tmp_path / "studies/images/a.png") as grey, Image.open(tmp_path / "studies/masks/a.png") as mask:
        assert grey.size == mask.size == (LONGEST_SIDE, round(HEIGHT * LONGEST_SIDE / (20 * WIDTH)))
        assert (grey.mode, mask.mode) == ("L", "RGBA") and not grey.info
        shown = np.asarray(mask)
        covered = shown[..., 3] > 0
    assert 0 < covered.mean() < 0.2 and (shown[covered][:, :3] == OPACITY_COLOUR).all()
    rows, columns = np.nonzero(covered)
    assert rows.mean() / covered.shape[0] == pytest.approx(40 / HEIGHT, abs=0.03)
    assert columns.mean() / covered.shape[1] == pytest.approx(75 / WIDTH, abs=0.03)


def test_a_small_image_is_not_enlarged(tmp_path: Path):
    StudyPages(tmp_path, "1").write_layers("a", draw_gradient(), draw_region())
    with Image.open(tmp_path / "studies/images/a.png") as grey:
        np.testing.assert_allclose(np.asarray(grey) / 255, draw_gradient(), atol=1 / 255)


@pytest.mark.parametrize(
    ("flags", "title"),
    [
        (("whole_image", "no_lungs"), "seen whole: no lungs found"),
        (("unsure_lungs", "whole_image"), "seen whole: lungs unsure"),
        (("whole_image",), "seen whole"),
        (("burned_in_annotation",), "burned in annotation"),
    ],
)
def test_flags_are_said_in_plain_words(flags: tuple[str, ...], title: str):
    (flag,) = describe_flags(flags)
    assert flag.title == title and len(flag.sentence.split()) > 3


def test_every_flag_has_a_sentence():
    flags = {*radiographs.FLAGS, *inferers.LUNG_FLAGS, *RELATIONS}
    assert [each.title for each in describe_flags(flags) if each.sentence == each.title] == []


@pytest.mark.parametrize("study_id", ["index", "../outside", "a/b", "", "é" * 300, "<b>"])
def test_no_id_of_a_study_leads_elsewhere_or_takes_the_indexs_name(tmp_path: Path, study_id: str):
    pages = write_pages(tmp_path / "out", images=[make_image("a1", study_id)], rejected=())
    (name,) = set(pages) - {"index"}
    assert re.fullmatch(r"[0-9a-f]{16}", name)
    assert list_files(tmp_path) == {f"out/{each}" for each in list_files(tmp_path / "out")}
    assert pages["index"].find("table")[0].text.count(study_id) >= 1


def test_a_rejected_image_is_found_by_its_studys_id_as_the_table_escapes_it(tmp_path: Path):
    row = {**REJECTED, "study_id": str(escape_cell("=1"))}
    page = next(page for name, page in write_pages(tmp_path, [make_image("a", "=1")], [row]).items() if name != "index")
    assert "Rejected, not scored" in list_words(page)


def test_pages_of_no_image_are_an_index(tmp_path: Path):
    pages = write_pages(tmp_path, images=(), rejected=())
    assert set(pages) == {"index"} and "No image was scored" in list_words(pages["index"])
    assert pages["index"].list_faults() == []


def test_the_picture_of_a_study_shows_its_images_and_its_probabilities(tmp_path: Path):
    write_pages(tmp_path)
    with Image.open(tmp_path / "studies/A.png") as both, Image.open(tmp_path / "studies/B.png") as one:
        assert both.mode == "RGB" and not both.info, "no text, no time, no name of a program"
        assert both.width > one.width
        pixels = np.asarray(one)
    assert (pixels == OPACITY_COLOUR).all(axis=2).sum() > 500


def test_a_run_writes_pages_by_option(synthetic: dict[str, Path], tmp_path: Path):
    (tmp_path / "weights.pt").write_bytes(b"weights")
    options = {"study_pages": "true", "version": "3", "weights": tmp_path / "weights.pt", "overlays": 0}
    run_writer(synthetic, tmp_path / "out", out_of_scope="a2", **options)
    written = list_files(tmp_path / "out")
    assert {"index.html", "studies/A.html", "studies/A.png", "studies/images/a1.png", "studies/masks/b1.png"} <= written
    assert "studies/images/a2.png" not in written, "it is out of scope"
    page = Page((tmp_path / "out/studies/A.html").read_text())
    assert "a2 out of scope" in list_words(page)
    assert json.loads((tmp_path / "out/done.json").read_text())["weights_sha256"] in page.html
    contents = [(tmp_path / "out" / name).read_bytes().lower() for name in written if "rejected" not in name]
    assert not [each for each in contents if b"canary" in each]


def test_a_run_without_the_option_writes_none(synthetic: dict[str, Path], tmp_path: Path):
    run_writer(synthetic, tmp_path)
    assert not [name for name in list_files(tmp_path) if name.endswith(".html") or name.startswith("studies/")]


@pytest.mark.parametrize("options", [{"study_pages": "maybe"}, {"study_pages": True, "operating_point": {"point": 2}}])
def test_malformed_options_are_errors_before_anything_is_written(tmp_path: Path, options: dict[str, Any]):
    with pytest.raises(InputError):
        run_writer({}, tmp_path, **options)
    assert not list_files(tmp_path)


def test_images_alone_are_compared_in_a_study_of_several(tmp_path: Path):
    images: list[ImageFindings] = [*IMAGES[:2], replace(IMAGES[2], flags=())]
    pages = write_pages(tmp_path, images=images)
    assert "suspicion of this image alone 0.90" in list_words(pages["A"])
    assert "alone" not in list_words(pages["B"]) and "Take note" not in list_words(pages["B"])
    assert all(name in list_words(pages["B"]) for name in STUDY_CLASSES)
