"""Scale of an image: outliers, and windows and tables that hide it. Good images keep their pixels to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scripts.radiographs import Radiograph, read_radiograph
from scripts.radiographs.grayscale import Display, Window, render_brightness
from scripts.radiographs.rejection import Rejection

from tests import images


def read(tmp_path: Path, values: NDArray[Any], bits: int = 12, **elements: Any) -> Radiograph:
    image = images.make_image(values, bits, **elements)
    return read_radiograph(images.write_image(tmp_path / "image.dcm", image))


def draw_letter(values: NDArray[np.int64], rows: int, columns: int, value: int) -> NDArray[np.int64]:
    values = values.copy()
    values[4 : 4 + rows, 4 : 4 + columns] = value
    return values


#: Outliers in an image of 12 bits that is stored in 16: where they are, as a mask, and the values there.
BRIGHT = {
    "a hot pixel": (1, 1, 65535),
    "a hot pixel of twice the range": (1, 1, 8600),
    "a hot line": (1, 60, 30000),
    "a letter": (8, 10, 65535),
}
PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2")


@pytest.mark.parametrize("photometric", PHOTOMETRIC)
@pytest.mark.parametrize(("rows", "columns", "value"), BRIGHT.values(), ids=list(BRIGHT))
def test_a_few_pixels_far_from_all_others_do_not_rule_the_scale(
    tmp_path: Path, rows: int, columns: int, value: int, photometric: str
) -> None:
    values = images.draw_values(12)
    without = read(tmp_path, values, 16, PhotometricInterpretation=photometric)
    hot = read(tmp_path, draw_letter(values, rows, columns, value), 16, PhotometricInterpretation=photometric)
    assert (without.metadata.flags, hot.metadata.flags) == ((), ("outliers",))
    others = np.ones(values.shape, dtype=bool)
    others[4 : 4 + rows, 4 : 4 + columns] = False
    np.testing.assert_allclose(hot.pixels[0][others], without.pixels[0][others], atol=1e-6)
    assert (hot.pixels[0][~others] == (photometric == "MONOCHROME2")).all()


def test_dead_and_hot_pixels_may_come_together(tmp_path: Path) -> None:
    values = images.draw_values(12) + 30000
    outliers = values.copy()
    outliers[10, 10], outliers[20, 20] = 0, 65535
    found = read(tmp_path, outliers, 16)
    assert found.metadata.flags == ("outliers",)
    pixels, expected = found.pixels[0], read(tmp_path, values, 16).pixels[0]
    assert (pixels[10, 10], pixels[20, 20]) == (0, 1)
    pixels[10, 10], pixels[20, 20] = expected[10, 10], expected[20, 20]
    np.testing.assert_allclose(pixels, expected, atol=1e-6)


def test_a_tail_without_a_gap_is_cut_where_it_is_far_longer_than_the_image(tmp_path: Path) -> None:
    values = images.draw_values(12, 128, 128)
    values[0, :60] = np.linspace(4096, 65535, 60).astype(int)
    found = read(tmp_path, values, 16)
    assert found.metadata.flags == ("outliers",)
    assert np.median(found.pixels) > 0.2


GOOD: dict[str, NDArray[np.int64]] = {
    "all values": images.draw_values(12),
    "a marker of lead": draw_letter(images.draw_values(12) * 6 // 10, 8, 10, 4095),
    "a border": draw_letter(images.draw_values(12), 80, 20, 20000),
    "two values": np.where(images.draw_values(12) > 2000, 4095, 0),
    "one pixel on black": draw_letter(np.zeros((80, 72), dtype=np.int64), 1, 1, 9),
}


@pytest.mark.parametrize("values", GOOD.values(), ids=list(GOOD))
def test_pixels_without_outliers_go_from_least_to_greatest_to_the_bit(tmp_path: Path, values: NDArray[Any]) -> None:
    found = read(tmp_path, values, 16)
    expected = ((values - values.min()) / np.ptp(values)).astype(np.float32)
    np.testing.assert_array_equal(found.pixels[0], expected)
    assert found.metadata.flags == ()


@pytest.mark.parametrize("form", ["window", "table"])
def test_outliers_beyond_what_is_displayed_are_white_without_a_flag(tmp_path: Path, form: str) -> None:
    values = images.draw_values(12)
    display: dict[str, Any] = {"WindowCenter": 2048, "WindowWidth": 4096}
    if form == "table":
        display = {"VOILUTSequence": [images.make_lookup_table(0, list(range(4096)), 12)]}
    hot = read(tmp_path, draw_letter(values, 1, 1, 65535), 16, **display)
    without = read(tmp_path, draw_letter(values, 1, 1, 4095), 16, **display)
    np.testing.assert_array_equal(hot.pixels, without.pixels)
    assert hot.metadata.flags == ()


def test_a_window_as_wide_as_its_outliers_does_not_save_them(tmp_path: Path) -> None:
    values = draw_letter(images.draw_values(12), 1, 1, 65535)
    found = read(tmp_path, values, 16, WindowCenter=32768, WindowWidth=65536)
    assert found.metadata.flags == ("outliers",)
    np.testing.assert_allclose(found.pixels, read(tmp_path, values, 16).pixels, atol=1e-6)


def test_a_rendering_with_outliers_is_flagged_too(tmp_path: Path) -> None:
    values = draw_letter(images.draw_values(12), 1, 1, 65535)
    path = images.write_image(tmp_path / "image.png", images.encode_picture(values, "PNG"))
    assert read_radiograph(path, accept_renderings=True).metadata.flags == ("outliers",)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(4090, 10), (300, 100), (1500.5, 3), (2000, 40), (4000, 300)])
def test_a_window_that_hides_most_is_left_out(tmp_path: Path, center: float, width: float, function: str) -> None:
    values = images.draw_values(12)
    found = read(tmp_path, values, WindowCenter=center, WindowWidth=width, VOILUTFunction=function)
    assert found.metadata.flags == ("window",)
    np.testing.assert_array_equal(found.pixels, read(tmp_path, values).pixels)


@pytest.mark.parametrize(("center", "width"), [(2048, 4096), (1800, 1500), (3000, 3000), (32768, 65536), (1000, 2600)])
def test_a_window_of_a_usual_width_is_applied(tmp_path: Path, center: float, width: float) -> None:
    values = images.draw_values(12)
    found = read(tmp_path, values, WindowCenter=center, WindowWidth=width)
    assert found.metadata.flags == ()
    windowed = Window(center, width).apply(values.astype(float))
    np.testing.assert_allclose(found.pixels[0], (windowed - windowed.min()) / np.ptp(windowed), atol=1e-6)


def test_black_air_round_the_patient_and_white_shutters_hide_nothing(tmp_path: Path) -> None:
    values = images.draw_values(12).clip(500, 3500)
    values[:50], values[50:60] = 0, 4095
    found = read(tmp_path, values, WindowCenter=2000, WindowWidth=2600)
    assert found.metadata.flags == ()


def test_a_voi_lut_that_hides_most_is_left_out_and_the_window_used(tmp_path: Path) -> None:
    values, window = images.draw_values(12), {"WindowCenter": 1800, "WindowWidth": 2000}
    table = images.make_lookup_table(0, [0] * 4000 + list(range(96)), 8)
    found = read(tmp_path, values, VOILUTSequence=[table], **window)
    assert found.metadata.flags == ("voi_lut",)
    np.testing.assert_array_equal(found.pixels, read(tmp_path, values, **window).pixels)


def test_counting_by_rows_gives_the_brightness_of_every_pixel() -> None:
    stored = images.draw_values(12, 200, 72, low=-2048).astype(np.int32)
    brightness, flags = render_brightness(stored, Display())
    assert flags == []
    np.testing.assert_array_equal(brightness, ((stored + 2048.0) / 4095).astype(np.float32))


def test_a_rescale_whose_values_lie_too_far_apart_is_rejected():
    """Each value is finite, and their difference is not: the image would be nothing but NaN."""
    stored = np.array([[-32768, 0, 32767]], dtype=np.int32)
    with pytest.raises(Rejection, match="too far apart"):
        render_brightness(stored, Display(slope=5e303))
