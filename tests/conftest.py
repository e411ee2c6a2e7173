"""Fixtures for tests of several packages: a synthetic tree, its datalist, and the real images where they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scripts.datalist import read_datalist, write_datalist
from scripts.preparation import add_external, prepare
from scripts.synthetic import generate_tree

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of 24 synthetic studies with labels and 4 without, 96 pixels; tests read it only."""
    tree = tmp_path_factory.mktemp("synthetic") / "images"
    generate_tree(tree, num_studies=24, num_test_studies=4, size=96, workers=1)
    return tree


@pytest.fixture(scope="session")
def datalist_file(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The datalist of `images`, in three folds: with 24 studies each class is in each of them."""
    return prepare(images, tmp_path_factory.mktemp("prepared"), num_folds=3, workers=1).datalist


@pytest.fixture(scope="session")
def external_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of 8 other synthetic studies with labels, and one without."""
    tree = tmp_path_factory.mktemp("external_set") / "images"
    generate_tree(tree, num_studies=8, num_test_studies=1, size=96, seed=7, workers=1)
    return tree


@pytest.fixture(scope="session")
def joined_datalist_file(
    images: Path, datalist_file: Path, external_images: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """`datalist_file` with `external_images`, labelled for each fold as by a model that held it out."""
    out = tmp_path_factory.mktemp("joined")
    external_set = prepare(external_images, out / "external_set", num_folds=2, workers=1).datalist
    joined = read_datalist(add_external(datalist_file, images, external_set, external_images, out, workers=1).datalist)
    studies = {image["study_id"] for image in joined["external"]["images"]}
    labelled_hash = read_datalist(datalist_file)["content_hash"]
    pseudo_labels = [
        {
            "fold": fold,
            "models": [{"name": "synthetic", "fold": fold, "weights_sha256": "0" * 64, "datalist_hash": labelled_hash}],
            "probabilities": {study: [0.2, 0.5, 0.2, 0.1] for study in studies},
        }
        for fold in range(joined["num_folds"])
    ]
    external = joined["external"] | {"pseudo_labels": pseudo_labels}
    write_datalist(out / "datalist.json", joined["training"], joined["test"], joined["num_folds"], 0, external)
    return out / "datalist.json"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The challenge's labelled images at 256 pixels; a test that asks for them is skipped where they are absent."""
    folder = ROOT.parent / "shared" / "data" / "siim-covid19-256"
    if not folder.is_dir():
        pytest.skip("needs the real images in ../shared/data/siim-covid19-256")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked `gpu` where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
