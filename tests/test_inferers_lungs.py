"""Lungs in an image's own pixels, whatever stands beside it in the batch, or a flag that says why not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Resized
from scripts.inferers import LungInferer, Lungs
from scripts.inferers.lungs import LUNG_FLAGS, correlate_neighbours
from scripts.networks import LungDetector
from scripts.predictions import NonFinitePrediction
from scripts.transforms.findings import explain_out_of_scope
from torch import nn

SIZE = 32
UPRIGHT, QUARTER = (9.0, 0.0, 0.0, 0.0), (0.0, 9.0, 0.0, 0.0)  # logits
RESIZE = Resized(keys="image", spatial_size=(SIZE, SIZE), mode="bilinear", align_corners=False, anti_aliasing=True)

Response = dict[str, Any]


def response(
    box: tuple[float, ...] = (0.25, 0.125, 0.75, 0.875),
    edge_std: float = 0.01,
    lungs: float = 9.0,
    rotation: tuple[float, ...] = UPRIGHT,
) -> Response:
    """Prediction of one image: fractions of its width and height, and logits."""
    return {"box": box, "edge_std": edge_std, "lungs": lungs, "rotation": rotation}


class ReportedDetector(nn.Module):
    """Says what it was reported, image by image, in the form of a `LungDetector`, and remembers what it was shown."""

    def __init__(self, *responses: Response) -> None:
        super().__init__()
        self.responses, self.seen = responses, []

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        assert not self.training and not torch.is_grad_enabled()
        self.seen.append(image)
        return {name: torch.tensor([each[name] for each in self.responses]) for name in self.responses[0]}


class BrightDetector(nn.Module):
    """Takes what is bright for the lungs: an answer that depends on the image alone."""

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: torch.tensor([each[name] for each in map(self._look, image[:, 0])]) for name in response()}

    def _look(self, picture: torch.Tensor) -> Response:
        rows, columns = torch.nonzero(picture > 0.5, as_tuple=True)
        if not len(rows):
            return response(lungs=-9.0)
        edges = (columns.min().item(), rows.min().item(), columns.max().item() + 1, rows.max().item() + 1)
        return response(tuple(edge / SIZE for edge in edges), edge_std=0.04 * (1 - picture.max().item()))


def draw_image(height: int, width: int, box: tuple[int, ...] | None, bright: float = 1.0) -> torch.Tensor:
    image = torch.zeros(1, height, width)
    if box is not None:
        xmin, ymin, xmax, ymax = box
        image[:, ymin:ymax, xmin:xmax] = bright
    return image


def draw_gradient(height: int, width: int) -> torch.Tensor:
    return torch.linspace(0, 1, height * width).reshape(1, height, width)


def find(*responses: Response, size: tuple[int, int] = (100, 200), **options: Any) -> list[Lungs]:
    return LungInferer(ReportedDetector(*responses), RESIZE, **options)([draw_gradient(*size) for _ in responses])


def find_one(size: tuple[int, int] = (100, 200), options: Mapping[str, Any] | None = None, **changes: Any) -> Lungs:
    return find(response(**changes), size=size, **(options or {}))[0]


@pytest.mark.parametrize(
    ("size", "box"),
    [((100, 200), (50, 12.5, 150, 87.5)), ((200, 100), (25, 25, 75, 175)), ((64, 64), (16, 8, 48, 56))],
    ids=["wide", "high", "square"],
)
def test_a_box_is_in_the_pixels_of_its_image(size: tuple[int, int], box: tuple[float, ...]):
    lungs = find_one(size)
    assert lungs.box == pytest.approx(box)
    assert lungs.flags == ()
    assert lungs.score == pytest.approx(torch.tensor(9.0).sigmoid().item()) and lungs.edge_std == pytest.approx(0.01)


def test_what_was_found_is_plain():
    lungs = find_one()
    assert {type(edge) for edge in lungs.box or ()} == {float}
    assert {type(lungs.score), type(lungs.edge_std)} == {float} and type(lungs.flags) is tuple


# given here, so that a better measured default moves no test
BOUNDS = {"min_score": 0.5, "max_edge_std": 0.08, "min_side": 0.15, "max_ratio": 2.5, "min_rotation": 0.5}

LOOK_BAD: dict[str, dict[str, Any]] = {
    "too uncertain": {"edge_std": 0.081},
    "too narrow": {"box": (0.4, 0.4, 0.54, 0.6)},
    "too low": {"box": (0.4, 0.4, 0.6, 0.54)},
    "too long for its width": {"box": (0.4, 0.0, 0.6, 0.51)},
    "too wide for its length": {"box": (0.0, 0.4, 0.51, 0.6)},
    "empty": {"box": (0.4, 0.4, 0.4, 0.4)},
}
LOOK_GOOD: dict[str, dict[str, Any]] = {
    "just certain enough": {"edge_std": 0.079},
    "just large enough": {"box": (0.4, 0.4, 0.56, 0.56)},
    "just even enough": {"box": (0.4, 0.1, 0.6, 0.59)},
    "all of the image": {"box": (0.0, 0.0, 1.0, 1.0)},
    "just lungs": {"lungs": 0.01},
}


@pytest.mark.parametrize("changes", LOOK_BAD.values(), ids=list(LOOK_BAD))
def test_a_box_that_is_not_to_be_accepted_is_not_given(changes: dict[str, Any]):
    lungs = find_one(options=BOUNDS, **changes)
    assert (lungs.box, lungs.flags) == (None, ("unsure_lungs",))
    assert lungs.score > 0.5, "there are lungs all the same"


@pytest.mark.parametrize("changes", LOOK_GOOD.values(), ids=list(LOOK_GOOD))
def test_a_box_within_the_bounds_is_accepted(changes: dict[str, Any]):
    lungs = find_one(options=BOUNDS, **changes)
    assert lungs.box is not None and lungs.flags == ()


def test_sides_are_fractions_of_the_image_so_that_its_own_shape_does_not_count():
    assert find_one((60, 300), box=(0.2, 0.2, 0.8, 0.8)).box == pytest.approx((60, 12, 240, 48))


@pytest.mark.parametrize("changes", [{}, {"edge_std": 0.5}, {"rotation": QUARTER}], ids=["sure", "unsure", "rotated"])
@pytest.mark.parametrize("lungs", [-0.01, -9.0])
def test_an_image_without_lungs_has_that_one_flag_and_no_box(lungs: float, changes: dict[str, Any]):
    found = find_one(options=BOUNDS, lungs=lungs, **changes)
    assert (found.box, found.flags) == (None, ("no_lungs",))


@pytest.mark.parametrize(
    ("rotation", "flags"),
    [
        (UPRIGHT, ()),
        (QUARTER, ("rotated",)),
        ((0.0, 0.0, 9.0, 0.0), ("rotated",)),
        ((0.0, 0.0, 0.0, 9.0), ("rotated",)),
        ((1.2, 0.0, 0.0, 0.0), ()),  # 0.525 upright
        ((1.0, 0.0, 0.0, 0.0), ("rotated",)),  # 0.475 upright: somehow rotated is more likely, in whichever direction
    ],
)
def test_a_rotated_image_keeps_its_box_and_is_flagged(rotation: tuple[float, ...], flags: tuple[str, ...]):
    lungs = find_one(options=BOUNDS, rotation=rotation)
    assert lungs.flags == flags
    assert lungs.box == pytest.approx((50, 12.5, 150, 87.5))


def test_flags_come_sorted_and_every_one_is_explained():
    found = find(response(edge_std=0.5, rotation=QUARTER), response(lungs=-9.0))
    assert [lungs.flags for lungs in found] == [("rotated", "unsure_lungs"), ("no_lungs",)]
    assert {flag for lungs in found for flag in lungs.flags} == set(LUNG_FLAGS) - {"noise", "inverted"}
    assert found[0].box is None


def draw_chest(height: int, width: int, box: tuple[float, float, float, float]) -> torch.Tensor:
    """Dark lungs in a bright body, `(1, height, width)`; the box goes round both, in fractions of the image."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    x, y = (x - box[0]) / (box[2] - box[0]), (y - box[1]) / (box[3] - box[1])
    lungs = ((x > 0) & (x < 0.4) | (x > 0.6) & (x < 1)) & (y > 0) & (y < 0.85)
    return torch.where(lungs, 0.3, 0.8)[None]


@pytest.mark.parametrize("size", [(100, 200), (90, 70), (400, 300)])
@pytest.mark.parametrize("changes", [{}, {"box": (0.0, 0.0, 1.0, 1.0)}])
def test_an_image_whose_lungs_are_brighter_than_its_spine_is_flagged(size: tuple[int, int], changes: dict[str, Any]):
    image = draw_chest(*size, changes.get("box", (0.25, 0.125, 0.75, 0.875)))
    network = ReportedDetector(response(**changes), response(**changes))
    upright, inverted = LungInferer(network, RESIZE)([image, 1 - image])
    assert (upright.flags, inverted.flags) == ((), ("inverted",))
    assert inverted.box == upright.box


@pytest.mark.parametrize("changes", [{"edge_std": 0.5}, {"rotation": QUARTER}, {"lungs": -9.0}])
def test_without_a_sure_and_upright_box_nothing_is_said_of_an_inversion(changes: dict[str, Any]):
    image = 1 - draw_chest(100, 200, (0.25, 0.125, 0.75, 0.875))
    (lungs,) = LungInferer(ReportedDetector(response(**changes)), RESIZE)([image])
    assert "inverted" not in lungs.flags


@pytest.mark.parametrize(
    "changes",
    [
        {"box": (0.1, float("nan"), 0.9, 0.9)},
        {"edge_std": float("nan")},
        {"lungs": float("nan")},
        {"lungs": float("inf")},
    ],
)
def test_numbers_that_are_not_finite_end_the_run_and_name_the_weights(changes: dict[str, Any]):
    network = ReportedDetector(response(**changes))
    network.weights_file = "lungs.pt"
    with pytest.raises(
        NonFinitePrediction, match=r"expected finite predictions, found NaN or infinity .* by lungs\.pt;"
    ):
        LungInferer(network, RESIZE)([draw_gradient(40, 60)])


def draw_noise(kind: str, height: int = 120, width: int = 90) -> torch.Tensor:
    """White noise of several distributions, values in [0, 1]."""
    random = torch.rand(1, height, width, generator=torch.Generator().manual_seed(0))
    if kind == "gaussian":
        return (0.5 + 0.15 * torch.special.ndtri(random)).clamp(0, 1)
    return {"uniform": random, "salt and pepper": (random > 0.5).float(), "skewed": random**8}[kind]


@pytest.mark.parametrize("kind", ["uniform", "gaussian", "salt and pepper", "skewed"])
def test_noise_without_lungs_is_flagged_and_out_of_scope(kind: str):
    (lungs,) = LungInferer(ReportedDetector(response(lungs=-9.0)), RESIZE)([draw_noise(kind)])
    assert lungs.flags == ("no_lungs", "noise")
    assert "noise" in explain_out_of_scope(lungs.flags)


def test_noise_in_which_lungs_are_detected_is_left_to_the_detector():
    (lungs,) = LungInferer(ReportedDetector(response()), RESIZE)([draw_noise("uniform")])
    assert lungs.flags == () and not explain_out_of_scope(lungs.flags)


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
def test_a_smooth_image_with_noise_on_it_is_no_noise(noise: float):
    image = (draw_gradient(120, 90) + noise * (draw_noise("uniform") - 0.5)).clamp(0, 1)
    (lungs,) = LungInferer(ReportedDetector(response(lungs=-9.0)), RESIZE)([image])
    assert lungs.flags == ("no_lungs",) and not explain_out_of_scope(lungs.flags)


def test_neighbours_correlate_along_rows_or_columns():
    rows = torch.rand(1, 64, 1, generator=torch.Generator().manual_seed(0)).expand(1, 64, 64)
    assert correlate_neighbours(rows) == pytest.approx(1, abs=1e-9)
    assert correlate_neighbours(rows.transpose(1, 2)) == pytest.approx(1, abs=1e-9)
    assert correlate_neighbours(torch.zeros(1, 9, 9)) == 1
    image = draw_noise("uniform") + draw_gradient(120, 90)
    pairs = [(image[0, ::4, :-1], image[0, ::4, 1:]), (image[0, :-1, ::4], image[0, 1:, ::4])]
    expected = max(np.corrcoef(first.ravel(), second.ravel())[0, 1] for first, second in pairs)
    assert correlate_neighbours(image) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "changes", "flags"),
    [
        ({"min_score": 0.9}, {"lungs": 1.0}, ("no_lungs",)),
        ({"min_score": 0.1}, {"lungs": -1.0}, ()),
        ({"max_edge_std": 0.5}, {"edge_std": 0.4}, ()),
        ({"min_side": 0.6}, {}, ("unsure_lungs",)),
        ({"min_side": 0.1}, {"box": (0.4, 0.4, 0.52, 0.6)}, ()),
        ({"max_ratio": 1.4}, {}, ("unsure_lungs",)),
        ({"max_ratio": 9.0}, {"box": (0.4, 0.0, 0.6, 1.0)}, ()),
        ({"min_rotation": 0.9}, {"rotation": (0.0, 1.0, 0.0, 0.0)}, ()),
        ({"min_rotation": 0.1}, {"rotation": (2.0, 0.0, 0.0, 0.0)}, ("rotated",)),
    ],
)
def test_every_bound_is_an_option(options: dict[str, Any], changes: dict[str, Any], flags: tuple[str, ...]):
    assert find_one(options=BOUNDS | options, **changes).flags == flags


IMAGES = {  # by the box that is bright on each
    (12, 4, 36, 28): draw_image(32, 64, (12, 4, 36, 28)),
    (8, 60, 40, 120): draw_image(128, 64, (8, 60, 40, 120), bright=0.75),
    (2, 16, 26, 31): draw_image(32, 32, (2, 16, 26, 31)),
    (30, 30, 90, 150): draw_image(160, 96, (30, 30, 90, 150)),
    None: draw_image(48, 80, None),
}


def test_images_of_different_sizes_are_looked_at_together_and_each_gets_its_own_box():
    for (box, image), lungs in zip(
        IMAGES.items(), LungInferer(BrightDetector(), RESIZE)(list(IMAGES.values())), strict=True
    ):
        if box is None:
            assert (lungs.box, lungs.flags) == (None, ("no_lungs",))
        else:  # to half a pixel of what the network sees
            atol = max(image.shape) / SIZE / 2 + 0.001
            torch.testing.assert_close(torch.tensor(lungs.box), torch.tensor(box).float(), atol=atol, rtol=0)


@pytest.mark.parametrize("network", [BrightDetector(), "real"], ids=["annotated", "real"])
def test_an_image_gets_the_same_answer_alone_and_in_a_batch(network: Any):
    if network == "real":
        torch.manual_seed(0)
        network = LungDetector("test_efficientnet", width=8)
    lung_inferer = LungInferer(network, RESIZE, min_score=0.0, max_edge_std=1.0, min_side=0.0, max_ratio=1e9)
    together, reverse = lung_inferer(list(IMAGES.values())), lung_inferer(list(IMAGES.values())[::-1])[::-1]
    for image, lungs, other in zip(IMAGES.values(), together, reverse, strict=True):
        (alone,) = lung_inferer([image])
        for found in (lungs, other):
            assert found.box == pytest.approx(alone.box, abs=0.01)
            assert (found.score, found.edge_std) == pytest.approx((alone.score, alone.edge_std), abs=1e-5)
            assert found.flags == alone.flags


def test_the_network_is_shown_one_batch_of_plain_tensors_at_its_own_size():
    network = ReportedDetector(response(), response())
    images = [MetaTensor(torch.rand(1, 40, 60)), torch.rand(1, 70, 50)]
    LungInferer(network.train(), RESIZE)(images)
    (seen,) = network.seen
    assert seen.shape == (2, 1, SIZE, SIZE)
    assert type(seen) is torch.Tensor, "a MetaTensor's bookkeeping would go through every layer"
    torch.testing.assert_close(seen[0], RESIZE({"image": images[0]})["image"].as_tensor())


def test_the_images_are_not_changed():
    image = IMAGES[(12, 4, 36, 28)].clone()
    LungInferer(BrightDetector(), RESIZE)([image])
    assert torch.equal(image, IMAGES[(12, 4, 36, 28)])


def test_a_box_too_many_or_too_few_is_no_answer():
    with pytest.raises(ValueError, match=re.escape("zip()")):
        LungInferer(ReportedDetector(response(), response()), RESIZE)([IMAGES[None]])
