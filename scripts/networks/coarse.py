"""Coarse auxiliary mask, the first form of the 17th-place solution [4]: the second-last map in cells of 16 pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from scripts.errors import InputError
from scripts.labels import STUDY_CLASSES
from scripts.networks.classifier import StudyClassifier
from scripts.networks.encoders import check_input_shape, normalise
from torch import nn

#: Stride of the second-last map: 32 x 32 cells at the 512 pixels of the 17th-place solution [4].
STRIDE = 16


class CoarseMaskClassifier(StudyClassifier):
    """A `StudyClassifier` whose mask is one logit for each cell of 16 x 16 pixels, by two 3 x 3 convolutions.

    The mask comes at the image's resolution all the same, each logit repeated over its cell: so everything that reads a
    mask reads this one, and binary cross entropy against the full mask is that against the mask averaged over the
    cells, because it is linear in its target.

    Args:
        encoder, in_channels, num_classes, weights, encoder_options, pixel_mean, pixel_std: as for `StudyClassifier`.
        mask_width: channels between the two convolutions.

    Shape:
        As `StudyClassifier`.

    Raises:
        InputError: where the weights cannot be had, or the second-last map has another stride.
    """

    def __init__(
        self,
        encoder: str = "tf_efficientnetv2_b0",
        in_channels: int = 1,
        num_classes: int = len(STUDY_CLASSES),
        mask_width: int = 64,
        weights: str | Path | None = None,
        encoder_options: dict[str, Any] | None = None,
        pixel_mean: float = 0.0,
        pixel_std: float = 1.0,
    ) -> None:
        super().__init__(encoder, in_channels, num_classes, None, weights, encoder_options, pixel_mean, pixel_std)
        second_last = list(self.encoder.feature_info)[-2]  # type: ignore[arg-type]
        if second_last["reduction"] != STRIDE:
            found = f"one of stride {second_last['reduction']} in {encoder}"
            raise InputError(f"an encoder whose second-last map has stride {STRIDE}", found, "choose another encoder")
        self.coarse_decoder = nn.Sequential(
            nn.Conv2d(second_last["num_chs"], mask_width, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(mask_width),
            nn.ReLU(inplace=True),
            nn.Conv2d(mask_width, 1, kernel_size=3, padding=1),
            nn.Upsample(scale_factor=float(STRIDE), mode="nearest"),
        )

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        check_input_shape(image)
        features, (second_last,) = self.encoder.forward_intermediates(
            normalise(image, self.pixel_mean, self.pixel_std), indices=[-2]
        )  # type: ignore[operator]
        return {"study": self.classifier(features.mean(dim=(2, 3))), "mask": self.coarse_decoder(second_last)}
