"""Dictionary transforms that MONAI lacks: crops of an image, targets in their frame, augmentation with boxes."""

from scripts.transforms.augmentation import RandAffineWithBoxesd, RandHideLungsd
from scripts.transforms.batch_affine import RandAffineBatchd
from scripts.transforms.batch_intensity import (
    RandBlurBatchd,
    RandCutoutBatchd,
    RandEqualizeBatchd,
    RandGammaBatchd,
    RandNoiseBatchd,
    RandSharpenBatchd,
    RandSigmoidBatchd,
    RandWindowBatchd,
)
from scripts.transforms.crops import BlackOutLungsd, CropToLungsd, KeepWholeImaged, find_crop
from scripts.transforms.intensity import RandBrightnessContrastd, RandCLAHEd, RandKernelBlurd
from scripts.transforms.inversion import RandInvertd
from scripts.transforms.seventeenth_place import SeventeenthPlaceAugmentation
from scripts.transforms.soft_targets import AttachSoftLabels, AttachTargets, WeighByStudy, WeighMistakes
from scripts.transforms.stacking import StackedDataset, fill_cache, take_batch_as_it_is
from scripts.transforms.targets import BoxesToCropd, BoxesToMaskd

__all__ = [
    "SeventeenthPlaceAugmentation",
    "AttachSoftLabels",
    "AttachTargets",
    "BlackOutLungsd",
    "BoxesToMaskd",
    "CropToLungsd",
    "KeepWholeImaged",
    "BoxesToCropd",
    "RandAffineBatchd",
    "RandBlurBatchd",
    "RandCutoutBatchd",
    "RandEqualizeBatchd",
    "RandGammaBatchd",
    "RandNoiseBatchd",
    "RandSharpenBatchd",
    "RandSigmoidBatchd",
    "RandWindowBatchd",
    "RandBrightnessContrastd",
    "RandCLAHEd",
    "RandHideLungsd",
    "RandInvertd",
    "RandKernelBlurd",
    "RandAffineWithBoxesd",
    "StackedDataset",
    "WeighByStudy",
    "WeighMistakes",
    "fill_cache",
    "find_crop",
    "take_batch_as_it_is",
]
