"""Two processes against one, with the same images a step in all: what data parallel training by gloo gives on a CPU.

EfficientNetV2-B0 with its decoder, a training step on 16 images of noise of 160 px. All ways run in turn in the same
two processes of torchrun: alone the first takes all images while the other sleeps; together each takes half of them,
and the gradients are averaged, overlapped with the backward pass.

One process of two threads has both cores already, so the first row can exceed 1 only by what two threads lose between
operations; on two cores 1.7 is out of reach by design. The second row gives the same two processes against one of one
thread, with 2 as the limit; the third leaves the exchange of gradients out, and so says what the exchange costs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from scripts.losses import AuxiliaryMaskLoss
from scripts.networks import StudyClassifier
from scripts.processes import distribute_network, get_process_index
from torch import distributed, nn
from torch.nn import functional

from benchmarks.speed.comparison import Comparison, time_in_turn

ROOT = Path(__file__).parents[2]
ENCODER, IMAGE_SIZE, NUM_IMAGES, NUM_STEPS = "tf_efficientnetv2_b0", 160, 16, 3
PROCESSES = 2
TWO_PROCESSES, ONE_OF_TWO, ONE_OF_ONE, NO_EXCHANGE = "two processes", "one of two threads", "one of one", "no exchange"


def measure(folder: Path) -> list[Comparison]:
    """Rows of two gloo processes of one thread each, under three minutes on two cores."""
    return compare(start_processes(folder / "seconds.json", ENCODER, IMAGE_SIZE, NUM_IMAGES, NUM_STEPS, repeats=5))


def compare(seconds: dict[str, list[float]], images: int = NUM_IMAGES * NUM_STEPS) -> list[Comparison]:
    """Rows of the page by the seconds of each way."""
    what, common = "training step, 16 images of 160 px", {"unit": "images", "amount": images}
    two, alone = seconds[TWO_PROCESSES], seconds[ONE_OF_ONE]
    return [
        Comparison(
            f"{what}: two processes of one thread",
            "one process of two threads",
            two,
            seconds[ONE_OF_TWO],
            goal=">= 1.7, or the measured reason",
            note="both have two cores",
            **common,
        ),
        Comparison(f"{what}: two processes of one thread", "one process of one thread", two, alone, **common),
        Comparison(
            f"{what}: two processes without exchange of gradients",
            "one process of one thread",
            seconds[NO_EXCHANGE],
            alone,
            **common,
        ),
    ]


def start_processes(results: Path, *sizes: object, repeats: int) -> dict[str, list[float]]:
    """Run this module by torchrun on two processes; seconds of each way."""
    results.unlink(missing_ok=True)
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={PROCESSES}"]
    command = [*torchrun, "-m", "benchmarks.speed.scaling", str(results), *map(str, sizes), str(repeats)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(PROCESSES), "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=True)
    return json.loads(results.read_text())


def run_process(results: str, encoder: str, image_size: str, num_images: str, num_steps: str, repeats: str) -> None:
    """Run one of the two processes: all ways in turn, and the first process writes its seconds."""
    distributed.init_process_group("gloo")
    first, own = get_process_index() == 0, slice(get_process_index(), None, PROCESSES)
    torch.manual_seed(0)
    images, network = torch.rand(int(num_images), 1, int(image_size), int(image_size)), StudyClassifier(encoder)
    alone = build_step(network, images, int(num_steps), compute_loss)
    parallel = distribute_network(StudyClassifier(encoder), torch.device("cpu"))
    shared_loss = AuxiliaryMaskLoss(nn.CrossEntropyLoss(label_smoothing=0.1), [nn.BCEWithLogitsLoss()])
    together = build_step(parallel, images[own], int(num_steps), shared_loss)

    def run_alone(threads: int) -> None:
        distributed.barrier()
        if first:
            torch.set_num_threads(threads)
            alone()

    def run_together() -> None:
        distributed.barrier()
        torch.set_num_threads(1)
        together()

    def run_apart() -> None:
        with parallel.no_sync():
            run_together()

    ways = (run_together, lambda: run_alone(PROCESSES), lambda: run_alone(1), run_apart)
    seconds = time_in_turn(ways, int(repeats))
    distributed.barrier()
    if first:
        names = (TWO_PROCESSES, ONE_OF_TWO, ONE_OF_ONE, NO_EXCHANGE)
        Path(results).write_text(json.dumps(dict(zip(names, seconds, strict=True))) + "\n")
    distributed.destroy_process_group()


def compute_loss(logits: dict[str, torch.Tensor], targets: dict[str, torch.Tensor]) -> torch.Tensor:
    """The bundle's loss without its exchange of counts, which a process alone would wait for."""
    classification = functional.cross_entropy(logits["study"], targets["label"], label_smoothing=0.1)
    return classification + 10.0 * functional.binary_cross_entropy_with_logits(logits["mask"], targets["mask"])


def build_step(
    network: nn.Module, images: torch.Tensor, num_steps: int, loss: Callable[..., torch.Tensor]
) -> Callable[[], None]:
    """Some training steps of a network on images, as the bundle trains."""
    network = network.to(memory_format=torch.channels_last).train()
    images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    count = len(images)
    targets = {
        "label": torch.arange(count) % 4,
        "mask": (images > 0.5).float(),
        "boxes_known": torch.ones(count).bool(),
    }

    def step() -> None:
        for _ in range(num_steps):
            optimizer.zero_grad()
            loss(network(images), targets).backward()
            optimizer.step()

    return step


if __name__ == "__main__":
    run_process(*sys.argv[1:])
