"""Findings of one image in its own frame: class probabilities, mask, boxes, none.

The reason for a module of its own: bundle runs, MONAI Label and MONAI Deploy all take their result from this transform.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import NDArray
from scripts.boxes import as_boxes, find_regions, move_out_of_crop
from scripts.labels import NONE, STUDY_CLASSES


class LogitsToFindingsd(MapTransform):
    """Turn the predictions of one image into a mask in its frame under the same key, and a plain `result` for tables.

    Boxes are those of the opacity detector or, without one, the connected regions of the mask, with their mean mask
    probability for a score. Either score is multiplied by the probability that the image is not negative, so that an
    image which the classifier finds clean does not rank its faint boxes high. `none` blends the probability of negative
    with 1 - the best box.

    Args:
        keys: dictionaries of logits, "study" (C,) and, where there is a decoder, "mask" (1, h, w), and of what else a
            `ImageInferer` leaves: "study_tta" (V, C), the same of each flip, "lung_flags", of an opacity detector
            "boxes" (M, 4) in image pixels with "scores" (M,).
        classes: names of the C classes.
        mask_threshold: pixels at or above it belong to the mask.
        box_threshold: pixels at or above it belong to a region of the mask.
        min_area: smallest region that becomes a box, as a fraction of the network's input.
        none_weight: weight of the probability of negative in `none`; `python -m scripts fit-none` fits it.
        temperature: the study logits are divided by it; `python -m scripts evaluate-reliability` fits it.

    That dictionary, or the item itself as the regions in `scripts.transforms` leave it, must hold `crop_box` (4,) and
    `original_size` (2,), and may hold `image_flags`, words separated by blanks. `result`:
    {"probabilities": {class: float}, "tta_probabilities": [[float]], "none": float, "none_weight": float,
    "boxes": [[xmin, ymin, xmax, ymax]], "scores": [float], "crop_box": [4], "flags": [str], "out_of_scope": str};
    "tta_probabilities" are the probabilities of each flip; boxes in image pixels, best first; "out_of_scope" says why
    an image is not scored, and is empty where it is.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        classes: Sequence[str] | Mapping[str, str] = STUDY_CLASSES,
        mask_threshold: float = 0.5,
        box_threshold: float = 0.5,
        min_area: float = 0.002,
        none_weight: float = 1.0,
        temperature: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.classes = tuple(classes.values()) if isinstance(classes, Mapping) else tuple(classes)
        self.mask_threshold, self.box_threshold, self.min_area = mask_threshold, box_threshold, min_area
        if not temperature > 0:
            raise ValueError(f"expected a temperature above 0, got {temperature}")
        self.none_weight, self.temperature = none_weight, temperature

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            found, frame = out[key], {**out, **out[key]}
            crop_box, original_size = (
                np.asarray(frame["crop_box"], dtype=float),
                [int(n) for n in frame["original_size"]],
            )
            flags = _gather_flags(frame, crop_box, original_size)
            out["result"] = {
                **self._describe_image(found, crop_box),
                "crop_box": crop_box.tolist(),
                "flags": flags,
                "out_of_scope": explain_out_of_scope(flags),
            }
            mask = torch.zeros(1, *original_size)
            if "mask" in found:
                mask = paste_mask(found["mask"].float().sigmoid(), crop_box, original_size) >= self.mask_threshold
            out[key] = mask.to(torch.uint8)
        return out

    def _describe_image(self, found: Mapping[str, Any], crop_box: NDArray[Any]) -> dict[str, Any]:
        logits, tta_probabilities = found["study"].float(), found.get("study_tta", found["study"][None]).float()
        probabilities = dict(zip(self.classes, (logits / self.temperature).softmax(dim=0).tolist(), strict=True))
        negative = probabilities["negative"]
        boxes, scores = self._find_boxes(found, crop_box)
        weighed = np.asarray(scores, dtype=float) * (1 - negative)
        order = np.argsort(-weighed, kind="stable")
        return {
            "probabilities": probabilities,
            "tta_probabilities": (tta_probabilities / self.temperature).softmax(dim=1).tolist(),
            NONE: self.none_weight * negative + (1 - self.none_weight) * (1 - float(weighed.max(initial=0.0))),
            "none_weight": float(self.none_weight),
            "boxes": as_boxes(boxes)[order].round(3).tolist(),
            "scores": weighed[order].tolist(),
        }

    def _find_boxes(self, found: Mapping[str, Any], crop_box: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        if "boxes" in found:
            return found["boxes"], found["scores"]
        if "mask" not in found:
            return np.zeros((0, 4)), np.zeros(0)
        mask = found["mask"][0].float().sigmoid().cpu().numpy()
        regions, scores = find_regions(mask, self.box_threshold, round(self.min_area * mask.size))
        return move_out_of_crop(regions, crop_box, *mask.shape), scores


def explain_out_of_scope(flags: Sequence[str]) -> str:
    """Explain why an image that could be read is not scored; "" where it is scored.

    A wrong body part alone does not reject an image, portables are often mislabelled; without lungs in it, it does. An
    image without lungs is scored as a whole otherwise, unless it is noise: a lateral one shows a chest all the same.
    """
    if {"body_part", "no_lungs"} <= set(flags):
        return "the body part is not the chest, and no lungs were found"
    if {"noise", "no_lungs"} <= set(flags):
        return "the pixels are noise, and no lungs were found"
    return ""


def paste_mask(
    mask: torch.Tensor, crop_box: Sequence[float] | NDArray[Any], original_size: Sequence[int]
) -> torch.Tensor:
    """A mask `(1, h, w)` of a crop -> `(1, H, W)` of the image: resized to the crop, zeros around it."""
    xmin, ymin, xmax, ymax = (int(round(float(edge))) for edge in crop_box)
    resized = torch.nn.functional.interpolate(
        mask[None].cpu(), size=(ymax - ymin, xmax - xmin), mode="bilinear", align_corners=False
    )
    image = torch.zeros(1, *original_size)
    image[:, ymin:ymax, xmin:xmax] = resized[0]
    return image


def _gather_flags(found: Mapping[str, Any], crop_box: NDArray[Any], original_size: Sequence[int]) -> list[str]:
    """Gather an image's flags: its reader's, those of its lungs, and "whole_image" where the networks saw all of it."""
    whole = np.array_equal(crop_box, [0, 0, original_size[1], original_size[0]])
    image_flags, lung_flags = str(found.get("image_flags", "")).split(), found.get("lung_flags", ())
    return sorted({*image_flags, *lung_flags, *(["whole_image"] if whole else [])})
