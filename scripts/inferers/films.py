"""The whole way of a film: its lungs are found, and what is inside them is classified, marked and boxed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer
from torch import nn

from scripts.boxes import move_out_of_crop
from scripts.inferers.lungs import LungFinder
from scripts.inferers.opacities import OpacityFinder
from scripts.inferers.views import stack_pictures

Preparation = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class FilmInferer(Inferer):
    """Films of any size -> what is found on each; each part can be exchanged, or left out with None.

    Args:
        study_inferer: asks the study classifier, a `ViewsInferer` as a rule.
        study_preparation: dictionary transform of "image", a film `(1, H, W)`, and its "lung_box": cuts out and resizes
            what the classifier sees, and leaves its "crop_box".
        lung_finder: finds the lungs; without it, films without a box are seen whole.
        opacity_finder: finds opacity boxes; without it there are none beside the classifier's mask.
        opacity_preparation: as `study_preparation`, for the opacity finder; by default the same pictures.
        trust_lung_boxes: whether a box that came with a film is used instead of looking for lungs.
        wider_preparation: as `study_preparation`, with a wider margin round the lungs; the study's probabilities are
            then the mean of both, while the mask, which has one frame, stays that of the first.
    """

    def __init__(
        self,
        study_inferer: Callable[..., dict[str, torch.Tensor]],
        study_preparation: Preparation,
        lung_finder: LungFinder | None = None,
        opacity_finder: OpacityFinder | None = None,
        opacity_preparation: Preparation | None = None,
        trust_lung_boxes: bool = False,
        wider_preparation: Preparation | None = None,
    ) -> None:
        super().__init__()
        self.study_inferer, self.study_preparation = study_inferer, study_preparation
        self.lung_finder, self.opacity_finder = lung_finder, opacity_finder
        self.opacity_preparation = opacity_preparation
        self.trust_lung_boxes = trust_lung_boxes
        self.wider_preparation = wider_preparation

    def __call__(  # type: ignore[override]
        self,
        inputs: Sequence[torch.Tensor] | torch.Tensor,
        network: nn.Module,
        lung_boxes: Sequence[Any] | None = None,
    ) -> list[dict[str, Any]]:
        """What is found on each film.

        Args:
            inputs: films `(1, H, W)` in [0, 1], of different sizes or as a batch (B, 1, H, W).
            network: the study classifier.
            lung_boxes: for each film the box that it came with, or None.

        Returns:
            For each film "study" (N,) and, with a decoder, "mask" (1, h, w), logits; "crop_box" (4,) in film pixels,
            what the classifier saw; "film_size" (2,), height and width; "lung_flags" as `Lungs` has them; with an
            opacity finder "boxes" (M, 4) in film pixels and "scores" (M,), best first.
        """
        films = [torch.as_tensor(film) for film in inputs]
        items = self._find_lungs(films, [None] * len(films) if lung_boxes is None else lung_boxes)
        seen = [dict(self.study_preparation(item)) for item in items]
        device = next(network.parameters()).device
        logits = self.study_inferer(stack_pictures(seen).to(device), network)
        if self.wider_preparation is not None:
            wider = stack_pictures([self.wider_preparation(item) for item in items]).to(device)
            logits = {**logits, "study": average_logits(logits["study"], self.study_inferer(wider, network)["study"])}
        found = [
            {
                **{name: value[number] for name, value in logits.items()},
                "crop_box": np.asarray(view["crop_box"], dtype=float),
                "film_size": np.asarray(view["film_size"]),
                "lung_flags": item["lung_flags"],
            }
            for number, (item, view) in enumerate(zip(items, seen, strict=True))
        ]
        if self.opacity_finder is not None:
            views = seen if self.opacity_preparation is None else [dict(self.opacity_preparation(i)) for i in items]
            self._add_opacities(found, views)
        return found

    def _find_lungs(self, films: Sequence[torch.Tensor], lung_boxes: Sequence[Any]) -> list[dict[str, Any]]:
        items = [
            {"image": film, "lung_box": box, "lung_flags": ()} for film, box in zip(films, lung_boxes, strict=True)
        ]
        open_items = [item for item in items if not self.trust_lung_boxes or item["lung_box"] is None]
        if self.lung_finder is not None and open_items:
            for item, lungs in zip(open_items, self.lung_finder([item["image"] for item in open_items]), strict=True):
                item.update(lung_box=lungs.box, lung_flags=lungs.flags)
        return items

    def _add_opacities(self, found: Sequence[dict[str, Any]], views: Sequence[Mapping[str, Any]]) -> None:
        assert self.opacity_finder is not None
        pictures = stack_pictures(views)
        for film, view, (boxes, scores) in zip(found, views, self.opacity_finder(pictures), strict=True):
            film["boxes"] = move_out_of_crop(boxes, view["crop_box"], *pictures.shape[-2:])
            film["scores"] = scores


def average_logits(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Logits (B, N) whose softmax is the mean of two softmaxes."""
    return torch.logaddexp(first.log_softmax(dim=1), second.log_softmax(dim=1))
