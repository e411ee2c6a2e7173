"""Where the lungs of films are: the lung detector, asked for a batch of any sizes, and when not to believe it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from scripts.boxes import scale_boxes
from scripts.inferers.views import AutocastInferer, stack_pictures

#: What is said of a film's lungs. With one of the first two there is no box.
FLAGS: dict[str, str] = {
    "no_lungs": "no lungs were found",
    "unsure_lungs": "the box round the lungs is too uncertain, too small or too odd in shape to be believed",
    "turned": "the film seems to be turned by a quarter or a half",
}


@dataclass(frozen=True)
class Lungs:
    """What was found on a film.

    Args:
        box: xmin, ymin, xmax, ymax round both lungs in film pixels, or None where it is not to be believed.
        score: probability that the film shows lungs.
        spread: how unsure the box is: the largest standard deviation of its edges, as a share of the film.
        flags: keys of `FLAGS`, sorted.
    """

    box: tuple[float, float, float, float] | None
    score: float
    spread: float
    flags: tuple[str, ...]


class LungFinder:
    """Finds the lungs of films, batched on the device; where it is unsure it says so instead of giving a wrong box.

    Args:
        network: a `LungDetector` with its weights.
        preparation: dictionary transform that brings "image", a film `(1, H, W)` in [0, 1], to the network's size.
        device: where the network runs.
        dtype: as for `AutocastInferer`.
        min_score: a smaller probability means no lungs.
        max_spread: a more uncertain box is not believed; of 1,052 validation films one is above it, and .03 is usual.
        min_side: nor is a box of which a side is a smaller share of the film: the smallest that was drawn is .35.
        max_ratio: nor one whose sides, in shares of the film, are in a larger ratio: the largest drawn is 1.9.
        min_turn: probability from which a film is called turned.
    """

    def __init__(
        self,
        network: nn.Module,
        preparation: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        device: str | torch.device = "cpu",
        dtype: str | None = None,
        min_score: float = 0.5,
        max_spread: float = 0.1,
        min_side: float = 0.15,
        max_ratio: float = 2.5,
        min_turn: float = 0.5,
    ) -> None:
        self.network, self.preparation, self.device = network.eval(), preparation, torch.device(device)
        self.inferer = AutocastInferer(dtype)
        self.min_score, self.max_spread, self.min_turn = min_score, max_spread, min_turn
        self.min_side, self.max_ratio = min_side, max_ratio

    @torch.no_grad()
    def __call__(self, films: Sequence[torch.Tensor]) -> list[Lungs]:
        """The lungs of each film `(1, H, W)`."""
        pictures = stack_pictures([self.preparation({"image": film}) for film in films]).to(self.device)
        found = {name: value.cpu() for name, value in self.inferer(pictures, self.network).items()}
        scores, spreads, turns = found["lungs"].sigmoid(), found["spread"], found["turn"].softmax(dim=1)
        return [
            self._judge(box, score.item(), spread.item(), 1 - turn[0].item(), film.shape[-2:])
            for box, score, spread, turn, film in zip(found["box"], scores, spreads, turns, films, strict=True)
        ]

    def _judge(self, box: torch.Tensor, score: float, spread: float, turned: float, size: Sequence[int]) -> Lungs:
        width, height = (box[2:] - box[:2]).tolist()
        # said so that a number which is none is not believed either
        fits = self.min_side <= width <= self.max_ratio * height and self.min_side <= height <= self.max_ratio * width
        shown, sure = score >= self.min_score, fits and spread <= self.max_spread
        flags = {
            "no_lungs": not shown,
            "unsure_lungs": shown and not sure,
            "turned": shown and turned >= self.min_turn,
        }
        in_film = scale_boxes([box.tolist()], float(size[0]), float(size[1]))[0].round(3)
        raised = tuple(sorted(flag for flag, is_raised in flags.items() if is_raised))
        return Lungs(tuple(in_film.tolist()) if shown and sure else None, score, spread, raised)
