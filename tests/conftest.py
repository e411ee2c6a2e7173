"""What tests of several rooms share: a drawn tree, its datalist, and the real films where they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scripts.datalist import prepare
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
