"""How well boxes lie inside MONAI's evaluators: what the validation of a detector is evaluated by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from scripts.boxes import as_boxes, compute_iou
from scripts.metrics.average_precision import average_precision, match_detections

#: Confidences `(M,)`, boxes found `(M, 4)` and true boxes `(N, 4)` of one image.
_Image = tuple[np.ndarray, np.ndarray, np.ndarray]


class BoxAveragePrecision(Metric):
    """Average precision at IoU > 0.5 by the challenge's rule, and beside it the mean overlap of true boxes.

    Args:
        output_transform: engine output -> for each image of the batch a mapping with "image_id", "scores" (M,), "boxes"
            (M, 4) and "ground_truth" (N, 4), in pixels of one frame.
        device: as ignite wants it; everything is kept on the CPU.

    `compute` gives the average precision; in `engine.state.metrics` stands `<name>_mean_iou` as well: the mean over
    true boxes of the best overlap with any box that was found. Images are kept by image id: one that comes twice counts
    once.
    """

    def __init__(
        self, output_transform: Callable[..., Any] = lambda output: output, device: str | torch.device = "cpu"
    ) -> None:
        super().__init__(output_transform, device=device, skip_unrolling=True)

    def reset(self) -> None:
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
        """The average precision over every image that was seen; NaN without a true box."""
        images = [self._images[image_id] for image_id in sorted(self._images)]
        if not images:
            return float("nan")
        scores, boxes, references = (np.concatenate(parts) for parts in zip(*images, strict=True))
        owners = np.repeat(np.arange(len(images)), [len(image[0]) for image in images])
        reference_owners = np.repeat(np.arange(len(images)), [len(image[2]) for image in images])
        if not np.isfinite(scores).all():
            return float("nan")
        return average_precision(
            scores, match_detections(scores, boxes, owners, references, reference_owners), len(references)
        )

    def completed(self, engine: Engine, name: str) -> None:
        """Put average precision and mean overlap into `engine.state.metrics`."""
        super().completed(engine, name)
        best = [
            compute_iou(ground_truth, boxes).max(axis=1, initial=0) for _, boxes, ground_truth in self._images.values()
        ]
        overlaps = np.concatenate([np.zeros(0), *best])
        engine.state.metrics[f"{name}_mean_iou"] = float(overlaps.mean()) if len(overlaps) else float("nan")
