"""The reader's pixels and metadata: the pixel contract, on images made by pydicom and on real ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scripts.errors import RejectedImage
from scripts.radiographs import ImageMetadata, Radiograph, Window, read_image_display, read_radiograph, read_radiographs
from scripts.transforms import LoadRadiographd

from tests import images

ROOT = Path(__file__).resolve().parents[1]
REAL_IMAGES = ROOT.parent / "shared" / "data" / "dicom-chest"
SIIM = ROOT.parent / "shared" / "data" / "siim-covid19-256"
needs_real_images = pytest.mark.skipif(not REAL_IMAGES.is_dir(), reason="needs ../shared/data/dicom-chest")
needs_siim = pytest.mark.skipif(not SIIM.is_dir(), reason="needs ../shared/data/siim-covid19-256")


def read(tmp_path: Path, image: Dataset | bytes, **options: Any) -> Radiograph:
    return read_radiograph(images.write_image(tmp_path / "image.dcm", image), **options)


def read_pixels(tmp_path: Path, image: Dataset, **options: Any) -> NDArray[np.float32]:
    return read(tmp_path, image, **options).pixels[0]


def scale(values: NDArray[Any]) -> NDArray[Any]:
    return (values - values.min()) / np.ptp(values)


# --- pixels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", range(8, 17))
def test_an_image_without_transforms_is_its_values_from_least_to_greatest(tmp_path: Path, bits: int) -> None:
    values = images.draw_values(bits)
    pixels = read(tmp_path, images.make_image(values, bits)).pixels
    assert pixels.dtype == np.float32
    assert pixels.shape == (1, *values.shape)
    np.testing.assert_allclose(pixels[0], scale(values), atol=1e-6)
    assert (pixels.min(), pixels.max()) == (0, 1)


@pytest.mark.parametrize("bits", [8, 10, 12, 15, 16])
@pytest.mark.parametrize("syntax", images.LOSSLESS)
def test_every_lossless_syntax_gives_bit_equal_pixels(tmp_path: Path, syntax: str, bits: int) -> None:
    values = images.draw_values(bits, 66, 90)
    native, other = (images.make_image(values, bits, each) for each in (images.EXPLICIT, syntax))
    read_back = read(tmp_path, other)
    assert read_back.metadata.transfer_syntax == syntax
    np.testing.assert_array_equal(read_back.pixels, read(tmp_path, native).pixels)


@pytest.mark.parametrize("syntax", images.LOSSLESS)
def test_signed_values_keep_their_order_in_every_lossless_syntax(tmp_path: Path, syntax: str) -> None:
    values = images.draw_values(12, low=-2048)
    image = images.make_image(values, 12, syntax)
    assert image.PixelRepresentation == 1
    np.testing.assert_allclose(read_pixels(tmp_path, image), scale(values), atol=1e-6)


@pytest.mark.parametrize("syntax", images.NATIVE)
def test_an_image_with_an_odd_number_of_bytes_is_read_in_every_native_syntax(tmp_path: Path, syntax: str) -> None:
    values = images.draw_values(8, 65, 67)
    np.testing.assert_allclose(read_pixels(tmp_path, images.make_image(values, 8, syntax)), scale(values), atol=1e-6)


def test_bytes_in_swapped_words_of_a_big_endian_image_are_put_right(tmp_path: Path) -> None:
    values = images.draw_values(8, 64, 66)
    image = images.make_image(values, 8, images.BIG_ENDIAN)
    image.add_new("PixelData", "OW", np.frombuffer(image.PixelData, "u2").byteswap().tobytes())
    np.testing.assert_allclose(read_pixels(tmp_path, image), scale(values), atol=1e-6)


def test_what_stands_in_unused_high_bits_is_not_part_of_a_pixel(tmp_path: Path) -> None:
    values = images.draw_values(12)
    image = images.make_image(values, 12)
    overlay = values | (np.arange(values.size).reshape(values.shape) % 16 << 12)
    image.PixelData = overlay.astype("<u2").tobytes()
    np.testing.assert_allclose(read_pixels(tmp_path, image), scale(values), atol=1e-6)


WINDOWS = [
    {},
    {"WindowCenter": 1800, "WindowWidth": 2000},
    {"WindowCenter": [1500, 1], "WindowWidth": [1800, 1]},
    {"WindowCenter": 1800, "WindowWidth": 900, "VOILUTFunction": "LINEAR_EXACT"},
    {"WindowCenter": 1800, "WindowWidth": 900, "VOILUTFunction": "SIGMOID"},
    {"RescaleSlope": 0.5, "RescaleIntercept": -300, "WindowCenter": 400, "WindowWidth": 1200},
]


@pytest.mark.parametrize("display", WINDOWS)
@pytest.mark.parametrize("shape", [None, "INVERSE"])
def test_an_image_and_its_inverse_stored_twin_give_equal_pixels(
    tmp_path: Path, display: dict, shape: str | None
) -> None:
    values = images.draw_values(12)
    image = images.make_image(values, 12, **display)
    twin = images.make_image(4095 - values, 12, **display, PhotometricInterpretation="MONOCHROME1")
    if shape:
        twin.PresentationLUTShape = shape
    if "WindowCenter" in display:
        # LINEAR is not symmetric about its centre: its ends are c - 0.5 - (w - 1) / 2 and c - 0.5 + (w - 1) / 2.
        slope, intercept = display.get("RescaleSlope", 1), display.get("RescaleIntercept", 0)
        half = 0 if "VOILUTFunction" in display else 1
        centers = np.atleast_1d(display["WindowCenter"])
        twin.WindowCenter = [float(4095 * slope + 2 * intercept - center + half) for center in centers]
    original, inverted = read(tmp_path, image), read(tmp_path, twin)
    np.testing.assert_allclose(inverted.pixels, original.pixels, atol=1e-6)
    assert inverted.metadata.photometric == "MONOCHROME1"


@pytest.mark.parametrize(
    ("photometric", "shape", "flagged"),
    [
        ("MONOCHROME1", "INVERSE", False),
        ("MONOCHROME1", "IDENTITY", True),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
    ],
)
def test_the_photometric_interpretation_alone_decides_on_the_single_inversion(
    tmp_path: Path, photometric: str, shape: str, flagged: bool
) -> None:
    values = images.draw_values(12)
    image = images.make_image(values, 12, PhotometricInterpretation=photometric, PresentationLUTShape=shape)
    radiograph = read(tmp_path, image)
    expected = scale(values) if photometric == "MONOCHROME2" else 1 - scale(values)
    np.testing.assert_allclose(radiograph.pixels[0], expected, atol=1e-6)
    assert ("presentation_lut" in radiograph.metadata.flags) == flagged


def show_linear(values: NDArray[Any], center: float, width: float) -> NDArray[Any]:
    """PS3.3 C.11.2.1.2.1, literally, pixel by pixel."""
    shown = np.zeros(values.shape)
    for index, x in np.ndenumerate(values):
        if x <= center - 0.5 - (width - 1) / 2:
            shown[index] = 0
        elif x > center - 0.5 + (width - 1) / 2:
            shown[index] = 1
        else:
            shown[index] = (x - (center - 0.5)) / (width - 1) + 0.5
    return shown


@pytest.mark.parametrize(("center", "width"), [(2000, 1000), (1500.5, 3), (2000, 1)])
def test_a_linear_window_is_the_standards(center: float, width: float) -> None:
    values = images.draw_values(12)
    np.testing.assert_allclose(Window(center, width).apply(values), show_linear(values, center, width), atol=1e-6)


def test_a_linear_window_of_an_image_is_applied(tmp_path: Path) -> None:
    values = images.draw_values(12)
    image = images.make_image(values, 12, WindowCenter=2000, WindowWidth=1000)
    np.testing.assert_allclose(read_pixels(tmp_path, image), scale(show_linear(values, 2000, 1000)), atol=1e-6)


def test_exact_and_sigmoid_windows_are_the_standards(tmp_path: Path) -> None:
    values = images.draw_values(12)
    window = {"WindowCenter": 2000, "WindowWidth": 900}
    exact = images.make_image(values, 12, **window, VOILUTFunction="LINEAR_EXACT")
    np.testing.assert_allclose(read_pixels(tmp_path, exact), np.clip((values - 1550) / 900, 0, 1), atol=1e-6)
    sigmoid = images.make_image(values, 12, **window, VOILUTFunction="SIGMOID")
    expected = scale(1 / (1 + np.exp(-4 * (values - 2000) / 900)))
    np.testing.assert_allclose(read_pixels(tmp_path, sigmoid), expected, atol=1e-6)


def test_a_images_display_is_reported_without_its_pixels(tmp_path: Path) -> None:
    table = images.make_lookup_table(100, [0, 7, 1023], bits=10)
    image = images.make_image(
        WindowCenter=1800, WindowWidth=900, PhotometricInterpretation="MONOCHROME1", VOILUTSequence=[table]
    )
    path = images.write_image(tmp_path / "image.dcm", image)
    display = read_image_display(path)
    assert display.window == Window(1800, 900) and display.inverted and display.modality is None
    assert display.voi is not None
    assert (display.voi.first, display.voi.entries.tolist(), display.voi.bits) == (100, [0, 7, 1023], 10)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RejectedImage, match="not_dicom"):
        read_image_display(path)


@pytest.mark.parametrize(
    "window",
    [
        {"WindowCenter": 2000, "WindowWidth": 0},
        {"WindowCenter": 90000, "WindowWidth": 100},
        {"WindowCenter": 2000, "WindowWidth": 900, "VOILUTFunction": "CUBIC"},
    ],
)
def test_a_window_that_means_nothing_or_shows_nothing_is_left_out_and_flagged(tmp_path: Path, window: dict) -> None:
    values = images.draw_values(12)
    radiograph = read(tmp_path, images.make_image(values, 12, **window))
    np.testing.assert_allclose(radiograph.pixels[0], scale(values), atol=1e-6)
    assert "window" in radiograph.metadata.flags


def test_a_voi_lut_goes_before_the_window_and_clamps_beyond_its_ends(tmp_path: Path) -> None:
    values = images.draw_values(12)
    entries = [round(65535 * (i / 2999) ** 2) for i in range(3000)]
    image = images.make_image(values, 12, WindowCenter=100, WindowWidth=10)
    image.VOILUTSequence = [images.make_lookup_table(500, entries), images.make_lookup_table(0, [0, 1])]
    expected = scale(np.array(entries)[np.clip(values - 500, 0, 2999)])
    np.testing.assert_allclose(read_pixels(tmp_path, image), expected, atol=1e-6)


@pytest.mark.parametrize("syntax", images.NATIVE)
@pytest.mark.parametrize("undefined_length", [False, True])
def test_a_lookup_table_is_found_however_its_sequence_is_written(
    tmp_path: Path, syntax: str, undefined_length: bool
) -> None:
    values = images.draw_values(12)
    image = images.make_image(values, 12, syntax)
    item = images.make_lookup_table(0, list(range(4096))[::-1])
    if syntax == images.BIG_ENDIAN:
        item.LUTData = np.frombuffer(item.LUTData, "<u2").byteswap().tobytes()
    image.VOILUTSequence = [item]
    image["VOILUTSequence"].is_undefined_length = item.is_undefined_length_sequence_item = undefined_length
    np.testing.assert_allclose(read_pixels(tmp_path, image), 1 - scale(values), atol=1e-6)


def test_a_lookup_table_may_have_bytes_or_all_65536_entries(tmp_path: Path) -> None:
    values = images.draw_values(8)
    image = images.make_image(values, 8)
    image.VOILUTSequence = [images.make_lookup_table(0, list(range(255, 0, -1)), bits=8)]
    expected = scale(np.arange(255, 0, -1)[np.clip(values, 0, 254)])
    np.testing.assert_allclose(read_pixels(tmp_path, image), expected, atol=1e-6)
    values = images.draw_values(16)
    image = images.make_image(values, 16)
    image.VOILUTSequence = [images.make_lookup_table(0, list(range(65536))[::-1])]
    np.testing.assert_allclose(read_pixels(tmp_path, image), 1 - scale(values), atol=1e-6)


def test_a_voi_lut_of_a_signed_image_starts_below_zero(tmp_path: Path) -> None:
    values = images.draw_values(12, low=-2048)
    image = images.make_image(values, 12)
    image.VOILUTSequence = [images.make_lookup_table(-2048, list(range(4096))[::-1])]
    np.testing.assert_allclose(read_pixels(tmp_path, image), 1 - scale(values), atol=1e-6)


def test_a_modality_lut_goes_before_rescale_and_window(tmp_path: Path) -> None:
    values = images.draw_values(12)
    entries = [i // 2 for i in range(4096)][::-1]
    image = images.make_image(values, 12, RescaleSlope=-7, WindowCenter=1024, WindowWidth=1000)
    image.ModalityLUTSequence = [images.make_lookup_table(0, entries)]
    expected = scale(show_linear(np.array(entries)[values], 1024, 1000))
    np.testing.assert_allclose(read_pixels(tmp_path, image), expected, atol=1e-6)


def test_a_negative_rescale_slope_turns_the_image(tmp_path: Path) -> None:
    values = images.draw_values(12)
    image = images.make_image(values, 12, RescaleSlope=-1, RescaleIntercept=4095)
    np.testing.assert_allclose(read_pixels(tmp_path, image), 1 - scale(values), atol=1e-6)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("value", "limit"), [(4095, None), (0, 99), (4095, 4000)])
def test_padding_is_black_and_counts_for_nothing(
    tmp_path: Path, photometric: str, value: int, limit: int | None
) -> None:
    values = np.clip(images.draw_values(12), 500, 3500)
    image_area = values.copy()
    values[:10], values[-10:] = value, value if limit is None else (value + limit) // 2
    image = images.make_image(values, 12, PhotometricInterpretation=photometric)
    image.add_new("PixelPaddingValue", "US", value)
    if limit is not None:
        image.add_new("PixelPaddingRangeLimit", "US", limit)
    pixels = read_pixels(tmp_path, image)
    assert (pixels[:10] == 0).all()
    assert (pixels[-10:] == 0).all()
    expected = scale(image_area[10:-10])
    np.testing.assert_allclose(pixels[10:-10], expected if photometric == "MONOCHROME2" else 1 - expected, atol=1e-6)


@pytest.mark.parametrize("vr", ["US", "SS"])
def test_padding_of_a_signed_image_is_found_under_the_wrong_vr_too(tmp_path: Path, vr: str) -> None:
    values = images.draw_values(12, low=-2048).clip(-1000, 1000)
    values[:10] = -2000
    image = images.make_image(values, 12)
    image.add_new("PixelPaddingValue", vr, -2000 if vr == "SS" else 65536 - 2000)
    pixels = read_pixels(tmp_path, image)
    assert (pixels[:10] == 0).all()
    assert pixels[10:].min() == 0


@pytest.mark.parametrize("display", WINDOWS)
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_an_image_and_its_8_bit_rendering_agree(tmp_path: Path, display: dict, form: str) -> None:
    original = read(tmp_path, images.make_image(images.draw_values(12), 12, **display))
    options = {"quality": 98} if form == "JPEG" else {}
    file = images.encode_picture(np.round(original.pixels[0] * 255), form, **options)
    rendering = read(tmp_path, file, accept_renderings=True)
    assert rendering.metadata.rendering
    assert not original.metadata.rendering
    np.testing.assert_allclose(rendering.pixels, original.pixels, atol=0.02)


def test_a_gray_rendering_may_have_colour_channels_or_16_bits(tmp_path: Path) -> None:
    values = images.draw_values(8)
    for picture in (np.repeat(values[..., None], 3, axis=2), np.repeat(values[..., None], 4, axis=2), values * 257):
        rendering = read(tmp_path, images.encode_picture(picture, "PNG"), accept_renderings=True)
        np.testing.assert_allclose(rendering.pixels[0], scale(values), atol=1e-6)


def test_jpeg_baseline_is_read_within_its_loss(tmp_path: Path) -> None:
    values = images.draw_values(8)
    pixels = read_pixels(tmp_path, images.make_image(values, 8, images.JPEG))
    np.testing.assert_allclose(pixels, scale(values), atol=0.05)


@pytest.mark.parametrize("syntax", [images.IMPLICIT, images.EXPLICIT, images.JPEG_LOSSLESS_SV1, images.JPEG_2000])
@pytest.mark.parametrize("bits", [8, 12])
def test_itk_reads_the_same_stored_values_from_trusted_images(tmp_path: Path, syntax: str, bits: int) -> None:
    itk = pytest.importorskip("itk")
    path = images.write_image(tmp_path / "image.dcm", images.make_image(images.draw_values(bits), bits, syntax))
    reference = np.squeeze(itk.array_from_image(itk.imread(str(path)))).astype(float)
    np.testing.assert_allclose(read_radiograph(path).pixels[0], scale(reference), atol=1e-6)


# --- metadata
# ----------------------------------------------------------------------------------------------------------


def test_metadata_report_what_the_image_says_in_words_of_known_lists(tmp_path: Path) -> None:
    image = images.make_image(
        SOPClassUID=images.DX,
        Modality="DX",
        PixelSpacing=[0.2, 0.1],
        PatientSex="F",
        PatientAge="054Y",
        Manufacturer="FUJIFILM Corporation",
        PhotometricInterpretation="MONOCHROME1",
    )
    metadata = read(tmp_path, image).metadata
    assert metadata == ImageMetadata(
        sop_instance_uid="2.25.111",
        study_instance_uid="2.25.222",
        series_instance_uid="2.25.333",
        patient=metadata.patient,
        modality="DX",
        photometric="MONOCHROME1",
        bits_stored=12,
        rows=80,
        columns=72,
        pixel_aspect_ratio=2.0,
        spacing_mm=(0.2, 0.1),
        view_position="PA",
        body_part="CHEST",
        patient_sex="F",
        patient_age_years=54,
        manufacturer="fuji",
        transfer_syntax=images.EXPLICIT,
    )


def test_the_patient_is_reported_by_a_hash_that_differs_between_patients(tmp_path: Path) -> None:
    first, second, nobody = (read(tmp_path, images.make_image(PatientID=name)).metadata for name in ("P1", "P2", ""))
    assert first.patient != second.patient
    assert len(first.patient) == 12 and int(first.patient, 16) >= 0
    assert nobody.patient == ""


@pytest.mark.parametrize(
    ("elements", "years"),
    [
        ({"PatientAge": "020Y"}, 20),
        ({"PatientAge": "300M"}, 25),
        ({"PatientAge": "81"}, 81),
        ({"PatientBirthDate": "19500701", "StudyDate": "20200701"}, 70),
        ({"PatientBirthDate": "19500701", "StudyDate": "19010101"}, None),
        ({"PatientBirthDate": "17500701", "StudyDate": "20200701"}, None),
        ({"PatientBirthDate": "", "StudyDate": "20200701"}, None),
        ({}, None),
    ],
)
def test_the_age_comes_from_the_age_or_from_the_dates(tmp_path: Path, elements: dict, years: float | None) -> None:
    found = read(tmp_path, images.make_image(**elements)).metadata.patient_age_years
    assert found is None if years is None else found == pytest.approx(years, abs=0.01)


@pytest.mark.parametrize(
    ("elements", "flags"),
    [
        ({}, ()),
        ({"BodyPartExamined": "KNEE"}, ("body_part",)),
        ({"BodyPartExamined": ""}, ()),
        ({"BurnedInAnnotation": "YES"}, ("burned_in_annotation",)),
        ({"BurnedInAnnotation": "NO"}, ()),
        ({"BurnedInAnnotation": ""}, ()),
        ({"Modality": "OT"}, ("modality",)),
        ({"PixelSpacing": [0, 0]}, ("spacing",)),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.1, 0.1]}, ()),
    ],
)
def test_what_is_odd_but_rejects_nothing_is_flagged(tmp_path: Path, elements: dict, flags: tuple) -> None:
    assert read(tmp_path, images.make_image(**elements)).metadata.flags == flags


def test_the_pixel_aspect_ratio_is_height_over_width(tmp_path: Path) -> None:
    metadata = read(tmp_path, images.make_image(PixelAspectRatio=["3000", "2000"])).metadata
    assert metadata.pixel_aspect_ratio == 1.5
    assert metadata.spacing_mm is None


# --- LoadRadiographd ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isolated", [False, True])
def test_the_loading_transform_gives_a_meta_tensor_of_the_readers_pixels(tmp_path: Path, isolated: bool) -> None:
    path = images.write_image(tmp_path / "image.dcm", images.make_image(BodyPartExamined="KNEE"))
    loaded = LoadRadiographd(isolated=isolated)({"image": str(path), "label": 3})
    np.testing.assert_array_equal(loaded["image"].numpy(), read_radiograph(path).pixels)
    assert loaded["label"] == 3
    assert loaded["image"].meta["filename_or_obj"] == str(path)
    assert loaded["image"].meta["image_flags"] == "body_part"
    assert loaded["image"].meta["sop_instance_uid"] == "2.25.111"
    assert torch.equal(loaded["image"].affine, torch.eye(4, dtype=torch.float64))


def test_the_loading_transform_passes_its_options_on(tmp_path: Path) -> None:
    path = images.write_image(tmp_path / "image.dcm", images.make_image(SOPClassUID=images.SECONDARY_CAPTURE))
    with pytest.raises(RejectedImage, match="unsupported_sop"):
        LoadRadiographd()({"image": path})
    assert LoadRadiographd(accept_secondary_capture=True)({"image": path})["image"].shape == (1, 80, 72)
    picture = images.write_image(tmp_path / "image.png", images.encode_picture(images.draw_values(8), "PNG"))
    assert LoadRadiographd("other", accept_renderings=True)({"other": picture})["other"].shape == (1, 80, 72)


def test_a_missing_key_is_an_error_unless_it_is_allowed() -> None:
    with pytest.raises(KeyError):
        LoadRadiographd()({"label": 1})
    assert LoadRadiographd(allow_missing_keys=True)({"label": 1}) == {"label": 1}


def test_a_folder_with_one_image_stands_for_it_and_another_number_is_rejected(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    (folder / "inner").mkdir(parents=True)
    with pytest.raises(RejectedImage, match="a folder with 0 files"):
        LoadRadiographd()({"image": folder})
    images.write_image(folder / "inner" / "image.dcm", images.make_image())
    (folder / ".hidden").touch()
    loaded = LoadRadiographd()({"image": folder})["image"]
    assert loaded.shape == (1, 80, 72)
    assert loaded.meta["filename_or_obj"] == str(folder)
    images.write_image(folder / "other.dcm", images.make_image())
    with pytest.raises(RejectedImage, match="a folder with 2 files"):
        LoadRadiographd()({"image": folder})


@pytest.mark.parametrize("isolated", [False, True])
def test_images_are_loaded_in_the_workers_of_a_data_loader(tmp_path: Path, isolated: bool) -> None:
    from monai.data import DataLoader, Dataset

    paths = [images.write_image(tmp_path / f"{i}.dcm", images.make_image(images.draw_values(seed=i))) for i in range(4)]
    load = LoadRadiographd(isolated=isolated)
    load({"image": paths[0]})  # the workers inherit a reader that is not theirs
    batches = list(DataLoader(Dataset([{"image": path} for path in paths], load), batch_size=2, num_workers=2))
    images_read = torch.cat([batch["image"].as_tensor() for batch in batches])
    np.testing.assert_array_equal(images_read, np.stack([read_radiograph(path).pixels for path in paths]))


def test_the_reader_itself_needs_neither_torch_nor_monai() -> None:
    code = "import sys, scripts.radiographs; print({'torch', 'monai', 'scipy', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- real images -----------------------------------------------------------------------------------------------------


REAL = {
    "nema_rg1_cr_pa_mono1_j2k": ("CR", "MONOCHROME1", 15, (1955, 1841), ("spacing",)),
    "orthanc_cr_mono1_jpeg": ("CR", "MONOCHROME1", 8, (2446, 2010), ()),
    "nih_dx_implicit": ("DX", "MONOCHROME2", 8, (1024, 1024), ()),
    "rsna_cr_pa_jpeg": ("CR", "MONOCHROME2", 8, (1024, 1024), ()),
}


@needs_real_images
@pytest.mark.parametrize("name", REAL)
def test_real_images_show_dark_lungs_beside_a_bright_spine(name: str) -> None:
    radiograph = read_radiograph(REAL_IMAGES / f"{name}.dcm", accept_secondary_capture=name.startswith(("nih", "rsna")))
    metadata, pixels = radiograph.metadata, radiograph.pixels[0]
    assert (metadata.modality, metadata.photometric, metadata.bits_stored, pixels.shape, metadata.flags) == REAL[name]
    height, width = pixels.shape
    lungs_and_spine = pixels[height // 4 : height // 2]
    spine = np.median(lungs_and_spine[:, int(0.46 * width) : int(0.54 * width)])
    lungs = [np.median(lungs_and_spine[:, int(a * width) : int(b * width)]) for a, b in ((0.22, 0.36), (0.64, 0.78))]
    assert max(lungs) < spine - 0.1


@needs_real_images
@pytest.mark.parametrize("name", ["nih_dx_implicit", "rsna_cr_pa_jpeg"])
def test_real_secondary_captures_need_the_option(name: str) -> None:
    with pytest.raises(RejectedImage, match="unsupported_sop"):
        read_radiograph(REAL_IMAGES / f"{name}.dcm")


@needs_real_images
@pytest.mark.parametrize("name", ["nema_rg1_cr_pa_mono1_j2k", "orthanc_cr_mono1_jpeg"])
def test_itk_agrees_on_real_images_up_to_inversion_and_window(name: str) -> None:
    itk = pytest.importorskip("itk")
    path = REAL_IMAGES / f"{name}.dcm"
    reference = np.squeeze(itk.array_from_image(itk.imread(str(path)))).astype(float)
    pixels = read_radiograph(path).pixels[0]
    correlation = np.corrcoef(pixels[::8, ::8].ravel(), reference[::8, ::8].ravel())[0, 1]
    assert abs(correlation) > 0.99


def check_siim(paths: list[Path]) -> None:
    for path, image in read_radiographs(paths):
        assert isinstance(image, Radiograph), image
        assert image.pixels.shape == (1, 256, 256), path
        assert (image.pixels.min(), image.pixels.max()) == (0, 1)
        assert (image.metadata.modality, image.metadata.body_part, image.metadata.flags) == ("CR", "CHEST", ())
        assert image.metadata.patient


@needs_siim
def test_a_sample_of_the_challenges_images_is_read() -> None:
    check_siim(sorted(SIIM.glob("*/*/*/*.dcm"))[:: 6334 // 200])


@needs_siim
@pytest.mark.slow
def test_all_images_of_the_challenge_are_read() -> None:
    paths = sorted(SIIM.glob("*/*/*/*.dcm"))
    assert len(paths) == 6334
    check_siim(paths)
