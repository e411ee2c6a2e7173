"""Equipment, algorithm, observer and contributors, in the form that each part of the standard asks for."""

from __future__ import annotations

from typing import Any

import highdicom as hd
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from scripts.outputs.dicom.codes import ARTIFICIAL_INTELLIGENCE
from scripts.outputs.dicom.identifiers import Algorithm, make_uid
from scripts.outputs.dicom.source import copy_elements
from scripts.outputs.pictures import RESEARCH_USE

NAME, MANUFACTURER = "chest_xray_covid19", "The chest_xray_covid19 contributors"
_ACQUISITION = ("Manufacturer", "ManufacturerModelName", "SoftwareVersions")


def describe_equipment(algorithm: Algorithm) -> dict[str, Any]:
    """General and Enhanced General Equipment modules (PS3.3 C.7.5.1, C.7.5.2), as arguments of highdicom."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": NAME,
        "software_versions": algorithm.version,
        "device_serial_number": algorithm.build,
    }


def identify_algorithm(algorithm: Algorithm) -> hd.AlgorithmIdentificationSequence:
    """Algorithm Identification Macro (PS3.3 10.16), for a segment."""
    weights = dict(weight.split("=", 1) for weight in algorithm.weights)
    return hd.AlgorithmIdentificationSequence(
        NAME, ARTIFICIAL_INTELLIGENCE, algorithm.version, source=MANUFACTURER, parameters=weights
    )


def identify_algorithm_in_report(algorithm: Algorithm) -> hd.sr.AlgorithmIdentification:
    """TID 4019 Algorithm Identification (PS3.16), with the SHA-256 of all weights as parameters."""
    parameters = [f"weights sha256 {weight}" for weight in algorithm.weights]
    return hd.sr.AlgorithmIdentification(NAME, algorithm.version, parameters)


def observe(algorithm: Algorithm) -> hd.sr.ObservationContext:
    """TID 1001 Observation Context (PS3.16): the observer is a device, this version with these weights."""
    attributes = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=make_uid("device", [], algorithm),
        name=NAME,
        manufacturer_name=MANUFACTURER,
        model_name=f"{NAME} {algorithm.version}",
        serial_number=algorithm.build,
    )
    context = hd.sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=attributes)
    return hd.sr.ObservationContext(observer_device_context=context)


def list_contributors(header: Dataset, algorithm: Algorithm) -> list[Dataset]:
    """Contributing Equipment Sequence (PS3.3 C.12.1): what took the image, if it says so, and this software."""
    processing = hd.ContributingEquipment(
        purpose_of_reference=codes.DCM.ProcessingEquipment,
        contribution_description=f"Findings of a neural network. {RESEARCH_USE}",
        **describe_equipment(algorithm),
    )
    if not str(header.get("Manufacturer") or "").strip():  # type 1 in this sequence
        return [processing]
    acquisition = Dataset()
    copy_elements(header, acquisition, _ACQUISITION)
    acquisition.PurposeOfReferenceCodeSequence = [hd.sr.CodedConcept.from_code(codes.DCM.AcquisitionEquipment)]
    return [acquisition, processing]
