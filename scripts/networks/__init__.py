"""The three networks: study classifier with its mask decoder (or several as one), lung and opacity detector."""

from scripts.networks.classifier import SEVENTEENTH_PLACE_MASK_WIDTHS, SLIM_MASK_WIDTHS, MaskDecoder, StudyClassifier
from scripts.networks.coarse import CoarseMaskClassifier
from scripts.networks.ensemble import StudyEnsemble
from scripts.networks.lungs import LungDetector
from scripts.networks.opacities import OpacityDetector
from scripts.networks.runtimes import RUNTIMES, export_onnx_bytes, flatten_outputs, start_onnx, use_runtime

__all__ = [
    "RUNTIMES",
    "SEVENTEENTH_PLACE_MASK_WIDTHS",
    "SLIM_MASK_WIDTHS",
    "CoarseMaskClassifier",
    "LungDetector",
    "MaskDecoder",
    "OpacityDetector",
    "StudyClassifier",
    "StudyEnsemble",
    "export_onnx_bytes",
    "flatten_outputs",
    "start_onnx",
    "use_runtime",
]
