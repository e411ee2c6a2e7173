"""Versions of a study's results: which objects a version has, and the reports that it takes the place of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydicom import Dataset, dcmread
from scripts.files import replace_file

from apps.pacs.queue import Result


def collect_results(folder: Path) -> list[Result]:
    """List the objects of a version, in the order of their files.

    Args:
        folder: of the version, with `dicom/<image_id>/<kind>.dcm`.
    """
    return list(_read_results(folder))


def refer_to_predecessors(folder: Path, predecessors: Sequence[Result]) -> None:
    """Name the reports of the version before in those of a new one (PS3.3 C.17.2, Predecessor Documents Sequence).

    Args:
        folder: of the new version; a report that is the same object as before is left as it is.
        predecessors: reports of the version before; none for a first version.
    """
    known = {each.sop_uid for each in predecessors}
    for path in sorted(folder.glob("dicom/*/report.dcm")) if predecessors else ():
        report = dcmread(path)
        if report.SOPInstanceUID in known:
            continue
        report.PredecessorDocumentsSequence = [_refer_to(report, predecessors)]
        with replace_file(path) as temporary:
            report.save_as(temporary, enforce_file_format=True)


def _read_results(folder: Path) -> Iterator[Result]:
    for path in sorted(folder.glob("dicom/*/*.dcm")):
        header = dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID", "SeriesInstanceUID"])
        yield Result(str(header.SOPInstanceUID), str(header.SeriesInstanceUID), path.stem, str(path))


def _refer_to(report: Dataset, predecessors: Sequence[Result]) -> Dataset:
    """Hierarchical SOP Instance Reference (PS3.3 10.32): study, series and instances."""
    series: dict[str, Dataset] = {}
    for each in predecessors:
        instance = Dataset()
        instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = report.SOPClassUID, each.sop_uid
        if each.series_uid not in series:
            series[each.series_uid] = Dataset()
            series[each.series_uid].SeriesInstanceUID = each.series_uid
            series[each.series_uid].ReferencedSOPSequence = []
        series[each.series_uid].ReferencedSOPSequence.append(instance)
    study = Dataset()
    study.StudyInstanceUID = report.StudyInstanceUID
    study.ReferencedSeriesSequence = list(series.values())
    return study
