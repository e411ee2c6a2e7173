"""Detection metric inside MONAI's evaluators: average precision of boxes, for the validation of a detector."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from scripts.boxes import as_boxes, compute_iou
from scripts.metrics.average_precision import average_precision, match_detections
from scripts.processes import gather_items

#: Confidences `(M,)`, boxes found `(M, 4)` and true boxes `(N, 4)` of one image.
_Image = tuple[np.ndarray, np.ndarray, np.ndarray]


class BoxAveragePrecision(Metric):
    """Average precision at IoU > 0.5 by the challenge's rule, and beside it the mean overlap of true boxes.

    Args:
        output_transform: engine output -> for each image of the batch a mapping with "image_id", "scores" (M,), "boxes"
            (M, 4) and "ground_truth" (N, 4), in pixels of one frame.
        device: as ignite wants it; everything is kept on the CPU.

    `compute` gives the average precision; in `engine.state.metrics` stands `<name>_mean_iou` as well: the mean over
    true boxes of the best overlap with any box that was found. Images are kept by image id until the end of the epoch:
    however they fall into batches or processes, each counts once.
    """

    def __init__(
        self, output_transform: Callable[..., Any] = lambda output: output, device: str | torch.device = "cpu"
    ) -> None:
        super().__init__(output_transform, device=device, skip_unrolling=True)

    def reset(self) -> None:
        self.mean_iou = math.nan
        self._images: dict[str, _Image] = {}

    def update(self, output: Sequence[Mapping[str, Any]]) -> None:
        """Add the images of one batch."""
        for image in output:
            scores, boxes, ground_truth = (
                torch.as_tensor(image[key]).detach().cpu() for key in ("scores", "boxes", "ground_truth")
            )
            self._images[str(image["image_id"])] = (
                scores.numpy(),
                as_boxes(boxes.numpy()),
                as_boxes(ground_truth.numpy()),
            )

    def compute(self) -> float:
        """The average precision over every image of every process; NaN without a true box."""
        images = [image for _, image in sorted(gather_items(self._images).items())]
        self.mean_iou = _average_best_iou(images)
        if not images:
            return math.nan
        scores, boxes, references = (np.concatenate(parts) for parts in zip(*images, strict=True))
        owners = np.repeat(np.arange(len(images)), [len(image[0]) for image in images])
        reference_owners = np.repeat(np.arange(len(images)), [len(image[2]) for image in images])
        if not np.isfinite(scores).all():
            return math.nan
        return average_precision(
            scores, match_detections(scores, boxes, owners, references, reference_owners), len(references)
        )

    def completed(self, engine: Engine, name: str) -> None:
        """Put average precision and mean overlap into `engine.state.metrics`."""
        super().completed(engine, name)
        engine.state.metrics[f"{name}_mean_iou"] = self.mean_iou


def _average_best_iou(images: Sequence[_Image]) -> float:
    """Mean over true boxes of the best overlap with any box of the same image; NaN without a true box."""
    best = [compute_iou(ground_truth, boxes).max(axis=1, initial=0) for _, boxes, ground_truth in images]
    overlaps = np.concatenate([np.zeros(0), *best])
    return float(overlaps.mean()) if len(overlaps) else math.nan
