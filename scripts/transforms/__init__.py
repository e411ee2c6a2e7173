"""The dictionary transforms that MONAI lacks: regions of a film, targets in their frame, augmentation with boxes."""

from scripts.transforms.article import ArticleAugmentation
from scripts.transforms.augmentation import RandHideLungsd, RandWarpd
from scripts.transforms.intensity import RandBrightnessContrastd, RandEqualizeTilesd, RandInvertd, RandKernelBlurd
from scripts.transforms.regions import BlackOutLungsd, CropToLungsd, KeepWholeFilmd, find_crop
from scripts.transforms.soft_targets import AttachTargets, WeighByStudy, WeighMistakes
from scripts.transforms.targets import BoxesToMaskd, MoveBoxesToRegiond

__all__ = [
    "ArticleAugmentation",
    "AttachTargets",
    "BlackOutLungsd",
    "BoxesToMaskd",
    "CropToLungsd",
    "KeepWholeFilmd",
    "MoveBoxesToRegiond",
    "RandBrightnessContrastd",
    "RandEqualizeTilesd",
    "RandHideLungsd",
    "RandInvertd",
    "RandKernelBlurd",
    "RandWarpd",
    "WeighByStudy",
    "WeighMistakes",
    "find_crop",
]
