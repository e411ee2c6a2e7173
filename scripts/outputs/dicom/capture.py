"""Secondary Capture of the overlay (PS3.3 A.8.1): for viewers that show neither presentation states nor reports."""

from __future__ import annotations

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scripts.outputs.dicom.codes import SOURCE_IMAGE
from scripts.outputs.dicom.derivation import Derivation
from scripts.outputs.pictures import RESEARCH_USE

_DERIVATION = (
    "Image as its window shows it, enlarged where it is small, with the suspected region, opacity boxes and their"
    " confidence, what the network saw, and the class probabilities of this image alone drawn on it. "
)


def build_capture(derivation: Derivation, overlay: NDArray[np.uint8]) -> Dataset:
    """The picture of `paint_overlay` as an object.

    Args:
        derivation: the image.
        overlay: the picture of its findings, `(height, width, 3)`.
    """
    stand_in = derivation.source.stand_in
    capture = hd.sc.SCImage(
        overlay,
        "RGB",
        8,
        "PATIENT",
        stand_in.StudyInstanceUID,
        **derivation.identify("capture"),
        patient_orientation=("L", "F"),
    )
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.ConversionType = "WSD"  # workstation, C.8.6.1
    capture.BurnedInAnnotation = "YES"
    capture.DerivationDescription = _DERIVATION + RESEARCH_USE
    capture.ImageComments = RESEARCH_USE
    capture.SourceImageSequence = [_refer_to(stand_in)]
    derivation.stamp(capture, "DateOfSecondaryCapture", "TimeOfSecondaryCapture")
    return derivation.finish(capture)


def _refer_to(image: Dataset) -> Dataset:
    """C.12.4, Source Image Sequence."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [SOURCE_IMAGE]
    return item
