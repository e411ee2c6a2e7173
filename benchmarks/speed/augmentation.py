"""An epoch of training data without the network, from prepared images to augmented batches.

1,024 images with masks of 256 px in batches of 16 are flipped, rotated, scaled, shifted, and changed in gamma, by the
same chances and ranges. Ours indexes stacked images and changes a whole batch at once (stacked.json). The others change
image by image in two worker processes: MONAI's transforms as train.json has them, from a cache in memory, and
albumentations from PNG files, as challenge solutions do it. Half of our time is torch's resampling of 32-bit floats,
where albumentations moves bytes by OpenCV: neither goal is met.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import CacheDataset, DataLoader
from monai.utils import optional_import
from numpy.typing import NDArray
from PIL import Image
from scripts.boxes import fill_mask
from scripts.engines import AugmentedBatch, prepare_study_batch
from scripts.labels import STUDY_CLASSES
from scripts.synthetic import draw_chest
from scripts.transforms import RandAffineBatchd, RandGammaBatchd, StackedDataset, take_batch_as_it_is

from benchmarks.speed.comparison import Comparison, time_in_turn

COUNT, DISTINCT, SIZE, BATCH, WORKERS = 1024, 64, 256, 16, 2
#: Those of train.json: radians, pixels, fractions.
ROTATE, SHIFT, SCALE, GAMMA = 0.17, 10, 0.12, (0.7, 1.4)


def measure(folder: Path) -> list[Comparison]:
    """Compare with MONAI's transforms of single images, and with albumentations where it is installed."""
    items = [_make_item(number) for number in range(DISTINCT)] * (COUNT // DISTINCT)
    names = f"{COUNT} images with masks of {SIZE} px"
    ours = build_stacked(items)
    others = {"MONAI's transforms of single images (train.json), two workers": (build_single(items), ">= 5")}
    albumentations, is_there = optional_import("albumentations")
    if is_there:
        others["albumentations on PNG, two workers"] = (build_png(items, folder, albumentations), ">= 1.5")
    rows = []
    for against, (way, goal) in others.items():
        times = time_in_turn([lambda: _exhaust(ours()), lambda w=way: _exhaust(w())], 5)
        rows.append(Comparison(f"an epoch of {names}", against, *times, goal, "images", COUNT))
    if not is_there:
        rows.append(Comparison(f"an epoch of {names}", "albumentations on PNG", note="needs the extra bench"))
    return rows


def build_stacked(items: list[dict[str, Any]]) -> Callable[[], Iterable[Any]]:
    """Batches as stacked.json makes them, with the augmentations of train.json."""
    geometry = RandAffineBatchd(0.5, 0.8, math.degrees(ROTATE), (1 / (1 + SCALE), 1 + SCALE), 1.1, SHIFT / SIZE)
    prepare = AugmentedBatch([geometry, RandGammaBatchd(0.5, GAMMA)], prepare_study_batch)
    loader = DataLoader(StackedDataset(items), batch_size=BATCH, shuffle=True, collate_fn=take_batch_as_it_is)
    return lambda: map(prepare, loader)


def build_single(items: list[dict[str, Any]]) -> Callable[[], Iterable[Any]]:
    """Batches as train.json makes them, by workers that stay."""
    parser = ConfigParser()
    parser.read_config("bundle/configs/train.json")
    dataset = CacheDataset(items, parser.get_parsed_content("augmentation"), progress=False)
    loader = DataLoader(dataset, batch_size=BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=WORKERS > 0)
    return lambda: map(prepare_study_batch, loader)


class PngDataset(torch.utils.data.Dataset):
    """Images and masks read from PNG files by OpenCV and changed by albumentations."""

    def __init__(self, files: list[tuple[str, str, int]], transform: Callable[..., Any]) -> None:
        self.files, self.transform, (self.cv2, _) = files, transform, optional_import("cv2")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        image, mask, label = self.files[index]
        picture, region = (self.cv2.imread(path, self.cv2.IMREAD_GRAYSCALE) for path in (image, mask))
        changed = self.transform(image=picture[..., None], mask=region)
        pixels = torch.from_numpy(np.ascontiguousarray(changed["image"][..., 0]))[None].float() / 255
        return pixels, torch.from_numpy(changed["mask"])[None].float() / 255, label


def build_png(items: list[dict[str, Any]], folder: Path, albumentations: Any) -> Callable[[], Iterable[Any]]:
    """Batches as solutions of challenges make them."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else it looks for a newer version
    files = []
    for number, item in enumerate(items):
        paths = (str(folder / f"{number % DISTINCT}.png"), str(folder / f"{number % DISTINCT}_mask.png"))
        if number < DISTINCT:
            for path, key in zip(paths, ("image", "mask"), strict=True):
                Image.fromarray((255 * item[key][0].numpy()).astype(np.uint8)).save(path)
        files.append((*paths, item["label"]))
    changes = albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=0.5),
            albumentations.Affine(
                scale=(1 - SCALE, 1 + SCALE),
                translate_px=(-SHIFT, SHIFT),
                rotate=(-math.degrees(ROTATE), math.degrees(ROTATE)),
                p=0.8,
            ),
            albumentations.RandomGamma(gamma_limit=(100 * GAMMA[0], 100 * GAMMA[1]), p=0.5),
        ]
    )
    dataset = PngDataset(files, changes)
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=WORKERS > 0
    )
    return lambda: loader


def _make_item(number: int) -> dict[str, Any]:
    chest = draw_chest(SIZE, SIZE, STUDY_CLASSES[number % len(STUDY_CLASSES)], (number, number, number))
    mask: NDArray[np.float32] = fill_mask(chest.boxes, SIZE, SIZE)
    return {
        "image": torch.as_tensor(chest.pixels, dtype=torch.float32)[None],
        "mask": torch.from_numpy(mask)[None],
        "label": number % len(STUDY_CLASSES),
        "image_id": str(number),
    }


def _exhaust(batches: Iterable[Any]) -> None:
    for _ in batches:
        pass
