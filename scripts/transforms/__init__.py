"""The dictionary transforms that MONAI lacks: regions of a film, targets in their frame, augmentation with boxes."""

from scripts.transforms.augmentation import RandHideLungsd, RandInvertd, RandWarpd
from scripts.transforms.regions import BlackOutLungsd, CropToLungsd, KeepWholeFilmd, find_crop
from scripts.transforms.targets import BoxesToMaskd, MoveBoxesToRegiond

__all__ = [
    "BlackOutLungsd",
    "BoxesToMaskd",
    "CropToLungsd",
    "KeepWholeFilmd",
    "MoveBoxesToRegiond",
    "RandHideLungsd",
    "RandInvertd",
    "RandWarpd",
    "find_crop",
]
