"""What the network's logits say of one film, in the film's own frame: class probabilities, mask, boxes, none.

The reason for a room of its own: bundle runs, MONAI Label and MONAI Deploy all take their answer from this transform.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import NDArray

from scripts.boxes import find_regions, move_out_of_crop
from scripts.labels import NONE, STUDY_CLASSES


class LogitsToFindingsd(MapTransform):
    """One film's logits -> a mask in the film's frame under the same key, and a plain `result` for tables and JSON.

    Until there is an opacity detector, boxes are the connected regions of the mask. A region's confidence is its mean
    mask probability times the probability that the study is not negative, so that a film which the classifier finds
    clean does not rank its faint regions high; `none` is the probability of negative.

    Args:
        keys: dictionaries of logits, "study" (C,) and, where there is a decoder, "mask" (1, h, w).
        classes: names of the C classes.
        mask_threshold: pixels at or above it belong to the mask.
        box_threshold: pixels at or above it belong to a box.
        min_area: smallest region that becomes a box, as a share of the network's input.

    The item must hold `crop_box` (4,) and `film_size` (2,), as the regions in `scripts.transforms` leave them.
    `result`:
    {"probabilities": {class: float}, "none": float, "boxes": [[xmin, ymin, xmax, ymax]], "scores": [float],
    "crop_box": [4], "flags": [str]}; boxes in film pixels, best first.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        classes: Sequence[str] | Mapping[str, str] = STUDY_CLASSES,
        mask_threshold: float = 0.5,
        box_threshold: float = 0.5,
        min_area: float = 0.002,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.classes = tuple(classes.values()) if isinstance(classes, Mapping) else tuple(classes)
        self.mask_threshold, self.box_threshold, self.min_area = mask_threshold, box_threshold, min_area

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        out = dict(data)
        for key in self.key_iterator(out):
            crop_box, film_size = np.asarray(out["crop_box"], dtype=float), [int(n) for n in out["film_size"]]
            result = self._describe_study(out[key]["study"])
            mask = torch.zeros(1, *film_size)
            if "mask" in out[key]:
                probabilities = out[key]["mask"][0].float().sigmoid().cpu().numpy()
                result |= self._describe_boxes(probabilities, crop_box, 1.0 - result["probabilities"]["negative"])
                mask = paste_mask(out[key]["mask"].float().sigmoid(), crop_box, film_size) >= self.mask_threshold
            out["result"] = result | {"crop_box": crop_box.tolist(), "flags": _find_flags(crop_box, film_size)}
            out[key] = mask.to(torch.uint8)
        return out

    def _describe_study(self, logits: torch.Tensor) -> dict[str, Any]:
        probabilities = dict(zip(self.classes, logits.float().softmax(dim=0).tolist(), strict=True))
        return {"probabilities": probabilities, NONE: probabilities["negative"], "boxes": [], "scores": []}

    def _describe_boxes(self, mask: NDArray[np.float32], crop_box: NDArray[Any], not_negative: float) -> dict[str, Any]:
        boxes, scores = find_regions(mask, self.box_threshold, round(self.min_area * mask.size))
        order = np.argsort(-scores, kind="stable")
        in_film = move_out_of_crop(boxes[order], crop_box, *mask.shape)
        return {"boxes": in_film.round(3).tolist(), "scores": (scores[order] * not_negative).tolist()}


def paste_mask(mask: torch.Tensor, crop_box: Sequence[float] | NDArray[Any], film_size: Sequence[int]) -> torch.Tensor:
    """A mask `(1, h, w)` of a crop -> `(1, H, W)` of the film: resized to the crop, zeros around it."""
    xmin, ymin, xmax, ymax = (int(round(float(edge))) for edge in crop_box)
    resized = torch.nn.functional.interpolate(
        mask[None].cpu(), size=(ymax - ymin, xmax - xmin), mode="bilinear", align_corners=False
    )
    film = torch.zeros(1, *film_size)
    film[:, ymin:ymax, xmin:xmax] = resized[0]
    return film


def _find_flags(crop_box: NDArray[Any], film_size: Sequence[int]) -> list[str]:
    whole = np.array_equal(crop_box, [0, 0, film_size[1], film_size[0]])
    return ["whole_film"] if whole else []
