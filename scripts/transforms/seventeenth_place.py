"""The 17th-place solution's augmentations, in its order and with its settings."""

from __future__ import annotations

import math

import torch
from monai.transforms import (
    Compose,
    Identityd,
    Lambdad,
    MedianSmoothd,
    OneOf,
    RandAffined,
    RandCoarseDropoutd,
    RandFlipd,
    RandGaussianNoised,
    Transposed,
)
from scripts.transforms.intensity import BOX, RandBrightnessContrastd, RandCLAHEd, RandKernelBlurd

IMAGE, MASK = "image", "mask"
BOTH = (IMAGE, MASK)


class SeventeenthPlaceAugmentation(Compose):
    """Mirror, transpose, shift with scale and rotation, noise, brightness, CLAHE, blur and cut-outs.

    The mask goes with what moves pixels, and keeps its zeros and ones; what changes grey values leaves it alone.

    Args:
        image_size: height and width of the pictures in pixels: a transposed image has to fit into its batch.

    Shape:
        {"image": (1, S, S) in [0, 1], "mask": (1, S, S)} -> the same.
    """

    def __init__(self, image_size: int) -> None:
        shift = 0.0625 * image_size
        super().__init__(
            [
                RandFlipd(BOTH, prob=0.5, spatial_axis=1),
                # upside down no image is taken, yet a vertical flip is part of the 17th-place solution's test-time
                # augmentation
                RandFlipd(BOTH, prob=0.5, spatial_axis=0),
                OneOf([Transposed(BOTH, indices=(0, 2, 1)), Identityd(BOTH)]),
                RandAffined(
                    BOTH,
                    prob=0.3,
                    rotate_range=math.radians(45),
                    translate_range=[shift, shift],
                    scale_range=[0.1, 0.1],
                    mode=["bilinear", "nearest"],
                    padding_mode="reflection",  # no black corners, which a network would learn as a shortcut
                ),
                # its strength is not known; up to 7 of 255 levels is what a picture library of the time had for default
                RandGaussianNoised(IMAGE, prob=0.5, std=7 / 255),
                Lambdad(IMAGE, clamp_picture),
                RandBrightnessContrastd(IMAGE, brightness=0.25, contrast=0.25, prob=0.5),
                RandCLAHEd(IMAGE, clip=3.0, tiles=8, prob=0.5),
                OneOf(
                    [
                        RandKernelBlurd(IMAGE),
                        MedianSmoothd(IMAGE, radius=1),
                        RandKernelBlurd(IMAGE, kernels=BOX),
                        Identityd(IMAGE),
                    ],
                    weights=[0.2 / 3, 0.2 / 3, 0.2 / 3, 0.8],
                ),
                # "small" is all that is known: two holes of a tenth of a side hide 2 % of an image
                RandCoarseDropoutd(IMAGE, holes=2, spatial_size=max(1, image_size // 10), fill_value=0.0, prob=0.5),
            ]
        )


def clamp_picture(picture: torch.Tensor) -> torch.Tensor:
    """Cut to [0, 1], in a picture of its own: what follows may write into it."""
    return picture.clamp(0, 1)
