"""Benchmark of the study classes on images that are changed as archives change them: `python -m benchmarks.robustness`.

The same images go through the whole pipeline as they are and in each change. No label is needed, so images without
labels serve, which no training saw. For each change: the mean change of a class probability, and the fraction of images
whose most probable class is another one. The changes are written with scikit-image and SciPy, apart from the
augmentation that trains against them.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser
from numpy.typing import NDArray
from PIL import Image as PillowImage
from scipy import ndimage
from scripts.radiographs import read_radiograph
from scripts.tabulation import align_columns

from benchmarks.commandline import run_command

Pixels = NDArray[np.float32]

BATCH = 16


def sharpen(image: Pixels) -> Pixels:
    """Unsharp mask: 1.5 times the difference to a Gaussian blur of 2 pixels."""
    return image + 1.5 * (image - ndimage.gaussian_filter(image, 2.0))


def narrow_window(fraction: float, position: float = 0.5) -> Callable[[Pixels], Pixels]:
    """A window of a fraction of all grey values, at the dark (0) or the bright (1) end or between."""

    def change(image: Pixels) -> Pixels:
        return (image - (1 - fraction) * position) / fraction

    return change


def apply_sigmoid(image: Pixels) -> Pixels:
    """Sigmoid VOI function (PS3.3 C.11.2.1.3.1) of centre 0.5 and width 0.5, stretched to [0, 1]."""
    curve = 1 / (1 + np.exp(-4 * (image - 0.5) / 0.5))
    low, high = 1 / (1 + np.exp(4)), 1 / (1 + np.exp(-4))
    return (curve - low) / (high - low)


def equalise(image: Pixels) -> Pixels:
    """Histogram equalisation in 256 levels."""
    histogram, edges = np.histogram(image, bins=256, range=(0, 1))
    return np.interp(image, edges[1:], np.cumsum(histogram) / image.size)


def power(exponent: float) -> Callable[[Pixels], Pixels]:
    """Gamma correction."""
    return lambda image: image**exponent


def add_noise(image: Pixels) -> Pixels:
    """Gaussian noise of 8 of 255 levels, the same for every image."""
    return image + np.random.default_rng(0).normal(0, 8 / 255, image.shape)


def blur(image: Pixels) -> Pixels:
    """Gaussian blur of one pixel."""
    return ndimage.gaussian_filter(image, 1.0)


def compress(image: Pixels) -> Pixels:
    """JPEG of quality 20."""
    stream = io.BytesIO()
    PillowImage.fromarray((image * 255).round().astype(np.uint8)).save(stream, "JPEG", quality=20)
    return np.asarray(PillowImage.open(stream), dtype=np.float32) / 255


def tilt(degrees: float) -> Callable[[Pixels], Pixels]:
    """A rotation, black outside."""
    return lambda image: ndimage.rotate(image, degrees, reshape=False, order=1)


def write_over(image: Pixels) -> Pixels:
    """A white bar across a lung, as burned-in text."""
    height, width = image.shape
    out = image.copy()
    out[int(0.42 * height) : int(0.48 * height), int(0.15 * width) : int(0.45 * width)] = 1
    return out


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "unsharp mask": sharpen,
    "window of 80 %": narrow_window(0.8),
    "window of 60 %": narrow_window(0.6),
    "window of 60 %, dark end": narrow_window(0.6, 0.0),
    "window of 60 %, bright end": narrow_window(0.6, 1.0),
    "sigmoid VOI": apply_sigmoid,
    "histogram equalisation": equalise,
    "gamma 0.6": power(0.6),
    "gamma 1.6": power(1.6),
    "noise 8 of 255": add_noise,
    "blur": blur,
    "JPEG quality 20": compress,
    "tilted by 10 degrees": tilt(10.0),
    "bar across a lung": write_over,
    "inverted": lambda image: 1 - image,
}


def measure(tree: str, images: int = 200, config: str = "bundle/configs/inference.json", **options: object) -> str:
    """Compare the classes of changed images with those of the images as they are.

    Args:
        tree: folder of DICOM images, sorted by path; every n-th is taken.
        images: how many.
        config: with network, inferer and lung detector, as inference.json has them; further options change its names.
    """
    parser = ConfigParser()
    parser.read_config(config)
    parser.read_meta(Path(config).with_name("metadata.json"))
    for name, value in options.items():
        parser[name] = value
    network, inferer = parser.get_parsed_content("network").eval(), parser.get_parsed_content("inferer")
    paths = sorted(Path(tree).rglob("*.dcm"))
    chosen = paths[:: max(1, len(paths) // images)][:images]
    originals = [read_radiograph(path).pixels[0] for path in chosen]
    start = time.monotonic()
    before = _predict(originals, network, inferer)
    rows = []
    for name, change in CHANGES.items():
        changed = [change(image).clip(0, 1).astype(np.float32) for image in originals]
        rows.append((name, *_compare(before, _predict(changed, network, inferer))))
    table = align_columns(("change", "mean change", "other class"), rows)
    return f"{len(chosen)} images, {time.monotonic() - start:.0f} s\n{table}"


@torch.no_grad()
def _predict(pixels: Sequence[Pixels], network: torch.nn.Module, inferer: Callable[..., Sequence[Mapping]]) -> NDArray:
    tensors = [torch.from_numpy(np.ascontiguousarray(image))[None] for image in pixels]
    found = [each for i in range(0, len(tensors), BATCH) for each in inferer(tensors[i : i + BATCH], network)]
    return torch.stack([each["study"].softmax(dim=0) for each in found]).numpy()


def _compare(before: NDArray, after: NDArray) -> tuple[str, str]:
    other = (before.argmax(axis=1) != after.argmax(axis=1)).mean()
    return f"{np.abs(after - before).mean():.3f}", f"{other:.3f}"


if __name__ == "__main__":
    run_command(measure, "benchmarks.robustness")
