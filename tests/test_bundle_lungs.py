"""The shipped lung detector on real films: those of the validation fold, and four from elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.boxes import compute_paired_iou
from scripts.inferers import LungFinder
from scripts.inferers.datalists import read_lung_finder
from scripts.radiographs import read_radiograph
from tests.configs import INFERENCE

ROOT = Path(__file__).resolve().parents[1]

#: Drawn by eye round the visible lungs, from the apices to the costophrenic angles, before the detector had been asked;
#: shares of width and height: xmin, ymin, xmax, ymax.
DRAWN = {
    "nema_rg1_cr_pa_mono1_j2k": (0.06, 0.08, 0.915, 0.82),
    "nih_dx_implicit": (0.105, 0.07, 0.855, 0.80),
    "orthanc_cr_mono1_jpeg": (0.05, 0.085, 0.87, 0.79),
    "rsna_cr_pa_jpeg": (0.11, 0.115, 0.885, 0.785),
}


@pytest.fixture(scope="module")
def finder() -> LungFinder:
    return read_lung_finder(INFERENCE)


@pytest.fixture(scope="module")
def films_from_elsewhere() -> Path:
    folder = ROOT.parent / "shared" / "data" / "dicom-chest"
    if not folder.is_dir():
        pytest.skip("needs the real films in ../shared/data/dicom-chest")
    return folder


@pytest.mark.parametrize("name", DRAWN)
def test_the_lungs_of_a_film_from_elsewhere_are_found(finder: LungFinder, films_from_elsewhere: Path, name: str):
    pixels = read_radiograph(films_from_elsewhere / f"{name}.dcm", accept_secondary_capture=True).pixels
    (lungs,) = finder([torch.from_numpy(pixels)])
    assert lungs.flags == ()
    height, width = pixels.shape[1:]
    drawn = np.array(DRAWN[name]) * [width, height, width, height]
    assert compute_paired_iou([lungs.box], [drawn])[0] >= 0.79


def test_the_shipped_detector_is_small():
    assert (ROOT / "bundle" / "models" / "lung_detector.pt").stat().st_size < 10_000_000


def test_on_drawn_films_lungs_are_found_where_they_were_drawn(finder: LungFinder, films: Path, datalist_file: Path):
    """Drawn films are not what it was trained on: most are found, and what is not is flagged."""
    from scripts.datalist import validation_films

    known = validation_films(datalist_file, films, 0)
    found = finder([torch.from_numpy(read_radiograph(film["image"]).pixels) for film in known])
    pairs = [(lungs.box, film["lung_box"]) for lungs, film in zip(found, known, strict=True) if lungs.box is not None]
    assert all(lungs.flags for lungs in found if lungs.box is None)
    assert len(pairs) >= len(found) / 2
    assert compute_paired_iou([box for box, _ in pairs], [drawn for _, drawn in pairs]).mean() > 0.6
