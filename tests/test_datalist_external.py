"""Films from elsewhere: what the datalist has is left out, and labels that know a fold never reach its training."""

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

from scripts import datalist
from scripts.datalist import films as films_room
from scripts.datalist.joining import select_pseudo_labels
from scripts.datalist.schema import compute_content_hash, compute_labelled_hash
from scripts.errors import InputError
from scripts.labels import STUDY_CLASSES
from scripts.synthetic import write_film
from tests.films import draw_noise, read_films_here

# Sets of a few films have classes rarer than their folds, and scikit-learn says so.
pytestmark = pytest.mark.filterwarnings("ignore:The least populated class")

COLUMNS = ["study", "image", "label", "boxes", "patient"]


class Films:
    """A set of one's own noise films with its CSV."""

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
        """A film; `number` is the patient's in its header, `patient` that in the table."""
        self.rows.append([study, f"{image}.dcm", label, boxes, patient])
        return write_film(self.folder / f"{image}.dcm", pixels, patient_id=number or f"CANARY-{study}")

    def prepare(self) -> Path:
        with (self.folder / "films.csv").open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *self.rows])
        out = self.folder.parent / f"{self.folder.name}_prepared"
        return datalist.prepare(self.folder, out, self.folder / "films.csv", num_folds=2, workers=1).datalist


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Films:
    """Eight labelled studies, two of each class, and one without a label."""
    monkeypatch.setattr(films_room, "read_radiographs", read_films_here)
    films = Films(tmp_path / "own")
    for number in range(8):
        films.add(f"i{number}", f"s{number}", draw_noise(number), STUDY_CLASSES[number % 4])
    films.add("t8", "s8", draw_noise(8))
    return films


@pytest.fixture
def elsewhere(tmp_path: Path, own: Films) -> Films:
    """Three films of two studies that are nowhere else."""
    films = Films(tmp_path / "elsewhere")
    for number, study in ((20, "e0"), (21, "e0"), (22, "e1")):
        films.add(f"x{number}", study, draw_noise(number))
    return films


def add(own: Films, elsewhere: Films) -> datalist.Added:
    out = own.folder.parent / "joined"
    return datalist.add_external(own.prepare(), own.folder, elsewhere.prepare(), elsewhere.folder, out, workers=1)


def read_decisions(added: datalist.Added) -> list[tuple[str, ...]]:
    with added.decisions.open(newline="") as file:
        return [(row["decision"], row["image_id"], row["other_image_id"], row["why"]) for row in csv.DictReader(file)]


def process(pixels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """The same exposure, stored otherwise: cut by two pixels on a side, brighter, with another contrast."""
    film = pixels[2:, 1:].astype(float) / 4095
    return (4095 * np.clip(0.9 * film**0.8 + 0.05, 0, 1)).astype(np.uint16)


def test_new_films_join_and_the_labelled_ones_stay_as_they_were(own: Films, elsewhere: Films):
    added = add(own, elsewhere)
    content, before = datalist.read_datalist(added.datalist), datalist.read_datalist(own.prepare())
    external = content.pop("external")
    assert content.pop("version") == 2 and before.pop("version") == 1
    assert content.pop("content_hash") != (labelled_hash := before.pop("content_hash"))
    assert content == before
    assert compute_labelled_hash({**content, "external": external}) == labelled_hash == external["matched_with"]
    assert [film["image_id"] for film in external["films"]] == ["x20", "x21", "x22"] and added.num_films == 3
    assert external["films"][1] == {
        **{"image": "x21.dcm", "image_id": "x21", "study_id": "e0", "label": None, "boxes": [], "boxes_known": False},
        **{"lung_box": None, "height": 96, "width": 96},
    }
    assert external["dropped"] == {} and external["pseudo_labels"] == [] and read_decisions(added) == []
    assert "CANARY" not in added.datalist.read_text()


@pytest.mark.parametrize(
    ("film", "decision", "other", "why"),
    [
        ({"pixels": draw_noise(3)}, "same film in datalist", "i3", "equal pixels"),
        ({"pixels": process(draw_noise(3))}, "same film in datalist", "i3", "aligned correlation 0.9"),
        ({"pixels": draw_noise(8)}, "same film in datalist", "t8", "equal pixels"),
        ({"study": "s2"}, "same study in datalist", "i2", "an id"),
        ({"image": "i5"}, "same study in datalist", "i5", "an id"),
        ({"number": "CANARY-s6"}, "same patient in datalist", "i6", "a patient's number"),
    ],
    ids=["copy", "processed copy", "copy of a film without label", "study", "image", "patient"],
)
def test_what_the_datalist_has_is_left_out_and_listed_with_its_pair(
    own: Films, elsewhere: Films, film: dict[str, Any], decision: str, other: str, why: str
):
    known = {"image": "known", "study": "e9", "pixels": draw_noise(30)} | film
    elsewhere.add(**known)
    added = add(own, elsewhere)
    ((*listed, said),) = read_decisions(added)
    assert listed == [decision, known["image"], other] and said.startswith(why)
    external = datalist.read_datalist(added.datalist)["external"]
    assert external["dropped"] == {known["image"]: other} and added.num_decisions == {decision: 1}
    assert [each["image_id"] for each in external["films"]] == ["x20", "x21", "x22"]


def test_with_a_known_film_go_all_films_of_its_patient(own: Films, elsewhere: Films):
    """Another exposure of a validation patient teaches his label as well as a copy does."""
    elsewhere.add("copy", "e5", draw_noise(3), number="known")
    elsewhere.add("later", "e6", draw_noise(50), number="known")
    added = add(own, elsewhere)
    assert [row[:3] for row in read_decisions(added)] == [
        ("same film in datalist", "copy", "i3"),
        ("same patient in datalist", "later", "i3"),
    ]
    assert added.num_films == 3


def test_a_copy_of_a_copy_is_left_out_too(own: Films, elsewhere: Films):
    for name in ("a", "b"):
        elsewhere.add(name, f"e{name}", draw_noise(3))
    assert set(datalist.read_datalist(add(own, elsewhere).datalist)["external"]["dropped"]) == {"a", "b"}


def test_a_number_that_all_headers_share_tells_no_patient(tmp_path: Path, own: Films, elsewhere: Films):
    """Some archives give every film one number; the table tells their patients apart."""
    films = Films(tmp_path / "anonymous")
    for number in range(8):
        row = {"label": STUDY_CLASSES[number % 4], "number": "ANONYMOUS", "patient": f"p{number}"}
        films.add(f"i{number}", f"s{number}", draw_noise(number), **row)
    elsewhere.add("other", "e5", draw_noise(40), number="ANONYMOUS")
    assert add(films, elsewhere).num_films == 4


def test_of_other_readers_only_boxes_that_are_there_are_believed(own: Films, elsewhere: Films):
    elsewhere.rows.clear()
    for number, (label, boxes) in enumerate(
        product(("negative", "typical", "atypical", "indeterminate"), ("", "1 2 30 40"))
    ):
        if not (label == "negative" and boxes):
            elsewhere.add(f"y{number}", f"e{number}", draw_noise(40 + number), label, boxes)
    elsewhere.add("y9", "e9", draw_noise(59), "negative")
    films = datalist.read_datalist(add(own, elsewhere).datalist)["external"]["films"]
    known = {film["image_id"]: film["boxes_known"] for film in films}
    assert known == {"y0": True, "y2": False, "y3": True, "y4": False, "y5": True, "y6": False, "y7": True, "y9": True}


def test_a_datalist_is_not_overwritten_nor_added_to_twice(own: Films, elsewhere: Films):
    other, joined = elsewhere.prepare(), add(own, elsewhere).datalist
    source = own.prepare()
    with pytest.raises(InputError, match="another folder than the datalist's"):
        datalist.add_external(source, own.folder, other, elsewhere.folder, source.parent, workers=1)
    with pytest.raises(InputError, match="a datalist without films from elsewhere"):
        datalist.add_external(joined, own.folder, other, elsewhere.folder, source.parent / "again", workers=1)


def test_a_labelled_film_that_cannot_be_compared_is_refused(own: Films, elsewhere: Films):
    source = own.prepare()
    (own.folder / "i4.dcm").write_bytes(b"cut")
    with pytest.raises(InputError, match="expected 9 readable films .* found 8 .*cannot be compared"):
        datalist.add_external(source, own.folder, elsewhere.prepare(), elsewhere.folder, own.folder / "out", workers=1)


def test_a_set_of_which_nothing_is_left_is_refused(own: Films, elsewhere: Films):
    elsewhere.rows.clear()
    elsewhere.add("copy", "e0", draw_noise(3))
    with pytest.raises(InputError, match="1 left out or refused, the first as same film in datalist"):
        add(own, elsewhere)
    assert not (own.folder.parent / "joined").exists()


@pytest.fixture
def joined(own: Films, elsewhere: Films) -> dict[str, Any]:
    """The datalist with films from elsewhere, labelled for both folds, each by two models that held it out."""
    content = datalist.read_datalist(add(own, elsewhere).datalist)
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


def write(content: dict[str, Any], own: Films) -> dict[str, Path]:
    """The datalist as whoever writes it, and where its films lie."""
    path = own.folder.parent / "written" / "datalist.json"
    settings = (content["num_folds"], content["seed"], content["external"])
    datalist.write_datalist(path, content["training"], content["test"], *settings)
    return {"datalist_file": path, "dataset_dir": own.folder, "external_dir": own.folder.parent / "elsewhere"}


@pytest.mark.parametrize("fold", [0, 1])
def test_films_from_elsewhere_join_a_fold_under_the_labels_of_its_own_models(joined: dict, own: Films, fold: int):
    places = write(joined, own)
    films = datalist.with_pseudo_labels(**places, fold=fold)
    labelled = datalist.training_films(places["datalist_file"], own.folder, fold)
    assert [film["image_id"] for film in films] == [film["image_id"] for film in labelled] + ["x20", "x21", "x22"]
    assert not [film for film in films[: len(labelled)] if "soft_label" in film]
    assert [film["label"] for film in films[-3:]] == [2, 2, 0]
    soft = np.stack([film["soft_label"] for film in films[-3:]])
    first = [0.1, 0.2, 0.6 - fold / 10, 0.1 + fold / 10]
    assert soft.dtype == np.float32 and np.allclose(soft, [first, first, [0.7, 0.1, 0.1, 0.1]])
    for film in films[-3:]:
        assert film["boxes"].shape == (0, 4) and not film["boxes_known"] and film["lung_box"] is None
        assert Path(film["image"]).is_file() and Path(film["image"]).parent == places["external_dir"]


def test_the_mean_of_all_folds_for_every_fold_is_refused_naming_model_and_fold(joined: dict, own: Films):
    """The article's leak: what five models say on average knows the validation films of each of them."""
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


def test_a_model_of_another_datalist_is_refused(joined: dict, own: Films):
    joined["external"]["pseudo_labels"][1]["models"][1]["datalist_hash"] = "f" * 64
    places = write(joined, own)
    datalist.with_pseudo_labels(**places, fold=0)
    with pytest.raises(InputError, match="model teacher1 .*, fold 1: it was trained on datalist ffffffffffff"):
        datalist.with_pseudo_labels(**places, fold=1)


def test_a_copied_film_that_was_slipped_in_is_refused_naming_both(joined: dict, own: Films):
    copy = own.folder.parent / "elsewhere" / "x22.dcm"
    shutil.copyfile(own.folder / "i3.dcm", copy)
    places = write(joined, own)
    for join in (datalist.with_pseudo_labels, datalist.with_external_labels):
        joined["external"]["films"][2]["label"] = 3
        with pytest.raises(InputError, match="the pair x22 and i3, which is one of them"):
            join(**write(joined, own), fold=0)
    write_film(copy, draw_noise(22))
    assert len(datalist.with_pseudo_labels(**places, fold=0)) > 3


def change_dropped(content: dict[str, Any]) -> None:
    content["external"]["dropped"] = {"x21": "i6"}


def change_study(content: dict[str, Any]) -> None:
    content["external"]["films"][1]["study_id"] = "s6"


def change_image_id(content: dict[str, Any]) -> None:
    content["external"]["films"][1]["image_id"] = "i6"


def change_labelled_films(content: dict[str, Any]) -> None:
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
    ("change", "said"),
    [
        (change_dropped, "the pair x21 and i6"),
        (change_study, "the pair x21 and i6"),
        (change_image_id, "the pair i6 and i6"),
        (change_labelled_films, "it was trained on datalist"),
        (remove_labels, "expected pseudo-labels for fold 0, given by a model, found none"),
        (remove_models, "expected pseudo-labels for fold 0, given by a model, found none"),
        (label_twice, "expected pseudo-labels for fold 0, given by a model, found none"),
        (remove_study, "found none for x22"),
    ],
)
def test_a_datalist_that_breaks_a_rule_is_refused_in_training(joined: dict, own: Films, change, said: str):
    change(joined)
    with pytest.raises(InputError, match=said):
        datalist.with_pseudo_labels(**write(joined, own), fold=0)


def test_films_that_were_compared_with_others_are_refused(joined: dict, own: Films):
    joined["external"]["films"][0]["label"] = 1
    change_labelled_films(joined)
    with pytest.raises(InputError, match="compared with this datalist's, found a comparison with others"):
        datalist.with_external_labels(**write(joined, own), fold=0)


def test_without_a_section_nothing_joins(own: Films):
    places = {"datalist_file": own.prepare(), "dataset_dir": own.folder, "external_dir": own.folder}
    for join in (datalist.with_pseudo_labels, datalist.with_external_labels):
        with pytest.raises(InputError, match="a datalist with films from elsewhere, found none"):
            join(**places, fold=0)


@pytest.mark.parametrize("fold", [0, None])
def test_films_with_labels_of_their_own_join_any_fold(joined: dict, own: Films, fold: int | None):
    joined["external"]["films"][1] |= {"label": 3, "boxes": [[1, 2, 30, 40]], "boxes_known": True}
    places = write(joined, own)
    films = datalist.with_external_labels(**places, fold=fold)
    labelled = datalist.training_films(places["datalist_file"], own.folder, fold)
    assert len(films) == len(labelled) + 1 and films[-1]["image_id"] == "x21" and films[-1]["label"] == 3
    assert films[-1]["boxes"].tolist() == [[1, 2, 30, 40]] and "soft_label" not in films[-1]


def test_films_from_elsewhere_are_never_scored(joined: dict, own: Films):
    places = write(joined, own)
    scored = [datalist.validation_films(places["datalist_file"], own.folder, fold) for fold in range(2)]
    assert {film["image_id"] for films in scored for film in films} == {f"i{number}" for number in range(8)}
    assert [film["image_id"] for film in datalist.test_films(places["datalist_file"], own.folder)] == ["t8"]


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("version",), 1, "a datalist of version 2, found version 1"),
        (("external", "films"), None, "one with a wrong films"),
        (("external", "films", 0, "image"), "../other/x20.dcm", "film paths inside the tree"),
        (("external", "films", 0, "label"), "typical", "one with a wrong label"),
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
def test_a_malformed_section_is_refused(joined: dict, own: Films, place: tuple, value: object, said: str):
    path = write(joined, own)["datalist_file"]
    content = part = json.loads(path.read_text())
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    content["content_hash"] = compute_content_hash(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=said):
        datalist.read_datalist(path)
