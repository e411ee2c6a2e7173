"""Codestream against header: the codestream decides on bits and sign, or the image is rejected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import JPEG2000Lossless
from scripts.errors import RejectedImage
from scripts.radiographs import Radiograph, read_radiograph

from tests import images

SYNTAXES = (images.JPEG_LOSSLESS_14, images.JPEG_LOSSLESS_SV1, images.JPEG_LS, images.JPEG_2000)


def read(tmp_path: Path, image: Dataset) -> Radiograph:
    return read_radiograph(images.write_image(tmp_path / "image.dcm", image))


def relabel(
    values: np.ndarray, coded_bits: int, syntax: str, bits: int, allocated: int = 16, **elements: Any
) -> Dataset:
    """An image whose codestream was made for `coded_bits`, and whose header says `bits`."""
    image = images.make_image(values, coded_bits, syntax, **elements)
    image.BitsAllocated, image.BitsStored, image.HighBit = allocated, bits, bits - 1
    return image


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    ("coded", "bits", "allocated", "flags"),
    [
        (16, 12, 16, ("bits_stored",)),
        (12, 10, 16, ("bits_stored",)),
        (12, 8, 8, ("bits_stored",)),
        (12, 16, 16, ()),
        (8, 8, 16, ()),
        (8, 12, 16, ()),
    ],
)
def test_the_bits_of_the_codestream_decide(
    tmp_path: Path, syntax: str, coded: int, bits: int, allocated: int, flags: tuple
) -> None:
    values = images.draw_values(coded, 66, 90)
    found = read(tmp_path, relabel(values, coded, syntax, bits, allocated))
    np.testing.assert_array_equal(found.pixels, read(tmp_path, images.make_image(values, coded)).pixels)
    assert found.metadata.flags == flags


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_values_that_the_header_can_hold_need_no_flag(tmp_path: Path, syntax: str) -> None:
    values = images.draw_values(12, 66, 90)
    found = read(tmp_path, relabel(values, 16, syntax, 12))
    np.testing.assert_array_equal(found.pixels, read(tmp_path, images.make_image(values, 12)).pixels)
    assert found.metadata.flags == ()


def test_jpeg_of_8_bits_is_read_where_the_header_allocates_16(tmp_path: Path) -> None:
    values = images.draw_values(8)
    found = read(tmp_path, relabel(values, 8, images.JPEG, 8))
    np.testing.assert_array_equal(found.pixels, read(tmp_path, images.make_image(values, 8, images.JPEG)).pixels)
    assert found.metadata.flags == ()


@pytest.mark.parametrize("syntax", [images.JPEG_LOSSLESS_SV1, images.JPEG_LS])
@pytest.mark.parametrize("extended", [True, False])
def test_twos_complement_of_fewer_bits_than_were_coded_is_signed(tmp_path: Path, syntax: str, extended: bool) -> None:
    values = images.draw_values(12, 66, 90, low=-2048)
    words = values % 65536 if extended else values % 4096
    image = relabel(words, 16, syntax, 12)
    image.PixelRepresentation = 1
    found = read(tmp_path, image)
    np.testing.assert_array_equal(found.pixels, read(tmp_path, images.make_image(values, 12)).pixels)
    assert found.metadata.flags == ()


@pytest.mark.parametrize(("low", "representation"), [(-2048, 0), (0, 1)])
def test_a_sign_that_header_and_codestream_read_differently_is_rejected(
    tmp_path: Path, low: int, representation: int
) -> None:
    image = images.make_image(images.draw_values(12, low=low), 12, images.JPEG_2000)
    image.PixelRepresentation = representation
    with pytest.raises(RejectedImage, match=r"bad_geometry.*signed with 12 bits.*header") as caught:
        read(tmp_path, image)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("representation", [0, 1])
def test_a_sign_that_changes_nothing_is_passed_over(tmp_path: Path, representation: int) -> None:
    values = images.draw_values(11)
    image = images.make_image(values, 12)
    image.PixelRepresentation = 1 - representation
    image.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    image.PixelRepresentation = representation
    found = read(tmp_path, image)
    np.testing.assert_array_equal(found.pixels, read(tmp_path, images.make_image(values, 12)).pixels)
    assert found.metadata.flags == ()


@pytest.mark.parametrize("bits", [4, 24])
def test_a_codestream_of_too_few_or_too_many_bits_is_rejected(tmp_path: Path, bits: int) -> None:
    image = images.make_image(syntax=images.JPEG_2000)
    codestream = bytearray(next(generate_frames(image.PixelData, number_of_frames=1)))
    start = codestream.index(b"\xff\x4f\xff\x51")
    codestream[start + 42] = bits - 1
    with pytest.raises(RejectedImage, match=f"bad_geometry.*{bits} bits"):
        read(tmp_path, images.encapsulate_codestream(image, bytes(codestream), images.JPEG_2000))


def test_a_subsampled_component_is_smaller_than_its_grid(tmp_path: Path) -> None:
    image = images.make_image(syntax=images.JPEG_2000)
    codestream = bytearray(next(generate_frames(image.PixelData, number_of_frames=1)))
    start = codestream.index(b"\xff\x4f\xff\x51")
    codestream[start + 43 : start + 45] = b"\2\2"
    with pytest.raises(RejectedImage, match="bad_geometry.*40 x 36"):
        read(tmp_path, images.encapsulate_codestream(image, bytes(codestream), images.JPEG_2000))


@pytest.mark.parametrize("syntax", [images.EXPLICIT, images.BIG_ENDIAN, images.RLE])
def test_native_values_beyond_the_bits_stored_are_cut_and_flagged(tmp_path: Path, syntax: str) -> None:
    values = images.draw_values(12)
    beyond = relabel(values | 1 << 14, 16, syntax, 12)
    found = read(tmp_path, beyond)
    assert found.metadata.flags == ("bits_stored",)
    np.testing.assert_array_equal(found.pixels, read(tmp_path, images.make_image(values, 12)).pixels)


@pytest.mark.parametrize("extended", [True, False])
def test_the_sign_in_unused_bits_is_not_beyond_the_bits_stored(tmp_path: Path, extended: bool) -> None:
    values = images.draw_values(12, low=-2048)
    image = images.make_image(values, 12)
    image.PixelData = (values % (65536 if extended else 4096)).astype("<u2").tobytes()
    assert read(tmp_path, image).metadata.flags == ()
