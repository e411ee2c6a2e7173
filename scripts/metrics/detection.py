"""How well boxes lie inside MONAI's evaluators: what the validation of a detector is judged by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from ignite.metrics import Metric

from scripts.boxes import as_boxes, compute_iou
from scripts.metrics.average_precision import average_precision, match_detections

#: Confidences `(M,)`, boxes found `(M, 4)` and true boxes `(N, 4)` of one film.
_Film = tuple[np.ndarray, np.ndarray, np.ndarray]


class BoxAveragePrecision(Metric):
    """Average precision at IoU > 0.5 by the challenge's rule, and beside it the mean overlap of true boxes.

    Args:
        output_transform: engine output -> for each film of the batch a mapping with "image_id", "scores" (M,), "boxes"
            (M, 4) and "truth" (N, 4), in pixels of one frame.
        device: as ignite wants it; everything is kept on the CPU.

    `compute` gives the average precision; in `engine.state.metrics` stands `<name>_mean_iou` as well: the mean over
    true boxes of the best overlap with any box that was found. Films are kept by image id: one that comes twice counts
    once.
    """

    def __init__(
        self, output_transform: Callable[..., Any] = lambda output: output, device: str | torch.device = "cpu"
    ) -> None:
        super().__init__(output_transform, device=device, skip_unrolling=True)

    def reset(self) -> None:
        self._films: dict[str, _Film] = {}

    def update(self, output: Sequence[Mapping[str, Any]]) -> None:
        """Add the films of one batch."""
        for film in output:
            scores, boxes, truth = (torch.as_tensor(film[key]).detach().cpu() for key in ("scores", "boxes", "truth"))
            self._films[str(film["image_id"])] = (scores.numpy(), as_boxes(boxes.numpy()), as_boxes(truth.numpy()))

    def compute(self) -> float:
        """The average precision over every film that was seen; NaN without a true box."""
        films = [self._films[image] for image in sorted(self._films)]
        if not films:
            return float("nan")
        scores, boxes, truths = (np.concatenate(parts) for parts in zip(*films, strict=True))
        owners = np.repeat(np.arange(len(films)), [len(film[0]) for film in films])
        truth_owners = np.repeat(np.arange(len(films)), [len(film[2]) for film in films])
        if not np.isfinite(scores).all():
            return float("nan")
        return average_precision(scores, match_detections(scores, boxes, owners, truths, truth_owners), len(truths))

    def completed(self, engine: Engine, name: str) -> None:
        """Put average precision and mean overlap into `engine.state.metrics`."""
        super().completed(engine, name)
        best = [compute_iou(truth, boxes).max(axis=1, initial=0) for _, boxes, truth in self._films.values()]
        overlaps = np.concatenate([np.zeros(0), *best])
        engine.state.metrics[f"{name}_mean_iou"] = float(overlaps.mean()) if len(overlaps) else float("nan")
