"""Runtimes: the same predictions as eager PyTorch, through the modules that the pipeline holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts.errors import InputError
from scripts.networks import RUNTIMES, LungDetector, OpacityDetector, StudyClassifier, StudyEnsemble, use_runtime
from scripts.networks.runtimes import fill_outputs, flatten_outputs
from torch import nn

ROOT = Path(__file__).parents[1]
TINY = "test_efficientnet"
IMAGES = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0))
EXPORTED = {"onnx": "onnxruntime", "openvino": "openvino"}


def build_networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    classifiers = [StudyClassifier(TINY, mask_widths=[8] * 5) for _ in range(2)]
    networks = {
        "study": StudyClassifier(TINY, mask_widths=[8] * 5),
        "ensemble": StudyEnsemble(classifiers),
        "lung": LungDetector(TINY),
        "opacity": OpacityDetector(TINY, min_score=0.0),
    }
    return {name: network.eval() for name, network in networks.items()}


@torch.no_grad()
def predict(network: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    found: Any = network(images)
    outputs = found if isinstance(found, list) else [found]
    return [tensor.float() for output in outputs for tensor in flatten_outputs(output).values()]


@pytest.mark.parametrize("runtime", EXPORTED)
@pytest.mark.parametrize("name", ["study", "ensemble", "lung", "opacity"])
def test_a_runtime_predicts_what_eager_pytorch_predicts_for_every_number_and_size_of_images(name: str, runtime: str):
    pytest.importorskip(EXPORTED[runtime])
    network, twin = build_networks()[name], build_networks()[name]
    use_runtime([network], runtime)
    for images in (IMAGES, IMAGES[:1], nn.functional.interpolate(IMAGES, 96)):
        for found, expected in zip(predict(network, images), predict(twin, images), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("runtime", EXPORTED)
def test_what_was_predicted_stays_when_the_next_batch_comes(runtime: str):
    pytest.importorskip(EXPORTED[runtime])
    network = build_networks()["study"]
    use_runtime([network], runtime)
    first = predict(network, IMAGES)
    kept = [tensor.clone() for tensor in first]
    predict(network, 1 - IMAGES)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(first, kept, strict=True))


#: A network is predicted by OpenVINO, freed in another thread, and the process gets a signal that it handles.
FREED_BY_ANOTHER_THREAD = """
import gc, os, signal, threading
import torch
from scripts.networks import LungDetector, use_runtime

signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
networks = [LungDetector("test_efficientnet").eval()]
use_runtime(networks, "openvino")
with torch.no_grad():
    networks[0](torch.rand(1, 1, 64, 64))
thread = threading.Thread(target=lambda: (networks.clear(), gc.collect()))
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_a_process_whose_openvino_network_was_freed_by_another_thread_lives_through_a_signal():
    pytest.importorskip("openvino")
    command = [sys.executable, "-X", "faulthandler", "-c", FREED_BY_ANOTHER_THREAD]  # as pytest and servers do
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (run.returncode, run.stdout.strip()) == (0, "handled"), run.stderr


def test_eager_changes_nothing():
    network = build_networks()["study"]
    use_runtime([network], "eager")
    assert "forward" not in vars(network)


def test_a_network_in_training_is_eager_and_learns():
    pytest.importorskip("onnxruntime")
    network = build_networks()["study"]
    use_runtime([network], "onnx")
    network.train()
    network(IMAGES)["study"].sum().backward()
    assert all(each.grad is not None for name, each in network.named_parameters() if name.startswith("encoder"))


def test_an_unknown_runtime_is_an_error_that_names_the_known_ones():
    with pytest.raises(InputError, match="expected a runtime among eager, compile, onnx, openvino, found fast"):
        use_runtime([], "fast")


def test_a_runtime_that_is_not_installed_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(RUNTIMES, "absent", ("no_such_runtime", None))
    with pytest.raises(InputError, match="pip install no_such_runtime"):
        use_runtime([], "absent")


def test_outputs_come_back_in_the_form_that_they_had():
    one, two, three = (torch.full((1,), float(number)) for number in range(3))
    pattern = {"maps": [one, one], "study": one}
    assert fill_outputs(pattern, [one, two, three]) == {"maps": [one, two], "study": three}
