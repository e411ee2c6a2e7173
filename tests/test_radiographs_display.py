"""Elements of a display that are broken: what is optional is left out with a flag, what changes the meaning rejects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from scripts.errors import RejectedImage
from scripts.radiographs import Radiograph, read_radiograph

from tests import images

WINDOW = {"WindowCenter": 1800, "WindowWidth": 2000}


def read(tmp_path: Path, image: Dataset | bytes) -> Radiograph:
    return read_radiograph(images.write_image(tmp_path / "image.dcm", image))


def make_table(**changes: Any) -> Dataset:
    item = images.make_lookup_table(0, list(range(4096)))
    for keyword, value in changes.items():
        if value is None:
            del item[keyword]
        else:
            setattr(item, keyword, value)
    return item


BROKEN = {
    "one entry too few declared": make_table(LUTDescriptor=[4095, 0, 16]),
    "one entry too many declared": make_table(LUTDescriptor=[4097, 0, 16]),
    "32 bits": make_table(LUTDescriptor=[4096, 0, 32]),
    "no descriptor": make_table(LUTDescriptor=None),
    "no entries": make_table(LUTData=None),
    "empty entries": make_table(LUTData=b""),
    "an empty item": Dataset(),
}


@pytest.mark.parametrize("table", BROKEN.values(), ids=list(BROKEN))
@pytest.mark.parametrize("window", [WINDOW, {}], ids=["window", "none"])
def test_a_broken_voi_lut_is_left_out_and_the_window_beside_it_used(
    tmp_path: Path, table: Dataset, window: dict
) -> None:
    found = read(tmp_path, images.make_image(VOILUTSequence=[table], **window))
    assert found.metadata.flags == ("voi_lut",)
    np.testing.assert_array_equal(found.pixels, read(tmp_path, images.make_image(**window)).pixels)


@pytest.mark.parametrize("table", BROKEN.values(), ids=list(BROKEN))
def test_a_broken_modality_lut_rejects_the_image(tmp_path: Path, table: Dataset) -> None:
    image = images.make_image(ModalityLUTSequence=[table], **WINDOW)
    with pytest.raises(RejectedImage, match="bad_lookup"):
        read(tmp_path, image)


def test_a_sequence_without_items_is_no_voi_lut(tmp_path: Path) -> None:
    assert read(tmp_path, images.make_image(VOILUTSequence=[])).metadata.flags == ()


def test_a_voi_lut_that_cannot_be_walked_is_left_out(tmp_path: Path) -> None:
    file = images.insert_elements(
        images.to_bytes(images.make_image(**WINDOW)), images.make_element(0x00283010, "UN", b"no sequence!")
    )
    assert read(tmp_path, file).metadata.flags == ("voi_lut",)


@pytest.mark.parametrize(
    ("bits", "low", "padding"),
    [
        (12, 0, {"PixelPaddingValue": 63536}),
        (12, 0, {"PixelPaddingValue": 65535}),
        (12, 0, {"PixelPaddingValue": 4096}),
        (12, -2048, {"PixelPaddingValue": 30000}),
        (12, -2048, {"PixelPaddingValue": 60000}),
        (8, 0, {"PixelPaddingValue": 65535}),
    ],
)
def test_a_padding_value_that_the_bits_cannot_hold_marks_nothing(
    tmp_path: Path, bits: int, low: int, padding: dict[str, int]
) -> None:
    values = images.draw_values(bits, low=low)
    image = images.make_image(values, bits)
    without = read(tmp_path, image)
    for keyword, value in padding.items():
        image.add_new(keyword, "US", value)
    found = read(tmp_path, image)
    assert (without.metadata.flags, found.metadata.flags) == ((), ("padding",))
    np.testing.assert_array_equal(found.pixels, without.pixels)


@pytest.mark.parametrize(
    ("bits", "low", "vr", "value", "stored"),
    [
        (12, 0, "US", 4095, 4095),
        (16, 0, "US", 65535, 65535),
        (16, 0, "SS", -1, 65535),
        (12, -2048, "SS", -2000, -2000),
        (12, -2048, "US", 65536 - 2000, -2000),
        (12, -2048, "US", 4096 - 2000, -2000),
    ],
)
def test_a_padding_value_that_the_bits_hold_marks_its_pixels(
    tmp_path: Path, bits: int, low: int, vr: str, value: int, stored: int
) -> None:
    values = images.draw_values(bits, low=low) // 2
    values[:10] = stored
    image = images.make_image(values, bits)
    image.PixelRepresentation = int(low < 0)
    image.add_new("PixelPaddingValue", vr, value)
    found = read(tmp_path, image)
    assert found.metadata.flags == () and (found.pixels[0, :10] == 0).all()
    inside = values[10:]
    np.testing.assert_allclose(found.pixels[0, 10:], (inside - inside.min()) / np.ptp(inside), atol=1e-6)


def test_a_limit_of_the_padding_that_the_bits_cannot_hold_leaves_the_value(tmp_path: Path) -> None:
    values = images.draw_values(12) // 2
    values[:10] = 4095
    image = images.make_image(values, 12)
    image.add_new("PixelPaddingValue", "US", 4095)
    image.add_new("PixelPaddingRangeLimit", "US", 65535)
    found = read(tmp_path, image)
    assert found.metadata.flags == ("padding",)
    assert (found.pixels[0, :10] == 0).all() and found.pixels[0, 10:].max() == 1
