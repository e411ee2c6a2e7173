"""What MONAI's trainers and evaluators are given here: the batch's preparation, and handlers that MONAI lacks."""

from scripts.engines.batches import (
    TARGET_KEYS,
    infer_images,
    prepare_box_batch,
    prepare_detection_batch,
    prepare_study_batch,
)
from scripts.engines.handlers import BuffersFromFirstProcess, HistoryRecorder, StopOnNonFiniteLoss, TensorBoardImages
from scripts.engines.mixing import MixedBatch
from scripts.engines.progress import RunProgress
from scripts.engines.selections import (
    count_images,
    select_logits_and_targets,
    select_loss,
    select_lung_boxes,
    select_mask_probabilities,
    select_opacity_boxes,
    select_study_probabilities,
)

__all__ = [
    "TARGET_KEYS",
    "BuffersFromFirstProcess",
    "HistoryRecorder",
    "MixedBatch",
    "TensorBoardImages",
    "RunProgress",
    "StopOnNonFiniteLoss",
    "count_images",
    "infer_images",
    "prepare_box_batch",
    "prepare_detection_batch",
    "prepare_study_batch",
    "select_logits_and_targets",
    "select_loss",
    "select_lung_boxes",
    "select_mask_probabilities",
    "select_opacity_boxes",
    "select_study_probabilities",
]
