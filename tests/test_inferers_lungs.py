"""A film's lungs come back in its own pixels, whatever stands beside it in the batch, or it is said why they do not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Resized
from torch import nn

from scripts.inferers import LungFinder, Lungs
from scripts.inferers.lungs import FLAGS
from scripts.networks import LungDetector

SIZE = 32
UPRIGHT, QUARTER = (9.0, 0.0, 0.0, 0.0), (0.0, 9.0, 0.0, 0.0)  # logits
RESIZE = Resized(keys="image", spatial_size=(SIZE, SIZE), mode="bilinear", align_corners=False, anti_aliasing=True)

Answer = dict[str, Any]


def answer(
    box: tuple[float, ...] = (0.25, 0.125, 0.75, 0.875),
    spread: float = 0.01,
    lungs: float = 9.0,
    turn: tuple[float, ...] = UPRIGHT,
) -> Answer:
    """What the network says of one film: shares of its width and height, and logits."""
    return {"box": box, "spread": spread, "lungs": lungs, "turn": turn}


class ToldDetector(nn.Module):
    """Says what it was told, film by film, in the form of a `LungDetector`, and remembers what it was shown."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__()
        self.answers, self.seen = answers, []

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        assert not self.training and not torch.is_grad_enabled()
        self.seen.append(image)
        return {name: torch.tensor([each[name] for each in self.answers]) for name in self.answers[0]}


class BrightDetector(nn.Module):
    """Takes what is bright for the lungs: an answer that depends on the film alone."""

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: torch.tensor([each[name] for each in map(self._look, image[:, 0])]) for name in answer()}

    def _look(self, picture: torch.Tensor) -> Answer:
        rows, columns = torch.nonzero(picture > 0.5, as_tuple=True)
        if not len(rows):
            return answer(lungs=-9.0)
        edges = (columns.min().item(), rows.min().item(), columns.max().item() + 1, rows.max().item() + 1)
        return answer(tuple(edge / SIZE for edge in edges), spread=0.04 * (1 - picture.max().item()))


def draw_film(height: int, width: int, box: tuple[int, ...] | None, bright: float = 1.0) -> torch.Tensor:
    film = torch.zeros(1, height, width)
    if box is not None:
        xmin, ymin, xmax, ymax = box
        film[:, ymin:ymax, xmin:xmax] = bright
    return film


def find(*answers: Answer, size: tuple[int, int] = (100, 200), **options: Any) -> list[Lungs]:
    return LungFinder(ToldDetector(*answers), RESIZE, **options)([torch.rand(1, *size) for _ in answers])


def find_one(size: tuple[int, int] = (100, 200), options: Mapping[str, Any] | None = None, **changes: Any) -> Lungs:
    return find(answer(**changes), size=size, **(options or {}))[0]


@pytest.mark.parametrize(
    ("size", "box"),
    [((100, 200), (50, 12.5, 150, 87.5)), ((200, 100), (25, 25, 75, 175)), ((64, 64), (16, 8, 48, 56))],
    ids=["wide", "high", "square"],
)
def test_a_box_is_in_the_pixels_of_its_film(size: tuple[int, int], box: tuple[float, ...]):
    lungs = find_one(size)
    assert lungs.box == pytest.approx(box)
    assert lungs.flags == ()
    assert lungs.score == pytest.approx(torch.tensor(9.0).sigmoid().item()) and lungs.spread == pytest.approx(0.01)


def test_what_was_found_is_plain():
    lungs = find_one()
    assert {type(edge) for edge in lungs.box or ()} == {float}
    assert {type(lungs.score), type(lungs.spread)} == {float} and type(lungs.flags) is tuple


# given here, so that a better measured default moves no test
BOUNDS = {"min_score": 0.5, "max_spread": 0.08, "min_side": 0.15, "max_ratio": 2.5, "min_turn": 0.5}

LOOK_BAD: dict[str, dict[str, Any]] = {
    "too uncertain": {"spread": 0.081},
    "too narrow": {"box": (0.4, 0.4, 0.54, 0.6)},
    "too low": {"box": (0.4, 0.4, 0.6, 0.54)},
    "too long for its width": {"box": (0.4, 0.0, 0.6, 0.51)},
    "too wide for its length": {"box": (0.0, 0.4, 0.51, 0.6)},
    "empty": {"box": (0.4, 0.4, 0.4, 0.4)},
    "no number": {"box": (0.1, float("nan"), 0.9, 0.9)},
    "uncertain to no number": {"spread": float("nan")},
}
LOOK_GOOD: dict[str, dict[str, Any]] = {
    "just certain enough": {"spread": 0.079},
    "just large enough": {"box": (0.4, 0.4, 0.56, 0.56)},
    "just even enough": {"box": (0.4, 0.1, 0.6, 0.59)},
    "all of the film": {"box": (0.0, 0.0, 1.0, 1.0)},
    "just lungs": {"lungs": 0.01},
}


@pytest.mark.parametrize("changes", LOOK_BAD.values(), ids=list(LOOK_BAD))
def test_a_box_that_is_not_to_be_believed_is_not_given(changes: dict[str, Any]):
    lungs = find_one(options=BOUNDS, **changes)
    assert (lungs.box, lungs.flags) == (None, ("unsure_lungs",))
    assert lungs.score > 0.5, "there are lungs all the same"


@pytest.mark.parametrize("changes", LOOK_GOOD.values(), ids=list(LOOK_GOOD))
def test_a_box_within_the_bounds_is_believed(changes: dict[str, Any]):
    lungs = find_one(options=BOUNDS, **changes)
    assert lungs.box is not None and lungs.flags == ()


def test_sides_are_shares_of_the_film_so_that_its_own_shape_does_not_count():
    assert find_one((60, 300), box=(0.2, 0.2, 0.8, 0.8)).box == pytest.approx((60, 12, 240, 48))


@pytest.mark.parametrize("changes", [{}, {"spread": 0.5}, {"turn": QUARTER}], ids=["sure", "unsure", "turned"])
@pytest.mark.parametrize("lungs", [-0.01, -9.0, float("nan")])
def test_a_film_without_lungs_has_that_one_flag_and_no_box(lungs: float, changes: dict[str, Any]):
    found = find_one(options=BOUNDS, lungs=lungs, **changes)
    assert (found.box, found.flags) == (None, ("no_lungs",))


@pytest.mark.parametrize(
    ("turn", "flags"),
    [
        (UPRIGHT, ()),
        (QUARTER, ("turned",)),
        ((0.0, 0.0, 9.0, 0.0), ("turned",)),
        ((0.0, 0.0, 0.0, 9.0), ("turned",)),
        ((1.2, 0.0, 0.0, 0.0), ()),  # .525 upright
        ((1.0, 0.0, 0.0, 0.0), ("turned",)),  # .475 upright: somehow turned is more likely, in whichever direction
    ],
)
def test_a_turned_film_keeps_its_box_and_is_flagged(turn: tuple[float, ...], flags: tuple[str, ...]):
    lungs = find_one(options=BOUNDS, turn=turn)
    assert lungs.flags == flags
    assert lungs.box == pytest.approx((50, 12.5, 150, 87.5))


def test_flags_come_sorted_and_every_one_is_explained():
    found = find(answer(spread=0.5, turn=QUARTER), answer(lungs=-9.0))
    assert [lungs.flags for lungs in found] == [("turned", "unsure_lungs"), ("no_lungs",)]
    assert {flag for lungs in found for flag in lungs.flags} == set(FLAGS)
    assert found[0].box is None


@pytest.mark.parametrize(
    ("options", "changes", "flags"),
    [
        ({"min_score": 0.9}, {"lungs": 1.0}, ("no_lungs",)),
        ({"min_score": 0.1}, {"lungs": -1.0}, ()),
        ({"max_spread": 0.5}, {"spread": 0.4}, ()),
        ({"min_side": 0.6}, {}, ("unsure_lungs",)),
        ({"min_side": 0.1}, {"box": (0.4, 0.4, 0.52, 0.6)}, ()),
        ({"max_ratio": 1.4}, {}, ("unsure_lungs",)),
        ({"max_ratio": 9.0}, {"box": (0.4, 0.0, 0.6, 1.0)}, ()),
        ({"min_turn": 0.9}, {"turn": (0.0, 1.0, 0.0, 0.0)}, ()),
        ({"min_turn": 0.1}, {"turn": (2.0, 0.0, 0.0, 0.0)}, ("turned",)),
    ],
)
def test_every_bound_is_an_option(options: dict[str, Any], changes: dict[str, Any], flags: tuple[str, ...]):
    assert find_one(options=BOUNDS | options, **changes).flags == flags


FILMS = {  # by the box that is bright on each
    (12, 4, 36, 28): draw_film(32, 64, (12, 4, 36, 28)),
    (8, 60, 40, 120): draw_film(128, 64, (8, 60, 40, 120), bright=0.75),
    (2, 16, 26, 31): draw_film(32, 32, (2, 16, 26, 31)),
    (30, 30, 90, 150): draw_film(160, 96, (30, 30, 90, 150)),
    None: draw_film(48, 80, None),
}


def test_films_of_different_sizes_are_looked_at_together_and_each_gets_its_own_box():
    for (box, film), lungs in zip(
        FILMS.items(), LungFinder(BrightDetector(), RESIZE)(list(FILMS.values())), strict=True
    ):
        if box is None:
            assert (lungs.box, lungs.flags) == (None, ("no_lungs",))
        else:  # to half a pixel of what the network sees
            atol = max(film.shape) / SIZE / 2 + 0.001
            torch.testing.assert_close(torch.tensor(lungs.box), torch.tensor(box).float(), atol=atol, rtol=0)


@pytest.mark.parametrize("network", [BrightDetector(), "real"], ids=["drawn", "real"])
def test_a_film_gets_the_same_answer_alone_and_in_a_batch(network: Any):
    if network == "real":
        torch.manual_seed(0)
        network = LungDetector("test_efficientnet", width=8)
    finder = LungFinder(network, RESIZE, min_score=0.0, max_spread=1.0, min_side=0.0, max_ratio=1e9)
    together, reverse = finder(list(FILMS.values())), finder(list(FILMS.values())[::-1])[::-1]
    for film, lungs, other in zip(FILMS.values(), together, reverse, strict=True):
        (alone,) = finder([film])
        for found in (lungs, other):
            assert found.box == pytest.approx(alone.box, abs=0.01)
            assert (found.score, found.spread) == pytest.approx((alone.score, alone.spread), abs=1e-5)
            assert found.flags == alone.flags


def test_the_network_is_shown_one_batch_of_plain_tensors_at_its_own_size():
    network = ToldDetector(answer(), answer())
    films = [MetaTensor(torch.rand(1, 40, 60)), torch.rand(1, 70, 50)]
    LungFinder(network.train(), RESIZE)(films)
    (seen,) = network.seen
    assert seen.shape == (2, 1, SIZE, SIZE)
    assert type(seen) is torch.Tensor, "a MetaTensor's bookkeeping would go through every layer"
    torch.testing.assert_close(seen[0], RESIZE({"image": films[0]})["image"].as_tensor())


def test_the_films_are_not_changed():
    film = FILMS[(12, 4, 36, 28)].clone()
    LungFinder(BrightDetector(), RESIZE)([film])
    assert torch.equal(film, FILMS[(12, 4, 36, 28)])


def test_a_box_too_many_or_too_few_is_no_answer():
    with pytest.raises(ValueError, match=re.escape("zip()")):
        LungFinder(ToldDetector(answer(), answer()), RESIZE)([FILMS[None]])
