"""One iteration of an evaluator that explains: films as they were read -> maps, figures, and the corner test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.engines import IterationEvents
from monai.networks import eval_mode

from scripts.boxes import as_boxes, fill_mask
from scripts.errors import InputError
from scripts.explanations.corners import CHANGES, UNTOUCHED, change_corners, find_corner_boxes
from scripts.explanations.figures import measure_pointing, measure_shares
from scripts.explanations.maps import METHODS, compute_maps
from scripts.explanations.records import Answer, ExplainedFilm
from scripts.findings import paste_mask
from scripts.inferers.views import stack_pictures
from scripts.labels import STUDY_CLASSES

Film = Mapping[str, Any]

PREDICTED, LABEL = "predicted", "label"


class FilmExplainer:
    """An `iteration_update` of MONAI's evaluators: explains films of any size by the engine's network.

    Probabilities are those of the engine's inferer, views included; a map is that of the film as it stands.

    Args:
        preparation: film -> picture, with `crop_box`: the region that the network sees, and its size.
        method: "grad_cam" or "grad_cam++".
        explained: the class to explain: "predicted", "label", or one of the study classes.
        corner_share: of height and width, for each corner of a film.

    A batch is a list of films with "image" `(1, H, W)` as it was read, the ids, "patient", "label", "boxes" and
    "lung_box" of a datalist. For "exchanged", a film is given the corners of the one before it; the first, those of the
    last in its batch.

    Raises:
        InputError: where an option is none of these.
    """

    def __init__(
        self,
        preparation: Callable[[Film], Film],
        method: str = "grad_cam",
        explained: str = PREDICTED,
        corner_share: float = 0.15,
    ) -> None:
        for value, valid in ((method, tuple(METHODS)), (explained, (PREDICTED, LABEL, *STUDY_CLASSES))):
            if value not in valid:
                raise InputError(f"one of {', '.join(valid)}", repr(value), "choose one of them")
        find_corner_boxes(1, 1, corner_share)  # raises where it is no such share
        self.preparation, self.method, self.explained = preparation, method, explained
        self.corner_share = corner_share
        self._last_film: torch.Tensor = torch.empty(0)

    def __call__(self, engine: Any, batch: Sequence[Film]) -> list[ExplainedFilm]:
        prepared = [self.preparation(film) for film in batch]
        pictures = stack_pictures(prepared).to(engine.state.device)
        probabilities = _predict(engine, pictures)
        classes = [self._choose_class(*pair) for pair in zip(batch, probabilities, strict=True)]
        maps = compute_maps(engine.network, pictures, torch.tensor(classes), self.method).cpu()
        changes = self._test_corners(engine, batch, pictures, probabilities)
        engine.state.output = [
            self._describe_film(film, prepared[place]["crop_box"], maps[place], classes[place], answers)
            for place, (film, answers) in enumerate(zip(batch, changes, strict=True))
        ]
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _choose_class(self, film: Film, probabilities: torch.Tensor) -> int:
        if self.explained == PREDICTED:
            return int(probabilities.argmax())
        return int(film["label"]) if self.explained == LABEL else STUDY_CLASSES.index(self.explained)

    def _test_corners(
        self, engine: Any, batch: Sequence[Film], pictures: torch.Tensor, probabilities: torch.Tensor
    ) -> list[dict[str, Answer]]:
        """For each film its answers by what was done to its corners, "untouched" first."""
        films = [film["image"] for film in batch]
        before = films[-1] if engine.state.iteration == 1 else self._last_film
        donors, self._last_film = [before, *films[:-1]], films[-1]
        after = {UNTOUCHED: probabilities}
        for change in CHANGES:
            changed = [change_corners(*pair, change, self.corner_share) for pair in zip(films, donors, strict=True)]
            prepared = [self.preparation({**film, "image": new}) for film, new in zip(batch, changed, strict=True)]
            after[change] = _predict_where_changed(engine, pictures, stack_pictures(prepared), probabilities)
        return [{change: _name_classes(rows[place]) for change, rows in after.items()} for place in range(len(batch))]

    def _describe_film(
        self, film: Film, crop_box: Any, heat: torch.Tensor, number: int, answers: dict[str, Answer]
    ) -> ExplainedFilm:
        pixels, explained = np.asarray(film["image"][0], dtype=np.float32), STUDY_CLASSES[number]
        height, width = pixels.shape
        corners, opacities = find_corner_boxes(height, width, self.corner_share), as_boxes(film["boxes"])
        lungs = as_boxes([] if film.get("lung_box") is None else [film["lung_box"]])
        heat_in_film = paste_mask(heat, crop_box, pixels.shape)[0].numpy()
        # a map that speaks for "negative" is not asked to lie on opacities
        asked = opacities if explained != STUDY_CLASSES[0] else opacities[:0]
        regions = {"lungs": lungs, "opacities": asked, "corners": corners}
        return ExplainedFilm(
            image_id=str(film["image_id"]),
            study_id=str(film["study_id"]),
            patient=str(film.get("patient", film["study_id"])),
            label=STUDY_CLASSES[int(film["label"])] if "label" in film else "",
            explained=explained,
            answers=answers,
            crop_box=np.asarray(crop_box, dtype=np.float64),
            lungs=lungs,
            opacities=opacities,
            corners=corners,
            shares={name: measure_shares(heat_in_film, boxes, crop_box) for name, boxes in regions.items()},
            points_at_opacity=measure_pointing(heat_in_film, asked),
            corners_seen=measure_shares(fill_mask(corners, *pixels.shape), [crop_box], crop_box).energy,
            pixels=pixels,
            heat=heat_in_film,
        )


def _predict(engine: Any, pictures: torch.Tensor) -> torch.Tensor:
    """Probabilities of the study classes (B, N), on the CPU."""
    with eval_mode(engine.network):
        return engine.inferer(pictures, engine.network)["study"].softmax(dim=1).cpu()


def _predict_where_changed(
    engine: Any, pictures: torch.Tensor, others: torch.Tensor, probabilities: torch.Tensor
) -> torch.Tensor:
    """Probabilities (B, N) of other pictures; one that is equal to the first keeps its own, to the last bit."""
    differ = (others != pictures.cpu()).flatten(1).any(dim=1)
    after = probabilities.clone()
    if differ.any():
        after[differ] = _predict(engine, others[differ].to(pictures.device))
    return after


def _name_classes(probabilities: torch.Tensor) -> Answer:
    return dict(zip(STUDY_CLASSES, probabilities.tolist(), strict=True))
