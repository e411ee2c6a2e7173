"""The study classifier: shapes, sizes, scripting, weights from elsewhere, and what it says when they are not there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from scripts.errors import InputError
from scripts.networks import ARTICLE_MASK_WIDTHS, SLIM_MASK_WIDTHS, MaskDecoder, StudyClassifier

TINY = "test_efficientnet"  # timm's own test model: stride 32, a third of a million parameters
SHIPPED = "tf_efficientnetv2_b0"
FILMS = torch.rand(2, 1, 64, 96, generator=torch.Generator().manual_seed(0))


def build_network(encoder: str = TINY, **arguments: Any) -> StudyClassifier:
    torch.manual_seed(0)
    return StudyClassifier(encoder, **arguments).eval()


@pytest.fixture(scope="module")
def network() -> StudyClassifier:
    return build_network()


@torch.no_grad()
def test_a_film_gets_four_logits_and_a_mask_at_its_own_resolution(network: StudyClassifier):
    logits = network(FILMS)
    assert {name: tuple(value.shape) for name, value in logits.items()} == {"study": (2, 4), "mask": (2, 1, 64, 96)}
    assert all(torch.isfinite(value).all() for value in logits.values())


@pytest.mark.parametrize("widths", [None, (), []])
@torch.no_grad()
def test_without_widths_there_is_no_decoder(widths: Any):
    network = build_network(mask_widths=widths)
    assert set(network(FILMS)) == {"study"}
    assert not any(name.startswith("mask_decoder") for name in network.state_dict())


@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
def test_a_film_has_one_channel_and_others_are_possible(channels: int):
    network = build_network(in_channels=channels)
    first = next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d))
    assert first.in_channels == channels
    assert network(torch.zeros(1, channels, 32, 32))["study"].shape == (1, 4)


def test_one_channel_is_the_default(network: StudyClassifier):
    assert next(network.parameters()).shape[1] == 1


@torch.no_grad()
def test_the_number_of_classes_is_an_argument():
    assert build_network(num_classes=2)(FILMS)["study"].shape == (2, 2)


@pytest.mark.parametrize(
    ("height", "width", "nearest"),
    [(65, 64, "64 x 64"), (64, 81, "64 x 96"), (1, 64, "32 x 64"), (448, 450, "448 x 448"), (15, 15, "32 x 32")],
)
def test_a_size_that_does_not_fit_is_refused_with_the_nearest_valid_one(
    network: StudyClassifier, height: int, width: int, nearest: str
):
    with pytest.raises(ValueError, match=f"got {height} x {width}; the nearest valid size is {nearest}"):
        network(torch.zeros(1, 1, height, width))


def count_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_articles_decoder_has_14_and_a_half_million_parameters():
    decoder = MaskDecoder(1280, ARTICLE_MASK_WIDTHS)
    assert round(count_parameters(decoder) / 1e6, 1) == 14.5


def test_the_slim_decoder_has_less_than_a_million_parameters():
    assert count_parameters(MaskDecoder(1280, SLIM_MASK_WIDTHS)) < 1e6


@torch.no_grad()
def test_a_decoder_doubles_its_map_with_every_width():
    assert MaskDecoder(8, (4, 4, 2))(torch.zeros(1, 8, 3, 5)).shape == (1, 1, 24, 40)


@pytest.mark.parametrize("encoder", [TINY, pytest.param(SHIPPED, marks=pytest.mark.slow)])
@pytest.mark.parametrize("widths", [SLIM_MASK_WIDTHS, None])
@torch.no_grad()
def test_the_scripted_network_equals_the_eager_one(encoder: str, widths: Any, tmp_path: Path):
    network = build_network(encoder, mask_widths=widths)
    torch.jit.script(network).save(tmp_path / "network.ts")
    scripted = torch.jit.load(tmp_path / "network.ts")(FILMS)
    eager = network(FILMS)
    assert scripted.keys() == eager.keys()
    for name, value in eager.items():
        torch.testing.assert_close(scripted[name], value, rtol=1e-4, atol=1e-5)


def test_the_scripted_network_refuses_a_size_as_the_eager_one_does(network: StudyClassifier):
    with pytest.raises(torch.jit.Error, match="the nearest valid size is 64 x 64"):
        torch.jit.script(network)(torch.zeros(1, 1, 65, 64))


@torch.no_grad()
def test_a_film_is_judged_alike_alone_and_in_a_batch(network: StudyClassifier):
    together = network(FILMS)
    for name, value in network(FILMS[1:]).items():
        torch.testing.assert_close(value, together[name][1:], rtol=1e-5, atol=1e-6)


def test_every_parameter_learns_from_study_and_mask():
    network = build_network().train()
    logits = network(torch.rand(4, 1, 64, 64))
    (logits["study"].square().mean() + logits["mask"].square().mean()).backward()
    idle = [name for name, each in network.named_parameters() if each.grad is None or not each.grad.any()]
    assert idle == []


def test_the_mask_shapes_the_encoder():
    """The reason for the decoder: its gradient reaches the map that the classifier reads."""
    network = build_network().train()
    network(torch.rand(4, 1, 64, 64))["mask"].square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.encoder.parameters())
    assert network.classifier.weight.grad is None


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_encoder_weights_come_from_a_file_and_a_classifiers_surplus_is_ignored(suffix: str, tmp_path: Path):
    source, path = build_network(), tmp_path / f"encoder{suffix}"
    state = {**source.encoder.state_dict(), "classifier.weight": torch.zeros(1000, 256)}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    torch.manual_seed(1)
    target = StudyClassifier(TINY, weights=path)
    for name, value in source.encoder.state_dict().items():
        assert torch.equal(target.encoder.state_dict()[name], value)


def test_missing_encoder_weights_are_refused_by_name(tmp_path: Path):
    with pytest.raises(InputError, match=r"found nothing at .*absent\.pt; correct the path or set weights to null"):
        build_network(weights=tmp_path / "absent.pt")


def test_weights_of_another_encoder_are_refused(tmp_path: Path):
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"tensors missing in other\.pt; choose the matching encoder"):
        build_network(weights=tmp_path / "other.pt")


def test_weights_for_colour_pictures_are_refused(tmp_path: Path):
    torch.save(build_network(in_channels=3).encoder.state_dict(), tmp_path / "colour.pt")
    with pytest.raises(InputError, match=r"in colour\.pt; choose the matching encoder and number of channels"):
        build_network(weights=tmp_path / "colour.pt")


@pytest.mark.parametrize("name", ["damaged.pt", "damaged.safetensors"])
def test_damaged_encoder_weights_are_refused(name: str, tmp_path: Path):
    (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(InputError, match=re.escape(name)):
        build_network(weights=tmp_path / name)


@pytest.mark.parametrize("weights", [None, "hub"])
def test_an_unknown_encoder_is_refused_by_name(weights: str | None):
    with pytest.raises(InputError, match="expected the name of a timm model, found 'efficientnet_v9'"):
        StudyClassifier("efficientnet_v9", weights=weights)


def test_the_hub_is_told_in_one_clear_line_when_it_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=f"expected the weights of {SHIPPED} from timm's hub, found no way") as caught:
        StudyClassifier(SHIPPED, weights="hub")
    assert len(str(caught.value).splitlines()) == 1
    assert "go online, name a local file, or set the weights to null" in str(caught.value)


def test_options_reach_the_encoder():
    network = StudyClassifier(SHIPPED, encoder_options={"drop_path_rate": 0.5})
    rates = [module.drop_prob for module in network.modules() if type(module).__name__ == "DropPath"]
    assert rates and max(rates) > 0
