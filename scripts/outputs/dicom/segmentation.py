"""Segmentation of an image (PS3.3 A.51): the mask as one binary segment, in the image's own pixels."""

from __future__ import annotations

import highdicom as hd
import numpy as np
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scripts.outputs.dicom.codes import ABNORMAL_STRUCTURE, CHEST, OPACITY
from scripts.outputs.dicom.derivation import Derivation
from scripts.outputs.dicom.equipment import identify_algorithm
from scripts.outputs.pictures import RESEARCH_USE

#: The masks that the network learned from were made of boxes: the segment's edge is no finding.
SEGMENT_LABEL = "suspected region (trained on boxes)"


def build_segmentation(derivation: Derivation, mask: NDArray[np.uint8]) -> Dataset | None:
    """The segmentation, or None where the mask is empty: a segment of no pixel is not written.

    Args:
        derivation: the image; an image has no frame of reference, and its spacing is not passed on: the segment is
            placed by its source image's pixels alone (PS3.3 C.7.6.16.2.6, Derivation Image).
        mask: `(H, W)` of zeros and ones.

    Raises:
        ValueError: where the mask has another size than the image.
    """
    metadata = derivation.source.metadata
    if mask.shape != (metadata.rows, metadata.columns):
        raise ValueError(f"expected a mask of shape {(metadata.rows, metadata.columns)}, got {mask.shape}")
    if not mask.any():
        return None
    segmentation = hd.seg.Segmentation(
        [derivation.source.stand_in],
        pixel_array=(mask > 0).astype(np.uint8),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_describe_segment(derivation)],
        **derivation.identify("segmentation"),
        content_label="AI REGIONS",
        content_description=RESEARCH_USE,
    )
    _name_dimensions(segmentation, derivation.make_uid("segmentation dimensions"))
    return derivation.finish(segmentation)


def _describe_segment(derivation: Derivation) -> SegmentDescription:
    description = SegmentDescription(
        1,
        SEGMENT_LABEL,
        ABNORMAL_STRUCTURE,
        OPACITY,
        SegmentAlgorithmTypeValues.AUTOMATIC,
        identify_algorithm(derivation.algorithm),
        tracking_uid=derivation.make_uid("suspected region"),
        tracking_id="suspected region",
        anatomic_regions=[CHEST],
    )
    description.SegmentDescription = f"Learned from boxes around opacities. {RESEARCH_USE}"
    return description


def _name_dimensions(segmentation: Dataset, uid: str) -> None:
    """Highdicom draws this UID at random (PS3.3 C.7.6.17); here it is the same in each run."""
    for item in (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
