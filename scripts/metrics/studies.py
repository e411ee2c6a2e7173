"""Study predictions and labels as arrays, and their scores under resamples of patients."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scripts.bootstrap import average_by_weights, weigh_groups
from scripts.labels import SCORED_CLASSES, STUDY_CLASSES
from scripts.metrics.average_precision import Floats, Ints, rank_detections
from scripts.metrics.clinical import measure_auroc
from scripts.metrics.scores import STUDY_MAP, measure_scores

#: Names of the scores of `EvaluatedStudies`: negative against any, and whether the most probable class is the label.
AUROC, ACCURACY = "auroc", "accuracy"

NEGATIVE = STUDY_CLASSES.index("negative")


@dataclass(frozen=True)
class EvaluatedStudies:
    """S studies with their predictions and labels.

    Args:
        probabilities: `(S, 4)`, classes in the order of `STUDY_CLASSES`.
        labels: `(S,)`, indices in `STUDY_CLASSES`.
        groups: `(S,)`, number of each study's patient.
        num_groups: patients, also those without a study here.
    """

    probabilities: Floats
    labels: Ints
    groups: Ints
    num_groups: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def right(self) -> NDArray[np.bool_]:
        """`(S,)`, whether the most probable class is the label; of equal ones the first is taken."""
        return self.probabilities.argmax(axis=1) == self.labels

    @property
    def num_of_class(self) -> Ints:
        """Studies of each class, `(4,)`."""
        return np.bincount(self.labels, minlength=len(STUDY_CLASSES))

    def keep(self, kept: ArrayLike) -> EvaluatedStudies:
        """The studies that a mask `(S,)` marks; the patients are numbered as before."""
        mask = np.asarray(kept, dtype=bool)
        return replace(self, probabilities=self.probabilities[mask], labels=self.labels[mask], groups=self.groups[mask])

    def sample_weights(self, num_resamples: int, seed: int = 0) -> Floats:
        """Sample patient weights `(1 + R, G)`: ones, then each resample's counts."""
        return weigh_groups(self.num_groups, num_resamples, seed)

    def measure(self, weights: Floats) -> dict[str, Floats]:
        """Study mAP, AUROC and accuracy `(R,)` under each row of weights `(R, G)`; NaN where not defined."""
        counts = weights[:, self.groups]
        return {
            STUDY_MAP: self.measure_map(weights),
            AUROC: measure_auroc(1 - self.probabilities[:, NEGATIVE], self.labels != NEGATIVE, counts),
            ACCURACY: average_by_weights(self.right, counts),
        }

    def measure_map(self, weights: Floats) -> Floats:
        """Study mAP `(R,)` under each row of weights `(R, G)`."""
        ranking = dict.fromkeys(SCORED_CLASSES) | {
            name: rank_detections(
                self.probabilities[:, index],
                self.labels == index,
                self.groups,
                np.bincount(self.groups[self.labels == index], minlength=self.num_groups),
            )
            for index, name in enumerate(STUDY_CLASSES)
        }
        return measure_scores(ranking, weights)[STUDY_MAP]
