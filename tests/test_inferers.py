"""Flips are averaged as probabilities, and a mask is mirrored back before it is."""

from __future__ import annotations

import pytest
import torch
from scripts.inferers import TTA_FLIPS, AutocastInferer, TTAInferer

IMAGES = torch.rand(3, 1, 6, 8, generator=torch.Generator().manual_seed(0))


def look_pointwise(image: torch.Tensor) -> dict[str, torch.Tensor]:
    """A mask that follows its image through every mirror, and classes that depend on left and right, top and bottom."""
    halves = [image[..., :4], image[..., 4:], image[..., :3, :], image[..., 3:, :]]
    return {"study": 5 * torch.stack([half.mean(dim=(1, 2, 3)) for half in halves], dim=1), "mask": 6 * image - 3}


def look_at_the_left(image: torch.Tensor) -> dict[str, torch.Tensor]:
    """A network that marks the left edge, whatever it is shown."""
    mask = torch.full_like(image, -2.0)
    mask[..., 0] = 2.0
    return {"study": torch.zeros(len(image), 4), "mask": mask}


def build(*tta_flips: str) -> TTAInferer:
    return TTAInferer(tta_flips, dtype=None)


@pytest.mark.parametrize("tta_flips", [("identity",), ("horizontal",), ("identity", "vertical"), tuple(TTA_FLIPS)])
def test_the_softmax_of_what_is_returned_is_the_mean_softmax_of_the_flips(tta_flips: tuple[str, ...]):
    seen = [look_pointwise(torch.flip(IMAGES, TTA_FLIPS[view]))["study"].softmax(dim=1) for view in tta_flips]
    found = build(*tta_flips)(IMAGES, look_pointwise)["study"].softmax(dim=1)
    torch.testing.assert_close(found, torch.stack(seen).mean(dim=0))


@pytest.mark.parametrize("tta_flips", [("identity",), ("horizontal",), ("vertical",), ("both",), tuple(TTA_FLIPS)])
def test_a_mask_that_follows_its_image_is_the_same_from_every_flip(tta_flips: tuple[str, ...]):
    found = build(*tta_flips)(IMAGES, look_pointwise)["mask"]
    torch.testing.assert_close(found, look_pointwise(IMAGES)["mask"], rtol=1e-4, atol=1e-4)


def test_the_sigmoid_of_what_is_returned_is_the_mean_sigmoid_of_the_flips_mirrored_back():
    found = build("identity", "horizontal")(IMAGES, look_at_the_left)["mask"].sigmoid()
    plain = look_at_the_left(IMAGES)["mask"].sigmoid()
    torch.testing.assert_close(found, (plain + plain.flip(-1)) / 2)
    assert (found[..., 0] == found[..., -1]).all(), "once for each side"


@pytest.mark.parametrize(("count", "passes"), [(1, [4]), (2, [8]), (3, [6, 6]), (5, [5, 5, 5, 5]), (9, [9, 9, 9, 9])])
def test_flips_of_few_images_go_through_a_network_together(count: int, passes: list[int]):
    shown = []

    def look(image: torch.Tensor) -> dict[str, torch.Tensor]:
        shown.append(len(image))
        return look_pointwise(image)

    images = torch.rand(count, 1, 6, 8)
    together = build(*TTA_FLIPS)(images, look)
    assert shown == passes
    for number in range(count):
        alone = build(*TTA_FLIPS)(images[number : number + 1], look_pointwise)
        for name, each in alone.items():
            torch.testing.assert_close(together[name][number : number + 1], each)


def test_the_order_of_the_flips_does_not_matter():
    found, rotated = (build(*tta_flips)(IMAGES, look_pointwise) for tta_flips in (TTA_FLIPS, reversed(TTA_FLIPS)))
    for name in ("study", "mask"):
        torch.testing.assert_close(rotated[name], found[name])


def test_what_each_flip_says_stands_beside_their_mean():
    found = build(*TTA_FLIPS)(IMAGES, look_pointwise)
    assert found["study_tta"].shape == (len(IMAGES), len(TTA_FLIPS), 4)
    torch.testing.assert_close(found["study_tta"].exp().mean(dim=1), found["study"].exp())
    for place, axes in enumerate(TTA_FLIPS.values()):
        alone = look_pointwise(torch.flip(IMAGES, axes))["study"].softmax(dim=1)
        torch.testing.assert_close(found["study_tta"][:, place].exp(), alone)


def test_each_flip_is_its_own_inverse():
    for axes in TTA_FLIPS.values():
        assert torch.equal(torch.flip(torch.flip(IMAGES, axes), axes), IMAGES)


def test_a_network_without_a_mask_gives_none():
    found = build("identity", "both")(IMAGES, lambda image: {"study": look_pointwise(image)["study"]})
    assert set(found) == {"study", "study_tta"}


def test_certain_flips_stay_finite():
    def be_certain(image: torch.Tensor) -> dict[str, torch.Tensor]:
        study = torch.tensor([[500.0, -500.0, 0.0, 0.0]]).repeat(len(image), 1)
        return {"study": study, "mask": torch.where(image > 0.5, 500.0, -500.0)}

    found = build("identity", "horizontal")(IMAGES, be_certain)
    assert all(torch.isfinite(value).all() for value in found.values())
    assert found["study"].softmax(dim=1)[:, 0].tolist() == [1, 1, 1]
    torch.testing.assert_close(found["mask"].sigmoid(), (IMAGES > 0.5).float(), atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("tta_flips", "found"), [(["diagonal"], "got diagonal"), (["identity", "rotated"], "got rotated"), ([], "got none")]
)
def test_unknown_flips_are_rejected_by_name(tta_flips: list[str], found: str):
    with pytest.raises(ValueError, match=f"expected flips among identity, horizontal, vertical, both, {found}"):
        TTAInferer(tta_flips)


@pytest.mark.parametrize(
    ("dtype", "inside"), [(None, torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_the_network_runs_in_the_named_precision_and_logits_come_back_in_full(dtype: str | None, inside: torch.dtype):
    seen = []

    def look(image: torch.Tensor) -> dict[str, torch.Tensor]:
        study = torch.nn.functional.linear(image.flatten(1), torch.ones(4, 48))
        seen.append(study.dtype)
        return {"study": study}

    assert AutocastInferer(dtype)(IMAGES, look)["study"].dtype == torch.float32
    assert TTAInferer(dtype=dtype)(IMAGES, look)["study"].dtype == torch.float32
    assert set(seen) == {inside}


def test_a_single_pass_changes_nothing_in_full_precision():
    found = AutocastInferer(None)(IMAGES, look_pointwise)
    assert all(torch.equal(found[name], value) for name, value in look_pointwise(IMAGES).items())


def test_further_arguments_reach_the_network():
    def look(image: torch.Tensor, scale: float, *, shift: float) -> dict[str, torch.Tensor]:
        return {"study": scale * look_pointwise(image)["study"] + shift}

    expected = look_pointwise(IMAGES)["study"] * 2 + 1
    torch.testing.assert_close(AutocastInferer(None)(IMAGES, look, 2.0, shift=1.0)["study"], expected)
