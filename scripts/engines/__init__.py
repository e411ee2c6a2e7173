"""Parts for MONAI's engines: batch preparation, iteration functions, and handlers that MONAI lacks."""

from scripts.engines.batches import (
    TARGET_KEYS,
    AugmentedBatch,
    infer_images,
    prepare_box_batch,
    prepare_detection_batch,
    prepare_study_batch,
)
from scripts.engines.handlers import BuffersFromFirstProcess, EnabledHandlers, HistoryRecorder
from scripts.engines.mixing import MixedBatch
from scripts.engines.progress import RunProgress
from scripts.engines.seeding import EpochSeeds
from scripts.engines.selections import (
    count_images,
    select_boxes_in_image,
    select_logits_and_targets,
    select_loss,
    select_lung_boxes,
    select_mask_probabilities,
    select_opacity_boxes,
    select_probabilities,
    select_study_probabilities,
)
from scripts.engines.stopping import StopOnNonFiniteLoss, StopOnSignal
from scripts.engines.tracking import (
    TensorBoardCurves,
    TensorBoardImages,
    TensorBoardSettings,
    complete_tracking,
    name_tag,
)

__all__ = [
    "TARGET_KEYS",
    "AugmentedBatch",
    "BuffersFromFirstProcess",
    "EnabledHandlers",
    "EpochSeeds",
    "HistoryRecorder",
    "MixedBatch",
    "RunProgress",
    "StopOnNonFiniteLoss",
    "StopOnSignal",
    "TensorBoardCurves",
    "TensorBoardImages",
    "TensorBoardSettings",
    "complete_tracking",
    "count_images",
    "infer_images",
    "name_tag",
    "prepare_box_batch",
    "prepare_detection_batch",
    "prepare_study_batch",
    "select_boxes_in_image",
    "select_logits_and_targets",
    "select_loss",
    "select_lung_boxes",
    "select_mask_probabilities",
    "select_opacity_boxes",
    "select_probabilities",
    "select_study_probabilities",
]
