"""Study metric inside MONAI's evaluators: mean average precision, for the validation of every epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from scripts.labels import STUDY_CLASSES, UNKNOWN_CLASS
from scripts.metrics.scores import STUDY_MAP, score_studies
from scripts.predictions import average_images
from scripts.processes import gather_items

#: Study id, label and probabilities of one image.
_Image = tuple[str, int, tuple[float, ...]]


class StudyMeanAveragePrecision(Metric):
    """Mean of the four study average precisions over all images that an evaluator saw, as `score_studies` defines it.

    A study's probability is the mean over its images. Images are kept by image id until the end of the epoch, so it
    does not matter how they fall into batches or processes, and an image that a distributed sampler repeats counts
    once.

    Args:
        output_transform: engine output -> `probabilities` (B, 4) after the softmax, `labels` (B,), `study_ids` and
            `image_ids` (B strings each), as a mapping with these keys or as a tuple in this order; in place of a tensor
            a list of what it holds is taken too.
        device: as ignite wants it; everything is kept on the CPU.

    Shape: `compute` gives a float. `.scores` holds it as "study_map" beside the four classes; in `engine.state.metrics`
    the classes stand as `<name>_<class>`, so that whatever logs the metric logs them as well.
    """

    required_output_keys = ("probabilities", "labels", "study_ids", "image_ids")

    def __init__(
        self, output_transform: Callable[..., Any] = lambda output: output, device: str | torch.device = "cpu"
    ) -> None:
        super().__init__(output_transform, device=device, skip_unrolling=True)

    def reset(self) -> None:
        self.scores: dict[str, float] = {}
        self._images: dict[str, _Image] = {}
        self._num_unknown = 0

    def update(self, output: Sequence[Any]) -> None:
        """Add the images of one batch.

        Raises:
            ValueError: where lengths differ, probabilities are none, or an image or study contradicts what was seen.
        """
        probabilities, labels, study_ids, image_ids = output
        rows = _as_probabilities(probabilities)
        numbers = [int(label) for label in labels]
        if not len(rows) == len(numbers) == len(study_ids) == len(image_ids):
            sizes = (len(rows), len(numbers), len(study_ids), len(image_ids))
            raise ValueError(f"expected as many probabilities as labels, study ids and image ids, got {sizes}")
        for row, label, study, image in zip(rows.tolist(), numbers, study_ids, image_ids, strict=True):
            if label == UNKNOWN_CLASS:
                self._num_unknown += 1
            else:
                _add_image(self._images, str(image), (str(study), label, tuple(row)))

    def compute(self) -> float:
        """The score over every image of every process whose class is known; NaN where images were seen, but none known.

        Raises:
            ValueError: where there is no image, or the images of one study have different labels.
        """
        images = gather_items(self._images, _add_image)
        if not images and self._num_unknown:
            self.scores = dict.fromkeys((STUDY_MAP, *STUDY_CLASSES), float("nan"))
        else:
            self.scores = score_studies(*average_images_of_studies(images))
        return self.scores[STUDY_MAP]

    def completed(self, engine: Engine, name: str) -> None:
        """Put the score and its four classes into `engine.state.metrics`."""
        super().completed(engine, name)
        engine.state.metrics.update({f"{name}_{label}": self.scores[label] for label in STUDY_CLASSES})


def average_images_of_studies(images: dict[str, _Image]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities `(S, 4)` and labels `(S,)` of the studies, sorted by id, from images by image id.

    Raises:
        ValueError: where the images of one study have different labels, or there is no image.
    """
    if not images:
        raise ValueError("expected at least one image to score, got none")
    # Sorted, because the last bits of a mean depend on its order, and a score must not depend on that of the batches.
    ordered = [images[image] for image in sorted(images)]
    labels = {study: label for study, label, _ in ordered}
    contradicting = [study for study, label, _ in ordered if labels[study] != label]
    if contradicting:
        raise ValueError(f"expected one label for study {contradicting[0]}, got several")
    studies, study_indices = np.unique([study for study, _, _ in ordered], return_inverse=True)
    means = average_images([row for _, _, row in ordered], study_indices)
    return means, np.array([labels[study] for study in studies.tolist()])


def _as_probabilities(values: Any) -> np.ndarray:
    """Probabilities `(B, 4)` as float64 on the CPU."""
    tensor = values if isinstance(values, torch.Tensor) else torch.stack([torch.as_tensor(row) for row in values])
    rows = tensor.detach().to("cpu", torch.float64).numpy()
    if rows.ndim != 2 or rows.shape[1] != len(STUDY_CLASSES):
        raise ValueError(f"expected probabilities of shape (B, {len(STUDY_CLASSES)}), got {rows.shape}")
    finite = rows[np.isfinite(rows).all(axis=1)]  # what is not finite becomes a score that is not, never a best one
    # Half precision rounds each of the four by up to 2 ** -9.
    if (finite < 0).any() or (np.abs(finite.sum(axis=1) - 1) > 2e-2).any():
        raise ValueError("expected probabilities that sum to 1, got others; apply the softmax before the metric")
    return rows


def _add_image(images: dict[str, _Image], image_id: str, image: _Image) -> None:
    """Keep an image unless it was seen already: a sampler's padding repeats images."""
    if images.setdefault(image_id, image)[:2] != image[:2]:
        raise ValueError(f"expected one study and one label for image {image_id}, got several")
