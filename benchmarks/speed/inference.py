"""All three networks on one image that is read already: lungs, classes and mask, boxes, each with its flips.

A synthetic image of 1,024 px and a process that is warm; the shipped inference.json, changed in `runtime` and
`precision` alone. Against eager PyTorch in 32-bit floats, a flip after the other, as test-time augmentation is
usually written; here the flips of few images go through a network together.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from monai.bundle import ConfigParser
from scripts.inferers import tta
from scripts.labels import STUDY_CLASSES
from scripts.synthetic import draw_chest

from benchmarks.speed.comparison import Comparison, time_in_turn

SIZE, BATCH, IMAGES, REPEATS = 1024, 16, 8, 9
#: Ways: runtime, precision, largest difference of a probability that is accepted.
WAYS = (
    ("eager", "float32", 1e-3),
    ("eager", "bfloat16", 1e-2),
    ("onnx", "float32", 1e-3),
    ("openvino", "float32", 1e-3),
    ("openvino", "bfloat16", 1e-2),
)


def measure(folder: Path) -> list[Comparison]:
    """Compare each runtime with eager PyTorch, one image at a time and 16 at once."""
    images = [_make_image(number) for number in range(IMAGES)]
    with torch.no_grad():
        eager = flip_in_turn(build_inference("eager", "float32"))
        ways = [build_inference(runtime, precision) for runtime, precision, _ in WAYS]
        notes = [
            describe_difference(eager, way, images, allowed) for way, (*_, allowed) in zip(ways, WAYS, strict=True)
        ]
        rows = []
        for number, goal in ((1, ">= 2, under 0.15 s"), (BATCH, "")):
            calls = [partial(way, (images * BATCH)[:number]) for way in (eager, *ways)]
            theirs, *ours = time_in_turn(calls, REPEATS, 2)
            for (runtime, precision, _), seconds, note in zip(WAYS, ours, notes, strict=True):
                what = f"{number} image{'s' * (number > 1)}, --runtime {runtime}, {precision}"
                rows.append(Comparison(what, "eager, float32, flips in turn", seconds, theirs, goal, note=note))
    return rows


def build_inference(runtime: str, precision: str) -> Callable[[list[torch.Tensor]], list[dict[str, Any]]]:
    """The shipped inference, from images `(1, H, W)` to what is found on each."""
    parser = ConfigParser()
    parser.read_config("bundle/configs/inference.json")
    parser.read_meta("bundle/configs/metadata.json")
    parser.update({"device": "$torch.device('cpu')", "runtime": runtime, "precision": precision})
    parser.get_parsed_content("use_runtime")
    inferer, network = parser.get_parsed_content("inferer"), parser.get_parsed_content("network").eval()
    return lambda images: inferer(images, network)


def flip_in_turn(way: Callable[..., list[dict[str, Any]]]) -> Callable[..., list[dict[str, Any]]]:
    """The same inference with a pass of the network for each flip."""

    def infer(images: list[torch.Tensor]) -> list[dict[str, Any]]:
        with mock.patch.object(tta, "MAX_FLIPPED", 1):
            return way(images)

    return infer


def describe_difference(
    eager: Callable[..., list[dict[str, Any]]],
    other: Callable[..., list[dict[str, Any]]],
    images: list[torch.Tensor],
    allowed: float,
) -> str:
    """The largest difference of a study's probability among the images, which must be allowed."""
    pairs = zip(eager(images), other(images), strict=True)
    largest = max(float((a["study"].exp() - b["study"].exp()).abs().max()) for a, b in pairs)
    verdict = "" if largest <= allowed else f", more than the {allowed:g} allowed"
    return f"probabilities differ by {largest:.1g} at most{verdict}"


def _make_image(number: int) -> torch.Tensor:
    chest = draw_chest(SIZE, SIZE, STUDY_CLASSES[number % len(STUDY_CLASSES)], (number, number, number))
    return torch.as_tensor(chest.pixels, dtype=torch.float32)[None]
