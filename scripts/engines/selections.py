"""Output transforms: the parts of an engine's output that a loss, a metric or an image logger takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from scripts.boxes import move_out_of_crop


def select_loss(output: dict[str, Any]) -> float:
    """Engine output of a training step -> its loss as a number, for TensorBoard.

    MONAI's `from_engine` gives a tuple of it, which its TensorBoard handler leaves out with a warning.
    """
    return float(output["loss"].detach())


def select_logits_and_targets(output: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Engine output -> what the loss takes, for `ignite.metrics.Loss` inside validation."""
    return output["pred"], output["label"]


def select_study_probabilities(output: dict[str, Any]) -> dict[str, Any]:
    """Engine output -> probabilities (B, 4) with the ids and labels of their images, for the study metric."""
    targets = output["label"]
    return {
        "probabilities": output["pred"]["study"].detach().softmax(dim=1),
        "study_ids": list(targets["study_id"]),
        "image_ids": list(targets["image_id"]),
        "labels": targets["label"],
    }


def select_lung_boxes(output: dict[str, Any]) -> list[dict[str, Any]]:
    """Engine output of the lung detector -> for each image its true box and the one that was found, in pixels."""
    images = []
    for number, target in enumerate(output["label"]):
        height, width = target["size"]
        box = output["pred"]["box"][number : number + 1].detach().cpu() * torch.tensor([width, height, width, height])
        score = output["pred"]["lungs"][number : number + 1].detach().sigmoid()
        images.append({"image_id": target["image_id"], "boxes": box, "scores": score, "ground_truth": target["boxes"]})
    return images


def select_opacity_boxes(output: dict[str, Any]) -> list[dict[str, Any]]:
    """Engine output of the opacity detector -> for each image its true boxes and those that were found, in pixels."""
    return [
        {
            "image_id": target["image_id"],
            "boxes": found["boxes"],
            "scores": found["scores"],
            "ground_truth": target["boxes"],
        }
        for target, found in zip(output["label"], output["pred"], strict=True)
    ]


def select_mask_probabilities(output: dict[str, Any]) -> torch.Tensor:
    """Engine output -> mask probabilities (B, 1, H, W), for the pictures in TensorBoard."""
    return output["pred"]["mask"].detach().sigmoid()


def count_images(targets: dict[str, Any]) -> int:
    """Batch size of targets; `ignite.metrics.Loss` asks it to weight batches of different size."""
    return len(targets["label"])


def select_probabilities(output: Mapping[str, Any]) -> dict[str, Any]:
    """Output of a classifier's evaluator -> image id -> its study and the probability of each class."""
    targets = output["label"]
    rows = output["pred"]["study"].detach().softmax(dim=1).cpu().tolist()
    studies = zip(targets["image_id"], targets["study_id"], rows, strict=True)
    return {image: {"study_id": study, "probabilities": row} for image, study, row in studies}


def select_boxes_in_image(output: Mapping[str, Any]) -> dict[str, Any]:
    """Output of an opacity detector's evaluator -> image id -> boxes in pixels of the original image, and scores."""
    images: dict[str, Any] = {}
    for target, found in zip(output["label"], output["pred"], strict=True):
        crop_box = [float(edge) for edge in target["crop_box"]]
        boxes = move_out_of_crop(found["boxes"], crop_box, *target["size"])
        scores = [round(float(score), 6) for score in found["scores"]]
        images[target["image_id"]] = {"boxes": boxes.round(3).tolist(), "scores": scores}
    return images
