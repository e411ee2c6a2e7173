"""The three networks: study classifier with its mask decoder, lung detector, opacity detector; encoders from timm."""

from scripts.networks.classifier import ARTICLE_MASK_WIDTHS, SLIM_MASK_WIDTHS, MaskDecoder, StudyClassifier
from scripts.networks.lungs import LungDetector
from scripts.networks.opacities import OpacityDetector

__all__ = [
    "ARTICLE_MASK_WIDTHS",
    "SLIM_MASK_WIDTHS",
    "LungDetector",
    "MaskDecoder",
    "OpacityDetector",
    "StudyClassifier",
]
