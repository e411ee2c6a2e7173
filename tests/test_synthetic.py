"""Synthetic images: conformity to the standard, to their tables and to the classes, and every variation."""

from __future__ import annotations

import ast
import csv
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from scripts.boxes import as_boxes, compute_areas, fill_mask
from scripts.errors import REASONS, InputError, RejectedImage
from scripts.labels import STUDY_CLASSES, TABLE_COLUMNS
from scripts.radiographs import read_radiograph
from scripts.synthetic import (
    BREAKAGES,
    DISPLAYS,
    LOSSLESS_SYNTAXES,
    SOP_CLASSES,
    TRANSFER_SYNTAXES,
    ImageStyle,
    Look,
    derive_uid,
    draw_chest,
    draw_contact_sheet,
    generate_tree,
    make_image,
    store_picture,
    write_broken_image,
    write_image,
)
from scripts.synthetic.body import draw_body
from scripts.synthetic.cohort import PlannedImage, plan_cohort
from scripts.synthetic.findings import Opacity, plan_opacities
from scripts.tables import read_tables

Row = dict[str, str]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 + 8 studies of 96 pixels."""
    out = tmp_path_factory.mktemp("synthetic") / "tree"
    generate_tree(out, num_studies=24, num_test_studies=8, size=96, seed=3)
    return out


@pytest.fixture(scope="module")
def images(tree: Path) -> dict[str, pydicom.FileDataset]:
    """Every image of the tree by image id."""
    return {path.stem: pydicom.dcmread(path) for path in sorted(tree.glob("*/*/*/*.dcm"))}


@pytest.fixture(scope="module")
def plans() -> dict[str, PlannedImage]:
    """Plans of the tree's images, by image id."""
    return {plan.image_id: plan for plan in plan_cohort(24, 8, seed=3)}


def read_rows(path: Path) -> list[Row]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def show(image: pydicom.Dataset) -> NDArray[np.float64]:
    """An image through pydicom's own display functions: a second reader, not the project's."""
    values = image.pixel_array if "VOILUTSequence" in image else apply_modality_lut(image.pixel_array, image)
    shown = apply_voi_lut(values, image).astype(float)
    shown = (shown - shown.min()) / np.ptp(shown)
    return 1 - shown if image.PhotometricInterpretation == "MONOCHROME1" else shown


def make_pixels(bits: int, height: int = 66, width: int = 70) -> NDArray[np.uint16]:
    return np.random.default_rng(bits).integers(0, 1 << bits, (height, width)).astype(np.uint16)


# One image as DICOM
# ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 10, 12, 15, 16])
@pytest.mark.parametrize("syntax", LOSSLESS_SYNTAXES)
def test_lossless_syntaxes_keep_every_stored_value(tmp_path: Path, syntax: str, bits: int) -> None:
    pixels = make_pixels(bits)
    image = pydicom.dcmread(write_image(tmp_path / "image.dcm", pixels, syntax=syntax, bits_stored=bits))
    assert image.file_meta.TransferSyntaxUID == TRANSFER_SYNTAXES[syntax]
    assert (image.BitsStored, image.HighBit, image.BitsAllocated) == (bits, bits - 1, 8 if bits == 8 else 16)
    np.testing.assert_array_equal(image.pixel_array, pixels)


def test_jpeg_baseline_is_reported_as_lossy(tmp_path: Path) -> None:
    pixels = np.add.outer(np.arange(66), np.arange(70)).astype(np.uint8)
    image = pydicom.dcmread(write_image(tmp_path / "image.dcm", pixels, syntax="jpeg_baseline", bits_stored=8))
    assert (image.LossyImageCompression, image.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert image.LossyImageCompressionRatio > 1
    assert np.abs(image.pixel_array.astype(int) - pixels).max() <= 4


@pytest.mark.parametrize("syntax", [name for name in LOSSLESS_SYNTAXES if name != "jpeg_lossless"])
def test_an_odd_number_of_bytes_is_padded(tmp_path: Path, syntax: str) -> None:
    pixels = make_pixels(8, 65, 71)
    image = pydicom.dcmread(write_image(tmp_path / "image.dcm", pixels, syntax=syntax, bits_stored=8))
    assert len(image.PixelData) % 2 == 0
    np.testing.assert_array_equal(image.pixel_array, pixels)


@pytest.mark.parametrize("kind", SOP_CLASSES)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_an_image_holds_what_its_modules_demand(kind: str, photometric: str) -> None:
    image = make_image(make_pixels(12), kind=kind, photometric=photometric)
    assert image.SOPClassUID == image.file_meta.MediaStorageSOPClassUID == SOP_CLASSES[kind]
    assert image.SOPInstanceUID == image.file_meta.MediaStorageSOPInstanceUID
    type_2 = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID")
    assert all(keyword in image for keyword in (*type_2, "AccessionNumber", "ReferringPhysicianName", "Manufacturer"))
    assert len({image.SOPInstanceUID, image.SeriesInstanceUID, image.StudyInstanceUID}) == 3
    if kind == "DX":
        # PS3.3 C.8.11.3.1.2: the shape goes with the photometric interpretation.
        assert image.PresentationLUTShape == ("INVERSE" if photometric == "MONOCHROME1" else "IDENTITY")
        assert (image.PresentationIntentType, image.RescaleSlope) == ("FOR PRESENTATION", 1)


def test_uids_are_valid_and_follow_from_the_content() -> None:
    uids = {derive_uid("a"), derive_uid("a", "b"), derive_uid("ab")}
    assert len(uids) == 3
    assert all(pydicom.uid.UID(uid).is_valid and uid.startswith("2.25.") for uid in uids)
    first, again, other = (make_image(make_pixels(bits)) for bits in (10, 10, 11))
    assert first.SOPInstanceUID == again.SOPInstanceUID != other.SOPInstanceUID


def test_names_outside_ascii_survive_in_their_character_set(tmp_path: Path) -> None:
    path = write_image(
        tmp_path / "image.dcm", make_pixels(12), character_set="ISO_IR 144", patient_name="Рисунков^Иван"
    )
    assert str(pydicom.dcmread(path).PatientName) == "Рисунков^Иван"


@pytest.mark.parametrize(
    ("pixels", "changes", "message"),
    [
        (np.zeros((8, 8)), {}, "integers of shape"),
        (np.zeros((8, 8, 3), np.uint8), {}, "integers of shape"),
        (np.full((8, 8), 4096), {}, "values of 12 bits"),
        (np.full((8, 8), -1), {}, "values of 12 bits"),
        (np.zeros((8, 8), np.uint8), {"syntax": "jpeg_baseline"}, "8 bits for JPEG Baseline"),
        (np.zeros((8, 8), np.uint8), {"syntax": "jpeg_xl"}, "known kind and syntax"),
        (np.zeros((8, 8), np.uint8), {"kind": "CT"}, "known kind and syntax"),
        (np.zeros((7, 7), np.uint8), {"syntax": "jpeg_lossless", "bits_stored": 8}, "even number of bytes"),
    ],
)
def test_pixels_that_do_not_fit_are_rejected(tmp_path: Path, pixels: NDArray, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_image(tmp_path / "image.dcm", pixels, **changes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("display", DISPLAYS)
def test_every_display_shows_the_picture_again(tmp_path: Path, display: str, photometric: str) -> None:
    picture = np.linspace(0, 1, 66 * 70, dtype=np.float32).reshape(66, 70)
    values, style = store_picture(picture, ImageStyle(photometric=photometric), display)
    path = write_image(tmp_path / "image.dcm", values, style)
    if display != "padded":
        np.testing.assert_allclose(show(pydicom.dcmread(path)), picture, atol=2e-3)
    np.testing.assert_allclose(read_radiograph(path).pixels[0], picture, atol=2e-3)
    assert display == "full" or np.abs(values / 4095 - picture).mean() > 0.05, (
        "a reader without it would not be found out"
    )


# A whole tree --------------------------------------------------------------------------------------------------------


def collect_files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(tmp_path: Path) -> None:
    for name, seed, workers in (("a", 5, 1), ("b", 5, 2), ("c", 6, 1)):
        generate_tree(tmp_path / name, num_studies=5, num_test_studies=1, size=64, seed=seed, workers=workers)
    first, again, other = (collect_files(tmp_path / name) for name in "abc")
    assert first == again
    assert not set(first.values()) & set(other.values())


def test_a_tree_without_unlabelled_studies_can_be_read(tmp_path: Path) -> None:
    generate_tree(tmp_path / "tree", num_studies=4, num_test_studies=0, size=64, workers=1)
    assert len(read_tables(tmp_path / "tree").study_labels) == 4


def test_the_tree_has_the_challenge_layout(tree: Path) -> None:
    assert sorted(path.name for path in tree.iterdir()) == [
        "sample_submission.csv", "test", "test_lung_boxes.csv", "train",
        "train_image_level.csv", "train_lung_boxes.csv", "train_study_level.csv",
    ]  # fmt: skip
    header = (tree / "train_image_level.csv").read_text().splitlines()[0]
    assert header == "id,boxes,label,StudyInstanceUID"
    assert list(read_rows(tree / "train_study_level.csv")[0]) == ["id", *TABLE_COLUMNS.values()]
    assert list(read_rows(tree / "test_lung_boxes.csv")[0]) == ["image", "xmin", "ymin", "xmax", "ymax"]


def test_tables_and_tree_name_the_same_images(tree: Path) -> None:
    on_disk = {part: {(p.parts[-3], p.stem) for p in tree.glob(f"{part}/*/*/*.dcm")} for part in ("train", "test")}
    rows = read_rows(tree / "train_image_level.csv")
    assert {(row["StudyInstanceUID"], row["id"].removesuffix("_image")) for row in rows} == on_disk["train"]
    studies = [row["id"].removesuffix("_study") for row in read_rows(tree / "train_study_level.csv")]
    assert sorted(studies) == sorted({study for study, _ in on_disk["train"]})
    for part in ("train", "test"):
        boxed = [row["image"] for row in read_rows(tree / f"{part}_lung_boxes.csv")]
        assert sorted(boxed) == sorted(image for _, image in on_disk[part])
    sample = [row["id"] for row in read_rows(tree / "sample_submission.csv")]
    expected = {f"{study}_study" for study, _ in on_disk["test"]} | {f"{image}_image" for _, image in on_disk["test"]}
    assert len(sample) == len(set(sample)) and set(sample) == expected


def test_every_study_has_one_class_and_all_classes_occur(tree: Path) -> None:
    counts: Counter[str] = Counter()
    for row in read_rows(tree / "train_study_level.csv"):
        flags = {name: row[column] for name, column in TABLE_COLUMNS.items()}
        assert sorted(flags.values()) == ["0", "0", "0", "1"]
        counts[max(flags, key=lambda name: flags[name])] += 1
    assert set(counts) == set(STUDY_CLASSES)


def parse_label(label: str) -> NDArray[np.float64]:
    words = label.split()
    return as_boxes(
        [[float(edge) for edge in words[at + 2 : at + 6]] for at in range(0, len(words), 6) if words[at] == "opacity"]
    )


def test_both_spellings_of_the_boxes_agree_and_lie_in_lungs_and_image(
    tree: Path, images: dict[str, pydicom.FileDataset]
) -> None:
    lungs = {
        row["image"]: [float(row[key]) for key in ("xmin", "ymin", "xmax", "ymax")]
        for row in read_rows(tree / "train_lung_boxes.csv")
    }
    with_boxes = 0
    for row in read_rows(tree / "train_image_level.csv"):
        image_id = row["id"].removesuffix("_image")
        boxes, lung = parse_label(row["label"]), np.array(lungs[image_id])
        assert (row["boxes"] == "") == (len(boxes) == 0) == (row["label"] == "none 1 0 0 1 1")
        image = images[image_id]
        assert (lung >= 0).all() and lung[2] <= image.Columns and lung[3] <= image.Rows
        if len(boxes):
            with_boxes += 1
            corners = [
                [b["x"], b["y"], b["x"] + b["width"], b["y"] + b["height"]] for b in ast.literal_eval(row["boxes"])
            ]
            np.testing.assert_allclose(corners, boxes, atol=2e-3)
            assert (boxes[:, :2] >= lung[:2] - 1e-3).all() and (boxes[:, 2:] <= lung[2:] + 1e-3).all()
            assert (compute_areas(boxes) > 4).all()
    assert with_boxes > 10


def test_boxes_stand_on_one_image_of_a_positive_study_only(tree: Path) -> None:
    classes = {
        row["id"].removesuffix("_study"): next(name for name, column in TABLE_COLUMNS.items() if row[column] == "1")
        for row in read_rows(tree / "train_study_level.csv")
    }
    boxed: Counter[str] = Counter()
    for row in read_rows(tree / "train_image_level.csv"):
        boxed[row["StudyInstanceUID"]] += bool(row["boxes"])
    assert dict(boxed) == {study: int(name != "negative") for study, name in classes.items()}


VARIATIONS = {
    "Modality": {"CR", "DX"},
    "PhotometricInterpretation": {"MONOCHROME1", "MONOCHROME2"},
    "BitsStored": {8, 10, 12, 14, 15},
    "PatientSex": {"F", "M"},
    "ViewPosition": {"PA", "AP", ""},
    "VOILUTFunction": {"SIGMOID"},
    "RescaleSlope": {2.0},
    "PixelPaddingValue": {0},
    "BodyPartExamined": {"CHEST", "PORT CHEST", ""},
}


@pytest.mark.parametrize("keyword", VARIATIONS)
def test_every_variation_of_a_header_occurs(images: dict[str, pydicom.FileDataset], keyword: str) -> None:
    assert {image.get(keyword) for image in images.values()} >= VARIATIONS[keyword]


def test_every_syntax_shape_window_and_table_occurs(images: dict[str, pydicom.FileDataset]) -> None:
    found = list(images.values())
    assert {image.file_meta.TransferSyntaxUID for image in found} == set(TRANSFER_SYNTAXES.values())
    assert {image.SOPClassUID for image in found} == {SOP_CLASSES["CR"], SOP_CLASSES["DX"]}
    assert {np.sign(image.Rows - image.Columns) for image in found} == {-1, 0, 1}
    assert {float(image.PixelAspectRatio[0]) > 1000 for image in found if "PixelAspectRatio" in image} == {True, False}
    assert any("VOILUTSequence" in image for image in found) and any("WindowCenter" in image for image in found)
    assert any(image.get("WindowCenter") and image["WindowCenter"].VM == 2 for image in found)
    assert any("PixelSpacing" in image for image in found) and any("ImagerPixelSpacing" in image for image in found)
    assert (
        len({image.Manufacturer for image in found}) >= 4 and len({image.SpecificCharacterSet for image in found}) >= 4
    )
    assert len({image.get("PatientAge") for image in found}) > 10


def test_patients_have_several_studies_and_studies_several_images(
    tree: Path, images: dict[str, pydicom.FileDataset]
) -> None:
    studies_of_patient: dict[str, set[str]] = {}
    images_of_study: Counter[str] = Counter()
    for image in images.values():
        studies_of_patient.setdefault(image.PatientID, set()).add(image.StudyInstanceUID)
        images_of_study[image.StudyInstanceUID] += 1
    assert {len(studies) for studies in studies_of_patient.values()} >= {1, 2, 3}
    assert set(images_of_study.values()) >= {1, 2, 3}
    assert len({image.SOPInstanceUID for image in images.values()}) == len(images)


def find_twins(plans: dict[str, PlannedImage], kind: str) -> Iterator[tuple[PlannedImage, PlannedImage]]:
    """Twins of a kind, each with the image that it is a twin of."""
    for plan in plans.values():
        if plan.twin == kind:
            yield next(other for other in plans.values() if other.seeds == plan.seeds and other is not plan), plan


@pytest.mark.parametrize(
    ("kind", "field"), [("same", "study_id"), ("other_patient", "patient_id"), ("other_part", "part")]
)
def test_exact_twins_have_equal_pixels(
    plans: dict[str, PlannedImage], images: dict[str, pydicom.FileDataset], kind: str, field: str
) -> None:
    pairs = list(find_twins(plans, kind))
    assert pairs
    for image, twin in pairs:
        np.testing.assert_array_equal(images[image.image_id].pixel_array, images[twin.image_id].pixel_array)
        assert (getattr(image, field) == getattr(twin, field)) == (kind == "same")
        assert images[image.image_id].PatientID == image.patient_id


def test_an_image_stored_again_shows_the_same_picture(
    plans: dict[str, PlannedImage], images: dict[str, pydicom.FileDataset]
) -> None:
    pairs = list(find_twins(plans, "stored_again"))
    assert pairs
    for image, twin in pairs:
        first, again = images[image.image_id], images[twin.image_id]
        assert first.pixel_array.tobytes() != again.pixel_array.tobytes()
        np.testing.assert_allclose(show(first), show(again), atol=0.05)


def test_near_twins_show_one_patient_and_are_not_equal(
    plans: dict[str, PlannedImage], images: dict[str, pydicom.FileDataset]
) -> None:
    for plan in (plan for plan in plans.values() if plan.twin == "near"):
        first = next(other for other in plans.values() if other.study_id == plan.study_id and not other.twin)
        assert images[first.image_id].PatientID == images[plan.image_id].PatientID
        one, other = show(images[first.image_id]), show(images[plan.image_id])
        assert one.shape == other.shape and np.corrcoef(one.ravel(), other.ravel())[0, 1] < 0.9999
        assert first.seeds[:2] == plan.seeds[:2] and first.study_class == plan.study_class


def test_every_image_of_the_tree_is_read(tree: Path) -> None:
    for path in sorted(tree.glob("*/*/*/*.dcm")):
        pixels = read_radiograph(path).pixels
        assert pixels.shape[0] == 1 and pixels.min() == 0 and pixels.max() == 1


@pytest.mark.parametrize(
    "arguments", [{"num_studies": 0}, {"size": 32}, {"size": 9000}, {"workers": 0}, {"num_test_studies": -1}]
)
def test_numbers_out_of_range_are_reported(tmp_path: Path, arguments: dict[str, int]) -> None:
    with pytest.raises(InputError, match="expected at least 1 study.*change the numbers"):
        generate_tree(tmp_path / "tree", **arguments)
    assert not list(tmp_path.iterdir())


def test_nothing_is_drawn_into_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="a new or empty folder.*choose another"):
        generate_tree(tmp_path)
    with pytest.raises(InputError, match="a new or empty folder"):
        generate_tree(tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_failed_drawing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("scripts.synthetic.tree._write_tables", fail)
    with pytest.raises(OSError, match="disk is full"):
        generate_tree(tmp_path / "tree", num_studies=1, num_test_studies=0, size=64, workers=1)
    assert not list(tmp_path.iterdir())


# What must be rejected ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_broken_image_is_rejected_with_its_reason(tmp_path: Path, breakage: str) -> None:
    path = write_broken_image(tmp_path / "image.dcm", make_pixels(12), ImageStyle(), breakage)
    with pytest.raises(RejectedImage) as rejected:
        read_radiograph(path)
    assert rejected.value.reason == BREAKAGES[breakage]


def test_broken_images_have_every_reason_that_a_file_can_give() -> None:
    # "unreadable" is a folder or a lack of rights, "malformed" has its own, hand-made files in the reader's tests.
    assert set(BREAKAGES.values()) == set(REASONS) - {"unreadable", "malformed"}


def test_a_tree_with_broken_images_lists_them_and_names_them_in_its_tables(tmp_path: Path) -> None:
    generate_tree(tmp_path / "tree", num_studies=2, num_test_studies=0, size=64, broken=True)
    broken = read_rows(tmp_path / "tree" / "broken_images.csv")
    assert {row["breakage"]: row["reason"] for row in broken} == BREAKAGES
    assert all((tmp_path / "tree" / row["path"]).is_file() for row in broken)
    named = {row["id"].removesuffix("_image") for row in read_rows(tmp_path / "tree" / "train_image_level.csv")}
    assert {row["image"] for row in broken} < named


# What is seen --------------------------------------------------------------------------------------------------------

SEEDS = range(30)


def plan_many(study_class: str) -> list[list[Opacity]]:
    return [
        plan_opacities(study_class, draw_body(np.random.default_rng(seed)), np.random.default_rng(seed))
        for seed in SEEDS
    ]


def test_negative_studies_have_no_opacity() -> None:
    assert not any(plan_many("negative"))


def test_typical_opacities_are_bilateral_peripheral_and_low() -> None:
    for opacities in plan_many("typical"):
        assert {patch.side for patch in opacities} == {-1, 1}
        assert {patch.kind for patch in opacities} == {"ground_glass"}
        assert all(abs(patch.centre[0]) > 0.55 and np.sign(patch.centre[0]) == patch.side for patch in opacities)
        assert all(patch.centre[1] > -0.3 for patch in opacities)


def test_indeterminate_opacities_are_unilateral_or_central() -> None:
    sides = []
    for opacities in plan_many("indeterminate"):
        sides.append(len({patch.side for patch in opacities}))
        assert {patch.kind for patch in opacities} == {"ground_glass"}
        if sides[-1] == 2:
            assert all(abs(patch.centre[0]) < 0.55 for patch in opacities)
    assert set(sides) == {1, 2}


def test_atypical_opacities_are_a_lobe_an_effusion_nodules_or_a_cavity() -> None:
    kinds = [{patch.kind for patch in opacities} for opacities in plan_many("atypical")]
    assert all(len(kind) == 1 for kind in kinds)
    assert set.union(*kinds) == {"consolidation", "effusion", "nodule", "cavity"}


@pytest.mark.parametrize("study_class", STUDY_CLASSES)
@pytest.mark.parametrize("seed", range(3))
def test_drawn_opacities_brighten_their_boxes_and_little_else(study_class: str, seed: int) -> None:
    seeds, look = (seed, seed, seed), Look("F", ("PA", "AP")[seed % 2], seed)
    image, clean = (draw_chest(120, 100, name, seeds, look) for name in (study_class, "negative"))
    change = image.pixels - clean.pixels
    if study_class == "negative":
        assert len(image.boxes) == 0 and not change.any()
        return
    inside = fill_mask(image.boxes, 120, 100) > 0
    assert change[inside].mean() > 0.03
    assert np.abs(change)[inside].mean() > 4 * np.abs(change)[~inside].mean()


@pytest.mark.parametrize("seed", range(6))
def test_boxes_lie_in_the_lung_box_and_the_lung_box_in_the_image(seed: int) -> None:
    study_class, look = STUDY_CLASSES[1 + seed % 3], Look("M", ("AP", "PA")[seed % 2], 0, 1.2)
    image = draw_chest(90, 110, study_class, (seed, 100 + seed, 200 + seed), look)
    assert image.pixels.shape == (90, 110) and image.pixels.dtype == np.float32
    assert image.pixels.min() >= 0 and image.pixels.max() <= 1
    assert (image.boxes[:, :2] >= image.lung_box[:2]).all() and (image.boxes[:, 2:] <= image.lung_box[2:]).all()
    assert image.lung_box[0] >= 0 and image.lung_box[2] <= 110 and image.lung_box[1] >= 0 and image.lung_box[3] <= 90
    assert compute_areas([image.lung_box])[0] > 0.3 * 90 * 110


@pytest.mark.parametrize("seed", range(6))
def test_lungs_are_darker_than_what_lies_between_and_below_them(seed: int) -> None:
    image = draw_chest(100, 100, "negative", (seed, seed, seed), Look("FM"[seed % 2], ("PA", "AP")[seed % 2], seed % 5))
    left, top, right, bottom = image.lung_box
    width, height = right - left, bottom - top

    def look_at(across: tuple[float, float], down: tuple[float, float]) -> float:
        columns = slice(int(left + across[0] * width), int(left + across[1] * width))
        rows = slice(int(top + down[0] * height), int(top + down[1] * height))
        return float(np.median(image.pixels[rows, columns]))

    between, below = look_at((0.44, 0.56), (0.4, 0.75)), look_at((0.3, 0.7), (0.97, 1.0))
    for lung in (look_at((0.12, 0.3), (0.3, 0.6)), look_at((0.72, 0.88), (0.3, 0.6))):
        assert lung < between - 0.15 and lung < below - 0.15


def test_the_heart_lies_to_the_right_of_the_image() -> None:
    image = draw_chest(100, 100, "negative", (1, 1, 1), Look("M", "PA", 0))
    left, top, right, bottom = image.lung_box
    rows = image.pixels[int(top + 0.55 * (bottom - top)) : int(top + 0.72 * (bottom - top))]
    middle, half = (left + right) / 2, (right - left) / 2
    sides = [rows[:, int(middle + a * half) : int(middle + b * half)].mean() for a, b in ((-0.55, -0.3), (0.3, 0.55))]
    assert sides[1] > sides[0] + 0.1


def test_a_contact_sheet_shows_every_class(tree: Path, tmp_path: Path) -> None:
    from PIL import Image

    draw_contact_sheet(tree, tmp_path / "sheet.png", columns=3, size=60)
    sheet = Image.open(tmp_path / "sheet.png").convert("RGB")
    assert sheet.width == 3 * 63 + 3
    pixels = np.asarray(sheet).astype(int)
    assert ((pixels[..., 0] - pixels[..., 2]) > 150).sum() > 100, "boxes are drawn"
    with pytest.raises(InputError, match="found no file .*train_study_level.csv"):
        draw_contact_sheet(tmp_path, tmp_path / "other.png")


def test_an_image_of_512_pixels_costs_little_time(tmp_path: Path) -> None:
    """1,000 images in 60 s on two cores are 120 ms of processor time each; twice that on a slow or busy machine."""
    draw_chest(512, 512, "typical", (0, 0, 0))
    start = time.process_time()
    for seed in range(6):
        image = draw_chest(512, 512, "typical", (seed, seed, seed), Look("F", ("PA", "AP")[seed % 2], 0))
        write_image(tmp_path / f"{seed}.dcm", *store_picture(image.pixels, ImageStyle(syntax="jpeg_2000"), "linear"))
    assert (time.process_time() - start) / 6 < 0.24
