"""The study classifier: a timm encoder, a linear head on its last map, and a mask decoder on the same map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from scripts.labels import STUDY_CLASSES
from scripts.networks.encoders import build_encoder, check_input_shape, normalise
from torch import nn

#: Decoder widths of the 17th-place solution [4], on the 1280-channel map of EfficientNetV2-L; 14.5 million parameters.
SEVENTEENTH_PLACE_MASK_WIDTHS: tuple[int, ...] = (768, 512, 256, 256, 128)

#: Decoder widths that suit EfficientNetV2-B0 on two CPU cores: a training step costs 3 % more than without a decoder
#: (22.2 against 21.5 ms an image of 160 px); with 128-64-32-32-32 it is 33 % (28.6 ms).
SLIM_MASK_WIDTHS: tuple[int, ...] = (64, 32, 16, 16, 16)


class MaskDecoder(nn.Sequential):
    """Steps of [3 x 3 convolution, batch norm, ReLU, bilinear x 2], then a 1 x 1 convolution to one logit.

    No skip connections: the mask is there to shape the encoder's last map, not for its own borders.

    Args:
        in_channels: channels C of the encoder's map.
        widths: channels after each step; the output is `2 ** len(widths)` times as large as the input.

    Shape:
        (B, C, H, W) -> (B, 1, H * 2 ** len(widths), W * 2 ** len(widths))
    """

    def __init__(self, in_channels: int, widths: Sequence[int]) -> None:
        channels = [in_channels, *widths]
        steps = [self._build_step(before, after) for before, after in zip(channels, channels[1:], strict=False)]
        super().__init__(*steps, nn.Conv2d(channels[-1], 1, kernel_size=1))

    @staticmethod
    def _build_step(before: int, after: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False),
        )


class StudyClassifier(nn.Module):
    """Classifies an image into the four study classes and, with a decoder, marks its opacities.

    Args:
        encoder: name of a timm model whose last map has stride 32, EfficientNetV2 by default.
        in_channels: channels of the image.
        num_classes: study classes.
        mask_widths: widths of the mask decoder; empty or None: no decoder.
        weights: encoder weights: None (random), "imagenet", "hub", or a local .pt or .safetensors file.
        encoder_options: further arguments of `timm.create_model`, such as `drop_path_rate`.
        pixel_mean, pixel_std: what the encoder's input is normalised by; as it comes by default.

    Shape:
        (B, in_channels, H, W) in [0, 1], H and W multiples of 32 -> a dictionary of logits:
        "study" (B, num_classes) and, with a decoder, "mask" (B, 1, H, W).

    Raises:
        InputError: where the weights cannot be had.
    """

    def __init__(
        self,
        encoder: str = "tf_efficientnetv2_b0",
        in_channels: int = 1,
        num_classes: int = len(STUDY_CLASSES),
        mask_widths: Sequence[int] | None = SLIM_MASK_WIDTHS,
        weights: str | Path | None = None,
        encoder_options: dict[str, Any] | None = None,
        pixel_mean: float = 0.0,
        pixel_std: float = 1.0,
    ) -> None:
        super().__init__()
        self.pixel_mean, self.pixel_std = pixel_mean, pixel_std
        self.encoder = build_encoder(encoder, in_channels, weights, encoder_options or {})
        features = int(self.encoder.num_features)  # type: ignore[arg-type]
        self.classifier = nn.Linear(features, num_classes)
        self.mask_decoder = MaskDecoder(features, mask_widths) if mask_widths else None

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        check_input_shape(image)
        features = self.encoder(normalise(image, self.pixel_mean, self.pixel_std))
        logits = {"study": self.classifier(features.mean(dim=(2, 3)))}
        if self.mask_decoder is not None:
            logits["mask"] = self.mask_decoder(features)
        return logits
