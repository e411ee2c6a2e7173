"""What tests of several rooms share: a drawn tree, its datalist, and the real films where they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scripts.datalist import add_external, prepare, read_datalist, write_datalist
from scripts.synthetic import draw_tree

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of 24 drawn studies with labels and 4 without, 96 pixels; tests read it only."""
    tree = tmp_path_factory.mktemp("drawn") / "films"
    draw_tree(tree, num_studies=24, num_test_studies=4, size=96, workers=1)
    return tree


@pytest.fixture(scope="session")
def datalist_file(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The datalist of `films`, in three folds: with 24 studies each class is in each of them."""
    return prepare(films, tmp_path_factory.mktemp("prepared"), num_folds=3, workers=1).datalist


@pytest.fixture(scope="session")
def external_films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of 8 other drawn studies with labels, and one without."""
    tree = tmp_path_factory.mktemp("elsewhere") / "films"
    draw_tree(tree, num_studies=8, num_test_studies=1, size=96, seed=7, workers=1)
    return tree


@pytest.fixture(scope="session")
def joined_datalist_file(
    films: Path, datalist_file: Path, external_films: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """`datalist_file` with `external_films`, labelled for each fold as by a model that held it out."""
    out = tmp_path_factory.mktemp("joined")
    elsewhere = prepare(external_films, out / "elsewhere", num_folds=2, workers=1).datalist
    joined = read_datalist(add_external(datalist_file, films, elsewhere, external_films, out, workers=1).datalist)
    studies = {film["study_id"] for film in joined["external"]["films"]}
    labelled_hash = read_datalist(datalist_file)["content_hash"]
    pseudo_labels = [
        {
            "fold": fold,
            "models": [{"name": "drawn", "fold": fold, "weights_sha256": "0" * 64, "datalist_hash": labelled_hash}],
            "probabilities": {study: [0.2, 0.5, 0.2, 0.1] for study in studies},
        }
        for fold in range(joined["num_folds"])
    ]
    external = joined["external"] | {"pseudo_labels": pseudo_labels}
    write_datalist(out / "datalist.json", joined["training"], joined["test"], joined["num_folds"], 0, external)
    return out / "datalist.json"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The challenge's labelled films at 256 pixels; a test that asks for them is skipped where they are absent."""
    folder = ROOT.parent / "shared" / "data" / "siim-covid19-256"
    if not folder.is_dir():
        pytest.skip("needs the real films in ../shared/data/siim-covid19-256")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked `gpu` where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
