"""Iteration function of an explaining evaluator: images as they were read -> maps, figures, and the corner test."""

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
from scripts.explanations.figures import measure_fractions, measure_pointing
from scripts.explanations.maps import METHODS, compute_maps
from scripts.explanations.records import ExplainedImage, Response
from scripts.inferers import stack_pictures
from scripts.labels import STUDY_CLASSES
from scripts.transforms import paste_mask

Image = Mapping[str, Any]

PREDICTED, LABEL = "predicted", "label"


class ImageExplainer:
    """An `iteration_update` of MONAI's evaluators: explains images of any size by the engine's network.

    Probabilities are those of the engine's inferer, TTA flips included; a map is that of the image as it stands.

    Args:
        preparation: image -> picture, with `crop_box`: the region that the network sees, and its size.
        method: "grad_cam" or "grad_cam++".
        explained: the class to explain: "predicted", "label", or one of the study classes.
        corner_fraction: of height and width, for each corner of an image.

    A batch is a list of images with "image" `(1, H, W)` as it was read, the ids, "patient", "label", "boxes" and
    "lung_box" of a datalist. For "exchanged", an image is given the corners of the one before it; the first, those of
    the last in its batch.

    Raises:
        InputError: where an option is none of these.
    """

    def __init__(
        self,
        preparation: Callable[[Image], Image],
        method: str = "grad_cam",
        explained: str = PREDICTED,
        corner_fraction: float = 0.15,
    ) -> None:
        for value, valid in ((method, tuple(METHODS)), (explained, (PREDICTED, LABEL, *STUDY_CLASSES))):
            if value not in valid:
                raise InputError(f"one of {', '.join(valid)}", repr(value), "choose one of them")
        find_corner_boxes(1, 1, corner_fraction)  # raises where it is no such fraction
        self.preparation, self.method, self.explained = preparation, method, explained
        self.corner_fraction = corner_fraction
        self._last_image: torch.Tensor = torch.empty(0)

    def __call__(self, engine: Any, batch: Sequence[Image]) -> list[ExplainedImage]:
        prepared = [self.preparation(image) for image in batch]
        pictures = stack_pictures(prepared).to(engine.state.device)
        probabilities = _predict(engine, pictures)
        classes = [self._choose_class(*pair) for pair in zip(batch, probabilities, strict=True)]
        maps = compute_maps(engine.network, pictures, torch.tensor(classes), self.method).cpu()
        changes = self._test_corners(engine, batch, pictures, probabilities)
        engine.state.output = [
            self._describe_image(image, prepared[index]["crop_box"], maps[index], classes[index], predictions)
            for index, (image, predictions) in enumerate(zip(batch, changes, strict=True))
        ]
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _choose_class(self, image: Image, probabilities: torch.Tensor) -> int:
        if self.explained == PREDICTED:
            return int(probabilities.argmax())
        return int(image["label"]) if self.explained == LABEL else STUDY_CLASSES.index(self.explained)

    def _test_corners(
        self, engine: Any, batch: Sequence[Image], pictures: torch.Tensor, probabilities: torch.Tensor
    ) -> list[dict[str, Response]]:
        """For each image its predictions by what was done to its corners, "untouched" first."""
        images = [image["image"] for image in batch]
        before = images[-1] if engine.state.iteration == 1 else self._last_image
        donors, self._last_image = [before, *images[:-1]], images[-1]
        after = {UNTOUCHED: probabilities}
        for change in CHANGES:
            changed = [change_corners(*pair, change, self.corner_fraction) for pair in zip(images, donors, strict=True)]
            prepared = [self.preparation({**image, "image": new}) for image, new in zip(batch, changed, strict=True)]
            after[change] = _predict_where_changed(engine, pictures, stack_pictures(prepared), probabilities)
        return [{change: _name_classes(rows[index]) for change, rows in after.items()} for index in range(len(batch))]

    def _describe_image(
        self, image: Image, crop_box: Any, heat: torch.Tensor, number: int, predictions: dict[str, Response]
    ) -> ExplainedImage:
        pixels, explained = np.asarray(image["image"][0], dtype=np.float32), STUDY_CLASSES[number]
        height, width = pixels.shape
        corners, opacities = find_corner_boxes(height, width, self.corner_fraction), as_boxes(image["boxes"])
        lungs = as_boxes([] if image.get("lung_box") is None else [image["lung_box"]])
        heat_in_image = paste_mask(heat, crop_box, pixels.shape)[0].numpy()
        # a map that speaks for "negative" is not asked to lie on opacities
        asked = opacities if explained != STUDY_CLASSES[0] else opacities[:0]
        regions = {"lungs": lungs, "opacities": asked, "corners": corners}
        return ExplainedImage(
            image_id=str(image["image_id"]),
            study_id=str(image["study_id"]),
            patient=str(image.get("patient", image["study_id"])),
            label=STUDY_CLASSES[int(image["label"])] if "label" in image else "",
            explained=explained,
            predictions=predictions,
            crop_box=np.asarray(crop_box, dtype=np.float64),
            lungs=lungs,
            opacities=opacities,
            corners=corners,
            fractions={name: measure_fractions(heat_in_image, boxes, crop_box) for name, boxes in regions.items()},
            points_at_opacity=measure_pointing(heat_in_image, asked),
            corners_seen=measure_fractions(fill_mask(corners, *pixels.shape), [crop_box], crop_box).energy,
            pixels=pixels,
            heat=heat_in_image,
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


def _name_classes(probabilities: torch.Tensor) -> Response:
    return dict(zip(STUDY_CLASSES, probabilities.tolist(), strict=True))
