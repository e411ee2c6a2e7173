"""Runtimes that predict in place of eager PyTorch on a CPU: torch.compile, ONNX Runtime, OpenVINO."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.utils import optional_import
from scripts.errors import InputError
from torch import nn

Outputs = Mapping[str, Any]
Session = Callable[[np.ndarray], Sequence[np.ndarray]]

#: The highest opset that onnxruntime and TensorRT of the last years know alike.
OPSET = 17


def use_runtime(networks: Sequence[nn.Module], runtime: str = "eager", dtype: str | None = None) -> None:
    """Let networks on the CPU predict by another runtime than eager PyTorch; they stay the modules that they are.

    A network is exported at its first image, and anew for images of another size; of a detector its inside is, anchors
    and suppression of boxes stay in Python. In training, and on other devices than the CPU, it goes on eagerly.

    Args:
        networks: with their weights.
        runtime: a key of `RUNTIMES`; "eager" changes nothing.
        dtype: "bfloat16" lets OpenVINO calculate in it, where the processor can; ONNX Runtime takes float32.

    Raises:
        InputError: where the runtime is unknown or not installed.
    """
    if runtime not in RUNTIMES:
        raise InputError(f"a runtime among {', '.join(RUNTIMES)}", str(runtime), "say one of them with --runtime")
    package, start = RUNTIMES[runtime]
    if package and find_spec(package) is None:
        raise InputError(
            f"the package {package} for --runtime {runtime}", "none installed", f"install it: pip install {package}"
        )
    if runtime == "eager":
        return
    for network in networks:
        inside = network.network if isinstance(network, RetinaNetDetector) else network
        faster = torch.compile(inside.forward) if start is None else ExportedForward(inside, start, dtype)
        inside.forward = faster


class ExportedForward:
    """A network's `forward` by a runtime that takes ONNX.

    Args:
        network: (B, C, H, W) -> a dictionary of tensors or of lists of them.
        start: starts a session of the runtime: ONNX as bytes, threads, dtype -> a function from images to outputs.
        dtype: as for `use_runtime`.
    """

    def __init__(self, network: nn.Module, start: Callable[..., Session], dtype: str | None = None) -> None:
        self.network, self.eager, self.start, self.dtype = network, network.forward, start, dtype
        self._sessions: dict[tuple[int, ...], tuple[Session, Outputs]] = {}

    def __call__(self, image: torch.Tensor) -> Outputs:
        if self.network.training or image.device.type != "cpu":
            return self.eager(image)
        shape = tuple(image.shape[1:])
        if shape not in self._sessions:
            self._sessions[shape] = self._export(image[:1])
        session, pattern = self._sessions[shape]
        # a copy: what a runtime hands out may be memory that it uses again
        found = [torch.from_numpy(np.array(each, dtype=np.float32)) for each in session(image.float().numpy())]
        return fill_outputs(pattern, found)

    def _export(self, image: torch.Tensor) -> tuple[Session, Outputs]:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            eager = _Eager(self.network, self.eager)
            pattern = eager(image.float())
            return self.start(export_onnx_bytes(eager, image.float()), torch.get_num_threads(), self.dtype), pattern


class _Eager(nn.Module):
    """A network with the `forward` that it was written with."""

    def __init__(self, network: nn.Module, forward: Callable[[torch.Tensor], Outputs]) -> None:
        super().__init__()
        self.network, self.original = network, forward
        self.eval()

    def forward(self, image: torch.Tensor) -> Outputs:
        return self.original(image)


class OutputsInOrder(nn.Module):
    """A network's dictionary of tensors, or of lists of them, as a tuple: ONNX has names, but no dictionaries."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(flatten_outputs(self.network(image)).values())


def flatten_outputs(outputs: Outputs) -> dict[str, torch.Tensor]:
    """Tensors by name; those of a list as name_0, name_1, ..."""
    flat: dict[str, torch.Tensor] = {}
    for name, value in outputs.items():
        if isinstance(value, torch.Tensor):
            flat[name] = value
        else:
            flat.update({f"{name}_{number}": each for number, each in enumerate(value)})
    return flat


def fill_outputs(pattern: Outputs, tensors: Sequence[torch.Tensor]) -> dict[str, Any]:
    """A dictionary like `pattern` whose tensors are those given, in the order of `flatten_outputs`."""
    left = iter(tensors)
    return {
        name: next(left) if isinstance(value, torch.Tensor) else [next(left) for _ in value]
        for name, value in pattern.items()
    }


def export_onnx_bytes(network: nn.Module, image: torch.Tensor) -> bytes:
    """A network as ONNX, for batches of any number of images like `image` (1, C, H, W).

    By the exporter that traces: the newer one would need onnxscript.
    """
    names = list(flatten_outputs(network(image)))
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the size check becomes a constant, which is right: sizes are fixed
        torch.onnx.export(
            OutputsInOrder(network).eval(),
            (image,),
            file,  # type: ignore[arg-type]  # its hint knows paths only
            input_names=["image"],
            output_names=names,
            dynamic_axes={name: {0: "batch"} for name in ("image", *names)},
            opset_version=OPSET,
            dynamo=False,
        )
    return file.getvalue()


def start_onnx(model: bytes, num_threads: int, dtype: str | None = None) -> Session:
    """A session of ONNX Runtime on the CPU."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else its import leaves an identifier at home, and calls there
    runtime, _ = optional_import("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # images are decoded on the same cores
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"image": image})


def start_openvino(model: bytes, num_threads: int, dtype: str | None = None) -> Session:
    """A compiled model of OpenVINO on the CPU."""
    core = _start_openvino_core()
    hints = {
        "INFERENCE_PRECISION_HINT": "bf16" if dtype == "bfloat16" else "f32",
        "INFERENCE_NUM_THREADS": num_threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = core.compile_model(core.read_model(io.BytesIO(model)), "CPU", hints)
    return lambda image: list(compiled(image).values())


@cache
def _start_openvino_core() -> Any:
    """OpenVINO's core, one for the process's life.

    Its CPU plugin gives the thread that starts it a stack for signals, and unmaps it when the last core goes: where
    another thread frees that core (the garbage collector may), the next handled signal would end the process.
    """
    openvino, _ = optional_import("openvino")
    return openvino.Core()


#: Runtimes: the package that each needs, and what starts a session of it.
RUNTIMES: dict[str, tuple[str | None, Callable[..., Session] | None]] = {
    "eager": (None, None),
    "compile": (None, None),
    "onnx": ("onnxruntime", start_onnx),
    "openvino": ("openvino", start_openvino),
}
