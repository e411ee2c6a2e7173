"""What the logits say is brought back to the film's own pixels; films here are never square, boxes never diagonal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.boxes import compute_iou, fill_mask
from scripts.findings import LogitsToFindingsd, paste_mask
from scripts.labels import STUDY_CLASSES

FILM_SIZE = (120, 200)  # height, width
CROP = (40.0, 10.0, 160.0, 90.0)  # 120 wide, 80 high
STUDY = torch.tensor([0.0, 2.0, 1.0, -1.0])


def mark_boxes(*boxes: tuple[float, ...], size: tuple[int, int] = (64, 64), high: float = 3.0) -> torch.Tensor:
    """Mask logits `(1, h, w)`: `high` in boxes of the crop's resized frame, as low outside."""
    return torch.from_numpy(fill_mask(boxes, *size))[None] * 2 * high - high


def find(mask: torch.Tensor | None = None, study: torch.Tensor = STUDY, **changes: Any) -> dict[str, Any]:
    item = {"pred": {"study": study}, "crop_box": torch.tensor(CROP), "film_size": torch.tensor(FILM_SIZE)}
    if mask is not None:
        item["pred"]["mask"] = mask
    options = {key: changes.pop(key) for key in list(changes) if key not in item}
    return LogitsToFindingsd(**options)(item | changes)


def test_a_film_gets_the_probability_of_each_class_by_name():
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


def test_boxes_found_in_the_crop_come_back_to_film_pixels():
    # 64 columns of the mask are 120 columns of the film, 64 rows are 80
    result = find(mark_boxes((32, 16, 48, 24)))["result"]
    assert result["boxes"] == [[40 + 60, 10 + 20, 40 + 90, 10 + 30]]


def test_the_mask_is_pasted_where_the_crop_was():
    mask = find(mark_boxes((0, 0, 64, 64)))["pred"]
    assert mask.shape == (1, *FILM_SIZE) and mask.dtype == torch.uint8
    inside = torch.zeros(1, *FILM_SIZE, dtype=torch.bool)
    inside[:, 10:90, 40:160] = True
    assert torch.equal(mask.bool(), inside)


def test_mask_and_boxes_lie_on_one_another():
    item = find(mark_boxes((32, 16, 48, 24)))
    drawn = torch.from_numpy(fill_mask(item["result"]["boxes"], *FILM_SIZE)).bool()
    assert (item["pred"][0].bool() & drawn).sum() / (item["pred"][0].bool() | drawn).sum() > 0.9


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_marked_region_is_found_where_it_lies_in_any_film(data: st.DataObject):
    height, width = (data.draw(st.integers(64, 300)) for _ in range(2))
    crop_x, crop_y = (sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in (width - 32, height - 32))
    crop = [crop_x[0], crop_y[0], crop_x[1] + 32, crop_y[1] + 32]
    xmin, ymin = (data.draw(st.integers(0, 40)) for _ in range(2))
    box = (xmin, ymin, xmin + data.draw(st.integers(12, 24)), ymin + data.draw(st.integers(12, 24)))
    item = find(mark_boxes(box), crop_box=torch.tensor(crop).float(), film_size=torch.tensor([height, width]))
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


def test_a_film_that_is_surely_negative_ranks_its_regions_last():
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
    assert item["pred"].shape == (1, *FILM_SIZE) and not item["pred"].any()
    assert item["result"]["boxes"] == [] and item["result"]["scores"] == []


@pytest.mark.parametrize(("crop", "flags"), [((0, 0, 200, 120), ["whole_film"]), ((0, 0, 120, 200), []), (CROP, [])])
def test_a_film_whose_lungs_were_not_known_is_flagged(crop: tuple[float, ...], flags: list[str]):
    result = find(crop_box=torch.tensor(crop).float())["result"]
    assert result["flags"] == flags and result["crop_box"] == list(crop)


def test_the_result_is_plain_so_that_it_can_be_written_as_json():
    result = find(mark_boxes((32, 16, 48, 24)))["result"]
    assert {type(value) for value in [*result["probabilities"].values(), *result["scores"], result["none"]]} == {float}
    assert {type(edge) for box in [*result["boxes"], result["crop_box"]] for edge in box} == {float}


def test_the_given_item_is_not_changed():
    item = {"pred": {"study": STUDY}, "crop_box": torch.tensor(CROP), "film_size": torch.tensor(FILM_SIZE)}
    LogitsToFindingsd()(item)
    assert isinstance(item["pred"], dict) and "result" not in item


def test_a_missing_prediction_is_refused_unless_it_may_be_missing():
    with pytest.raises(KeyError, match="pred"):
        LogitsToFindingsd()({})
    assert LogitsToFindingsd(allow_missing_keys=True)({}) == {}


def test_a_pasted_mask_is_resized_smoothly_and_zero_around():
    pasted = paste_mask(torch.full((1, 8, 8), 0.7), CROP, FILM_SIZE)
    assert pasted[:, 10:90, 40:160].numpy() == pytest.approx(0.7)
    assert pasted.sum().item() == pytest.approx(0.7 * 80 * 120, rel=1e-4)
