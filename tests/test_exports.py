"""Exports: names of outputs, what is compared, and what is reported where an export is not the network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scripts.errors import InputError
from scripts.exports import StudyProbabilities, export_onnx, export_torchscript, read_networks
from scripts.networks import LungDetector, OpacityDetector, StudyClassifier, flatten_outputs
from torch import nn

TINY = "test_efficientnet"
IMAGES = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0))


class Changed(nn.Module):
    """A network that says something else once it is scripted."""

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        shift = 1.0 if torch.jit.is_scripting() else 0.0
        return {"study": image.mean(dim=(2, 3)) + shift}


def build_networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "study": StudyClassifier(TINY, mask_widths=[8] * 5).eval(),
        "lung": LungDetector(TINY).eval(),
        "opacity": OpacityDetector(TINY).network.eval(),
    }


def test_lists_of_outputs_are_numbered():
    one, two = torch.zeros(1), torch.ones(1)
    assert list(flatten_outputs({"maps": [one, two], "study": one})) == ["maps_0", "maps_1", "study"]


def test_study_probabilities_are_one_tensor_that_sums_to_1():
    found = StudyProbabilities(build_networks()["study"])(IMAGES)
    assert found.shape == (3, 4)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(3))


@pytest.mark.parametrize("name", ["study", "lung", "opacity"])
def test_exports_equal_the_network_for_another_number_of_images_than_they_were_made_with(name: str, tmp_path: Path):
    pytest.importorskip("onnxruntime")
    network = build_networks()[name]
    assert export_torchscript(network, tmp_path / "network.ts", IMAGES) <= 1e-4
    difference = export_onnx(network, tmp_path / "network.onnx", IMAGES)
    assert difference is not None and difference <= 1e-4
    assert {path.name for path in tmp_path.iterdir()} == {"network.ts", "network.onnx"}


def test_an_export_that_differs_is_rejected(tmp_path: Path):
    with pytest.raises(InputError, match=r"an export within 0\.0001 of the eager network, found .* in network\.ts"):
        export_torchscript(Changed(), tmp_path / "network.ts", IMAGES)


def test_a_config_that_is_not_there_is_named():
    with pytest.raises(InputError, match=r"found no file absent\.json"):
        read_networks("absent.json", {})
