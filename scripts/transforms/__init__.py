"""Dictionary transforms that MONAI lacks: loading, crops, targets in their frame, augmentation with boxes, findings."""

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
from scripts.transforms.caching import PreparedDataset, SeededCacheDataset
from scripts.transforms.crops import BlackOutLungsd, CropToLungsd, KeepWholeImaged, find_crop
from scripts.transforms.findings import LogitsToFindingsd, explain_out_of_scope, paste_mask
from scripts.transforms.intensity import RandBrightnessContrastd, RandCLAHEd, RandKernelBlurd
from scripts.transforms.inversion import RandInvertd
from scripts.transforms.loading import LoadRadiographd, find_image
from scripts.transforms.resizing import AntialiasedResized
from scripts.transforms.seventeenth_place import SeventeenthPlaceAugmentation
from scripts.transforms.soft_targets import AttachSoftLabels, AttachTargets, WeighByStudy, WeighMistakes
from scripts.transforms.stacking import StackedDataset, fill_cache, take_batch_as_it_is
from scripts.transforms.targets import BoxesToCropd, BoxesToMaskd

__all__ = [
    "AntialiasedResized",
    "SeventeenthPlaceAugmentation",
    "AttachSoftLabels",
    "AttachTargets",
    "BlackOutLungsd",
    "BoxesToMaskd",
    "CropToLungsd",
    "LoadRadiographd",
    "LogitsToFindingsd",
    "explain_out_of_scope",
    "find_image",
    "paste_mask",
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
    "PreparedDataset",
    "SeededCacheDataset",
    "StackedDataset",
    "WeighByStudy",
    "WeighMistakes",
    "fill_cache",
    "find_crop",
    "take_batch_as_it_is",
]
