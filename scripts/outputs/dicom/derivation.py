"""Common parts of all objects that are derived from an image, before they are built and after."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydicom.dataset import Dataset
from scripts.outputs.dicom.equipment import describe_equipment, list_contributors
from scripts.outputs.dicom.identifiers import SERIES_NUMBERS, Algorithm, make_series_uid, make_uid
from scripts.outputs.dicom.source import IDENTITY, Source, copy_elements

#: Dates that highdicom fills with the moment of the call: they become the moment of the run.
_MOMENTS = ("InstanceCreation", "Content", "PresentationCreation")
#: How a picture lies, and what its pixels lost by compression, which stays true of what is made from them.
_OF_PICTURES = (
    "PatientOrientation", "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
)  # fmt: skip


@dataclass(frozen=True)
class Derivation:
    """An image on its way to objects.

    Args:
        source: the image.
        algorithm: what computed the findings.
        created: the moment of the run, the same in all its objects.
        instance_number: the image's number in its study, from 1.
    """

    source: Source
    algorithm: Algorithm
    created: datetime
    instance_number: int = 1

    def make_uid(self, kind: str, *settings: object) -> str:
        """A UID of something that belongs to this image."""
        return make_uid(kind, [self.source.metadata.sop_instance_uid], self.algorithm, settings)

    def identify(self, kind: str, *settings: object) -> dict[str, Any]:
        """Series, equipment and instance of an object, as arguments of highdicom (PS3.3 C.7.3.1, C.7.5, C.12.1)."""
        study_uid = self.source.metadata.study_instance_uid
        return {
            "series_instance_uid": make_series_uid(kind, study_uid, self.algorithm),
            "series_number": SERIES_NUMBERS[kind],
            "series_description": f"AI {kind}, research use only",
            "sop_instance_uid": self.make_uid(kind, *settings),
            "instance_number": self.instance_number,
            **describe_equipment(self.algorithm),
        }

    def finish(self, dataset: Dataset) -> Dataset:
        """The object with the image's patient and study, its contributors, and the moment of the run.

        Patient and study come byte for byte, in the image's character set (PS3.3 C.12.1.1.2); what is written here is
        ASCII, which stands in all of them.
        """
        copy_elements(self.source.header, dataset, IDENTITY)
        self._place(dataset)
        dataset.ContributingEquipmentSequence = list_contributors(self.source.header, self.algorithm)
        for moment in _MOMENTS:
            if f"{moment}Date" in dataset:
                self.stamp(dataset, f"{moment}Date", f"{moment}Time")
        return dataset

    def _place(self, dataset: Dataset) -> None:
        """Add the examined body part and, for a picture, its orientation and lossy compression (C.7.3.1, C.7.6.1)."""
        if dataset.Modality != "SR":
            dataset.BodyPartExamined = "CHEST"  # what the network takes it for, whatever a mislabelled image says
        if "Rows" in dataset:
            dataset.PatientOrientation = None  # empty where the image does not say
            copy_elements(self.source.header, dataset, _OF_PICTURES)

    def stamp(self, dataset: Dataset, date: str, time: str) -> None:
        """Set a date and a time to the moment of the run."""
        setattr(dataset, date, self.created.strftime("%Y%m%d"))
        setattr(dataset, time, self.created.strftime("%H%M%S"))
