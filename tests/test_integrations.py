"""Agreement of the integrations' results, and the commands of `make`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scripts.errors import InputError
from scripts.radiographs import read_radiograph

from apps import integrations
from apps.images import IMAGES, INVERSE, PLAIN, write_images
from apps.integrations import REFERENCE, ask, compare_results, report, write_cost

ROOT = Path(__file__).resolve().parents[1]


def write_result(folder: Path, typical: float = 0.6, edge: float = 10.0, cut: int = 0, **changes: Any) -> Path:
    """One image: probabilities, a box whose right edge is `edge`, a mask of 100 rows of which `cut` are missing."""
    (folder / "masks").mkdir(parents=True)
    mask = np.full((100, 10), 255, dtype=np.uint8)
    mask[:cut] = 0
    Image.fromarray(mask).save(folder / "masks" / "a.png")
    image = {
        "image_id": "a",
        "probabilities": {"typical": typical, "negative": 1 - typical},
        "boxes": [[0, 0, edge, 9]],
    }
    (folder / "predictions.json").write_text(json.dumps({"images": [{**image, **changes}]}))
    return folder


def test_equal_answers_agree(tmp_path: Path):
    distance = compare_results(write_result(tmp_path / "one"), write_result(tmp_path / "other"))
    assert (distance.images, distance.probability, distance.edge, distance.mask_iou) == (1, 0, 0, 1) and distance.agrees


@pytest.mark.parametrize("change", [{"typical": 0.6002}, {"edge": 10.6}, {"cut": 1}])
def test_each_figure_alone_is_enough_to_disagree(change: dict[str, Any], tmp_path: Path):
    assert not compare_results(write_result(tmp_path / "one"), write_result(tmp_path / "other", **change)).agrees


@pytest.mark.parametrize(
    ("change", "message"), [({"image_id": "b"}, "only one has a, b"), ({"boxes": []}, "1 and 0 on a")]
)
def test_answers_about_other_things_are_reported(change: dict[str, Any], message: str, tmp_path: Path):
    with pytest.raises(InputError, match=message):
        compare_results(write_result(tmp_path / "one"), write_result(tmp_path / "other", **change))


@pytest.mark.parametrize(("weights", "stays"), [("one", True), ("other", False)])
def test_results_by_other_weights_are_forgotten(
    weights: str, stays: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "images").mkdir()
    (write_result(tmp_path / REFERENCE) / "done.json").write_text(json.dumps({"weights_sha256": "one"}))
    write_result(tmp_path / "label")
    write_cost(tmp_path, "label", seconds_for_an_image=0.4)

    def run_bundle(images: Path, out: Path, release: str) -> None:
        (out / "done.json").write_text(json.dumps({"weights_sha256": weights}))

    monkeypatch.setattr(integrations, "run_bundle", run_bundle)
    monkeypatch.setattr("scripts.exports.export_networks", lambda *arguments, **options: {})
    ask(str(tmp_path), "release")
    assert (tmp_path / "label").is_dir() == (tmp_path / "label.json").is_file() == stays
    assert (tmp_path / "images").is_dir() and (tmp_path / REFERENCE / "predictions.json").is_file()


def test_the_table_reports_every_entry_point_that_answered(tmp_path: Path):
    for integration in (REFERENCE, "label"):
        write_result(tmp_path / integration)
    write_cost(tmp_path, "label", seconds_for_an_image=0.4)
    write_cost(tmp_path, "onnx", study_classifier=5e-6)
    table = report(str(tmp_path))
    assert "| MONAI Label | 1 | 0.0e+00 | 0.000 | 1.0000 | seconds for an image 0.4 |" in table
    assert "MONAI Deploy" not in table and "5.0e-06" in table


def test_an_integration_that_answers_otherwise_is_reported(tmp_path: Path):
    write_result(tmp_path / REFERENCE)
    write_result(tmp_path / "deploy", typical=0.7)
    with pytest.raises(InputError, match="MONAI Deploy"):
        report(str(tmp_path))


def test_the_twins_are_one_picture_stored_twice(tmp_path: Path):
    images = write_images(tmp_path)
    assert images.keys() == IMAGES.keys()
    pixels = {name: read_radiograph(path).pixels for name, path in images.items()}
    np.testing.assert_allclose(pixels[INVERSE], pixels[PLAIN], atol=1e-6)
    assert len({image.shape for image in pixels.values()}) >= 3


def test_every_command_of_the_page_is_there():
    """Verbs of make, modules and files that the page of the integrations names."""
    page, makefile = (ROOT / "bundle/docs/integrations.md").read_text(), (ROOT / "Makefile").read_text()
    verbs = set(re.findall(r"^ +make ([a-z-]+)", page, flags=re.MULTILINE))
    assert {"integrations", "label", "test-label", "test-deploy", "deploy-demo", "pacs-demo", "test-pacs"} <= verbs
    assert all(re.search(rf"^{verb}:", makefile, flags=re.MULTILINE) for verb in verbs)
    files = re.findall(r"\bapps/[a-z_/]+\.py|apps/deploy/Dockerfile", page)
    modules = {ROOT / name.replace(".", "/") for name in re.findall(r"-m ((?:apps|benchmarks)\.[a-z._]*[a-z])", page)}
    assert files and modules and all((ROOT / path).is_file() for path in files)
    assert all(path.with_suffix(".py").is_file() or (path / "__main__.py").is_file() for path in modules)
