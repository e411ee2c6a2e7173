from __future__ import annotations

import numpy as np
import pytest
from scripts.errors import InputError
from scripts.preparation.folds import assign_folds, reject_leaks


def draw_studies(seed: int, number: int = 300) -> tuple[list[int], list[str]]:
    rng = np.random.default_rng(seed)
    labels = rng.choice(4, number, p=[0.28, 0.47, 0.17, 0.08]).tolist()
    return labels, [f"p{patient}" for patient in rng.integers(0, number // 2, number)]


@pytest.mark.parametrize("seed", range(3))
def test_no_patient_stands_in_two_folds(seed: int) -> None:
    labels, patients = draw_studies(seed)
    folds = assign_folds(labels, patients, num_folds=5, seed=seed)
    places: dict[str, set[int]] = {}
    for patient, fold in zip(patients, folds.tolist(), strict=True):
        places.setdefault(patient, set()).add(fold)
    assert all(len(place) == 1 for place in places.values())
    assert set(folds.tolist()) == set(range(5))


def test_every_fold_has_its_fraction_of_every_class() -> None:
    labels, patients = draw_studies(0, 1000)
    folds = assign_folds(labels, patients)
    counts = np.array([np.bincount(np.array(labels)[folds == fold], minlength=4) for fold in range(5)])
    assert np.all(np.abs(counts - np.bincount(labels) / 5) <= 0.1 * np.bincount(labels) / 5 + 2)


def test_a_seed_gives_the_same_folds_and_another_seed_others() -> None:
    labels, patients = draw_studies(1)
    np.testing.assert_array_equal(assign_folds(labels, patients, seed=3), assign_folds(labels, patients, seed=3))
    assert np.any(assign_folds(labels, patients, seed=3) != assign_folds(labels, patients, seed=4))


@pytest.mark.parametrize(("groups", "num_folds"), [(["p"] * 10, 5), (["a", "b", "c", "d"], 5), (list("abcdefgh"), 1)])
def test_too_few_patients_for_the_folds_is_reported(groups: list[str], num_folds: int) -> None:
    with pytest.raises(InputError, match="patients with labelled images"):
        assign_folds([0] * len(groups), groups, num_folds)


IMAGE = {"image_id": "a", "study_id": "s1", "patient": "p1", "image": 1, "fold": 0}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"study_id": "s2", "image": 2}, r"every patient in one fold, found one in folds 0 and 1 \(images a and b\)"),
        ({"patient": "p2", "image": 2}, "every study in one fold"),
        ({"patient": "p2", "study_id": "s2"}, "every image in one fold"),
    ],
)
def test_groups_by_study_where_patients_repeat_are_rejected(other: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        reject_leaks([IMAGE, IMAGE | {"image_id": "b", "fold": 1} | other])


def test_too_few_studies_of_every_class_is_reported() -> None:
    with pytest.raises(InputError, match="2 studies of the commonest class; ask for fewer folds"):
        assign_folds([0, 0, 1, 1, 2, 3], list("abcdef"), 5)


def test_images_without_a_leak_pass() -> None:
    reject_leaks([IMAGE, IMAGE | {"image_id": "b"}, IMAGE | {"patient": "p2", "study_id": "s2", "image": 2, "fold": 1}])
    reject_leaks(
        [IMAGE | {"image": None}, {"image_id": "b", "study_id": "s2", "patient": "p2", "image": None, "fold": 1}]
    )
