"""The shipped lung detector on real images: those of the validation fold, and four of other sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scripts.boxes import compute_paired_iou
from scripts.inferers import LungInferer, read_lung_inferer
from scripts.radiographs import read_radiograph

from tests.configs import INFERENCE

ROOT = Path(__file__).resolve().parents[1]

#: Drawn by eye round the visible lungs, from the apices to the costophrenic angles, before the detector had been asked;
#: fractions of width and height: xmin, ymin, xmax, ymax.
SYNTHETIC = {
    "nema_rg1_cr_pa_mono1_j2k": (0.06, 0.08, 0.915, 0.82),
    "nih_dx_implicit": (0.105, 0.07, 0.855, 0.80),
    "orthanc_cr_mono1_jpeg": (0.05, 0.085, 0.87, 0.79),
    "rsna_cr_pa_jpeg": (0.11, 0.115, 0.885, 0.785),
}


@pytest.fixture(scope="module")
def lung_inferer() -> LungInferer:
    return read_lung_inferer(INFERENCE)


@pytest.fixture(scope="module")
def external_images() -> Path:
    folder = ROOT.parent / "shared" / "data" / "dicom-chest"
    if not folder.is_dir():
        pytest.skip("needs the real images in ../shared/data/dicom-chest")
    return folder


@pytest.mark.parametrize("name", SYNTHETIC)
def test_the_lungs_of_an_external_image_are_found(lung_inferer: LungInferer, external_images: Path, name: str):
    pixels = read_radiograph(external_images / f"{name}.dcm", accept_secondary_capture=True).pixels
    (lungs,) = lung_inferer([torch.from_numpy(pixels)])
    assert lungs.flags == ()
    height, width = pixels.shape[1:]
    annotated = np.array(SYNTHETIC[name]) * [width, height, width, height]
    assert compute_paired_iou([lungs.box], [annotated])[0] >= 0.79


def test_the_shipped_detector_is_small():
    assert (ROOT / "bundle" / "models" / "lung_detector.pt").stat().st_size < 10_000_000


def test_on_synthetic_images_lungs_are_found_where_they_were_drawn(
    lung_inferer: LungInferer, images: Path, datalist_file: Path
):
    """Synthetic images are not what it was trained on: most are found, and what is not is flagged."""
    from scripts.datalist import validation_images

    known = validation_images(datalist_file, images, 0)
    found = lung_inferer([torch.from_numpy(read_radiograph(image["image"]).pixels) for image in known])
    pairs = [(lungs.box, image["lung_box"]) for lungs, image in zip(found, known, strict=True) if lungs.box is not None]
    assert all(lungs.flags for lungs in found if lungs.box is None)
    assert len(pairs) >= len(found) / 2
    assert compute_paired_iou([box for box, _ in pairs], [annotated for _, annotated in pairs]).mean() > 0.6
