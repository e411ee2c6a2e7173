"""Coded concepts: the standard's where it has one, else the project's own.

Private codes (scheme 99COVIDCXR, PS3.16 8.2) stand for what neither DICOM nor the parts of SNOMED CT, LOINC and RadLex
that DICOM uses have a code for: the probability of each of the four reporting categories (Litmanovich et al. 2020,
doi:10.1097/RTI.0000000000000541), the decision between the first of them and the others, and remarks on an image. A
code for the disease would say more than the labels do: they are appearances on an image, not laboratory results.
"""

from __future__ import annotations

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes

SCHEME = "99COVIDCXR"

#: TID 1500 takes a procedure of CID 100 only; the chest stands as the finding site.
RADIOGRAPHY = CodedConcept.from_code(codes.LN.XRUnspecifiedBodyRegion)
CHEST = CodedConcept.from_code(codes.SCT.Chest)
OPACITY = CodedConcept.from_code(codes.DCM.Opacity)
ABNORMAL_STRUCTURE = CodedConcept.from_code(codes.SCT.MorphologicallyAbnormalStructure)
ARTIFICIAL_INTELLIGENCE = CodedConcept.from_code(codes.DCM.ArtificialIntelligence)
#: 0 to 100 % wherever the standard uses it (PS3.16 TID 4006), so its values are percentages here too.
CERTAINTY_OF_FINDING = CodedConcept.from_code(codes.DCM.CertaintyOfFinding)
PERCENT = CodedConcept.from_code(codes.UCUM.Percent)
NO_UNITS = CodedConcept.from_code(codes.UCUM.NoUnits)
COMMENT = CodedConcept.from_code(codes.DCM.Comment)
POSITIVE, NEGATIVE = CodedConcept("10828004", "SCT", "Positive"), CodedConcept("260385009", "SCT", "Negative")
OPERATING_POINT = CodedConcept.from_code(codes.DCM.CADOperatingPointDescription)
QUALITATIVE_EVALUATIONS = CodedConcept("C0034375", "UMLS", "Qualitative Evaluations")
SOURCE_IMAGE = CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)

#: Study class -> its probability, 0 to 1.
PROBABILITIES: dict[str, CodedConcept] = {
    "negative": CodedConcept("P_NEGATIVE", SCHEME, "Probability: negative for pneumonia"),
    "typical": CodedConcept("P_TYPICAL", SCHEME, "Probability: typical appearance of COVID-19"),
    "indeterminate": CodedConcept("P_INDETERMINATE", SCHEME, "Probability: indeterminate appearance"),
    "atypical": CodedConcept("P_ATYPICAL", SCHEME, "Probability: atypical appearance"),
}
THRESHOLD = CodedConcept("THRESHOLD", SCHEME, "Threshold on 1 - probability of negative")
DECISION = CodedConcept("DECISION", SCHEME, "Any appearance of pneumonia, at threshold")
NUM_IMAGES = CodedConcept("NUM_IMAGES", SCHEME, "Number of images in the mean")
IMAGE_FLAG = CodedConcept("IMAGE_FLAG", SCHEME, "Remark on the image")


def identify_scheme() -> CodingSchemeIdentificationItem:
    """Identify the private scheme to a reader (PS3.3 C.12.1, Coding Scheme Identification Sequence)."""
    return CodingSchemeIdentificationItem(
        SCHEME, name="chest_xray_covid19 private codes", responsible_organization="The chest_xray_covid19 contributors"
    )
