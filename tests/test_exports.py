"""Exports: names of outputs, what is compared, and what is reported where an export is not the network."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from scripts.errors import InputError
from scripts.exports import StudyProbabilities, export_onnx, export_torchscript, read_networks
from scripts.networks import LungDetector, OpacityDetector, StudyClassifier, flatten_outputs
from torch import nn

ROOT = Path(__file__).parents[1]
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


def test_an_export_writes_nothing_at_home(tmp_path: Path):
    """ONNX Runtime's import leaves an identifier there, unless it is told before not to."""
    if find_spec("onnxruntime") is None:
        pytest.skip("needs onnxruntime")
    code = (
        "import sys, torch; from scripts.exports import export_onnx; from scripts.networks import LungDetector;"
        "print(export_onnx(LungDetector('test_efficientnet').eval(), __import__('pathlib').Path(sys.argv[1]),"
        " torch.rand(2, 1, 64, 64)))"
    )
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "network.onnx")]
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": "", "MPLCONFIGDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert done.returncode == 0 and float(done.stdout) <= 1e-4, done.stderr
    assert [path.name for path in home.rglob("*") if path.is_file()] == []


def test_an_export_that_differs_is_rejected(tmp_path: Path):
    with pytest.raises(InputError, match=r"an export within 0\.0001 of the eager network, found .* in network\.ts"):
        export_torchscript(Changed(), tmp_path / "network.ts", IMAGES)


def test_a_config_that_is_not_there_is_named():
    with pytest.raises(InputError, match=r"found no file absent\.json"):
        read_networks("absent.json", {})


def test_a_mistyped_option_exports_nothing():
    with pytest.raises(InputError, match="found --weigths; did you mean --weights"):
        read_networks("bundle/configs/inference.json", {"weigths": "other.pt"})
