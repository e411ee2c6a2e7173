"""Training losses that MONAI lacks: one for each network, and those that the 17th-place solution tried."""

from scripts.losses.auxiliary import AuxiliaryMaskLoss
from scripts.losses.lovasz import LovaszHingeLoss
from scripts.losses.lungs import LungBoxLoss
from scripts.losses.opacities import DetectionLoss
from scripts.losses.studies import BiTemperedLoss, StudyFocalLoss

__all__ = ["AuxiliaryMaskLoss", "BiTemperedLoss", "DetectionLoss", "LovaszHingeLoss", "LungBoxLoss", "StudyFocalLoss"]
