"""Boxes of every flip and every network come back to the picture and are fused; pictures here are never square."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scripts.boxes import fuse_boxes
from scripts.inferers import TTA_FLIPS, OpacityInferer
from scripts.networks import OpacityDetector
from torch import nn

HEIGHT, WIDTH = 48, 80
BOX = (8, 30, 28, 44)  # left and low: off every axis and diagonal

Box = Sequence[float]


def draw_picture(*boxes: Box, height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    """Bright boxes on black, the first one brightest."""
    picture = torch.zeros(1, height, width)
    for number, (xmin, ymin, xmax, ymax) in enumerate(boxes):
        picture[:, ymin:ymax, xmin:xmax] = 0.9 - 0.2 * number
    return picture


def describe(boxes: Any, scores: Any) -> dict[str, torch.Tensor]:
    boxes, scores = torch.tensor(boxes).float().reshape(-1, 4), torch.tensor(scores).float().reshape(-1)
    return {"boxes": boxes, "labels": torch.zeros(len(boxes), dtype=torch.long), "scores": scores}


class BrightDetector(nn.Module):
    """Finds a box round the pixels of each brightness, which is its score: it follows the picture through every flip.

    Args:
        shift: x and y that it errs by, in the frame that it is shown.
    """

    def __init__(self, shift: tuple[float, float] = (0.0, 0.0)) -> None:
        super().__init__()
        self.shift, self.seen = shift, []

    def forward(self, image: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        assert not self.training and not torch.is_grad_enabled()
        self.seen.append(image)
        return [self._look(picture) for picture in image[:, 0]]

    def _look(self, picture: torch.Tensor) -> dict[str, torch.Tensor]:
        values = sorted(set(picture.flatten().tolist()) - {0.0}, reverse=True)
        boxes = []
        for value in values:
            rows, columns = torch.nonzero(picture == value, as_tuple=True)
            low = [columns.min() + self.shift[0], rows.min() + self.shift[1]]
            high = [columns.max() + 1 + self.shift[0], rows.max() + 1 + self.shift[1]]
            boxes.append([float(edge) for edge in (*low, *high)])
        return describe(boxes, values)


class StubbornDetector(nn.Module):
    """Finds the same boxes on every picture, however it is turned."""

    def __init__(self, boxes: Any, scores: Any) -> None:
        super().__init__()
        self.found = describe(boxes, scores)

    def forward(self, image: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        return [self.found for _ in image]


def find(*networks: nn.Module, pictures: torch.Tensor | None = None, **options: Any) -> tuple[Any, Any]:
    """Boxes and scores on one picture."""
    ((boxes, scores),) = OpacityInferer(networks, **options)(draw_picture(BOX)[None] if pictures is None else pictures)
    return boxes, scores


@pytest.mark.parametrize("tta_flips", [("identity",), ("horizontal",), ("vertical",), ("both",), tuple(TTA_FLIPS)])
def test_a_box_comes_back_from_every_flip(tta_flips: tuple[str, ...]):
    boxes, scores = find(BrightDetector(), tta_flips=tta_flips)
    assert boxes.tolist() == [list(BOX)]
    assert scores == pytest.approx([0.9])
    assert boxes.dtype == scores.dtype == np.float64


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_box_comes_back_from_any_flip_of_any_picture(data: st.DataObject):
    height, width = (data.draw(st.integers(8, 60)) for _ in range(2))
    xmin, ymin = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = (xmin, ymin, data.draw(st.integers(xmin + 1, width)), data.draw(st.integers(ymin + 1, height)))
    tta_flips = data.draw(st.lists(st.sampled_from(list(TTA_FLIPS)), min_size=1, unique=True))
    boxes, scores = find(
        BrightDetector(), pictures=draw_picture(box, height=height, width=width)[None], tta_flips=tta_flips
    )
    assert boxes.tolist() == [list(box)] and scores == pytest.approx([0.9])


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        ("identity", (10, 4, 30, 14)),
        ("horizontal", (50, 4, 70, 14)),
        ("vertical", (10, 34, 30, 44)),
        ("both", (50, 34, 70, 44)),
    ],
)
def test_what_is_found_in_a_mirrored_flip_is_mirrored_back(view: str, expected: Box):
    boxes, _ = find(StubbornDetector([(10, 4, 30, 14)], [0.5]), tta_flips=[view])
    assert boxes.tolist() == [list(expected)]


def test_the_default_flips_are_the_picture_and_its_mirror_image():
    network = BrightDetector()
    find(network)
    ((first, second),) = network.seen
    assert torch.equal(second, first.flip(-1))


def test_a_box_that_only_some_flips_see_is_worth_less():
    boxes, scores = find(StubbornDetector([(10, 4, 30, 14)], [0.8]), tta_flips=("identity", "horizontal"))
    assert sorted(boxes.tolist()) == [[10, 4, 30, 14], [50, 4, 70, 14]]
    assert scores == pytest.approx([0.4, 0.4])


def test_boxes_of_networks_are_fused_weighted_by_their_scores():
    surer, other = StubbornDetector([(10, 10, 40, 40)], [0.6]), StubbornDetector([(13, 10, 46, 37)], [0.3])
    boxes, scores = find(surer, other, tta_flips=["identity"])
    np.testing.assert_allclose(boxes, [[11, 10, 42, 39]])
    assert scores == pytest.approx([0.45])


def test_one_network_of_many_looks_counts_for_its_share():
    silent = StubbornDetector([], [])
    _, scores = find(BrightDetector(), silent, silent, tta_flips=("identity", "horizontal"))
    assert scores == pytest.approx([0.9 / 3])


def test_flips_and_networks_are_fused_as_one():
    """Errors in the frame that each look was shown, brought back and averaged in one step."""
    networks, tta_flips = [BrightDetector((1, 0)), BrightDetector((2, 1))], ("identity", "both")
    boxes, scores = find(*networks, tta_flips=tta_flips)
    xmin, ymin, xmax, ymax = BOX
    looks = [(xmin + x, ymin + y, xmax + x, ymax + y) for x, y in ((1, 0), (-1, 0), (2, 1), (-2, -1))]
    expected, expected_scores = fuse_boxes(looks, [0.9] * 4, num_sources=4)
    np.testing.assert_allclose(boxes, expected)
    np.testing.assert_allclose(boxes, [BOX], atol=1e-6)
    assert scores == pytest.approx(expected_scores)


@pytest.mark.parametrize(("min_overlap", "number"), [(0.4, 1), (0.55, 2)])
def test_how_much_boxes_must_overlap_to_be_one_is_an_option(min_overlap: float, number: int):
    halves = StubbornDetector([(10, 10, 40, 40), (20, 10, 50, 40)], [0.6, 0.5])  # an overlap of one half
    boxes, _ = find(halves, tta_flips=["identity"], min_overlap=min_overlap)
    assert len(boxes) == number


@pytest.mark.parametrize("view", list(TTA_FLIPS))
def test_boxes_end_where_the_picture_does(view: str):
    boxes, _ = find(StubbornDetector([(-5, -6, WIDTH + 7, HEIGHT + 8)], [0.5]), tta_flips=[view])
    assert boxes.tolist() == [[0, 0, WIDTH, HEIGHT]]


@pytest.mark.parametrize(("max_boxes", "number"), [(1, 1), (2, 2), (3, 3), (12, 3)])
def test_the_best_boxes_of_a_picture_are_kept_best_first(max_boxes: int, number: int):
    synthetic = [(60, 4, 76, 20), BOX, (40, 2, 50, 12)]
    boxes, scores = find(BrightDetector(), pictures=draw_picture(*synthetic)[None], max_boxes=max_boxes)
    assert boxes.tolist() == [list(box) for box in synthetic[:number]]
    assert scores == pytest.approx([0.9, 0.7, 0.5][:number])


def test_a_picture_without_boxes_has_none_and_takes_none_of_its_neighbours():
    pictures = torch.stack([draw_picture(BOX), draw_picture(), draw_picture((50, 4, 70, 14))])
    found = OpacityInferer([BrightDetector(), BrightDetector()])(pictures)
    assert [boxes.tolist() for boxes, _ in found] == [[list(BOX)], [], [[50, 4, 70, 14]]]
    assert found[1][0].shape == (0, 4) and found[1][1].shape == (0,)


def test_a_picture_gets_the_same_answer_alone_and_in_a_batch():
    torch.manual_seed(0)
    lung_inferer = OpacityInferer([OpacityDetector("test_efficientnet", width=8, min_score=0.0)], max_boxes=5)
    pictures = torch.rand(3, 1, 64, 96)
    for picture, (boxes, scores) in zip(pictures, lung_inferer(pictures), strict=True):
        ((alone, alone_scores),) = lung_inferer(picture[None])
        assert 1 <= len(boxes) <= 5 and (np.diff(scores) <= 0).all()
        assert (boxes >= 0).all() and (boxes <= [96, 64, 96, 64]).all()
        np.testing.assert_allclose(boxes, alone, atol=1e-2)
        np.testing.assert_allclose(scores, alone_scores, atol=1e-4)


def test_networks_are_asked_for_an_answer_and_not_trained():
    network = BrightDetector().train()
    OpacityInferer([network])(draw_picture(BOX)[None])
    assert not network.training


@pytest.mark.parametrize(("tta_flips", "found"), [(["diagonal"], "got diagonal"), ([], "got none")])
def test_unknown_flips_are_rejected_by_name(tta_flips: list[str], found: str):
    with pytest.raises(ValueError, match=f"expected flips among .*, {found}"):
        OpacityInferer([BrightDetector()], tta_flips)


def test_without_a_network_there_is_nobody_to_ask():
    with pytest.raises(ValueError, match="expected at least one network, got none"):
        OpacityInferer([])
