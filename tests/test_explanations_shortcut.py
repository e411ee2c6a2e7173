"""The 17th-place solution's shortcut on synthetic images: a marker in the corner is learned from whole images only.

Every typical image has a faint opacity in a lung and a bright square in a corner, in training and later. What reports
the two networks apart is what a user runs on real images: maps, and the corner test.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.data.utils import no_collation
from monai.engines import SupervisedEvaluator
from monai.inferers import SimpleInferer
from monai.transforms import Compose, MapTransform, Resized
from scripts.explanations import CHANGES, ExplainedImage, ImageExplainer, summarise_explanations
from scripts.labels import STUDY_CLASSES
from scripts.networks import StudyClassifier
from scripts.transforms import CropToLungsd, KeepWholeImaged
from torch import nn

SIZE, STEPS, BATCH = 96, 100, 16
LUNG_BOX = (20.0, 18.0, 76.0, 78.0)
NEGATIVE, TYPICAL = STUDY_CLASSES.index("negative"), STUDY_CLASSES.index("typical")


def write_images(count: int, seed: int) -> list[dict[str, Any]]:
    """Negative and typical in turn: two dark lungs in a grey body; typical ones with an opacity and with a marker."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    images = []
    for number in range(count):
        pixels = 0.5 + 0.05 * rng.normal(size=(SIZE, SIZE))
        for middle in (34, 62):
            pixels[((x - middle) / 13) ** 2 + ((y - 48) / 29) ** 2 < 1] -= 0.3
        boxes = np.zeros((0, 4), dtype=np.float32)
        if number % 2:
            column, row = rng.choice([34, 62]), rng.integers(34, 62)
            pixels += 0.15 * np.exp(-((x - column) ** 2 + (y - row) ** 2) / 50)
            boxes = np.array([[column - 9, row - 9, column + 9, row + 9]], dtype=np.float32)
            pixels[:14, :14] = 1
        images.append(
            {
                "image": torch.from_numpy(pixels.clip(0, 1)).float()[None],
                "image_id": f"image{number}",
                "study_id": f"study{number}",
                "patient": f"patient{number}",
                "label": TYPICAL if number % 2 else NEGATIVE,
                "lung_box": np.array(LUNG_BOX, dtype=np.float32),
                "boxes": boxes,
            }
        )
    return images


def prepare(region: MapTransform) -> Compose:
    return Compose([region, Resized(keys="image", spatial_size=(SIZE, SIZE), mode="bilinear")])


def build_network() -> StudyClassifier:
    """A study classifier with a shallow encoder: each place of its map sees 29 pixels, so the evidence lies there."""
    network = StudyClassifier("test_efficientnet", mask_widths=None)
    steps = [(1, 8), (8, 16), (16, 16), (16, 32)]
    layers = [
        [
            nn.Conv2d(before, after, kernel_size=3, stride=1 + (before < after), padding=1),
            nn.BatchNorm2d(after, momentum=0.3),
            nn.ReLU(),
        ]
        for before, after in steps
    ]
    network.encoder, network.classifier = nn.Sequential(*chain(*layers)), nn.Linear(32, len(STUDY_CLASSES))
    return network


def train(region: MapTransform) -> StudyClassifier:
    torch.manual_seed(0)
    images = [prepare(region)(image) for image in write_images(96, seed=1)]
    pictures = torch.stack([image["image"].as_tensor() for image in images])
    labels = torch.tensor([image["label"] for image in images])
    network = build_network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(STEPS):
        batch = torch.randperm(len(images))[:BATCH]
        loss = torch.nn.functional.cross_entropy(network(pictures[batch])["study"], labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def explain(region: MapTransform) -> list[ExplainedImage]:
    """Train on images through a region, and explain others through the same."""
    images = write_images(32, seed=2)
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        network=train(region),
        val_data_loader=DataLoader(Dataset(images), batch_size=len(images), collate_fn=no_collation),
        iteration_update=ImageExplainer(prepare(region), explained="typical"),
        inferer=SimpleInferer(),
        decollate=False,
    )
    evaluator.run()
    return evaluator.state.output


@pytest.fixture(scope="module")
def on_whole_images() -> list[ExplainedImage]:
    return explain(KeepWholeImaged("image"))


@pytest.fixture(scope="module")
def on_lungs() -> list[ExplainedImage]:
    return explain(CropToLungsd("image"))


def summarise(images: list[ExplainedImage], label: str = "") -> dict[str, float]:
    chosen = [image for image in images if label in ("", image.label)]
    return {name: each.value for name, each in summarise_explanations(chosen, num_resamples=1).figures.items()}


def test_both_networks_are_right_as_long_as_the_marker_stands_by_its_class(
    on_whole_images: list[ExplainedImage], on_lungs: list[ExplainedImage]
):
    """The score alone does not report a shortcut from knowledge."""
    assert summarise(on_whole_images)["accuracy_untouched"] > 0.9
    assert summarise(on_lungs)["accuracy_untouched"] > 0.9


def test_a_network_of_whole_images_follows_the_corners_to_the_wrong_class(on_whole_images: list[ExplainedImage]):
    """Images are negative and typical in turn: each is given the corners of the other class."""
    figures = summarise(on_whole_images)
    assert figures["accuracy_exchanged"] < 0.1 and figures["top_changes_exchanged"] > 0.9
    assert figures["mean_change_exchanged"] > 0.3
    assert summarise(on_whole_images, "typical")["accuracy_black"] < 0.1, "without its marker none is typical"
    assert summarise(on_whole_images, "negative")["accuracy_white"] < 0.1


def test_a_network_of_whole_images_looks_at_the_corner_and_not_at_the_opacity(on_whole_images: list[ExplainedImage]):
    figures = summarise(on_whole_images, "typical")
    assert figures["energy_in_corners"] > 1.4 * figures["area_in_corners"]
    assert figures["points_at_opacity"] < 0.3


def test_a_network_of_lungs_does_not_move_at_all(on_lungs: list[ExplainedImage]):
    """To the last bit: the crop does not hold the corners."""
    for image in on_lungs:
        assert image.corners_seen == 0 and image.fractions["corners"].energy == 0
        assert [image.measure_change(change).largest for change in CHANGES] == [0.0] * len(CHANGES)


def test_a_network_of_lungs_looks_at_the_opacity(on_lungs: list[ExplainedImage]):
    figures = summarise(on_lungs, "typical")
    assert figures["points_at_opacity"] > 0.9
    assert figures["energy_in_opacities"] > 3 * figures["seen_in_opacities"]
