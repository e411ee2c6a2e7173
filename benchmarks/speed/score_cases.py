"""Submissions of any size with their ground truth, drawn: for the parts `tables` and `growth`."""

from __future__ import annotations

import numpy as np
from scripts.labels import OPACITY, STUDY_CLASSES, UNIT_BOX
from scripts.metrics import GroundTruth
from scripts.submission import Predictions

#: Of the challenge.
NUM_STUDIES, NUM_IMAGES = 6054, 6334
_CLASS_FREQUENCIES = (0.28, 0.47, 0.17, 0.08)


def draw_submission(num_studies: int, num_images: int, seed: int = 0) -> tuple[Predictions, GroundTruth]:
    """Predictions and ground truth: 0 to 2 boxes an image, each found roughly, and 5 false ones."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(STUDY_CLASSES, num_studies, p=_CLASS_FREQUENCIES)
    studies = {f"s{number}": str(label) for number, label in enumerate(labels)}
    image_studies = {f"i{number}": f"s{number % num_studies}" for number in range(num_images)}
    boxes, detections = {}, {}
    for image in image_studies:
        corners = rng.uniform(0, 128, (int(rng.integers(3)), 2))
        boxes[image] = np.hstack([corners, corners + 80])
        near = boxes[image] + rng.normal(size=boxes[image].shape) * 9
        false = np.hstack([low := rng.uniform(0, 200, (5, 2)), low + (50, 40)])
        confidences = np.concatenate([rng.random(len(near)), rng.random(5) / 2]).tolist()
        rows = zip(confidences, np.concatenate([near, false]).tolist(), strict=True)
        detections[image] = [(OPACITY, confidence, tuple(box)) for confidence, box in rows]
        detections[image].append(("none", float(rng.random()), UNIT_BOX))
    probabilities = rng.dirichlet(np.ones(4), num_studies) + (labels[:, None] == np.array(STUDY_CLASSES))
    study = {
        name: dict(zip(STUDY_CLASSES, row, strict=True))
        for name, row in zip(studies, (probabilities / 2).tolist(), strict=True)
    }
    patients = {name: f"p{number // 2}" for number, name in enumerate(studies)}
    return Predictions(study, detections), GroundTruth(studies, boxes, image_studies, patients)
