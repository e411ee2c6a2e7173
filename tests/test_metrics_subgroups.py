"""Subgroups: who is in which, differences to the rest on the same patients, and silence where there are too few."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts.bootstrap import Interval
from scripts.errors import InputError
from scripts.metrics import subgroups
from scripts.metrics.studies import EvaluatedStudies
from scripts.metrics.subgroups import (
    Subgroup,
    collect_traits,
    cut_quartiles,
    measure_subgroups,
    read_metadata_table,
    sort_names,
)


def draw_studies(number: int = 240, seed: int = 0) -> EvaluatedStudies:
    """Studies of four classes in turn, two a patient; of every second patient the answers are noise."""
    rng = np.random.default_rng(seed)
    groups = np.arange(number) // 2
    labels = (np.arange(number) + groups) % 4
    clear = rng.dirichlet((1, 1, 1, 1), number) + 2 * np.eye(4)[labels] * (groups % 2 == 0)[:, None]
    return EvaluatedStudies(clear / clear.sum(axis=1, keepdims=True), labels, groups, number // 2)


def make_image(image: str = "a", **changes: Any) -> dict[str, Any]:
    return {"image_id": image, "lung_box": [0, 0, 5, 10], "height": 10, "width": 10, "duplicate_of": None} | changes


# Scores of subgroups


def test_scores_are_those_of_the_part_and_of_the_rest_on_the_same_resamples():
    studies = draw_studies()
    weights = studies.sample_weights(40)
    names = ["noise" if group % 2 else "clear" for group in studies.groups]
    clear, noise = measure_subgroups(studies, {"responses": names}, weights)
    assert (clear.trait, clear.name, noise.name) == ("responses", "clear", "noise")
    assert clear.num_of_class == (30, 30, 30, 30) == noise.num_of_class
    inside = studies.groups % 2 == 0
    part, rest = studies.keep(inside).measure(weights), studies.keep(~inside).measure(weights)
    for measure in ("study_map", "auroc"):
        score, difference = clear.scores[measure], clear.differences[measure]
        assert score is not None and difference is not None
        assert score.value == pytest.approx(part[measure][0])
        apart = (part[measure] - rest[measure])[1:]
        assert (difference.low, difference.high) == pytest.approx(tuple(np.quantile(apart, (0.025, 0.975))))
        assert difference.low > 0 and noise.differences[measure].high < 0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("kept_of_class", "study_map", "auroc"),
    [
        ((8, 8, 8, 8), True, True),
        ((8, 8, 7, 6), False, False),  # 29 studies
        ((15, 15, 5, 5), True, True),
        ((15, 15, 5, 4), False, True),  # 4 of a class
        ((4, 15, 15, 15), False, False),  # 4 negative ones
        ((30, 4, 0, 0), False, False),  # 4 of any other class
        ((30, 3, 2, 0), False, True),
    ],
)
def test_too_few_are_not_measured(kept_of_class: tuple[int, ...], study_map: bool, auroc: bool):
    studies = draw_studies()
    names = np.full(len(studies), "rest")
    for place, number in enumerate(kept_of_class):
        names[np.flatnonzero(studies.labels == place)[:number]] = "part"
    part, rest = measure_subgroups(studies, {"trait": names.tolist()}, studies.sample_weights(3))
    for group in (part, rest):
        assert {name: each is not None for name, each in group.differences.items()} == {
            "study_map": study_map,
            "auroc": auroc,
        }
    assert {name: each is not None for name, each in part.scores.items()} == {"study_map": study_map, "auroc": auroc}
    assert rest.scores["study_map"] is not None, "the rest has enough, only its other side has not"


def test_a_trait_that_all_share_is_no_subgroup():
    studies = draw_studies(80)
    assert measure_subgroups(studies, {"planet": ["earth"] * 80}, studies.sample_weights(3)) == []


def test_differences_are_counted_and_a_mirrored_one_once():
    def make_group(trait: str, name: str, low: float | None) -> Subgroup:
        difference = None if low is None else Interval(low + 1, low, low + 2)
        return Subgroup(trait, name, (9, 9, 9, 9), {}, {"study_map": difference, "auroc": None})

    three = [make_group("three", name, low) for name, low in (("a", 0.1), ("b", -1.0), ("c", None))]
    two = [make_group("two", "yes", 0.5), make_group("two", "no", -2.5)]
    assert subgroups.count_differences([*three, *two]) == (3, 2)
    assert subgroups.count_differences([]) == (0, 0)


# Who is in which


def test_quartiles_are_of_equal_mass_and_named_by_their_range():
    names = cut_quartiles(np.arange(100)[::-1])
    assert names[99] == "0 to 24" and names[0] == "75 to 99"
    assert sorted({name: names.count(name) for name in names}.values()) == [25] * 4


def test_few_values_are_parts_of_their_own_and_what_is_not_known_is_said():
    assert cut_quartiles([8, 12, 8, np.nan, 16]) == ["8", "12", "8", "not reported", "16"]
    assert cut_quartiles([np.nan, np.nan]) == ["not reported"] * 2


def test_equal_values_share_a_quartile():
    names = cut_quartiles([0] * 60 + list(range(1, 41)))
    assert len(set(names[:60])) == 1


def test_ranges_are_sorted_by_number_then_words_then_the_unknown():
    names = {"PA", "10 to 12", "9 to 10", "not reported", "AP", "mixed", "-1 to 2"}
    assert sort_names(names) == ["-1 to 2", "9 to 10", "10 to 12", "AP", "PA", "mixed", "not reported"]


def test_traits_of_the_datalist_and_of_the_flags():
    images = [
        [make_image("a"), make_image("b", lung_box=None)],
        [make_image("c", lung_box=[0, 0, 10, 5], width=20, duplicate_of="z")],
        [make_image("d", lung_box=None, width=20)],
        [make_image("e", lung_box=[0, 0, 10, 10])],
    ]
    traits = collect_traits(
        images, {"b": ("whole_image",), "d": ("unsure_lungs", "whole_image"), "e": ()}, frozenset({"e"})
    )
    assert traits == {
        "lung box area, fraction of the image": ["0.5", "0.25", "not reported", "1"],
        "images of the study": ["2 or more", "1", "1", "1"],
        "near-duplicate in the set": ["no", "yes", "no", "yes"],
        "flag unsure_lungs": ["no", "no", "yes", "no"],
        "flag whole_image": ["yes", "no", "yes", "no"],
    }


def test_metadata_are_words_or_numbers_and_two_images_may_disagree():
    images = [
        [make_image("a"), make_image("b")],
        [make_image("c")],
        [make_image("d"), make_image("e")],
        [make_image("f")],
    ]
    metadata = {
        "a": {"view": "PA", "kilovolts": "100"},
        "b": {"view": "AP", "kilovolts": "120"},
        "c": {"view": "", "kilovolts": ""},
        "d": {"view": "PA", "kilovolts": "80"},
        "e": {"view": "", "kilovolts": ""},
    }
    traits = collect_traits(images, {}, metadata=metadata)
    assert traits["view"] == ["mixed", "not reported", "PA", "not reported"]
    assert traits["kilovolts"] == ["110", "not reported", "80", "not reported"]


# The table of metadata


def test_a_table_of_metadata_is_read(tmp_path: Path):
    path = tmp_path / "metadata.csv"
    path.write_text("view, image_id,age\nPA,a, 40 to 59\n,b,\n", encoding="utf-8-sig")
    assert read_metadata_table(path) == {"a": {"view": "PA", "age": "40 to 59"}, "b": {"view": "", "age": ""}}


@pytest.mark.parametrize(
    ("text", "predicted"),
    [
        (None, "no file"),
        ("", "image_id"),
        ("view,age\nPA,3\n", "image_id"),
        ("image_id,view,view\na,PA,AP\n", "view twice in metadata.csv"),
        ("image_id,\na,PA\n", "a name for each column"),
        ("image_id,view\na\n", "2 cells, found 1 at metadata.csv line 2"),
        ("image_id,view\na,PA\na,AP\n", "second row at metadata.csv line 3"),
        ("image_id,view\n,PA\n", "empty one"),
        ('image_id,view\n"a,PA\n', "UTF-8 text"),
    ],
)
def test_a_wrong_table_of_metadata_is_rejected_in_one_line(text: str | None, predicted: str, tmp_path: Path):
    path = tmp_path / "metadata.csv"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=predicted) as rejected:
        read_metadata_table(path)
    assert "\n" not in str(rejected.value)
