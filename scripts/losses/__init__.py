"""The training losses that MONAI lacks, one for each network."""

from scripts.losses.auxiliary import AuxiliaryMaskLoss
from scripts.losses.lungs import LungBoxLoss
from scripts.losses.opacities import DetectionLoss

__all__ = ["AuxiliaryMaskLoss", "DetectionLoss", "LungBoxLoss"]
