"""Relations of a run's images: what is of other studies or patients is never averaged, and a copy counts once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scripts.labels import STUDY_CLASSES
from scripts.outputs.journal import Entry
from scripts.outputs.relations import Relations
from scripts.predictions import DUPLICATE, OTHER_STUDY, SAME_UID, TWO_PATIENTS, ImageFindings
from scripts.radiographs import name_study


def describe(
    relations: Relations, name: str, study: str = "s", uid: str = "1.2.3", patient: str = "p", pixels: float = 0.0
) -> Entry:
    """An image that a run finds: named, with what its header says."""
    result = {
        "probabilities": dict.fromkeys(STUDY_CLASSES, 0.25),
        **{"none": 0.5, "boxes": [], "scores": [], "crop_box": [0.0, 0.0, 8.0, 8.0], "flags": ["window"]},
    }
    item = {
        "image": torch.full((1, 4, 4), pixels),
        "sop_instance_uid": f"1.2.9.{name}",
        "study_instance_uid": uid,
        "series_instance_uid": "1.2.4",
        "patient": patient,
    }
    entry = relations.describe(Entry(ImageFindings.from_result(name, study, result), name), item, "image")
    relations.keep(entry)
    return entry


def test_images_of_one_study_stay_in_it():
    relations = Relations()
    entries = [describe(relations, name, pixels=float(name)) for name in "123"]
    assert {entry.findings.study_id for entry in entries} == {"s"}
    assert all(entry.findings.flags == ("window",) for entry in entries)
    assert entries[0].sop_uid == "1.2.9.1" and entries[0].series_uid == "1.2.4"


@pytest.mark.parametrize(("uid", "patient"), [("1.2.77", "p"), ("1.2.3", "q")])
def test_one_name_over_two_studies_or_patients_is_parted_and_reported(
    caplog: pytest.LogCaptureFixture, uid: str, patient: str
):
    """A folder's name, or a table's."""
    relations = Relations()
    describe(relations, "1")
    other = describe(relations, "2", uid=uid, patient=patient, pixels=1.0)
    again = describe(relations, "3", uid=uid, patient=patient, pixels=2.0)
    assert other.findings.study_id == again.findings.study_id == name_study(uid, patient) != "s"
    assert OTHER_STUDY in other.findings.flags and OTHER_STUDY in again.findings.flags
    assert (TWO_PATIENTS in other.findings.flags) == (patient == "q")
    assert "2: study s holds images of other studies or patients: it is scored in one of its own" in caplog.text
    assert describe(relations, "4", pixels=3.0).findings.study_id == "s"


def test_one_uid_over_two_patients_is_reported_where_the_names_part_them_already(caplog: pytest.LogCaptureFixture):
    relations = Relations()
    describe(relations, "1", study="a")
    other = describe(relations, "2", study="b", patient="q", pixels=1.0)
    assert other.findings.study_id == "b" and TWO_PATIENTS in other.findings.flags
    assert "2: its Study Instance UID is another patient's too: the two are kept apart" in caplog.text


def test_an_image_whose_header_says_nothing_stays_where_it_is_named():
    relations = Relations()
    describe(relations, "1")
    assert describe(relations, "2", uid="", patient="", pixels=1.0).findings.study_id == "s"


def test_a_copy_is_flagged_in_its_own_study_only():
    relations = Relations()
    describe(relations, "1", pixels=1.0)
    assert DUPLICATE in describe(relations, "2", pixels=1.0).findings.flags
    assert DUPLICATE not in describe(relations, "3", study="t", uid="1.2.5", pixels=1.0).findings.flags


def test_one_uid_over_two_contents_is_flagged():
    relations = Relations()
    first = describe(relations, "1", pixels=1.0)
    relations.keep(replace(first, sop_uid="1.2.9.2"))
    assert SAME_UID in describe(relations, "2", pixels=2.0).findings.flags


def test_nobodys_number_can_be_found_from_what_is_kept():
    """The same patient has another hash in each study."""
    relations = Relations()
    one, other = describe(relations, "1", "s", "1.2.3"), describe(relations, "2", "t", "1.2.4")
    assert one.patient != other.patient and "p" not in (one.patient, other.patient)
