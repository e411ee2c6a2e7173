"""Findings as DICOM objects: valid by other people's validators, boxes where they were found, names as they were."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from scripts.errors import InputError, RejectedImage
from scripts.files import compute_sha256
from scripts.outputs import FindingsWriter
from scripts.outputs.dicom import Algorithm, OperatingPoint, StudyFindings
from scripts.outputs.dicom.codes import DECISION, PROBABILITIES, THRESHOLD
from scripts.outputs.dicom.identifiers import SERIES_NUMBERS, make_uid
from scripts.outputs.dicom.source import IDENTITY
from scripts.outputs.pictures import RESEARCH_USE, paint_overlay
from scripts.radiographs import read_radiograph
from scripts.synthetic import write_image

from tests import validators
from tests.test_outputs import list_files, read_csv, run_writer
from tests.validators import (
    ALGORITHM,
    BOXES,
    HEIGHT,
    IMAGES,
    JAPANESE,
    POINT,
    SCORES,
    WIDTH,
    describe_image,
    draw_image,
    draw_mask,
    draw_picture,
    write_results,
)

KINDS = tuple(SERIES_NUMBERS)
#: dcmtk decodes no JPEG without its codecs, and opens no presentation state without a patient's name.
SHOWN_BY_DCMTK = [name for name in IMAGES if name not in ("lossy", "bare")]

needs_dciodvfy = pytest.mark.skipif(
    not validators.has_program("dciodvfy"), reason="needs dciodvfy: apt-get install dicom3tools"
)
needs_dcmtk = pytest.mark.skipif(
    not (validators.has_program("dsrdump") and validators.has_program("dcmp2pgm")),
    reason="needs dsrdump and dcmp2pgm: apt-get install dcmtk",
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, dict[str, Path]]]:
    """Name -> the image and its objects, each written once."""
    folder, cache = tmp_path_factory.mktemp("results"), {}

    def find(name: str) -> tuple[Path, dict[str, Path]]:
        if name not in cache:
            path = draw_image(folder, name)
            cache[name] = path, write_results(path, folder / "dicom", name)
        return cache[name]

    return find


Written = Callable[[str], tuple[Path, dict[str, Path]]]


# what validators say


@needs_dciodvfy
@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_dciodvfy_finds_no_error_and_no_warning_without_a_reason(written: Written, name: str, kind: str):
    assert validators.run_dciodvfy(written(name)[1][kind]) == ([], [])


@needs_dcmtk
@pytest.mark.parametrize("name", IMAGES)
def test_dsrdump_reads_the_report_as_a_person_would(written: Written, name: str):
    errors, open_warnings, text = validators.run_dsrdump(written(name)[1]["report"])
    assert (errors, open_warnings) == ([], [])
    for line in (RESEARCH_USE, 'Probability: typical appearance of COVID-19")="0.5"', "UNVERIFIED", "COMPLETE"):
        assert line in text


@needs_dciodvfy
def test_dciodvfy_would_find_an_error(written: Written, tmp_path: Path):
    report = pydicom.dcmread(written("cr")[1]["report"])
    del report.CompletionFlag
    report.save_as(tmp_path / "broken.dcm")
    assert validators.run_dciodvfy(tmp_path / "broken.dcm")[0]


REAL_IMAGES = [
    *sorted((Path(__file__).resolve().parents[2] / "shared/data/dicom-chest").glob("*.dcm")),
    *sorted((Path(__file__).resolve().parents[2] / "shared/data/siim-covid19-256").glob("*/*/*/*.dcm"))[::1500],
]


@needs_dciodvfy
@pytest.mark.slow
@pytest.mark.skipif(not REAL_IMAGES, reason="needs the real images in ../shared/data")
def test_dciodvfy_finds_no_error_in_objects_of_real_images_whatever_is_wrong_with_these(tmp_path: Path):
    for number, path in enumerate(REAL_IMAGES):
        height, width = read_radiograph(path, accept_secondary_capture=True).pixels.shape[1:]
        mask = np.zeros((height, width), np.uint8)
        mask[height // 3 : height // 2, width // 5 : width // 3] = 1
        files = write_results(path, tmp_path, str(number), mask=mask, image=describe_image(str(number)))
        assert {kind: validators.run_dciodvfy(file)[0] for kind, file in files.items()} == {kind: [] for kind in KINDS}


# where boxes and masks lie


def read_report(path: Path) -> hd.sr.ComprehensiveSR:
    report = hd.sr.srread(path)
    assert isinstance(report, hd.sr.ComprehensiveSR)
    return report


def trace(box: tuple[float, ...]) -> list[list[float]]:
    xmin, ymin, xmax, ymax = box
    return [[xmin, ymin], [xmax, ymin], [xmax, ymax], [xmin, ymax], [xmin, ymin]]


@pytest.mark.parametrize("name", IMAGES)
def test_the_reports_boxes_are_read_back_with_their_image_and_confidence(written: Written, name: str):
    path, files = written(name)
    dataset = pydicom.dcmread(path)
    groups = read_report(files["report"]).content.get_planar_roi_measurement_groups()
    assert len(groups) == len(BOXES)
    for group, box, score in zip(groups, BOXES, SCORES, strict=True):
        np.testing.assert_array_equal(group.roi.value, trace(box))
        (image,) = group.roi.ContentSequence
        reference = image.ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == dataset.SOPInstanceUID
        assert reference.ReferencedSOPClassUID == dataset.SOPClassUID
        (confidence,) = group.get_measurements()
        assert (confidence.name.value, confidence.unit.value) == ("111012", "%")
        assert confidence.value == pytest.approx(100 * score)


@pytest.mark.parametrize("name", IMAGES)
def test_the_segmentation_is_the_mask_in_the_images_pixels(written: Written, name: str):
    path, files = written(name)
    segmentation = hd.seg.segread(files["segmentation"])
    source = pydicom.dcmread(path).SOPInstanceUID
    read = segmentation.get_pixels_by_source_instance([source], combine_segments=True)[0]
    np.testing.assert_array_equal(read, draw_mask())
    description = segmentation.get_segment_description(1)
    assert description.segment_label == "suspected region (trained on boxes)"
    assert description.SegmentAlgorithmType == "AUTOMATIC"
    assert "ab" * 32 in description.algorithm_identification.parameters["study_classifier"]
    assert "PixelMeasuresSequence" not in str(segmentation), "a spacing that the image lacks is not invented"


def test_an_empty_mask_leaves_no_segmentation_and_takes_away_an_earlier_one(tmp_path: Path):
    path = draw_image(tmp_path, "cr")
    write_results(path, tmp_path / "out")
    empty = np.zeros((HEIGHT, WIDTH), np.uint8)
    files = write_results(path, tmp_path / "out", mask=empty, image=describe_image("image", boxes=(), scores=()))
    assert set(files) == set(KINDS) - {"segmentation"}
    assert list_files(tmp_path / "out") == {f"image/{kind}.dcm" for kind in files}


def test_a_mask_of_another_size_is_rejected_before_anything_is_written(tmp_path: Path):
    path = draw_image(tmp_path, "cr")
    with pytest.raises(ValueError, match=r"expected a mask of shape \(80, 120\), got \(120, 80\)"):
        write_results(path, tmp_path / "out", mask=draw_mask().T)
    assert not list_files(tmp_path / "out")


# a small renderer: what a viewer would show, four pixels to one

SCALE = 4
INK = 255


def show_image(path: Path, state: Dataset) -> np.ndarray:
    """Stored values by the presentation state's own shades, as bytes; window LINEAR (PS3.3 C.11.2.1.2.1) only."""
    image = pydicom.dcmread(path)
    values = image.pixel_array.astype(float) * float(state.get("RescaleSlope", 1)) + float(
        state.get("RescaleIntercept", 0)
    )
    window = state.SoftcopyVOILUTSequence[0]
    center, width = float(window.WindowCenter), float(window.WindowWidth)
    shown = np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)
    shown = 1 - shown if state.PresentationLUTShape == "INVERSE" else shown
    return (shown * 200).astype(np.uint8)  # below the ink


def draw_lines(shown: np.ndarray, lines: list[np.ndarray], picture: Path) -> np.ndarray:
    """The image enlarged, lines of columns and rows drawn one dot wide; a PNG to look at, and its pixels."""
    large = Image.fromarray(np.kron(shown, np.ones((SCALE, SCALE), np.uint8)))
    pen = ImageDraw.Draw(large)
    for line in lines:
        pen.line([tuple(point) for point in np.round(line * SCALE).astype(int)], fill=INK)
    large.save(picture)
    return np.asarray(large)


def find_graphics(state: Dataset) -> list[np.ndarray]:
    objects = [item for note in state.GraphicAnnotationSequence for item in note.get("GraphicObjectSequence", [])]
    assert {item.GraphicAnnotationUnits for item in objects} <= {"PIXEL"}
    return [np.array(item.GraphicData).reshape(-1, 2) for item in objects]


@pytest.mark.parametrize("name", ["cr", "cr_monochrome1", "dx", "rescale", "high_pixels"])
@pytest.mark.parametrize("kind", ["report", "presentation"])
def test_drawn_on_the_image_the_edges_lie_on_the_edges_of_what_is_there(
    written: Written, tmp_path: Path, name: str, kind: str
):
    """The first box is a bright block of the image: its edge has bright pixels on one side, dark ones on the other.

    A shift by half a pixel would be two dots, rows taken for columns would be far away.
    """
    path, files = written(name)
    state = pydicom.dcmread(files["presentation"])
    groups = read_report(files["report"]).content.get_planar_roi_measurement_groups()
    lines = [group.roi.value for group in groups] if kind == "report" else find_graphics(state)
    shown = show_image(path, state)
    synthetic = draw_lines(shown, lines, tmp_path / f"{name}_{kind}.png")
    xmin, ymin, xmax, ymax = (round(edge * SCALE) for edge in BOXES[0])
    for box in BOXES:
        left, top, right, bottom = (round(edge * SCALE) for edge in box)
        assert (synthetic[top, left : right + 1] == INK).all() and (synthetic[bottom, left : right + 1] == INK).all()
        assert (synthetic[top : bottom + 1, left] == INK).all() and (synthetic[top : bottom + 1, right] == INK).all()
    assert (synthetic == INK).sum() == sum(
        2 * (round(x1 * SCALE) - round(x0 * SCALE)) + 2 * (round(y1 * SCALE) - round(y0 * SCALE))
        for x0, y0, x1, y1 in BOXES
    )
    block, around = synthetic[ymin + 1 : ymax, xmin + 1 : xmax], synthetic[ymin - 3 : ymax + 4, xmin - 3 : xmax + 4]
    assert block.min() > 100, "bright to the very edge"
    assert around[:3].max() < 100 and around[:, :3].max() < 100, "dark above and to the left"
    assert around[-3:].max() < 110 and around[:, -3:].max() < 110, "dark below and to the right"


@needs_dcmtk
@pytest.mark.parametrize("name", SHOWN_BY_DCMTK)
def test_another_viewer_shows_the_image_by_its_presentation_state_as_our_reader_does(
    written: Written, tmp_path: Path, name: str
):
    """The right way round, also for MONOCHROME1, with the image's own window or table."""
    path, files = written(name)
    validators.render_presentation(path, files["presentation"], tmp_path / "shown.pgm")
    with Image.open(tmp_path / "shown.pgm") as picture:
        shown = np.asarray(picture.convert("L")).astype(float)
    ours = read_radiograph(path, accept_secondary_capture=True).pixels[0]
    assert np.corrcoef(shown.ravel(), ours.ravel())[0, 1] > 0.995
    scaled = (shown - shown.min()) / np.ptp(shown)
    if name != "dx_monochrome1":  # a sigmoid; presentation states of dcmtk 3.6.7 know lines only
        assert np.abs(scaled - ours).max() < 0.01


@pytest.mark.parametrize(
    ("name", "shape"), [("cr", "IDENTITY"), ("cr_monochrome1", "INVERSE"), ("dx_monochrome1", "INVERSE")]
)
def test_a_presentation_state_says_how_gray_runs(written: Written, name: str, shape: str):
    assert pydicom.dcmread(written(name)[1]["presentation"]).PresentationLUTShape == shape


def test_a_presentation_state_keeps_the_images_table_whatever_the_order_of_its_bytes(written: Written):
    tables = [
        pydicom.dcmread(written(name)[1]["presentation"]).SoftcopyVOILUTSequence[0].VOILUTSequence[0]
        for name in ("voi_lut", "voi_lut_big_endian")
    ]
    stored = pydicom.dcmread(written("voi_lut")[0]).VOILUTSequence[0]
    for table in tables:
        assert list(table.LUTDescriptor) == list(stored.LUTDescriptor)
        assert table.LUTData == stored.LUTData


def test_a_presentation_state_leaves_out_a_window_that_shows_nothing(tmp_path: Path):
    values = (draw_picture() * 4095).astype(np.uint16)
    path = write_image(tmp_path / "image.dcm", values, window=(60000, 10))
    state = pydicom.dcmread(write_results(path, tmp_path / "out")["presentation"])
    assert "SoftcopyVOILUTSequence" not in state


@pytest.mark.parametrize("window", [(2000, 3000), None])
def test_a_presentation_state_leaves_out_a_table_that_shows_nothing(tmp_path: Path, window: tuple[int, int] | None):
    """The reader shows such an image by its window, or whole; so does the state."""
    values = (draw_picture() * 4095).astype(np.uint16)
    white = np.full(4096, 65535)
    path = write_image(tmp_path / "image.dcm", values, window=window, voi_lut=(0, white))
    state = pydicom.dcmread(write_results(path, tmp_path / "out")["presentation"])
    if window is None:
        assert "SoftcopyVOILUTSequence" not in state
    else:
        (item,) = state.SoftcopyVOILUTSequence
        assert "VOILUTSequence" not in item and (item.WindowCenter, item.WindowWidth) == window


def test_a_presentation_state_of_high_pixels_stretches_them(written: Written):
    (area,) = pydicom.dcmread(written("high_pixels")[1]["presentation"]).DisplayedAreaSelectionSequence
    assert area.PresentationPixelAspectRatio == [1190, 1000]
    assert area.DisplayedAreaBottomRightHandCorner == [WIDTH, HEIGHT]


@pytest.mark.parametrize("box", [(0.0, 0.0, 5.0, 4.0), (118.0, 78.0, 120.0, 80.0), (-3.0, 70.0, 130.0, 99.0)])
def test_a_box_at_the_images_edge_stays_on_the_image_and_so_does_its_text(tmp_path: Path, box: tuple[float, ...]):
    path = draw_image(tmp_path, "cr")
    image = describe_image("image", boxes=(box,), scores=(0.5,))
    state = pydicom.dcmread(write_results(path, tmp_path / "out", image=image)["presentation"])
    (line,) = find_graphics(state)
    (text,) = state.GraphicAnnotationSequence[1].TextObjectSequence
    corners = np.array([*line, text.BoundingBoxTopLeftHandCorner, text.BoundingBoxBottomRightHandCorner])
    assert corners.min() >= 0 and (corners <= [WIDTH, HEIGHT]).all()
    assert text.UnformattedTextValue == "0.50"


def test_without_boxes_the_presentation_state_still_says_what_it_is_for(tmp_path: Path):
    image = describe_image("image", boxes=(), scores=())
    state = pydicom.dcmread(write_results(draw_image(tmp_path, "cr"), tmp_path / "out", image=image)["presentation"])
    (annotation,) = state.GraphicAnnotationSequence
    assert annotation.TextObjectSequence[0].UnformattedTextValue == RESEARCH_USE


def test_the_capture_is_the_overlay(written: Written):
    path, files = written("cr")
    capture = pydicom.dcmread(files["capture"])
    expected = paint_overlay(read_radiograph(path).pixels[0], draw_mask(), describe_image("cr"))
    np.testing.assert_array_equal(capture.pixel_array, expected)
    assert (capture.ImageType, capture.BurnedInAnnotation) == (["DERIVED", "SECONDARY"], "YES")
    assert (capture.ConversionType, capture.PhotometricInterpretation) == ("WSD", "RGB")
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == pydicom.dcmread(path).SOPInstanceUID


# what the report says


def list_figures(report: hd.sr.ComprehensiveSR) -> dict[str, float]:
    (group,) = report.content.get_image_measurement_groups()
    return {figure.name.value: figure.value for figure in group.get_measurements()}


def list_texts(item: Dataset) -> Iterator[str]:
    if item.get("ValueType") == "TEXT":
        yield item.TextValue
    for child in item.get("ContentSequence", []):
        yield from list_texts(child)


def test_the_report_gives_the_studys_probabilities_and_its_operating_point(written: Written):
    report = read_report(written("cr")[1]["report"])
    figures = list_figures(report)
    assert {name: figures[code.value] for name, code in PROBABILITIES.items()} == validators.PROBABILITIES
    assert figures[THRESHOLD.value] == POINT.threshold
    (group,) = report.content.get_image_measurement_groups()
    (called,) = group.get_qualitative_evaluations()
    assert (called.name.value, called.value.meaning) == (DECISION.value, "Positive")
    texts = list(list_texts(report))
    assert "positive where 1 - p(negative) >= 0.4227; threshold: " + POINT.option in texts
    assert "body_part: the header names another body part than the chest; portables are often mislabelled" in texts
    assert "whole image" in texts


@pytest.mark.parametrize(("threshold", "called"), [(0.875, "Positive"), (0.876, "Negative")])
def test_a_study_is_called_at_its_threshold(tmp_path: Path, threshold: float, called: str):
    files = write_results(draw_image(tmp_path, "cr"), tmp_path / "out", point=OperatingPoint(threshold))
    (group,) = read_report(files["report"]).content.get_image_measurement_groups()
    assert group.get_qualitative_evaluations()[0].value.meaning == called


def test_without_an_operating_point_no_study_is_called(tmp_path: Path):
    files = write_results(draw_image(tmp_path, "cr"), tmp_path / "out", point=None)
    report = read_report(files["report"])
    (group,) = report.content.get_image_measurement_groups()
    assert group.get_qualitative_evaluations() == [] and THRESHOLD.value not in list_figures(report)
    assert not [text for text in list_texts(report) if "threshold" in text]


def test_the_report_names_the_device_the_version_and_all_weights(written: Written):
    report = read_report(written("cr")[1]["report"])
    (observer,) = report.content.get_observer_contexts()
    assert observer.observer_identifying_attributes.name == "chest_xray_covid19"
    texts = list(list_texts(report))
    for network, digest in ALGORITHM.weights_sha256.items():
        assert texts.count(f"weights sha256 {network}={digest}") == 1 + len(BOXES)
    assert "0.1.0" in texts


def test_a_report_is_never_verified_and_complete_only_where_no_image_was_rejected(tmp_path: Path):
    path = draw_image(tmp_path, "cr")
    study = StudyFindings(validators.PROBABILITIES, (path,), num_rejected=2)
    whole, partial = (
        pydicom.dcmread(write_results(path, tmp_path / str(number), **changes)["report"])
        for number, changes in enumerate([{}, {"study": study}])
    )
    assert (whole.CompletionFlag, partial.CompletionFlag) == ("COMPLETE", "PARTIAL")
    assert {whole.VerificationFlag, partial.VerificationFlag} == {"UNVERIFIED"}
    assert partial.CompletionFlagDescription == "images of the study that were not scored: 2"
    assert [text for text in list_texts(partial) if "rejected and are not in the mean: 2" in text]
    assert whole.SOPInstanceUID != partial.SOPInstanceUID


def test_the_report_refers_to_every_image_that_its_probabilities_are_the_mean_of(tmp_path: Path):
    values = (draw_picture() * 4095).astype(np.uint16)
    uids = {"study_uid": "2.25.77", "series_uid": "2.25.78"}
    paths = [write_image(tmp_path / f"{name}.dcm", values, sop_uid=f"2.25.10{name}", **uids) for name in "123"]
    paths.append(write_image(tmp_path / "other.dcm", values, study_uid="2.25.99"))  # of another study
    Image.fromarray((draw_picture() * 255).astype(np.uint8)).save(tmp_path / "rendering.png")
    study = StudyFindings(validators.PROBABILITIES, (*paths, tmp_path / "rendering.png"))
    report = read_report(write_results(paths[1], tmp_path / "out", study=study)["report"])
    (group,) = report.content.get_image_measurement_groups()
    named = [image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for image in group.source_images]
    assert named == ["2.25.102", "2.25.101", "2.25.103"], "the image itself first"
    assert {uid for *_, uid, _ in report.get_evidence()} == set(named)
    assert report.InstanceNumber == 2
    assert list_figures(report)["NUM_IMAGES"] == 5, "the mean is over what cannot be referred to, too"
    alone = read_report(write_results(paths[1], tmp_path / "alone")["report"])
    assert alone.SOPInstanceUID != report.SOPInstanceUID, "other sources, another object"
    assert alone.SeriesInstanceUID == report.SeriesInstanceUID, "one series for a study"


@pytest.mark.parametrize("name", ["cr", "japanese"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_object_says_research_use(written: Written, name: str, kind: str):
    assert RESEARCH_USE.encode("ascii") in written(name)[1][kind].read_bytes()
    assert "research use only" in pydicom.dcmread(written(name)[1][kind]).SeriesDescription


# which object it is


def list_uids(dataset: Dataset) -> list[str]:
    return [
        str(element.value) for element in dataset.iterall() if element.VR == "UI" and isinstance(element.value, str)
    ]


def test_the_same_image_gives_the_same_objects_to_the_byte(tmp_path: Path):
    path = draw_image(tmp_path, "cr")
    first, second = (write_results(path, tmp_path / folder) for folder in ("a", "b"))
    assert {kind: file.read_bytes() for kind, file in first.items()} == {
        kind: file.read_bytes() for kind, file in second.items()
    }


def test_a_later_run_differs_in_dates_alone(tmp_path: Path):
    path = draw_image(tmp_path, "cr")
    first = write_results(path, tmp_path / "a")
    later = write_results(path, tmp_path / "b", created=validators.CREATED.replace(year=2027))
    for kind in KINDS:
        pair = [pydicom.dcmread(files[kind]) for files in (first, later)]
        assert list_uids(pair[0]) == list_uids(pair[1])
        changed = {element.keyword for element in pair[0] if element != pair[1][element.tag]}
        assert changed and all(keyword.endswith("Date") or keyword == "DateOfSecondaryCapture" for keyword in changed)


@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm": Algorithm("0.1.0", {**ALGORITHM.weights_sha256, "study_classifier": "ef" * 32})},
        {"algorithm": replace(ALGORITHM, version="0.2.0")},
    ],
    ids=["weights", "version"],
)
def test_other_weights_or_another_version_are_other_objects_of_other_series(tmp_path: Path, changes: dict[str, Any]):
    path = draw_image(tmp_path, "cr")
    first, second = write_results(path, tmp_path / "a"), write_results(path, tmp_path / "b", **changes)
    for kind in KINDS:
        ours, others = (pydicom.dcmread(files[kind]) for files in (first, second))
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
            assert ours[keyword].value != others[keyword].value
        assert ours.StudyInstanceUID == others.StudyInstanceUID


def test_another_operating_point_is_another_report_and_nothing_else(tmp_path: Path):
    path = draw_image(tmp_path, "cr")
    files = [write_results(path, tmp_path / "a"), write_results(path, tmp_path / "b", point=OperatingPoint(0.9))]
    differing = {kind for kind in KINDS if len({pydicom.dcmread(each[kind]).SOPInstanceUID for each in files}) == 2}
    assert differing == {"report"}


def test_each_kind_has_a_series_of_its_own_in_the_images_study(written: Written):
    path, files = written("cr")
    objects = [pydicom.dcmread(file) for file in files.values()]
    image = pydicom.dcmread(path)
    assert {each.StudyInstanceUID for each in objects} == {image.StudyInstanceUID}
    assert len({each.SeriesInstanceUID for each in objects} | {image.SeriesInstanceUID}) == 5
    assert [each.SeriesNumber for each in objects] == [9101, 9102, 9103, 9104]
    assert len({each.SOPInstanceUID for each in objects}) == 4


@pytest.mark.parametrize("sources", [[], ["1.2.3"], ["1.2.3", "1.2.4"]])
def test_a_uid_is_one_by_the_standard(sources: list[str]):
    uid = pydicom.uid.UID(make_uid("report", sources, ALGORITHM))
    assert uid.is_valid and len(uid) <= 64 and uid.startswith("2.25.")
    assert make_uid("report", sources[::-1], ALGORITHM) == uid, "the order of images does not count"
    assert make_uid("capture", sources, ALGORITHM) != uid
    number = int(uid.removeprefix("2.25."))
    assert (number >> 76 & 0xF, number >> 62 & 0x3) == (8, 2), "version and variant of a UUID"


# names


def read_raw(path: Path, keyword: str) -> bytes:
    element: Any = pydicom.dcmread(path).get_item(keyword)
    assert isinstance(element, RawDataElement)
    return (element.value or b"").rstrip()


@pytest.mark.parametrize("name", ["cyrillic", "japanese", "utf8", "cr", "rescale", "voi_lut_big_endian"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_name_comes_back_in_its_character_set_to_the_byte(written: Written, name: str, kind: str):
    path, files = written(name)
    for keyword in ("PatientName", "PatientID"):
        assert read_raw(files[kind], keyword) == read_raw(path, keyword)
    image, result = pydicom.dcmread(path), pydicom.dcmread(files[kind])
    assert result.PatientName == image.PatientName and result.PatientID == image.PatientID
    assert result.get("SpecificCharacterSet") == image.get("SpecificCharacterSet")
    if name == "japanese":
        assert str(result.PatientName) == JAPANESE["patient_name"]


@pytest.mark.parametrize(
    "elements",
    [
        {"PatientBirthDate": "unknown", "PatientSex": "X", "StudyDate": "2020/01/01", "StudyTime": "noon"},
        {"PatientName": "no caret " + "x" * 80, "PatientID": "9" * 80, "StudyID": "s" * 40},
        {"SpecificCharacterSet": "ISO_IR 999"},
    ],
    ids=["dates", "lengths", "character_set"],
)
def test_what_does_not_keep_to_the_standard_is_passed_on_as_it_is(tmp_path: Path, elements: dict[str, str]):
    path = draw_image(tmp_path, "cr")
    image = pydicom.dcmread(path)
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        for keyword, value in elements.items():
            setattr(image, keyword, value)
        image.save_as(path)
    for file in write_results(path, tmp_path / "out").values():
        assert {keyword: read_raw(file, keyword) for keyword in elements if keyword != "SpecificCharacterSet"} == {
            keyword: value.encode().rstrip() for keyword, value in elements.items() if keyword != "SpecificCharacterSet"
        }


def plant_canaries(path: Path) -> None:
    """A text of its own in every element of free text that an image may hold at its top level."""
    image = pydicom.dcmread(path)
    for keyword in (
        "PatientName", "PatientID", "StudyID", "AccessionNumber", "ReferringPhysicianName", "StudyDescription",
        "OtherPatientIDs", "PatientAddress", "PatientComments", "AdditionalPatientHistory", "OperatorsName",
        "InstitutionName", "StationName", "SeriesDescription", "ProtocolName", "ImageComments", "EthnicGroup",
        "RequestingPhysician", "PerformingPhysicianName", "Manufacturer", "ManufacturerModelName", "Occupation",
    ):  # fmt: skip
        setattr(image, keyword, f"Canary{keyword}"[:16])
    image.save_as(path)


def test_no_text_of_the_image_stands_in_a_file_name_or_a_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    path = draw_image(tmp_path, "japanese")
    plant_canaries(path)
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        files = write_results(path, tmp_path / "out")
        nameless = pydicom.dcmread(path)
        del nameless.StudyInstanceUID
        nameless.save_as(path)
        caught.clear()  # the two lines above are the test's own
        with pytest.raises(InputError) as failure:
            write_results(path, tmp_path / "out")
    reported = [caplog.text, *capfd.readouterr(), str(failure.value), *list_files(tmp_path), *map(str, caught)]
    assert "canary" not in " ".join(reported).lower()
    assert b"CanaryPatientNam" in files["report"].read_bytes()


def test_of_the_patient_no_more_is_passed_on_than_names_the_case(tmp_path: Path):
    path = draw_image(tmp_path, "cr")
    plant_canaries(path)
    equipment = {"Manufacturer", "ManufacturerModelName"}  # of the image, in Contributing Equipment
    for file in write_results(path, tmp_path / "out").values():
        found = {
            element.keyword for element in pydicom.dcmread(file).iterall() if str(element.value).startswith("Canary")
        }
        assert {"PatientName", "PatientID", "AccessionNumber"} <= found <= {*IDENTITY, *equipment}


# images that get none


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", [None, "not a uid"])
def test_an_image_without_uids_is_reported(tmp_path: Path, keyword: str, value: str | None):
    path = draw_image(tmp_path, "cr")
    image = pydicom.dcmread(path)
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        image[keyword].value = value
        image.save_as(path, enforce_file_format=False)
    with pytest.raises(InputError, match=rf"no valid {keyword} in .*cr\.dcm"):
        write_results(path, tmp_path / "out")
    assert not list_files(tmp_path / "out")


def test_an_image_that_the_reader_rejects_is_rejected_here_too(tmp_path: Path):
    path = draw_image(tmp_path, "cr")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RejectedImage, match="truncated"):
        write_results(path, tmp_path / "out")
    with pytest.raises(RejectedImage, match="unsupported_sop"):
        write_results(draw_image(tmp_path, "secondary_capture"), tmp_path / "out", reader_options={})
    assert not list_files(tmp_path / "out")


def test_a_rendering_gets_none_and_one_line_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "image.png"
    Image.fromarray((draw_picture() * 255).astype(np.uint8)).save(path)
    with caplog.at_level(logging.INFO):
        assert write_results(path, tmp_path / "out", reader_options={"accept_renderings": True}) == {}
    assert [record.message for record in caplog.records] == ["no DICOM results for image: it is a rendering, not DICOM"]
    assert not list_files(tmp_path / "out")


@pytest.mark.parametrize("image_id", ["..", ".", "", "a/b", "/absolute"])
def test_no_id_leads_out_of_the_folder(tmp_path: Path, image_id: str):
    with pytest.raises(InputError, match="an image id that can be a folder's name"):
        write_results(draw_image(tmp_path, "cr"), tmp_path / "out", image=describe_image(image_id))


def test_a_full_disk_leaves_no_half_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, saved = draw_image(tmp_path, "cr"), []

    def save(dataset: Dataset, file: Path, **options: Any) -> None:
        saved.append(file)
        Path(file).write_bytes(b"half")
        if len(saved) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Dataset, "save_as", save)
    with pytest.raises(OSError, match="No space left"):
        write_results(path, tmp_path / "out")
    assert list_files(tmp_path / "out") == {"image/report.dcm"}


# a whole run


@pytest.fixture
def run(tmp_path: Path) -> dict[str, Any]:
    """Two images of one study and one of another, and what a writer of DICOM results needs."""
    values = (draw_picture() * 4095).astype(np.uint16)
    images = {
        name: write_image(
            tmp_path / "images" / f"{name}.dcm", values, patient_name="Canary^Rara", study_uid=study, sop_uid=sop
        )
        for name, study, sop in (("a1", "2.25.1", "2.25.11"), ("a2", "2.25.1", "2.25.12"), ("b1", "2.25.2", "2.25.13"))
    }  # fmt: skip
    (tmp_path / "weights.pt").write_bytes(b"weights")
    options = {"dicom_results": True, "version": "0.1.0", "weights": {"study_classifier": tmp_path / "weights.pt"}}
    return {"images": images, "folder": tmp_path / "out", **options}


def list_results(folder: Path) -> dict[str, set[str]]:
    """Image id -> its files."""
    return {image.name: {file.name for file in image.iterdir()} for image in sorted((folder / "dicom").iterdir())}


def test_a_run_writes_dicom_results_of_every_image_by_option(run: dict[str, Any]):
    run_writer(**run, operating_point={"threshold": 0.5, "option": "chosen"})
    assert list_results(run["folder"]) == {name: {f"{kind}.dcm" for kind in KINDS} for name in run["images"]}
    record = json.loads((run["folder"] / "done.json").read_text())
    assert record["dicom_results"] == {"images": 3, "left_out": 0}
    studies = {row["study_id"]: row for row in read_csv(run["folder"] / "studies.csv")}
    for name in run["images"]:
        report = read_report(run["folder"] / "dicom" / name / "report.dcm")
        figures = list_figures(report)
        assert figures["P_TYPICAL"] == pytest.approx(float(studies[name[0].upper()]["typical"]), abs=1e-6)
        assert figures["NUM_IMAGES"] == (2 if name.startswith("a") else 1)
        digest = compute_sha256(run["weights"]["study_classifier"])
        assert f"weights sha256 study_classifier={digest}" in list(list_texts(report))
        with Image.open(run["folder"] / "masks" / f"{name}.png") as mask:
            segmentation = hd.seg.segread(run["folder"] / "dicom" / name / "segmentation.dcm")
            np.testing.assert_array_equal(segmentation.pixel_array.squeeze(), np.asarray(mask) > 0)
    assert "canary" not in " ".join(list_files(run["folder"])).lower()


def test_without_the_option_there_is_no_trace_of_them(run: dict[str, Any]):
    run_writer(**{**run, "dicom_results": False})
    assert not (run["folder"] / "dicom").exists()
    assert "dicom_results" not in json.loads((run["folder"] / "done.json").read_text())


@pytest.mark.parametrize(("word", "asked"), [("true", True), ("True", True), ("false", False), ("False", False)])
def test_a_word_of_the_command_line_is_no_ground_truth_by_itself(run: dict[str, Any], word: str, asked: bool):
    run_writer(**{**run, "dicom_results": word})
    assert (run["folder"] / "dicom").exists() is asked


@pytest.mark.parametrize("value", ["yes", "", None, 1])
def test_what_is_neither_true_nor_false_is_reported(run: dict[str, Any], value: Any):
    with pytest.raises(InputError, match="dicom_results true or false"):
        FindingsWriter(run["folder"], dicom_results=value)


def test_an_image_out_of_scope_gets_none_and_makes_its_studys_reports_partial(run: dict[str, Any]):
    run_writer(**run, out_of_scope="a2")
    assert set(list_results(run["folder"])) == {"a1", "b1"}
    flags = [pydicom.dcmread(run["folder"] / "dicom" / name / "report.dcm").CompletionFlag for name in ("a1", "b1")]
    assert flags == ["PARTIAL", "COMPLETE"]


def test_two_images_of_one_uid_are_reported_and_neither_is_lost(run: dict[str, Any], caplog: pytest.LogCaptureFixture):
    image = pydicom.dcmread(run["images"]["a1"])
    image.save_as(run["images"]["a2"])
    run_writer(**run)
    assert set(list_results(run["folder"])) == set(run["images"])
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "a1 and a2 have one SOP Instance UID, and so have their DICOM results: send those of one only"
    ]


def test_objects_of_an_earlier_run_do_not_stand_for_an_image_that_is_rejected_now(run: dict[str, Any]):
    run_writer(**run)
    image = pydicom.dcmread(run["images"]["b1"])
    del image.SeriesInstanceUID
    image.save_as(run["images"]["b1"])
    run_writer(**run, out_of_scope="a2")
    assert list_results(run["folder"]) == {"a1": {f"{kind}.dcm" for kind in KINDS}, "a2": set(), "b1": set()}


def test_an_image_that_cannot_have_them_does_not_stop_the_others(run: dict[str, Any], caplog: pytest.LogCaptureFixture):
    image = pydicom.dcmread(run["images"]["a1"])
    del image.SeriesInstanceUID
    image.save_as(run["images"]["a1"])
    run_writer(**run)
    assert set(list_results(run["folder"])) == {"a2", "b1"}
    assert json.loads((run["folder"] / "done.json").read_text())["dicom_results"] == {"images": 2, "left_out": 1}
    (reported,) = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert reported.startswith("no DICOM results for a1: expected an image with SOP, Series and Study Instance UID")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": None}, "weights and a version"),
        ({"version": ""}, "weights and a version"),
        ({"operating_point": {"threshold": 2}}, "an operating point"),
        ({"operating_point": {"option": "no threshold"}}, "an operating point"),
        ({"operating_point": "0.5"}, "an operating point"),
        ({"operating_point": {"threshold": 0.5, "option": "sensibilité"}}, "in ASCII"),
    ],
)
def test_a_writer_that_lacks_what_they_need_is_reported_before_the_run(run: dict[str, Any], changes: Any, message: str):
    options = {**run, **changes}
    with pytest.raises(InputError, match=message):
        FindingsWriter(options["folder"], **{key: options[key] for key in options if key not in ("images", "folder")})
