from __future__ import annotations

import os
from pathlib import Path

import pytest
from scripts.datalist import FolderImages, find_images, list_files
from scripts.errors import InputError
from scripts.synthetic import write_image

from tests.images import draw_noise

CHALLENGE = "5776db0cec75/81456c9c5423/65761e66de9f.dcm"


def write(folder: Path, name: str, seed: int = 0, study: str = "1.2.3", patient: str = "CANARY", uid: str = "") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_image(path, draw_noise(seed), study_uid=study, patient_id=patient, sop_uid=uid or f"1.2.9.{seed}")


def study_of(folder: Path) -> dict[str, str]:
    """Study of each image by its path below the folder."""
    return {Path(image["image"]).relative_to(folder).as_posix(): image["study_id"] for image in find_images(folder)}


# identity


def test_a_study_is_its_uid_in_every_layout(tmp_path: Path):
    """CD, MIMIC, patient and date: a folder's name joins no two studies, and parts none."""
    for seed, (name, study, patient) in enumerate(
        (
            ("PA0/ST0/SE0/IM0", "1.2.1", "ONE"),
            ("PA1/ST0/SE0/IM0", "1.2.2", "TWO"),
            ("p10/p10000032/s1/a.dcm", "1.2.3", "THREE"),
            ("p10/p10000032/s2/b.dcm", "1.2.4", "THREE"),
            ("Doe_John/20200315/c.dcm", "1.2.5", "FOUR"),
            ("flat.dcm", "1.2.5", "FOUR"),
        )
    ):
        write(tmp_path, name, seed, study, patient)
    studies = study_of(tmp_path)
    assert len(set(studies.values())) == 5
    assert studies["flat.dcm"] == studies["Doe_John/20200315/c.dcm"]


def test_two_patients_of_one_uid_share_no_study(tmp_path: Path):
    write(tmp_path, "a.dcm", 0, patient="ONE")
    write(tmp_path, "b.dcm", 1, patient="TWO")
    write(tmp_path, "c.dcm", 2, patient="ONE ")
    studies = study_of(tmp_path)
    assert studies["a.dcm"] == studies["c.dcm"] != studies["b.dcm"]


def test_an_id_is_a_function_of_the_image_alone(tmp_path: Path):
    """Neither the file's name, nor its folder, nor what lies beside it."""
    write(tmp_path, "IM1.dcm")
    (alone,) = find_images(tmp_path)
    (tmp_path / "IM1.jpg").write_bytes(b"preview")
    write(tmp_path, "deep/er/other name.dcm", 1)
    assert alone in find_images(tmp_path)
    (moved,) = find_images(write(tmp_path / "moved", "x/y.ima").parent)
    assert (moved["image_id"], moved["study_id"]) == (alone["image_id"], alone["study_id"])


def test_the_challenges_layout_keeps_its_names(tmp_path: Path):
    write(tmp_path, CHALLENGE)
    (image,) = find_images(tmp_path)
    assert (image["image_id"], image["study_id"]) == ("65761e66de9f", "5776db0cec75")
    assert find_images(tmp_path / "5776db0cec75")[0]["image_id"] == "65761e66de9f", "wherever the tree begins"


@pytest.mark.parametrize("uid", ["", "CANARY"])
def test_no_person_is_in_an_id(tmp_path: Path, uid: str):
    """A name in a file's name, a folder's or a UID; without a UID the content is the identity."""
    names = ("CANARY^RARA.dcm", "CANARY, RARA.dcm", "RARÄ.dcm", "=CANARY.dcm", "CANARY/series/a.dcm", "CANARY/b/c.dcm")
    for seed, name in enumerate(names):
        path = write(tmp_path, name, seed, study="1.2.30")
        path.write_bytes(path.read_bytes().replace(b"1.2.30", uid.encode().ljust(6)).replace(b"1.2.9.", b"CANARY"))
    found = find_images(tmp_path)
    ids = [image[key] for image in found for key in ("image_id", "study_id")]
    assert len({image["image_id"] for image in found}) == len(names)
    assert all(len(each) == 12 and set(each) <= set("0123456789abcdef") for each in ids)


def test_files_that_are_no_images_have_ids_by_their_content(tmp_path: Path):
    for name, content in (("a/x.png", b"1"), ("b/x.png", b"2"), ("c/y", b"1")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(content)
    one, other, same = find_images(tmp_path)
    assert one["image_id"] == same["image_id"] != other["image_id"]
    assert one["study_id"] == one["image_id"]


# listing


def test_every_path_is_listed_or_passed_over_by_a_rule(tmp_path: Path):
    for name in ("a.dcm", "1.2.840.55", "b.DCM", "n/DICOMDIR", ".hidden", ".x/y.dcm", "out/done.json", "out/m/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    listing = list_files(tmp_path)
    assert [path.name for path in listing.paths] == ["1.2.840.55", "a.dcm", "b.DCM"]
    assert listing.ignored == {"hidden": 2, "DICOMDIR": 1, "results of this bundle": 1}


def test_links_are_followed_once(tmp_path: Path):
    """Links to files and folders, a circle, a second way to a folder, and a link that leads nowhere."""
    write(tmp_path / "store", "st/far.dcm")
    inside = tmp_path / "in"
    write(inside, "near.dcm", 1)
    for name, target in (
        ("linked", tmp_path / "store"),
        ("file.dcm", tmp_path / "store/st/far.dcm"),
        ("second", tmp_path / "store/st"),
        ("circle", inside),
        ("nowhere", tmp_path / "gone"),
    ):
        (inside / name).symlink_to(target)
    listing = list_files(inside)
    names = [path.relative_to(inside).as_posix() for path in listing.paths]
    assert names == ["file.dcm", "linked/st/far.dcm", "near.dcm", "nowhere"]
    assert listing.ignored == {"another way to a folder that is listed": 2}


def test_a_folder_that_may_not_be_read_is_listed_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """So the reader rejects it with a reason, and nothing below it is lost in silence."""
    write(tmp_path, "closed/a.dcm")
    write(tmp_path, "b.dcm", 1)
    listdir = os.listdir

    def forbid(path: Path) -> list[str]:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", forbid)
    assert [path.name for path in list_files(tmp_path).paths] == ["b.dcm", "closed"]


def test_what_is_no_file_is_listed_and_never_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (image,) = find_images(tmp_path)
    assert Path(image["image"]).name == "pipe"


def test_names_of_any_bytes_are_listed(tmp_path: Path):
    name = os.fsdecode(b"M\xfcller.dcm")
    (tmp_path / name).write_bytes(b"x")
    (image,) = find_images(tmp_path)
    assert Path(image["image"]).name == name


def test_a_folder_of_digits_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, "20200315/a.dcm")
    monkeypatch.chdir(tmp_path)
    assert len(FolderImages(20200315)) == 1  # type: ignore[arg-type]


def test_a_folder_without_images_is_reported_with_what_was_passed_over(tmp_path: Path):
    with pytest.raises(InputError, match="found no file below .*; check the path"):
        find_images(tmp_path)
    (tmp_path / "DICOMDIR").write_bytes(b"x")
    with pytest.raises(InputError, match="no file below .*, passed over: 1 DICOMDIR"):
        find_images(tmp_path)
    with pytest.raises(InputError, match="found no folder"):
        find_images(tmp_path / "nowhere")
