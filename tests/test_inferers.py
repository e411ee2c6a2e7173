"""Views are averaged as probabilities, and a mask is mirrored back before it is."""

from __future__ import annotations

import pytest
import torch

from scripts.inferers import VIEWS, AutocastInferer, ViewsInferer

FILMS = torch.rand(3, 1, 6, 8, generator=torch.Generator().manual_seed(0))


def look_pointwise(image: torch.Tensor) -> dict[str, torch.Tensor]:
    """A mask that follows its film through every mirror, and classes that depend on left and right, top and bottom."""
    halves = [image[..., :4], image[..., 4:], image[..., :3, :], image[..., 3:, :]]
    return {"study": 5 * torch.stack([half.mean(dim=(1, 2, 3)) for half in halves], dim=1), "mask": 6 * image - 3}


def look_at_the_left(image: torch.Tensor) -> dict[str, torch.Tensor]:
    """A network that marks the left edge, whatever it is shown."""
    mask = torch.full_like(image, -2.0)
    mask[..., 0] = 2.0
    return {"study": torch.zeros(len(image), 4), "mask": mask}


def build(*views: str) -> ViewsInferer:
    return ViewsInferer(views, dtype=None)


@pytest.mark.parametrize("views", [("identity",), ("horizontal",), ("identity", "vertical"), tuple(VIEWS)])
def test_the_softmax_of_what_is_returned_is_the_mean_softmax_of_the_views(views: tuple[str, ...]):
    seen = [look_pointwise(torch.flip(FILMS, VIEWS[view]))["study"].softmax(dim=1) for view in views]
    found = build(*views)(FILMS, look_pointwise)["study"].softmax(dim=1)
    torch.testing.assert_close(found, torch.stack(seen).mean(dim=0))


@pytest.mark.parametrize("views", [("identity",), ("horizontal",), ("vertical",), ("both",), tuple(VIEWS)])
def test_a_mask_that_follows_its_film_is_the_same_from_every_view(views: tuple[str, ...]):
    found = build(*views)(FILMS, look_pointwise)["mask"]
    torch.testing.assert_close(found, look_pointwise(FILMS)["mask"], rtol=1e-4, atol=1e-4)


def test_the_sigmoid_of_what_is_returned_is_the_mean_sigmoid_of_the_views_mirrored_back():
    found = build("identity", "horizontal")(FILMS, look_at_the_left)["mask"].sigmoid()
    plain = look_at_the_left(FILMS)["mask"].sigmoid()
    torch.testing.assert_close(found, (plain + plain.flip(-1)) / 2)
    assert (found[..., 0] == found[..., -1]).all(), "once for each side"


def test_the_order_of_the_views_does_not_matter():
    found, turned = (build(*views)(FILMS, look_pointwise) for views in (VIEWS, reversed(VIEWS)))
    for name in ("study", "mask"):
        torch.testing.assert_close(turned[name], found[name])


def test_what_each_view_says_stands_beside_their_mean():
    found = build(*VIEWS)(FILMS, look_pointwise)
    assert found["study_views"].shape == (len(FILMS), len(VIEWS), 4)
    torch.testing.assert_close(found["study_views"].exp().mean(dim=1), found["study"].exp())
    for place, axes in enumerate(VIEWS.values()):
        alone = look_pointwise(torch.flip(FILMS, axes))["study"].softmax(dim=1)
        torch.testing.assert_close(found["study_views"][:, place].exp(), alone)


def test_each_view_is_its_own_inverse():
    for axes in VIEWS.values():
        assert torch.equal(torch.flip(torch.flip(FILMS, axes), axes), FILMS)


def test_a_network_without_a_mask_gives_none():
    found = build("identity", "both")(FILMS, lambda image: {"study": look_pointwise(image)["study"]})
    assert set(found) == {"study", "study_views"}


def test_certain_views_stay_finite():
    def be_certain(image: torch.Tensor) -> dict[str, torch.Tensor]:
        study = torch.tensor([[500.0, -500.0, 0.0, 0.0]]).repeat(len(image), 1)
        return {"study": study, "mask": torch.where(image > 0.5, 500.0, -500.0)}

    found = build("identity", "horizontal")(FILMS, be_certain)
    assert all(torch.isfinite(value).all() for value in found.values())
    assert found["study"].softmax(dim=1)[:, 0].tolist() == [1, 1, 1]
    torch.testing.assert_close(found["mask"].sigmoid(), (FILMS > 0.5).float(), atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("views", "found"), [(["diagonal"], "got diagonal"), (["identity", "rotated"], "got rotated"), ([], "got none")]
)
def test_unknown_views_are_refused_by_name(views: list[str], found: str):
    with pytest.raises(ValueError, match=f"expected views among identity, horizontal, vertical, both, {found}"):
        ViewsInferer(views)


@pytest.mark.parametrize(
    ("dtype", "inside"), [(None, torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_the_network_runs_in_the_named_precision_and_logits_come_back_in_full(dtype: str | None, inside: torch.dtype):
    seen = []

    def look(image: torch.Tensor) -> dict[str, torch.Tensor]:
        study = torch.nn.functional.linear(image.flatten(1), torch.ones(4, 48))
        seen.append(study.dtype)
        return {"study": study}

    assert AutocastInferer(dtype)(FILMS, look)["study"].dtype == torch.float32
    assert ViewsInferer(dtype=dtype)(FILMS, look)["study"].dtype == torch.float32
    assert set(seen) == {inside}


def test_a_single_pass_changes_nothing_in_full_precision():
    found = AutocastInferer(None)(FILMS, look_pointwise)
    assert all(torch.equal(found[name], value) for name, value in look_pointwise(FILMS).items())


def test_further_arguments_reach_the_network():
    def look(image: torch.Tensor, scale: float, *, shift: float) -> dict[str, torch.Tensor]:
        return {"study": scale * look_pointwise(image)["study"] + shift}

    expected = look_pointwise(FILMS)["study"] * 2 + 1
    torch.testing.assert_close(AutocastInferer(None)(FILMS, look, 2.0, shift=1.0)["study"], expected)
