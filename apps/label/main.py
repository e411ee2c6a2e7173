"""MONAI Label's stock app for bundles, with one more strategy: the image first on which folds and flips disagree most.

`apps.label.serve` puts this file beside the stock app, whose `main.py` it finds as `stock.py`; MONAI Label starts it.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import stock
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy

logger = logging.getLogger(__name__)

#: Name of the strategy and of the scoring method.
UNCERTAINTY = "uncertainty"


class MyApp(stock.MyApp, MONAILabelApp):
    """The stock app; POST /scoring/uncertainty scores the images, POST /activelearning/uncertainty hands one out.

    Its base class is named once more because MONAI Label looks for it among the direct ones.
    """

    @property
    def scores(self) -> Path:
        """Folder of the scores: a DICOMweb store keeps nothing about an image, and scoring is a process of its own."""
        return Path(self.app_dir, "uncertainty.json")

    def init_strategies(self) -> dict[str, Strategy]:
        return {**super().init_strategies(), UNCERTAINTY: MostUncertain(self.scores)}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        (infer,) = self._infers.values()  # one bundle is served
        return {**super().init_scoring_methods(), UNCERTAINTY: Uncertainty(infer, self.scores)}


class MostUncertain(Strategy):
    """The unlabelled image of the highest score; of images that were handed out before the least often first.

    Args:
        scores: file that `Uncertainty` writes; an image that is not in it comes after all that are.
    """

    def __init__(self, scores: Path) -> None:
        super().__init__("The image first about which folds and flips are least sure")
        self.scores = scores
        self.handed_out: Counter[str] = Counter()

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any] | None:
        """The image's id and score; None where none is left."""
        images = datastore.get_unlabeled_images(request.get("label_tag"), request.get("labels"))
        if not images:
            return None
        known = read_scores(self.scores)
        scores = {image: known.get(image, {}).get(UNCERTAINTY, -1.0) for image in images}
        first = max(sorted(scores), key=lambda image: (-self.handed_out[image], scores[image]))
        self.handed_out[first] += 1
        return {"id": first, UNCERTAINTY: scores[first]}


class Uncertainty(ScoringMethod):
    """Uncertainty of folds and flips together about an image's study class: the entropy of their mean, in nats.

    A member is every classifier that lies in the bundle as models/model*.pt; each predicts every flip that the
    bundle's config names. What they disagree about (mutual information) orders mistakes no better than chance where it
    was measured, and the entropy does: bundle/docs/results.md, "Reliability".

    Args:
        infer: the bundle's task, through which images are read and predicted as for a request.
        scores: file to write.
    """

    def __init__(self, infer: Any, scores: Path) -> None:
        super().__init__("How unsure folds and flips are together (entropy of their mean, nats)")
        self.infer, self.scores = infer, scores

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any]:
        """Score the images without a label that were not scored by these members before."""
        start, members = time.monotonic(), self.list_members()
        waiting, known = datastore.get_unlabeled_images(), read_scores(self.scores)
        unscored = [image for image in waiting if known.get(image, {}).get("members") != members]
        paths = {image: datastore.get_image_uri(image) for image in unscored}
        reported: dict[str, list[list[float]]] = {image: [] for image in unscored}
        for member in members:  # the outer loop: MONAI Label keeps one network loaded
            for image, path in paths.items():
                reported[image] += self.ask(path, member, request.get("device", "cpu"))
        known |= {image: {UNCERTAINTY: self.measure(each), "members": members} for image, each in reported.items()}
        self.scores.write_text(json.dumps(known, indent=1), encoding="utf-8")
        seconds = round(time.monotonic() - start, 3)
        return {"total": len(waiting), "executed": len(unscored), "members": members, "latency": seconds}

    def list_members(self) -> list[str]:
        """File names of the classifiers in the bundle."""
        return sorted(path.name for path in Path(self.infer.bundle_path, "models").glob("model*.pt"))

    def ask(self, path: str, member: str, device: str) -> list[list[float]]:
        """Probabilities of each flip of a member; of an image that is rejected none, and the log says why."""
        request = {"image": path, "device": device, "model_filename": member, "result_write_to_file": False}
        try:
            return self.infer(request)[1]["tta_probabilities"]
        except Exception as error:  # one image that cannot be read must not end the scoring of all others
            logger.warning("not scored: %s (%s)", Path(path).name, error)
            return []

    def measure(self, reported: list[list[float]]) -> float:
        """Entropy of the mean of `(M, C)` probabilities; -1 of none, so that such an image comes last."""
        sys.path.insert(0, self.infer.bundle_path)
        try:
            from scripts.metrics.selective import ENTROPY, score_uncertainty
        finally:
            sys.path.remove(self.infer.bundle_path)
        return float(score_uncertainty(reported)[ENTROPY]) if reported else -1.0


def read_scores(path: Path) -> dict[str, Any]:
    """Score and members of each image that was scored."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
