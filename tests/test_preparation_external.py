"""External images: what the datalist has is left out, and labels that know a fold never reach its training."""

from __future__ import annotations

import csv
import json
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scripts import datalist, preparation
from scripts.datalist.joining import select_pseudo_labels
from scripts.datalist.schema import compute_content_hash, compute_labelled_hash
from scripts.errors import InputError
from scripts.labels import STUDY_CLASSES
from scripts.preparation import images as reading
from scripts.preparation import listing
from scripts.synthetic import write_image

from tests.images import draw_noise, read_images_here

# Sets of a few images have classes rarer than their folds, and scikit-learn says so.
pytestmark = pytest.mark.filterwarnings("ignore:The least populated class")

COLUMNS = ["study", "image", "label", "boxes", "patient"]


class Images:
    """A set of one's own noise images with its CSV."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rows = folder, []

    def add(
        self,
        image: str,
        study: str,
        pixels: NDArray[Any],
        label: str = "",
        boxes: str = "",
        number: str = "",
        patient="",
    ) -> Path:
        """An image; `number` is the patient's in its header, `patient` that in the table."""
        self.rows.append([study, f"{image}.dcm", label, boxes, patient])
        return write_image(self.folder / f"{image}.dcm", pixels, patient_id=number or f"CANARY-{study}")

    def prepare(self) -> Path:
        with (self.folder / "images.csv").open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *self.rows])
        out = self.folder.parent / f"{self.folder.name}_prepared"
        return preparation.prepare(self.folder, out, self.folder / "images.csv", num_folds=2, workers=1).datalist


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Images:
    """Eight labelled studies, two of each class, and one without a label."""
    monkeypatch.setattr(reading, "read_radiographs", read_images_here)
    monkeypatch.setattr(listing, "name_image", lambda path: (path.stem, ""))  # ids that a test can tell
    images = Images(tmp_path / "own")
    for number in range(8):
        images.add(f"i{number}", f"s{number}", draw_noise(number), STUDY_CLASSES[number % 4])
    images.add("t8", "s8", draw_noise(8))
    return images


@pytest.fixture
def external_set(tmp_path: Path, own: Images) -> Images:
    """Three images of two studies that are nowhere else."""
    images = Images(tmp_path / "external_set")
    for number, study in ((20, "e0"), (21, "e0"), (22, "e1")):
        images.add(f"x{number}", study, draw_noise(number))
    return images


def add(own: Images, external_set: Images) -> datalist.Added:
    out = own.folder.parent / "joined"
    return preparation.add_external(
        own.prepare(), own.folder, external_set.prepare(), external_set.folder, out, workers=1
    )


def read_decisions(added: datalist.Added) -> list[tuple[str, ...]]:
    with added.decisions.open(newline="") as file:
        return [(row["decision"], row["image_id"], row["other_image_id"], row["why"]) for row in csv.DictReader(file)]


def process(pixels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """The same exposure, stored otherwise: cut by two pixels on a side, brighter, with another contrast."""
    image = pixels[2:, 1:].astype(float) / 4095
    return (4095 * np.clip(0.9 * image**0.8 + 0.05, 0, 1)).astype(np.uint16)


def test_new_images_join_and_the_labelled_ones_stay_as_they_were(own: Images, external_set: Images):
    added = add(own, external_set)
    content, before = datalist.read_datalist(added.datalist), datalist.read_datalist(own.prepare())
    external = content.pop("external")
    assert content.pop("version") == 2 and before.pop("version") == 1
    assert content.pop("content_hash") != (labelled_hash := before.pop("content_hash"))
    assert content == before
    assert compute_labelled_hash({**content, "external": external}) == labelled_hash == external["matched_with"]
    assert [image["image_id"] for image in external["images"]] == ["x20", "x21", "x22"] and added.num_images == 3
    assert len(external["images"][1].pop("pixels_sha256")) == 64
    assert external["images"][1] == {
        **{"image": "x21.dcm", "image_id": "x21", "study_id": "e0", "label": None, "boxes": [], "boxes_known": False},
        **{"lung_box": None, "height": 96, "width": 96},
    }
    assert external["dropped"] == {} and external["pseudo_labels"] == [] and read_decisions(added) == []
    assert "CANARY" not in added.datalist.read_text()


@pytest.mark.parametrize(
    ("image", "decision", "other", "why"),
    [
        ({"pixels": draw_noise(3)}, "duplicate in datalist", "i3", "equal pixels"),
        ({"pixels": process(draw_noise(3))}, "duplicate in datalist", "i3", "aligned correlation 0.9"),
        ({"pixels": draw_noise(8)}, "duplicate in datalist", "t8", "equal pixels"),
        ({"study": "s2"}, "same study in datalist", "i2", "an id"),
        ({"image": "i5"}, "same study in datalist", "i5", "an id"),
        ({"number": "CANARY-s6"}, "same patient in datalist", "i6", "a patient's number"),
    ],
    ids=["copy", "processed copy", "copy of an image without label", "study", "image", "patient"],
)
def test_what_the_datalist_has_is_left_out_and_listed_with_its_pair(
    own: Images, external_set: Images, image: dict[str, Any], decision: str, other: str, why: str
):
    known = {"image": "known", "study": "e9", "pixels": draw_noise(30)} | image
    external_set.add(**known)
    added = add(own, external_set)
    ((*listed, reported),) = read_decisions(added)
    assert listed == [decision, known["image"], other] and reported.startswith(why)
    external = datalist.read_datalist(added.datalist)["external"]
    assert external["dropped"] == {known["image"]: other} and added.num_decisions == {decision: 1}
    assert [each["image_id"] for each in external["images"]] == ["x20", "x21", "x22"]


def test_with_a_known_image_go_all_images_of_its_patient(own: Images, external_set: Images):
    """Another exposure of a validation patient teaches his label as well as a copy does."""
    external_set.add("copy", "e5", draw_noise(3), number="known")
    external_set.add("later", "e6", draw_noise(50), number="known")
    added = add(own, external_set)
    assert [row[:3] for row in read_decisions(added)] == [
        ("duplicate in datalist", "copy", "i3"),
        ("same patient in datalist", "later", "i3"),
    ]
    assert added.num_images == 3


def test_a_copy_of_a_copy_is_left_out_too(own: Images, external_set: Images):
    for name in ("a", "b"):
        external_set.add(name, f"e{name}", draw_noise(3))
    assert set(datalist.read_datalist(add(own, external_set).datalist)["external"]["dropped"]) == {"a", "b"}


def test_a_number_that_all_headers_share_reports_no_patient(tmp_path: Path, own: Images, external_set: Images):
    """Some archives give every image one number; the table reports their patients apart."""
    images = Images(tmp_path / "anonymous")
    for number in range(8):
        row = {"label": STUDY_CLASSES[number % 4], "number": "ANONYMOUS", "patient": f"p{number}"}
        images.add(f"i{number}", f"s{number}", draw_noise(number), **row)
    external_set.add("other", "e5", draw_noise(40), number="ANONYMOUS")
    assert add(images, external_set).num_images == 4


def test_of_other_readers_only_boxes_that_are_there_are_accepted(own: Images, external_set: Images):
    external_set.rows.clear()
    for number, (label, boxes) in enumerate(
        product(("negative", "typical", "atypical", "indeterminate"), ("", "1 2 30 40"))
    ):
        if not (label == "negative" and boxes):
            external_set.add(f"y{number}", f"e{number}", draw_noise(40 + number), label, boxes)
    external_set.add("y9", "e9", draw_noise(59), "negative")
    images = datalist.read_datalist(add(own, external_set).datalist)["external"]["images"]
    known = {image["image_id"]: image["boxes_known"] for image in images}
    assert known == {"y0": True, "y2": False, "y3": True, "y4": False, "y5": True, "y6": False, "y7": True, "y9": True}


def test_a_datalist_is_not_overwritten_nor_added_to_twice(own: Images, external_set: Images):
    other, joined = external_set.prepare(), add(own, external_set).datalist
    source = own.prepare()
    with pytest.raises(InputError, match="another folder than the datalist's"):
        preparation.add_external(source, own.folder, other, external_set.folder, source.parent, workers=1)
    with pytest.raises(InputError, match="a datalist without external images"):
        preparation.add_external(joined, own.folder, other, external_set.folder, source.parent / "again", workers=1)


def test_a_labelled_image_that_cannot_be_compared_is_rejected(own: Images, external_set: Images):
    source = own.prepare()
    (own.folder / "i4.dcm").write_bytes(b"cut")
    with pytest.raises(InputError, match="expected 9 readable images .* found 8 .*cannot be compared"):
        preparation.add_external(
            source, own.folder, external_set.prepare(), external_set.folder, own.folder / "out", workers=1
        )


def test_a_set_of_which_nothing_is_left_is_rejected(own: Images, external_set: Images):
    external_set.rows.clear()
    external_set.add("copy", "e0", draw_noise(3))
    with pytest.raises(InputError, match="1 left out or rejected, the first as duplicate in datalist"):
        add(own, external_set)
    assert not (own.folder.parent / "joined").exists()


@pytest.fixture
def joined(own: Images, external_set: Images) -> dict[str, Any]:
    """The datalist with external images, labelled for both folds, each by two models that held it out."""
    content = datalist.read_datalist(add(own, external_set).datalist)
    content["external"]["pseudo_labels"] = [
        {
            "fold": fold,
            "models": [describe_model(fold, content["external"]["matched_with"], seed) for seed in range(2)],
            "probabilities": {"e0": [0.1, 0.2, 0.6 - fold / 10, 0.1 + fold / 10], "e1": [0.7, 0.1, 0.1, 0.1]},
        }
        for fold in range(2)
    ]
    return content


def describe_model(fold: int | None, datalist_hash: str, seed: int = 0) -> dict[str, Any]:
    return {
        "name": f"teacher{seed}",
        "fold": fold,
        "weights_sha256": f"{fold}{seed}" * 32,
        "datalist_hash": datalist_hash,
    }


def write(content: dict[str, Any], own: Images) -> dict[str, Path]:
    """The datalist as whoever writes it, and where its images lie."""
    path = own.folder.parent / "written" / "datalist.json"
    settings = (content["num_folds"], content["seed"], content["external"])
    datalist.write_datalist(path, content["training"], content["test"], *settings)
    return {"datalist_file": path, "dataset_dir": own.folder, "external_dir": own.folder.parent / "external_set"}


@pytest.mark.parametrize("fold", [0, 1])
def test_external_images_join_a_fold_under_the_labels_of_its_own_models(joined: dict, own: Images, fold: int):
    places = write(joined, own)
    images = datalist.with_pseudo_labels(**places, fold=fold)
    labelled = datalist.training_images(places["datalist_file"], own.folder, fold)
    assert [image["image_id"] for image in images] == [image["image_id"] for image in labelled] + ["x20", "x21", "x22"]
    assert not [image for image in images[: len(labelled)] if "soft_label" in image]
    assert [image["label"] for image in images[-3:]] == [2, 2, 0]
    soft = np.stack([image["soft_label"] for image in images[-3:]])
    first = [0.1, 0.2, 0.6 - fold / 10, 0.1 + fold / 10]
    assert soft.dtype == np.float32 and np.allclose(soft, [first, first, [0.7, 0.1, 0.1, 0.1]])
    for image in images[-3:]:
        assert image["boxes"].shape == (0, 4) and not image["boxes_known"] and image["lung_box"] is None
        assert Path(image["image"]).is_file() and Path(image["image"]).parent == places["external_dir"]


def test_the_mean_of_all_folds_for_every_fold_is_rejected_naming_model_and_fold(joined: dict, own: Images):
    """The 17th-place solution's leak: what five models say on average knows the validation images of each of them."""
    every = joined["external"]["pseudo_labels"]
    models = [model for labels in every for model in labels["models"]]
    mean = {
        study: np.mean([labels["probabilities"][study] for labels in every], axis=0).tolist() for study in ("e0", "e1")
    }
    joined["external"]["pseudo_labels"] = [{"fold": k, "models": models, "probabilities": mean} for k in range(2)]
    places = write(joined, own)
    for fold in range(2):
        other = 1 - fold
        pair = (
            f"the pair model teacher0 \\({other}0{other}0.*\\), fold {fold}: it was trained with fold {other} held out"
        )
        with pytest.raises(InputError, match=pair):
            datalist.with_pseudo_labels(**places, fold=fold)


def test_labels_are_taken_only_where_every_model_held_the_fold_out(joined: dict):
    labelled_hash = joined["external"]["matched_with"]
    for fold, first, second, same in product((0, 1), (0, 1, None), (0, 1, None), (True, False)):
        models = [describe_model(first, labelled_hash), describe_model(second, labelled_hash if same else "f" * 64)]
        joined["external"]["pseudo_labels"][fold]["models"] = models
        if first == second == fold and same:
            assert set(select_pseudo_labels(joined, fold)) == {"e0", "e1"}
        else:
            with pytest.raises(InputError, match=f"the pair model teacher0 .*, fold {fold}: it was trained"):
                select_pseudo_labels(joined, fold)


def test_a_model_of_another_datalist_is_rejected(joined: dict, own: Images):
    joined["external"]["pseudo_labels"][1]["models"][1]["datalist_hash"] = "f" * 64
    places = write(joined, own)
    datalist.with_pseudo_labels(**places, fold=0)
    with pytest.raises(InputError, match="model teacher1 .*, fold 1: it was trained on datalist ffffffffffff"):
        datalist.with_pseudo_labels(**places, fold=1)


def test_a_copied_image_that_was_slipped_in_is_rejected_naming_both(joined: dict, own: Images):
    copy = own.folder.parent / "external_set" / "x22.dcm"
    shutil.copyfile(own.folder / "i3.dcm", copy)
    places = write(joined, own)
    for join in (datalist.with_pseudo_labels, datalist.with_external_labels):
        joined["external"]["images"][2]["label"] = 3
        with pytest.raises(InputError, match="the pair x22 and i3, which is one of them"):
            join(**write(joined, own), fold=0)
    write_image(copy, draw_noise(22))
    assert len(datalist.with_pseudo_labels(**places, fold=0)) > 3


def change_dropped(content: dict[str, Any]) -> None:
    content["external"]["dropped"] = {"x21": "i6"}


def change_study(content: dict[str, Any]) -> None:
    content["external"]["images"][1]["study_id"] = "s6"


def change_image_id(content: dict[str, Any]) -> None:
    content["external"]["images"][1]["image_id"] = "i6"


def change_labelled_images(content: dict[str, Any]) -> None:
    content["training"] = content["training"][1:]


def remove_labels(content: dict[str, Any]) -> None:
    del content["external"]["pseudo_labels"][0]


def remove_models(content: dict[str, Any]) -> None:
    content["external"]["pseudo_labels"][0]["models"] = []


def label_twice(content: dict[str, Any]) -> None:
    content["external"]["pseudo_labels"] += content["external"]["pseudo_labels"][:1]


def remove_study(content: dict[str, Any]) -> None:
    del content["external"]["pseudo_labels"][0]["probabilities"]["e1"]


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        (change_dropped, "the pair x21 and i6"),
        (change_study, "the pair x21 and i6"),
        (change_image_id, "the pair i6 and i6"),
        (change_labelled_images, "it was trained on datalist"),
        (remove_labels, "expected pseudo-labels for fold 0, given by a model, found none"),
        (remove_models, "expected pseudo-labels for fold 0, given by a model, found none"),
        (label_twice, "expected pseudo-labels for fold 0, given by a model, found none"),
        (remove_study, "found none for x22"),
    ],
)
def test_a_datalist_that_breaks_a_rule_is_rejected_in_training(joined: dict, own: Images, change, reported: str):
    change(joined)
    with pytest.raises(InputError, match=reported):
        datalist.with_pseudo_labels(**write(joined, own), fold=0)


def test_images_that_were_compared_with_others_are_rejected(joined: dict, own: Images):
    joined["external"]["images"][0]["label"] = 1
    change_labelled_images(joined)
    with pytest.raises(InputError, match="compared with this datalist's, found a comparison with others"):
        datalist.with_external_labels(**write(joined, own), fold=0)


def test_without_a_section_nothing_joins(own: Images):
    places = {"datalist_file": own.prepare(), "dataset_dir": own.folder, "external_dir": own.folder}
    for join in (datalist.with_pseudo_labels, datalist.with_external_labels):
        with pytest.raises(InputError, match="a datalist with external images, found none"):
            join(**places, fold=0)


@pytest.mark.parametrize("fold", [0, None])
def test_images_with_labels_of_their_own_join_any_fold(joined: dict, own: Images, fold: int | None):
    joined["external"]["images"][1] |= {"label": 3, "boxes": [[1, 2, 30, 40]], "boxes_known": True}
    places = write(joined, own)
    images = datalist.with_external_labels(**places, fold=fold)
    labelled = datalist.training_images(places["datalist_file"], own.folder, fold)
    assert len(images) == len(labelled) + 1 and images[-1]["image_id"] == "x21" and images[-1]["label"] == 3
    assert images[-1]["boxes"].tolist() == [[1, 2, 30, 40]] and "soft_label" not in images[-1]


def test_external_images_are_never_scored(joined: dict, own: Images):
    places = write(joined, own)
    scored = [datalist.validation_images(places["datalist_file"], own.folder, fold) for fold in range(2)]
    assert {image["image_id"] for images in scored for image in images} == {f"i{number}" for number in range(8)}
    assert [image["image_id"] for image in datalist.test_images(places["datalist_file"], own.folder)] == ["t8"]


@pytest.mark.parametrize(
    ("place", "value", "reported"),
    [
        (("version",), 1, "a datalist of version 2, found version 1"),
        (("external", "images"), None, "one with a wrong images"),
        (("external", "images", 0, "image"), "../other/x20.dcm", "image paths inside the tree"),
        (("external", "images", 0, "label"), "typical", "one with a wrong label"),
        (("external", "matched_with"), None, "one with a wrong matched_with"),
        (("external", "pseudo_labels", 0, "fold"), "0", "one with a wrong fold"),
        (("external", "pseudo_labels", 0, "models", 0, "fold"), True, "one with a wrong fold"),
        (("external", "pseudo_labels", 0, "models", 0), "teacher", "one with a wrong name"),
        (("external", "pseudo_labels", 0, "probabilities", "e1"), [0.5, 0.5, 0.5, 0.5], "others for study e1"),
        (("external", "pseudo_labels", 0, "probabilities", "e1"), [0.5, 0.5], "others for study e1"),
        (("external", "pseudo_labels", 0, "probabilities", "e1"), [1.5, -0.5, 0, 0], "others for study e1"),
        (("external", "pseudo_labels", 0, "probabilities", "e1"), [float("nan"), 1, 0, 0], "others for study e1"),
    ],
)
def test_a_malformed_section_is_rejected(joined: dict, own: Images, place: tuple, value: object, reported: str):
    path = write(joined, own)["datalist_file"]
    content = part = json.loads(path.read_text())
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    content["content_hash"] = compute_content_hash(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=reported):
        datalist.read_datalist(path)
