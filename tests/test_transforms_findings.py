"""Findings in the image's own pixels; images here are never square, boxes never diagonal."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scripts import radiographs
from scripts.boxes import compute_iou, fill_mask
from scripts.ensembles import blend_none
from scripts.inferers import lungs
from scripts.labels import STUDY_CLASSES
from scripts.transforms import LogitsToFindingsd, explain_out_of_scope, paste_mask

ORIGINAL_SIZE = (120, 200)  # height, width
CROP = (40.0, 10.0, 160.0, 90.0)  # 120 wide, 80 high
STUDY = torch.tensor([0.0, 2.0, 1.0, -1.0])


def mark_boxes(*boxes: tuple[float, ...], size: tuple[int, int] = (64, 64), high: float = 3.0) -> torch.Tensor:
    """Mask logits `(1, h, w)`: `high` in boxes of the crop's resized frame, as low outside."""
    return torch.from_numpy(fill_mask(boxes, *size))[None] * 2 * high - high


def find(mask: torch.Tensor | None = None, study: torch.Tensor = STUDY, **changes: Any) -> dict[str, Any]:
    item = {"pred": {"study": study}, "crop_box": torch.tensor(CROP), "original_size": torch.tensor(ORIGINAL_SIZE)}
    if mask is not None:
        item["pred"]["mask"] = mask
    options = {key: changes.pop(key) for key in list(changes) if key not in item}
    return LogitsToFindingsd(**options)(item | changes)


def test_an_image_gets_the_probability_of_each_class_by_name():
    result = find()["result"]
    assert tuple(result["probabilities"]) == STUDY_CLASSES
    assert list(result["probabilities"].values()) == pytest.approx(STUDY.softmax(dim=0).tolist())
    assert result["none"] == result["probabilities"]["negative"]


def test_classes_may_come_from_the_metadata():
    result = find(classes={"0": "negative", "1": "b", "2": "c", "3": "d"})["result"]
    assert list(result["probabilities"]) == ["negative", "b", "c", "d"]


def test_as_many_classes_as_logits_are_needed():
    with pytest.raises(ValueError, match="zip"):
        find(study=torch.zeros(3))


def test_boxes_found_in_the_crop_come_back_to_image_pixels():
    # 64 columns of the mask are 120 columns of the image, 64 rows are 80
    result = find(mark_boxes((32, 16, 48, 24)))["result"]
    assert result["boxes"] == [[40 + 60, 10 + 20, 40 + 90, 10 + 30]]


def test_the_mask_is_pasted_where_the_crop_was():
    mask = find(mark_boxes((0, 0, 64, 64)))["pred"]
    assert mask.shape == (1, *ORIGINAL_SIZE) and mask.dtype == torch.uint8
    inside = torch.zeros(1, *ORIGINAL_SIZE, dtype=torch.bool)
    inside[:, 10:90, 40:160] = True
    assert torch.equal(mask.bool(), inside)


def test_mask_and_boxes_lie_on_one_another():
    item = find(mark_boxes((32, 16, 48, 24)))
    synthetic = torch.from_numpy(fill_mask(item["result"]["boxes"], *ORIGINAL_SIZE)).bool()
    assert (item["pred"][0].bool() & synthetic).sum() / (item["pred"][0].bool() | synthetic).sum() > 0.9


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_marked_region_is_found_where_it_lies_in_any_image(data: st.DataObject):
    height, width = (data.draw(st.integers(64, 300)) for _ in range(2))
    crop_x, crop_y = (sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in (width - 32, height - 32))
    crop = [crop_x[0], crop_y[0], crop_x[1] + 32, crop_y[1] + 32]
    xmin, ymin = (data.draw(st.integers(0, 40)) for _ in range(2))
    box = (xmin, ymin, xmin + data.draw(st.integers(12, 24)), ymin + data.draw(st.integers(12, 24)))
    item = find(mark_boxes(box), crop_box=torch.tensor(crop).float(), original_size=torch.tensor([height, width]))
    across, along = (crop[2] - crop[0]) / 64, (crop[3] - crop[1]) / 64
    expected = [crop[0] + box[0] * across, crop[1] + box[1] * along]
    expected += [crop[0] + box[2] * across, crop[1] + box[3] * along]
    np.testing.assert_allclose(item["result"]["boxes"], [expected], atol=0.001)
    rows, columns = np.nonzero(item["pred"][0].numpy())
    around = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert compute_iou([around], [expected])[0, 0] > 0.5
    assert item["pred"].shape == (1, height, width)


def test_a_confidence_is_the_regions_mean_probability_times_that_of_not_negative():
    result = find(mark_boxes((32, 16, 48, 24), high=2.0))["result"]
    assert result["scores"] == pytest.approx([torch.tensor(2.0).sigmoid().item() * (1 - result["none"])], rel=1e-5)


def test_an_image_that_is_surely_negative_ranks_its_regions_last():
    sure = find(mark_boxes((32, 16, 48, 24)), study=torch.tensor([12.0, 0, 0, 0]))["result"]
    assert sure["boxes"] and sure["scores"][0] < 1e-4


def test_boxes_come_best_first():
    mask = mark_boxes((4, 4, 14, 14), (30, 30, 44, 40), high=1.0)
    mask[:, 30:40, 30:44] = 4.0
    result = find(mask)["result"]
    assert result["scores"] == sorted(result["scores"], reverse=True)
    assert result["boxes"][0][0] > result["boxes"][1][0]


@pytest.mark.parametrize(("min_area", "number"), [(0.0, 2), (0.002, 1), (0.9, 0)])
def test_specks_become_no_boxes(min_area: float, number: int):
    mask = mark_boxes((2, 2, 4, 4), (30, 30, 44, 40))  # 4 and 140 of 4096 pixels
    assert len(find(mask, min_area=min_area)["result"]["boxes"]) == number


@pytest.mark.parametrize(("threshold", "found"), [(0.5, True), (0.9, True), (0.99, False)])
def test_thresholds_of_mask_and_boxes_are_options(threshold: float, found: bool):
    mask = mark_boxes((30, 30, 44, 40))  # sigmoid(3) is 0.95
    assert bool(find(mask, box_threshold=threshold)["result"]["boxes"]) is found
    assert bool(find(mask, mask_threshold=threshold)["pred"].any()) is found


def test_a_network_without_decoder_finds_no_boxes_and_an_empty_mask():
    item = find()
    assert item["pred"].shape == (1, *ORIGINAL_SIZE) and not item["pred"].any()
    assert item["result"]["boxes"] == [] and item["result"]["scores"] == []


@pytest.mark.parametrize(("crop", "flags"), [((0, 0, 200, 120), ["whole_image"]), ((0, 0, 120, 200), []), (CROP, [])])
def test_an_image_whose_lungs_were_not_known_is_flagged(crop: tuple[float, ...], flags: list[str]):
    result = find(crop_box=torch.tensor(crop).float())["result"]
    assert result["flags"] == flags and result["crop_box"] == list(crop)


DETECTED = ((50.0, 70.0, 90.0, 85.0), (110.0, 20.0, 150.0, 40.25))  # image pixels, off the diagonal
NEGATIVE = STUDY.softmax(dim=0)[0].item()


def find_detected(*scores: float, mask: torch.Tensor | None = None, **options: Any) -> dict[str, Any]:
    """The result where an opacity detector found as many of the boxes above as there are scores."""
    found = {"study": STUDY, "boxes": np.array(DETECTED[: len(scores)]).reshape(-1, 4), "scores": np.array(scores)}
    pred = found if mask is None else {**found, "mask": mask}
    item = {"pred": pred, "crop_box": torch.tensor(CROP), "original_size": torch.tensor(ORIGINAL_SIZE)}
    return LogitsToFindingsd(**options)(item)["result"]


@pytest.mark.parametrize("scores", [(), (0.5,), (0.75, 0.5)])
def test_boxes_of_a_detector_are_preferred_to_regions_of_the_mask(scores: tuple[float, ...]):
    result = find_detected(*scores, mask=mark_boxes((32, 16, 48, 24)))
    assert result["boxes"] == [list(box) for box in DETECTED[: len(scores)]], "also where it found none"


def test_the_mask_is_the_classifiers_also_where_a_detector_found_boxes():
    pred = {"study": STUDY, "mask": mark_boxes((32, 16, 48, 24)), "boxes": np.zeros((0, 4)), "scores": np.zeros(0)}
    item = LogitsToFindingsd()(
        {"pred": pred, "crop_box": torch.tensor(CROP), "original_size": torch.tensor(ORIGINAL_SIZE)}
    )
    assert torch.equal(item["pred"], find(mark_boxes((32, 16, 48, 24)))["pred"]) and item["pred"].any()


def test_a_detectors_score_is_multiplied_by_the_probability_of_not_negative():
    result = find_detected(0.75, 0.5)
    assert result["scores"] == pytest.approx([0.75 * (1 - NEGATIVE), 0.5 * (1 - NEGATIVE)], rel=1e-6)


def test_a_detectors_boxes_come_best_first_with_their_own_scores():
    result = find_detected(0.25, 0.5)
    assert result["boxes"] == [list(DETECTED[1]), list(DETECTED[0])]
    assert result["scores"] == pytest.approx([0.5 * (1 - NEGATIVE), 0.25 * (1 - NEGATIVE)], rel=1e-6)


def test_a_detectors_boxes_may_be_tensors():
    pred = {"study": STUDY, "boxes": torch.tensor(DETECTED), "scores": torch.tensor([0.25, 0.5])}
    item = {"pred": pred, "crop_box": torch.tensor(CROP), "original_size": torch.tensor(ORIGINAL_SIZE)}
    assert LogitsToFindingsd()(item)["result"] == find_detected(0.25, 0.5)


@pytest.mark.parametrize(
    ("weight", "none"),
    [(1.0, NEGATIVE), (0.5, 0.5 * NEGATIVE + 0.5 * (1 - 0.75 * (1 - NEGATIVE))), (0.0, 1 - 0.75 * (1 - NEGATIVE))],
)
def test_none_blends_negative_with_the_lack_of_a_good_box(weight: float, none: float):
    assert find_detected(0.25, 0.75, none_weight=weight)["none"] == pytest.approx(none, rel=1e-6)


@pytest.mark.parametrize(("weight", "none"), [(1.0, NEGATIVE), (0.5, (NEGATIVE + 1) / 2), (0.0, 1.0)])
def test_an_image_without_boxes_is_none_for_all_that_boxes_say(weight: float, none: float):
    assert find_detected(none_weight=weight)["none"] == pytest.approx(none, rel=1e-6)
    assert find(none_weight=weight)["result"]["none"] == pytest.approx(none, rel=1e-6)


@pytest.mark.parametrize("weight", [1.0, 0.5, 0.0])
def test_none_is_blended_with_regions_of_the_mask_where_there_is_no_detector(weight: float):
    result = find(mark_boxes((32, 16, 48, 24)), none_weight=weight)["result"]
    assert result["none"] == pytest.approx(weight * NEGATIVE + (1 - weight) * (1 - result["scores"][0]), rel=1e-6)


def test_none_is_blended_as_the_blend_was_fitted():
    """`python -m scripts fit-none` takes p(negative) and the best score from what is written here."""
    result = find_detected(0.25, 0.75, none_weight=0.3)
    fitted = blend_none([result["probabilities"]["negative"]], [max(result["scores"])], 0.3)
    assert result["none"] == pytest.approx(fitted[0])


REFERENCE: dict[str, Any] = {  # what a batch knows of its image, under the names that predictions have too
    "mask": torch.full((1, *ORIGINAL_SIZE), 9.0),
    "boxes": np.array([(1.0, 2.0, 30.0, 40.0)]),
    "scores": np.array([1.0]),
    "study": torch.tensor([9.0, 0.0, 0.0, 0.0]),
    "boxes_known": True,
}


@pytest.mark.parametrize("mask", [None, mark_boxes((32, 16, 48, 24))], ids=["without decoder", "with decoder"])
def test_the_batchs_own_ground_truth_is_never_taken_for_what_was_found(mask: torch.Tensor | None):
    pred = {"study": STUDY} if mask is None else {"study": STUDY, "mask": mask}
    plain = {"pred": pred, "crop_box": torch.tensor(CROP), "original_size": torch.tensor(ORIGINAL_SIZE)}
    item, expected = LogitsToFindingsd()(REFERENCE | plain), LogitsToFindingsd()(plain)
    assert item["result"] == expected["result"]
    assert torch.equal(item["pred"], expected["pred"])
    assert all(item[name] is value for name, value in REFERENCE.items()), "and it is left as it was"


def test_what_was_found_brings_its_own_frame():
    """A `ImageInferer` leaves crop and size with what it found; the item may hold those of an earlier crop."""
    pred = {
        "study": STUDY,
        "mask": mark_boxes((32, 16, 48, 24)),
        "crop_box": np.array(CROP),
        "original_size": ORIGINAL_SIZE,
    }
    other = {"crop_box": np.array([0.0, 0.0, 9.0, 9.0]), "original_size": (9, 9)}
    expected = find(mark_boxes((32, 16, 48, 24)))
    for item in (LogitsToFindingsd()({"pred": pred}), LogitsToFindingsd()({"pred": pred, **other})):
        assert item["result"] == expected["result"] and torch.equal(item["pred"], expected["pred"])


WHOLE = (0.0, 0.0, 200.0, 120.0)


@pytest.mark.parametrize(
    ("image_flags", "lung_flags", "crop", "flags"),
    [
        (None, None, CROP, []),
        ("", (), CROP, []),
        ("window", (), CROP, ["window"]),
        ("window body_part", ("rotated",), CROP, ["body_part", "rotated", "window"]),
        ("", ("no_lungs",), WHOLE, ["no_lungs", "whole_image"]),
        ("window", ["rotated", "unsure_lungs"], WHOLE, ["rotated", "unsure_lungs", "whole_image", "window"]),
    ],
)
def test_flags_of_reader_lungs_and_crop_are_reported_together(
    image_flags: str | None, lung_flags: Any, crop: tuple[float, ...], flags: list[str]
):
    pred = {"study": STUDY, "crop_box": np.array(crop), "original_size": np.array(ORIGINAL_SIZE)}
    item: dict[str, Any] = {"pred": pred if lung_flags is None else {**pred, "lung_flags": lung_flags}}
    if image_flags is not None:
        item["image_flags"] = image_flags
    assert LogitsToFindingsd()(item)["result"]["flags"] == flags


NOT_SCORED = "the body part is not the chest, and no lungs were found"


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ((), ""),
        (("body_part",), ""),
        (("no_lungs",), ""),
        (("no_lungs", "whole_image"), ""),
        (("body_part", "unsure_lungs", "whole_image"), ""),
        (("body_part", "rotated"), ""),
        (("body_part", "no_lungs"), NOT_SCORED),
        (("no_lungs", "modality", "body_part", "whole_image"), NOT_SCORED),
    ],
)
def test_an_image_is_out_of_scope_only_without_chest_in_its_header_and_lungs_in_its_picture(
    flags: tuple[str, ...], why: str
):
    assert explain_out_of_scope(flags) == why
    pred = {"study": STUDY, "crop_box": np.array(CROP), "original_size": np.array(ORIGINAL_SIZE), "lung_flags": flags}
    assert LogitsToFindingsd()({"pred": pred})["result"]["out_of_scope"] == why


def test_words_that_decide_are_words_of_the_reader_and_of_the_lung_inferer():
    assert "body_part" in radiographs.FLAGS and "no_lungs" in lungs.LUNG_FLAGS


def test_the_result_is_plain_so_that_it_can_be_written_as_json():
    for result in (find(mark_boxes((32, 16, 48, 24)))["result"], find_detected(0.25, 0.75, none_weight=0.5)):
        numbers = [*result["probabilities"].values(), *result["scores"], result["none"]]
        assert {type(value) for value in numbers} == {float}
        assert {type(edge) for box in [*result["boxes"], result["crop_box"]] for edge in box} == {float}
        assert json.loads(json.dumps(result)) == result


def test_the_given_item_is_not_changed():
    item = {"pred": {"study": STUDY}, "crop_box": torch.tensor(CROP), "original_size": torch.tensor(ORIGINAL_SIZE)}
    LogitsToFindingsd()(item)
    assert isinstance(item["pred"], dict) and "result" not in item


def test_a_missing_prediction_is_rejected_unless_it_may_be_missing():
    with pytest.raises(KeyError, match="pred"):
        LogitsToFindingsd()({})
    assert LogitsToFindingsd(allow_missing_keys=True)({}) == {}


def test_a_pasted_mask_is_resized_smoothly_and_zero_around():
    pasted = paste_mask(torch.full((1, 8, 8), 0.7), CROP, ORIGINAL_SIZE)
    assert pasted[:, 10:90, 40:160].numpy() == pytest.approx(0.7)
    assert pasted.sum().item() == pytest.approx(0.7 * 80 * 120, rel=1e-4)
