"""Structured Report of an image and its study: TID 1500 Measurement Report (PS3.16), a Comprehensive SR (PS3.3 A.35.3).

Comprehensive, not Comprehensive 3D: an image has no frame of reference, so its boxes are SCOORD, points in the pixels
of the very image they refer to (PS3.3 C.18.6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import highdicom as hd
from highdicom.sr import CodedConcept, GraphicTypeValues, Measurement, QualitativeEvaluation, TrackingIdentifier
from pydicom.dataset import Dataset
from scripts.labels import STUDY_CLASSES
from scripts.outputs.dicom import codes
from scripts.outputs.dicom.derivation import Derivation
from scripts.outputs.dicom.equipment import identify_algorithm_in_report, observe
from scripts.outputs.dicom.outlines import Outline, outline_boxes
from scripts.outputs.dicom.source import read_references
from scripts.outputs.dicom.study import StudyFindings
from scripts.outputs.operating_point import OperatingPoint
from scripts.outputs.pictures import RESEARCH_USE
from scripts.predictions import ImageFindings
from scripts.radiographs import FLAGS

#: Six digits behind the point, as in the tables.
_DIGITS = 6


def build_report(
    derivation: Derivation, image: ImageFindings, study: StudyFindings, point: OperatingPoint | None = None
) -> Dataset:
    """The report.

    Its UID depends on all images that the study's probabilities are the mean of, on the operating point and on how many
    images were rejected. It is complete where none was (PS3.3 C.17.2, Completion Flag), and never verified.

    Args:
        derivation: the image.
        image: its findings; boxes in the pixels of its matrix as stored.
        study: what was found on its study.
        point: where the study is called positive; without one it is not called.
    """
    source = derivation.source
    others = read_references(study.paths, source.metadata.study_instance_uid)
    references = [
        source.stand_in,
        *(each for each in others if each.SOPInstanceUID != source.metadata.sop_instance_uid),
    ]
    settings = (*sorted(str(each.SOPInstanceUID) for each in references), point, study.num_rejected)
    groups: list[Any] = [_describe_study(derivation, references, study, point), *_describe_boxes(derivation, image)]
    content = hd.sr.MeasurementReport(observe(derivation.algorithm), codes.RADIOGRAPHY, groups)
    content[0].ContentSequence.append(_remark(image, study, point))
    report = hd.sr.ComprehensiveSR(
        references,
        content,
        **derivation.identify("report", *settings),
        is_complete=not study.num_rejected,
        coding_schemes=[codes.identify_scheme()],
    )
    if study.num_rejected:
        report.CompletionFlagDescription = f"images of the study that were not scored: {study.num_rejected}"
    return derivation.finish(report)


def _describe_study(
    derivation: Derivation, references: Sequence[Dataset], study: StudyFindings, point: OperatingPoint | None
) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """TID 1501: the four probabilities of the study and, at an operating point, what it is called."""
    figures = [_measure(codes.PROBABILITIES[name], study.probabilities[name]) for name in STUDY_CLASSES]
    figures.append(_measure(codes.NUM_IMAGES, len(study.paths) or 1))
    evaluations = []
    if point:
        figures.append(_measure(codes.THRESHOLD, point.threshold))
        called = codes.POSITIVE if point.is_positive(study.probabilities) else codes.NEGATIVE
        evaluations.append(QualitativeEvaluation(codes.DECISION, called))
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        TrackingIdentifier(derivation.make_uid("study finding"), "study"),
        algorithm_id=identify_algorithm_in_report(derivation.algorithm),
        finding_sites=[hd.sr.FindingSite(codes.CHEST)],
        measurements=figures,
        qualitative_evaluations=evaluations or None,
        source_images=[
            hd.sr.SourceImageForMeasurementGroup(each.SOPClassUID, each.SOPInstanceUID) for each in references
        ],
    )


def _describe_boxes(
    derivation: Derivation, image: ImageFindings
) -> list[hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations]:
    """TID 1410, once for each box: a closed polyline of its corners, and its confidence."""
    metadata = derivation.source.metadata
    outlines = outline_boxes(image, metadata.rows, metadata.columns)
    return [
        hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            TrackingIdentifier(derivation.make_uid("opacity", number), f"opacity {number}"),
            referenced_region=_refer_to_region(derivation, outline),
            finding_type=codes.OPACITY,
            algorithm_id=identify_algorithm_in_report(derivation.algorithm),
            finding_sites=[hd.sr.FindingSite(codes.CHEST)],
            measurements=[_measure(codes.CERTAINTY_OF_FINDING, 100 * score, codes.PERCENT)],
        )
        for number, (outline, score) in enumerate(zip(outlines, image.scores, strict=True), start=1)
    ]


def _refer_to_region(derivation: Derivation, outline: Outline) -> hd.sr.ImageRegion:
    """SCOORD with the image it is selected from (PS3.3 C.18.6)."""
    stand_in = derivation.source.stand_in
    image = hd.sr.SourceImageForRegion(stand_in.SOPClassUID, stand_in.SOPInstanceUID)
    return hd.sr.ImageRegion(GraphicTypeValues.POLYLINE, outline, image)


def _remark(image: ImageFindings, study: StudyFindings, point: OperatingPoint | None) -> Dataset:
    """TID 1500 row 12, Qualitative Evaluations: texts for a person to read, the intended use first."""
    texts = [(codes.COMMENT, RESEARCH_USE), (codes.COMMENT, _explain(study))]
    if point:
        rule = f"positive where 1 - p(negative) >= {point.threshold:.4g}; threshold: {point.option}"
        texts.append((codes.OPERATING_POINT, rule))
    texts += [(codes.IMAGE_FLAG, _format_flag(flag)) for flag in image.flags]
    container = hd.sr.ContainerContentItem(
        codes.QUALITATIVE_EVALUATIONS, relationship_type=hd.sr.RelationshipTypeValues.CONTAINS
    )
    container.ContentSequence = hd.sr.ContentSequence(
        [hd.sr.TextContentItem(name, text, hd.sr.RelationshipTypeValues.CONTAINS) for name, text in texts]
    )
    return container


def _explain(study: StudyFindings) -> str:
    rejected = (
        f" Images of it that were rejected and are not in the mean: {study.num_rejected}." if study.num_rejected else ""
    )
    return (
        "Classes are appearances on images, not laboratory results; probabilities are the mean over the images of the"
        f" study.{rejected} Boxes are suspected opacities of this image; their certainty is a ranking score."
    )


def _format_flag(flag: str) -> str:
    return f"{flag}: {FLAGS[flag]}" if flag in FLAGS else flag.replace("_", " ")


def _measure(name: CodedConcept, value: float, unit: CodedConcept = codes.NO_UNITS) -> Measurement:
    return Measurement(name, round(float(value), _DIGITS), unit)
