"""One GPU: training from the cache and bulk inference, each beside the loop that one would write without a framework.

Training is the configuration of the 17th-place network, EfficientNetV2-L with its decoder at 448 px, through MONAI's
engine: images as tensors on the GPU, whole batches augmented there, a fused optimizer, losses read every 50 steps. The
other side is a plain loop of the same network, channels-last and bfloat16, over the same cached images with MONAI's
augmentation image by image in the workers of a data loader, which reads its loss each step. Inference is the shipped
pipeline of three networks without its files: decoding in workers and networks compiled, against eager networks and
images decoded in the loop. The rate of matrix products is that of this GPU, bfloat16, 8192 x 8192. Under eight minutes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from monai.bundle import ConfigParser
from scripts.preparation import prepare
from scripts.synthetic import generate_tree
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.comparison import Comparison, time_in_turn

CONFIGS = Path(__file__).parents[2] / "bundle" / "configs"
#: No further way is begun after so many seconds: compilation may take minutes.
SECONDS = 300.0
NEVER = 1_000_000
NO_GPU = "no GPU here: run python -m benchmarks.speed measure --only gpu where one is"


@dataclass(frozen=True)
class Sizes:
    """Sizes of what is measured.

    Args:
        training: options of a training, as a command line would set them.
        studies, pixels, copies: synthetic studies, their height and width, and how often an epoch has each image.
        repeats: runs of each way, an epoch or all images.
        workers: processes that decode or augment.
        batch_size: of inference.
        matrix: height of the matrices whose product gives the rate.
        compiles: whether networks are compiled.
    """

    training: Mapping[str, Any]
    studies: int = 60
    pixels: int = 1024
    copies: int = 8
    repeats: int = 3
    workers: int = min(16, os.cpu_count() or 1)
    batch_size: int = 32
    matrix: int = 8192
    compiles: bool = True


LARGE = {
    "encoder": "tf_efficientnetv2_l",
    "encoder_options": {},
    "mask_widths": [768, 512, 256, 256, 128],
    "image_size": 448,
    "batch_size": 32,
}


def measure(folder: Path) -> list[Comparison]:
    """Both rows on the GPU, or why they are not measured."""
    if not torch.cuda.is_available():
        return describe_rows()
    sizes, device = Sizes(LARGE), torch.device("cuda")
    tree, datalist = make_images(folder, sizes)
    begin = time.monotonic()
    rows = [compare_training(tree, datalist, folder, sizes, device)]
    if time.monotonic() - begin < SECONDS / 2:
        compiled = replace(sizes, training={**LARGE, "compile": True})
        rows.append(compare_training(tree, datalist, folder, compiled, device))
    torch.cuda.empty_cache()
    rows.append(compare_inference(tree, sizes, device, compiles=time.monotonic() - begin < SECONDS))
    return rows


def describe_rows() -> list[Comparison]:
    """The rows without figures."""
    return [
        Comparison("training, EfficientNetV2-L with decoder, 448 px, from the cache", "plain AMP loop, channels-last",
                   goal=">= 1.3; GPU busy >= 95 %", unit="images", note=NO_GPU),
        Comparison("bulk inference, three networks", "eager AMP, decode in the loop",
                   goal=">= 3", unit="images", note=NO_GPU),
    ]  # fmt: skip


def make_images(folder: Path, sizes: Sizes) -> tuple[Path, Path]:
    """Synthetic images and their datalist, once."""
    tree, prepared = folder / "images", folder / "prepared" / "datalist.json"
    if not prepared.is_file():
        generate_tree(tree, num_studies=sizes.studies, num_test_studies=4, size=sizes.pixels, workers=sizes.workers)
        prepare(tree, prepared.parent, num_folds=3, workers=sizes.workers)
    return tree, prepared


def compare_training(tree: Path, datalist: Path, folder: Path, sizes: Sizes, device: torch.device) -> Comparison:
    """An epoch through the engine against an epoch of the plain loop, with what the GPU did meanwhile."""
    own = read_config(("train.json", "stacked.json"), tree, datalist, folder, sizes, device)
    plain = read_config(("train.json",), tree, datalist, folder, sizes, device)
    trainer, step = own.get_parsed_content("train#trainer"), PlainLoop(plain, device)
    count = len(own.get_parsed_content("train#dataset"))

    def train() -> None:
        trainer.state.max_epochs = trainer.state.epoch + 1
        trainer.run()
        synchronise(device)

    ours, theirs = time_in_turn((train, step), sizes.repeats)
    row, other = describe_rows()[0], sizes.training.get("compile", False)
    notes = [describe_work(train, step, median(ours), count, sizes, device), "compiled" if other else ""]
    return replace(row, ours=ours, theirs=theirs, amount=count, note="; ".join(note for note in notes if note))


def read_config(
    files: Sequence[str], tree: Path, datalist: Path, folder: Path, sizes: Sizes, device: torch.device
) -> ConfigParser:
    """A training's configuration that writes and validates nothing, each image several times an epoch."""
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / file) for file in files])
    parser.read_meta(str(CONFIGS / "metadata.json"))
    places = {"dataset_dir": str(tree), "datalist_file": str(datalist), "cache_dir": str(folder / "cache")}
    never = {"writes": False, "val_interval": NEVER, "epochs": 20 * sizes.repeats}
    items = f"$list(@train#prepared) * {sizes.copies}"
    workers = {} if "stacked.json" in files else {"num_workers": sizes.workers}
    parser.update({**places, **never, **workers, "train_items": items, "device": device, **sizes.training})
    parser.get_parsed_content("initialize")
    return parser


class PlainLoop:
    """An epoch of a loop of one's own: mixed precision, channels-last, a data loader with workers, no engine."""

    def __init__(self, parser: ConfigParser, device: torch.device) -> None:
        self.device, self.loader = device, parser.get_parsed_content("train#dataloader")
        network = parser.get_parsed_content("network_def", instantiate=True)
        self.network = network.to(device, memory_format=torch.channels_last).train()
        self.loss, self.prepare = parser.get_parsed_content("loss"), parser.get_parsed_content("prepare_batch")
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-4)
        self.dtype = torch.bfloat16 if device.type == "cuda" else torch.float32

    def __call__(self) -> list[float]:
        return [self.train_batch(batch) for batch in self.loader]

    def train_batch(self, batch: Any) -> float:
        """One step; its loss."""
        image, targets = self.prepare(batch, self.device)
        image = image.contiguous(memory_format=torch.channels_last)
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits = self.network(image)
        loss = self.loss({name: each.float() for name, each in logits.items()}, targets)
        loss.backward()
        self.optimizer.step()
        return loss.item()


def describe_work(
    train: Callable[[], None], loop: PlainLoop, seconds: float, count: int, sizes: Sizes, device: torch.device
) -> str:
    """The rate of a training against that of matrix products, the time that the GPU was busy, and its memory."""
    batch = next(iter(loop.loader))
    with FlopCounterMode(display=False) as counter:
        loop.train_batch(batch)
    rate = counter.get_total_flops() / len(batch["image"]) * count / seconds
    product = measure_products(sizes.matrix, device)
    text = f"{rate / 1e12:.3g} of {product / 1e12:.3g} TFLOP/s of matrix products, {100 * rate / product:.0f} %"
    if device.type != "cuda":
        return text
    torch.cuda.reset_peak_memory_stats()
    busy = measure_busy(train)
    return f"{text}; GPU busy {100 * busy:.0f} %; memory up to {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"


def measure_products(size: int, device: torch.device) -> float:
    """Operations a second of products of square matrices in bfloat16."""
    one, other = (torch.rand(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))

    def multiply() -> None:
        for _ in range(10):
            torch.mm(one, other)
        synchronise(device)

    (seconds,) = time_in_turn((multiply,), repeats=5)
    return 10 * 2 * size**3 / median(seconds)


def measure_busy(run: Callable[[], None]) -> float:
    """Fraction of the time of a run in which some kernel was running."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        begin = time.perf_counter()
        run()
        seconds = time.perf_counter() - begin
    events = profiler.events() or []
    spans = [(each.time_range.start, each.time_range.end) for each in events if each.device_type.name == "CUDA"]
    return join_spans(spans) / 1e6 / seconds


def join_spans(spans: Sequence[tuple[float, float]]) -> float:
    """Length of the union of spans of time."""
    total, end = 0.0, float("-inf")
    for first, last in sorted(spans):
        total += max(0.0, last - max(first, end))
        end = max(end, last)
    return total


def compare_inference(tree: Path, sizes: Sizes, device: torch.device, compiles: bool = True) -> Comparison:
    """All images of a tree through three networks: decoded in workers and compiled, against eager in the loop."""
    own, plain = (read_inference(tree, sizes, device, runtime) for runtime in ("compile", "eager"))
    if compiles and sizes.compiles:
        own.get_parsed_content("use_runtime")
    loader = DataLoader(own.get_parsed_content("dataset"), sizes.batch_size, num_workers=sizes.workers, collate_fn=list)
    images = plain.get_parsed_content("dataset")
    batches = [
        range(start, min(start + sizes.batch_size, len(images))) for start in range(0, len(images), sizes.batch_size)
    ]

    def predict() -> None:
        for batch in loader:
            infer(own, batch, device)

    def predict_in_loop() -> None:
        for batch in batches:
            infer(plain, [images[index] for index in batch], device)

    ours, theirs = time_in_turn((predict, predict_in_loop), sizes.repeats)
    note = f"{len(images)} images of {sizes.pixels} x {sizes.pixels}, {sizes.workers} workers, without files"
    note += "" if compiles and sizes.compiles else ", not compiled"
    return replace(describe_rows()[1], ours=ours, theirs=theirs, amount=len(images), note=note)


def read_inference(tree: Path, sizes: Sizes, device: torch.device, runtime: str) -> ConfigParser:
    """The configuration of inference over the labelled images of a tree."""
    parser = ConfigParser()
    parser.read_config(str(CONFIGS / "inference.json"))
    parser.read_meta(str(CONFIGS / "metadata.json"))
    places = {"bundle_root": str(CONFIGS.parent), "dataset_dir": str(tree / "train"), "device": device}
    parser.update({**places, "runtime": runtime, "batch_size": sizes.batch_size})
    return parser


@torch.no_grad()
def infer(parser: ConfigParser, batch: Sequence[Mapping[str, Any]], device: torch.device) -> None:
    """Predict decoded images of any sizes."""
    inferer, network = parser.get_parsed_content("inferer"), parser.get_parsed_content("network").eval()
    inferer([image["image"] for image in batch], network)
    synchronise(device)


def synchronise(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
