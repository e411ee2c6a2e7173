"""Inferers: mixed precision, test-time augmentation, lung and opacity detection, and the pipeline of all of them."""

from scripts.inferers.images import ImageInferer
from scripts.inferers.lungs import LUNG_FLAGS, LungInferer, Lungs, read_lung_inferer
from scripts.inferers.opacities import FusedBoxesInferer, OpacityInferer
from scripts.inferers.tta import TTA_FLIPS, AutocastInferer, TTAInferer, stack_pictures

__all__ = [
    "LUNG_FLAGS",
    "TTA_FLIPS",
    "AutocastInferer",
    "ImageInferer",
    "FusedBoxesInferer",
    "LungInferer",
    "Lungs",
    "OpacityInferer",
    "TTAInferer",
    "read_lung_inferer",
    "stack_pictures",
]
