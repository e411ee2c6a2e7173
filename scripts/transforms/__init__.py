"""Dictionary transforms that MONAI lacks: crops of an image, targets in their frame, augmentation with boxes."""

from scripts.transforms.augmentation import RandAffineWithBoxesd, RandHideLungsd
from scripts.transforms.crops import BlackOutLungsd, CropToLungsd, KeepWholeImaged, find_crop
from scripts.transforms.intensity import RandBrightnessContrastd, RandCLAHEd, RandInvertd, RandKernelBlurd
from scripts.transforms.seventeenth_place import SeventeenthPlaceAugmentation
from scripts.transforms.soft_targets import AttachTargets, WeighByStudy, WeighMistakes
from scripts.transforms.targets import BoxesToCropd, BoxesToMaskd

__all__ = [
    "SeventeenthPlaceAugmentation",
    "AttachTargets",
    "BlackOutLungsd",
    "BoxesToMaskd",
    "CropToLungsd",
    "KeepWholeImaged",
    "BoxesToCropd",
    "RandBrightnessContrastd",
    "RandCLAHEd",
    "RandHideLungsd",
    "RandInvertd",
    "RandKernelBlurd",
    "RandAffineWithBoxesd",
    "WeighByStudy",
    "WeighMistakes",
    "find_crop",
]
