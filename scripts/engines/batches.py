"""Batch preparation: collated or not, into images and targets for an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.engines import IterationEvents
from monai.utils import convert_to_tensor
from scripts.predictions import NonFinitePrediction

#: Targets that stay where they are: by them a loss decides what it leaves out, and must not wait for a device to do so.
DECIDING_KEYS: tuple[str, ...] = ("label", "boxes_known")

#: What a loss, a metric or a writer may want to know of each image, beside its picture.
TARGET_KEYS: tuple[str, ...] = (
    *("label", "soft_label", "weight", "mask", "boxes_known"),
    *("study_id", "image_id", "crop_box", "original_size"),
)


def prepare_study_batch(
    batch: dict[str, Any], device: str | torch.device | None = None, non_blocking: bool = False, **kwargs: Any
) -> tuple[torch.Tensor, dict[str, Any]]:
    """Split a collated batch into the pictures (B, C, H, W) and a dictionary of whatever is known of them.

    "label" and "boxes_known" stay on the host where they lie there.
    "soft_label" (B, 4) and "weight" (B,) are there where `scripts.transforms.AttachTargets` gave them to the images.

    Source: ignite's `prepare_batch` interface, as MONAI's engines call it.
    """
    # plain tensors: MetaTensor's bookkeeping made a training step on two CPU cores nearly twice as long
    plain = convert_to_tensor(batch, track_meta=False)
    image = plain["image"].to(device=device, non_blocking=non_blocking, **kwargs)
    targets = {key: plain[key] for key in TARGET_KEYS if key in plain}
    for key, value in targets.items():
        if isinstance(value, torch.Tensor) and key not in DECIDING_KEYS:
            targets[key] = value.to(device=device, non_blocking=non_blocking)
    return image, targets


class AugmentedBatch:
    """Prepare a batch as another function does, after random changes of the whole batch on the device.

    Args:
        augmentation: batch transforms, one after the other: a dictionary with "image" (B, 1, H, W) -> the same.
        prepare: what then splits the batch, such as `prepare_study_batch`.
    """

    def __init__(
        self, augmentation: Sequence[Callable[[dict[str, Any]], dict[str, Any]]], prepare: Callable[..., Any]
    ) -> None:
        self.augmentation, self.prepare = list(augmentation), prepare

    def __call__(
        self, batch: dict[str, Any], device: str | torch.device | None = None, non_blocking: bool = False, **kwargs: Any
    ) -> Any:
        batch = dict(batch)
        for name in ("image", "mask"):
            if name in batch:
                batch[name] = batch[name].to(device, non_blocking=non_blocking)
        with torch.no_grad():
            for change in self.augmentation:
                batch = change(batch)
        return self.prepare(batch, device, non_blocking, **kwargs)


def prepare_box_batch(
    batch: list[dict[str, Any]] | dict[str, Any],
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    **kwargs: Any,
) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    """Images of one size that were not collated, because each has its own number of boxes -> pictures and targets.

    Returns:
        Pictures (B, C, H, W), and for each image "boxes" (N, 4) in its pixels, "labels" (N,), zeros, "size", (height,
        width), "rotation", the quarter turns that it was given, "image_id".
    """
    if isinstance(batch, dict):  # stacked already
        count = len(batch["image"])
        batch = [{name: values[number] for name, values in batch.items()} for number in range(count)]
    plain = convert_to_tensor(batch, track_meta=False)
    image = torch.stack([item["image"] for item in plain]).to(device=device, non_blocking=non_blocking, **kwargs)
    image = image.contiguous(memory_format=torch.channels_last)
    targets = []
    for item in plain:
        boxes = item["boxes"].to(device=device, non_blocking=non_blocking)
        labels = torch.zeros(len(boxes), dtype=torch.long, device=boxes.device)
        known = {
            "size": tuple(item["image"].shape[1:]),
            "rotation": item.get("rotation", 0),
            "image_id": item["image_id"],
        }
        known |= {name: item[name] for name in ("crop_box",) if name in item}
        targets.append({"boxes": boxes, "labels": labels, **known})
    return image, targets


def prepare_detection_batch(batch: list[dict[str, Any]] | dict[str, Any], *args: Any, **kwargs: Any) -> tuple[Any, ...]:
    """As `prepare_box_batch`, with the targets as an argument of the network too: MONAI's detectors compute their loss.

    There the boxes stay where they are, on the host as a rule: so they are matched without waiting for a device.

    Source: the four parts (inputs, targets, args, kwargs) that MONAI's trainers pass on.
    """
    image, targets = prepare_box_batch(batch, *args, **kwargs)
    boxes = batch["boxes"] if isinstance(batch, dict) else [item["boxes"] for item in batch]
    own = [{**target, "boxes": torch.as_tensor(each)} for target, each in zip(targets, boxes, strict=True)]
    return image, targets, (own,), {}


def _find_non_finite(
    engine: Any, images: list[Any], boxes: list[Any], names: list[str], error: NonFinitePrediction
) -> NonFinitePrediction:
    """The error with the first image that has it alone, or with all of the batch."""
    for image, box, name in zip(images, boxes, names, strict=True):
        try:
            engine.inferer([image], engine.network, lung_boxes=[box])
        except NonFinitePrediction as alone:
            return NonFinitePrediction(alone.output, [name])
    return NonFinitePrediction(error.output, names)


def infer_images(engine: Any, batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One iteration over images of different sizes, which cannot be collated: a `ImageInferer` makes pictures of them.

    Source: `iteration_update` of MONAI's evaluators, with the events that their postprocessing waits for; set
    `decollate` to false, a list is what comes in and goes out.

    Raises:
        NonFinitePrediction: naming the weights and the image.
    """
    plain = convert_to_tensor([image["image"] for image in batch], track_meta=False)
    boxes = [image.get("lung_box") for image in batch]
    with engine.mode(engine.network), torch.no_grad():
        try:
            found = engine.inferer(plain, engine.network, lung_boxes=boxes)
        except NonFinitePrediction as error:
            images = [str(image["image_id"]) for image in batch]
            raise _find_non_finite(engine, plain, boxes, images, error) from error
    engine.state.output = [{"pred": image} for image in found]
    engine.fire_event(IterationEvents.FORWARD_COMPLETED)
    engine.fire_event(IterationEvents.MODEL_COMPLETED)
    return engine.state.output
