"""An annotated mask is read as rows by columns, whichever tool wrote it, or rejected in one line."""

from __future__ import annotations

from pathlib import Path

import itk
import nibabel
import nrrd
import numpy as np
import pytest
from PIL import Image
from scripts.errors import InputError
from scripts.masks import SUFFIXES, read_mask

MASK = np.zeros((5, 8), dtype=np.uint8)
MASK[1:3, 4:7] = 1


def write_mask(path: Path, mask: np.ndarray = MASK) -> Path:
    if path.suffix == ".png":
        Image.fromarray(mask * 255).save(path)
    elif path.suffix == ".nrrd":
        nrrd.write(str(path), mask.T)
    else:
        nibabel.save(nibabel.Nifti1Image(mask.T, np.eye(4)), path)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_rows_by_columns(suffix: str, tmp_path: Path):
    read = read_mask(write_mask(tmp_path / f"mask{suffix}"), MASK.shape)
    assert read.dtype == np.bool_ and np.array_equal(read, MASK > 0)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_what_itk_writes_as_monai_label_does_is_read_alike(suffix: str, tmp_path: Path):
    path = tmp_path / f"mask{suffix}"
    itk.imwrite(itk.image_from_array(MASK), str(path))
    assert np.array_equal(read_mask(path), MASK > 0)


def test_a_volume_of_one_plane_is_that_plane(tmp_path: Path):
    nrrd.write(str(tmp_path / "mask.nrrd"), MASK.T[..., None])
    assert np.array_equal(read_mask(tmp_path / "mask.nrrd"), MASK > 0)


def test_any_label_but_zero_belongs_to_the_mask(tmp_path: Path):
    assert np.array_equal(read_mask(write_mask(tmp_path / "mask.nrrd", MASK * 3)), MASK > 0)


def test_a_mask_of_another_size_is_reported(tmp_path: Path):
    with pytest.raises(InputError, match=r"8 x 5 pixels.*5 x 8 in mask.png"):
        read_mask(write_mask(tmp_path / "mask.png"), MASK.shape[::-1])


@pytest.mark.parametrize("name", ["mask.nrrd", "mask.nii.gz", "mask.png"])
def test_a_broken_file_is_reported_by_name(name: str, tmp_path: Path):
    (tmp_path / name).write_bytes(b"none")
    with pytest.raises(InputError, match=f"a mask that can be read, found {name}"):
        read_mask(tmp_path / name)


def test_another_kind_of_file_is_reported(tmp_path: Path):
    with pytest.raises(InputError, match=r"found mask.jpg"):
        read_mask(tmp_path / "mask.jpg")


def test_a_volume_of_several_planes_is_reported(tmp_path: Path):
    nrrd.write(str(tmp_path / "mask.nrrd"), np.zeros((5, 8, 2), dtype=np.uint8))
    with pytest.raises(InputError, match="3 dimensions"):
        read_mask(tmp_path / "mask.nrrd")
