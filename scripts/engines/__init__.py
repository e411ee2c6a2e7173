"""What MONAI's trainers and evaluators are given here: the batch's preparation, and handlers that MONAI lacks."""

from scripts.engines.batches import (
    TARGET_KEYS,
    examine_films,
    prepare_box_batch,
    prepare_detection_batch,
    prepare_study_batch,
)
from scripts.engines.handlers import BuffersFromFirstProcess, HistoryRecorder, PictureBoard, StopOnNonFiniteLoss
from scripts.engines.mixing import MixedBatch
from scripts.engines.selections import (
    count_films,
    select_logits_and_targets,
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
    "PictureBoard",
    "StopOnNonFiniteLoss",
    "count_films",
    "examine_films",
    "prepare_box_batch",
    "prepare_detection_batch",
    "prepare_study_batch",
    "select_logits_and_targets",
    "select_lung_boxes",
    "select_mask_probabilities",
    "select_opacity_boxes",
    "select_study_probabilities",
]
