"""Two processes that train together have the gradients, and so the weights, of one that sees all their images."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts.checkpoints import read_weights
from scripts.datalist import training_images
from scripts.labels import UNKNOWN_CLASS
from scripts.losses import AuxiliaryMaskLoss, DetectionLoss
from scripts.networks import OpacityDetector, StudyClassifier
from scripts.processes import compare_counts, distribute_network
from torch import distributed, nn
from torch.multiprocessing import spawn

from tests.configs import CONFIGS
from tests.test_processes import ROOT, TORCHRUN

#: Without batch norm, which on a CPU knows the images of its own process only.
ENCODER = "test_convnext"
SIZE, COUNT = 64, 6


def make_batch() -> tuple[torch.Tensor, dict[str, torch.Tensor], list[dict[str, torch.Tensor]]]:
    """Images whose classes, masks and boxes are not known alike in both halves: the second has no box at all."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(COUNT, 1, SIZE, SIZE, generator=generator)
    unknown = UNKNOWN_CLASS
    known = {
        "label": torch.tensor([0, 3, 1, unknown, 2, unknown]),
        "boxes_known": torch.tensor([1, 0, 1, 0, 1, 0]).bool(),
    }
    targets = known | {"mask": (images > 0.7).float()}
    boxes = [torch.tensor([[8.0, 8, 40, 50], [30, 4, 60, 44]]), torch.zeros(0, 4), torch.tensor([[2.0, 20, 44, 60]])]
    boxes = [box for each in boxes for box in (each, torch.zeros(0, 4))]
    return images, targets, [{"boxes": each, "labels": torch.zeros(len(each), dtype=torch.long)} for each in boxes]


def build(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "classifier":
        return StudyClassifier(ENCODER, mask_widths=None).train()
    detector = OpacityDetector(ENCODER, width=8, samples_per_image=400).train()
    detector.fg_bg_sampler.pool_size = 1  # nothing is left to chance: all positives, and as many hardest negatives
    return detector


class OneMaskLogit(nn.Module):
    """A classifier with a mask without a decoder, whose batch norm would know its own process only."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.scale = network, nn.Parameter(torch.ones(1))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {**self.network(image), "mask": self.scale * image}


def compute_loss(kind: str, network: nn.Module, chosen: slice) -> torch.Tensor:
    images, targets, boxes = make_batch()
    if kind == "detector":
        return DetectionLoss()(network(images[chosen], boxes[chosen]))
    loss = AuxiliaryMaskLoss(nn.CrossEntropyLoss(label_smoothing=0.1), [nn.BCEWithLogitsLoss()])
    return loss(network(images[chosen]), {name: each[chosen] for name, each in targets.items()})


def list_gradients(network: nn.Module) -> list[torch.Tensor]:
    return [each.grad for each in network.parameters()]  # type: ignore[misc]


def run_process(rank: int, meeting_point: Path, out: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{meeting_point}", rank=rank, world_size=2)
    found: dict[str, Any] = {"ratios": compare_counts([rank, 3, 0], torch.device("cpu"))}
    for kind in ("classifier", "detector"):
        network = OneMaskLogit(build(kind)) if kind == "classifier" else build(kind)
        shared = distribute_network(network, torch.device("cpu"))
        compute_loss(kind, shared, slice(rank, None, 2)).backward()
        found[kind] = list_gradients(shared)
    torch.save(found, out / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Gradients of each of two processes, the images dealt out to them in turn."""
    folder = tmp_path_factory.mktemp("processes")
    spawn(run_process, (folder / "meeting_point", folder), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("kind", ["classifier", "detector"])
def test_the_gradients_of_two_processes_are_those_of_one(found: list[dict[str, Any]], kind: str):
    network = OneMaskLogit(build(kind)) if kind == "classifier" else build(kind)
    compute_loss(kind, network, slice(None)).backward()
    for one, first, second in zip(list_gradients(network), *(each[kind] for each in found), strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(first, one, rtol=1e-3, atol=1e-6)


def test_counts_are_compared_with_the_mean_of_all_processes(found: list[dict[str, Any]]):
    assert [[float(ratio) for ratio in each["ratios"]] for each in found] == [[0, 1, 0], [2, 1, 0]]
    assert compare_counts([3, 0], torch.device("cpu")) == [1.0, 1.0], "alone"


def train(out: Path, configs: list[str], start: tuple[str, ...], **options: Any) -> dict[str, torch.Tensor]:
    """Weights of a training by its own command."""
    files = str([str(CONFIGS / name) for name in ("train.json", *configs)])
    named = {"config_file": files, "output_dir": out, "image_size": SIZE, "encoder": ENCODER, **options}
    words = [text for key, value in named.items() for text in (f"--{key}", str(value))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, *start, "-m", "monai.bundle", "run", "training", *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return read_weights(out / "last.pt")["network"]


@pytest.mark.slow
def test_a_training_by_two_processes_ends_with_the_weights_of_one(images: Path, datalist_file: Path, tmp_path: Path):
    """By plain gradient descent: Adam makes a step of the learning rate out of the last bit of a gradient of zero."""
    counts = [len(training_images(datalist_file, images, fold)) for fold in range(3)]
    fold = next(number for number, count in enumerate(counts) if count % 8 in (0, 4))
    sgd = {"_target_": "torch.optim.SGD", "params": "$@network.parameters()", "lr": "@learning_rate", "momentum": 0.9}
    common = {"dataset_dir": images, "datalist_file": datalist_file, "fold": fold, "epochs": 3, "val_interval": 9}
    common |= {"mask_widths": [], "encoder_options": {}, "optimizer": sgd, "learning_rate": 0.02}
    one = train(tmp_path / "one", [], (), batch_size=8, **common)
    two = train(tmp_path / "two", ["multi_gpu_train.json"], TORCHRUN, batch_size=4, **common)
    begun = train(tmp_path / "begun", [], (), batch_size=8, **{**common, "learning_rate": 0.0})
    moved = max((one[name] - begun[name]).abs().max().item() for name in one)
    assert moved > 1e-3
    assert max((one[name] - two[name]).abs().max().item() for name in one) < 1e-3 * moved
