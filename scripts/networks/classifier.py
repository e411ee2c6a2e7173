"""The study classifier: a timm encoder, a linear head on its last map, and a mask decoder on the same map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import nn

from scripts.errors import InputError
from scripts.labels import STUDY_CLASSES

#: Decoder widths of the article, on the 1280-channel map of EfficientNetV2-L; 14.5 million parameters.
ARTICLE_MASK_WIDTHS: tuple[int, ...] = (768, 512, 256, 256, 128)

#: Decoder widths that suit EfficientNetV2-B0 on two CPU cores: a training step costs 3 % more than without a decoder
#: (22.2 against 21.5 ms a film of 160 px); with 128-64-32-32-32 it is 33 % (28.6 ms).
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
    """Classifies a film into the four study classes and, with a decoder, marks its opacities.

    Args:
        encoder: name of a timm model whose last map has stride 32, EfficientNetV2 by default.
        in_channels: channels of the film.
        num_classes: study classes.
        mask_widths: widths of the mask decoder; empty or None: no decoder.
        weights: encoder weights: None (random), a local .pt or .safetensors file, or "hub" (timm's, online).
        encoder_options: further arguments of `timm.create_model`, such as `drop_path_rate`.

    Shape:
        (B, in_channels, H, W) in [0, 1], H and W multiples of 32 -> a dictionary of logits:
        "study" (B, num_classes) and, with a decoder, "mask" (B, 1, H, W).

    Raises:
        InputError: where the weights cannot be had.
    """

    stride = 32

    def __init__(
        self,
        encoder: str = "tf_efficientnetv2_b0",
        in_channels: int = 1,
        num_classes: int = len(STUDY_CLASSES),
        mask_widths: Sequence[int] | None = SLIM_MASK_WIDTHS,
        weights: str | Path | None = None,
        encoder_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = build_encoder(encoder, in_channels, weights, encoder_options or {})
        features = int(self.encoder.num_features)  # type: ignore[arg-type]
        self.classifier = nn.Linear(features, num_classes)
        self.mask_decoder = MaskDecoder(features, mask_widths) if mask_widths else None

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        self.check_input_shape(image)
        features = self.encoder(image)
        logits = {"study": self.classifier(features.mean(dim=(2, 3)))}
        if self.mask_decoder is not None:
            logits["mask"] = self.mask_decoder(features)
        return logits

    def check_input_shape(self, image: torch.Tensor) -> None:
        """Raise where height or width is no multiple of the encoder's stride; the nearest valid size is named."""
        height, width = image.shape[-2], image.shape[-1]
        if height % 32 != 0 or width % 32 != 0:
            valid_height, valid_width = max(1, (height + 16) // 32) * 32, max(1, (width + 16) // 32) * 32
            raise ValueError(
                f"expected height and width as multiples of 32, got {height} x {width}; "
                f"the nearest valid size is {valid_height} x {valid_width}"
            )


def build_encoder(name: str, in_channels: int, weights: str | Path | None, options: dict[str, Any]) -> nn.Module:
    """A timm model cut before pooling: (B, in_channels, H, W) -> (B, num_features, H / 32, W / 32)."""
    from_hub = weights == "hub"
    if not timm.is_model(name):
        raise InputError("the name of a timm model", repr(name), "choose one of timm.list_models()")
    try:
        encoder = timm.create_model(
            name, pretrained=from_hub, in_chans=in_channels, num_classes=0, global_pool="", **options
        )
    except (OSError, RuntimeError) as error:  # huggingface_hub's offline errors are OSErrors, timm's RuntimeErrors
        if not from_hub:
            raise
        raise InputError(
            f"the weights of {name} from timm's hub",
            f"no way to them ({type(error).__name__})",
            "go online, name a local file, or set the weights to null for a random start",
        ) from error
    if weights is not None and not from_hub:
        load_encoder_weights(encoder, Path(weights))
    return encoder


def load_encoder_weights(encoder: nn.Module, path: Path) -> None:
    """Load a state dictionary for an encoder from a .pt or .safetensors file; a classifier's surplus is ignored.

    Raises:
        InputError: where the file is missing or does not fit.
    """
    if not path.is_file():
        raise InputError("a file of encoder weights", f"nothing at {path}", "correct the path or set weights to null")
    advice = "choose the matching encoder and number of channels"
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
        missing, _ = encoder.load_state_dict(state, strict=False)
    except Exception as error:  # a damaged file, or tensors of another shape: torch and safetensors raise many types
        raise InputError("weights of this encoder", f"others, or damaged ones, in {path.name}", advice) from error
    if missing:
        raise InputError("weights of this encoder", f"{len(missing)} tensors missing in {path.name}", advice)
