"""The two operators that the App SDK lacks: a loader that survives bad files, and the bundle as a whole.

The bundle's folder must be on the import path before this module is imported: `scripts` is found there.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow
from monai.deploy.core import Fragment, Operator, OperatorSpec
from monai.deploy.core.domain.dicom_series import DICOMSeries
from monai.deploy.core.domain.dicom_series_selection import StudySelectedSeries
from monai.deploy.core.domain.dicom_study import DICOMStudy
from monai.deploy.operators.dicom_data_loader_operator import DICOMDataLoaderOperator
from pydicom import Dataset, dcmread
from scripts.datalist import list_files
from scripts.errors import InputError
from scripts.predictions import DONE_FILE
from scripts.radiographs.rejection import Rejection
from scripts.radiographs.structure import check_size, open_image_bytes

_log = logging.getLogger(__name__)


class ImageLoaderOperator(DICOMDataLoaderOperator):
    """The SDK's loader with headers only, read behind the gates of the bundle's reader.

    The SDK's own keeps every file whole in memory, ends the application at the first one that pydicom fails on, and
    drops all but one of the images that name the same position. Here a file that cannot be opened is left out: it is
    for `RadiographFindingsOperator` to have it rejected with its reason.

    Named output: dicom_study_list, a list of DICOMStudy; their instances know their file and have no pixels.
    """

    def load_data_to_studies(self, input_path: Path) -> list[DICOMStudy]:
        """Studies with their series and instances, in the order of the files.

        Args:
            input_path: a folder; DICOM files at any depth.
        """
        studies: dict[str, DICOMStudy] = {}
        series: dict[tuple[str, str], DICOMSeries] = {}
        for header in _read_headers(input_path):
            study_uid, series_uid = str(header.StudyInstanceUID), str(header.SeriesInstanceUID)
            if study_uid not in studies:
                studies[study_uid] = DICOMStudy(study_uid)
                self.populate_study_attributes(studies[study_uid], header)
            if (study_uid, series_uid) not in series:
                series[study_uid, series_uid] = found = DICOMSeries(series_uid)
                self.populate_series_attributes(found, header)
                studies[study_uid].add_series(found)
            series[study_uid, series_uid].add_sop_instance(header)
        return list(studies.values())


class RadiographFindingsOperator(Operator):
    """Runs the bundle's inference.json, as it stands, over the selected images.

    Every file of the input folder is answered for, except the instances that the selector knows and did not select:
    files that the loader could not open go to the bundle's reader too, which writes into rejected.csv why it rejects
    them. Pixels come from that reader alone, never from the SDK's volumes. What is written, tables, masks, overlays and
    the DICOM results (SR, GSPS, SEG, SC), is written by the bundle's own handlers.

    Named inputs: dicom_study_list and study_selected_series_list, as the loader and the selector emit them.

    Args:
        fragment: the application.
        input_folder: what the loader read.
        output_folder: for everything that is written.
        bundle: folder of the packed bundle.

    `error` holds what `compute` failed with: an InputError where no file is left to be answered for, or none of them is
    readable. It is for the application to raise it; Holoscan would wrap it in a page of its own errors.
    """

    def __init__(
        self, fragment: Fragment, *args: Any, input_folder: Path, output_folder: Path, bundle: Path, **kwargs: Any
    ) -> None:
        self.input_folder, self.output_folder, self.bundle = input_folder, output_folder, bundle
        self.error: Exception | None = None
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        spec.input("dicom_study_list")
        spec.input("study_selected_series_list")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        studies: list[DICOMStudy] = op_input.receive("dicom_study_list")
        selected: list[StudySelectedSeries] = op_input.receive("study_selected_series_list")
        self.output_folder.mkdir(parents=True, exist_ok=True)
        (self.output_folder / DONE_FILE).unlink(missing_ok=True)  # an earlier run's must not stand for this one
        try:
            self._response(studies, selected)
        except Exception as error:
            self.error = error

    def _response(self, studies: list[DICOMStudy], selected: list[StudySelectedSeries]) -> None:
        chosen = {one.series for study in selected for one in study.selected_series}
        left_out = [one for study in studies for one in study.get_all_series() if one not in chosen]
        _format_left_out(left_out, len(studies) - len(selected))
        passed = {path for series in left_out for path in _list_paths(series)}
        paths = [path for path in list_files(self.input_folder).paths if path not in passed]
        if not paths:
            advice = "check the input folder, or send the study's radiographs"
            raise InputError("at least one CR or DX image", _count_modalities(left_out) or "no file", advice)
        run_bundle(self.bundle, self.input_folder, paths, self.output_folder)


def run_bundle(bundle: Path, folder: Path, paths: Iterable[Path], output_folder: Path) -> None:
    """Run inference.json over some files of a folder, with DICOM results.

    Args:
        bundle: folder of the packed bundle.
        folder: their common folder; where a file stands in it gives the image and its study their names.
        paths: the files.
        output_folder: for everything that is written.

    Raises:
        InputError: as the bundle raises it; MONAI may have wrapped it.
    """
    with tempfile.TemporaryDirectory() as selection:
        for path in paths:
            link = Path(selection, path.relative_to(folder))
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
        workflow = ConfigWorkflow(
            config_file=str(bundle / "configs" / "inference.json"),
            logging_file=False,
            workflow_type="infer",
            bundle_root=str(bundle),
            dataset_dir=selection,
            output_dir=str(output_folder),
            dicom_results=True,
            replace=True,  # an application's output folder is its own: each run is written anew
            num_workers=0,  # operators run in a thread beside others, where a fork may hang
        )
        workflow.initialize()
        workflow.run()
        workflow.finalize()


def _read_headers(folder: Path) -> Iterator[Dataset]:
    """Data sets without pixels of all files that are sound DICOM objects with their identifiers."""
    for path in list_files(folder).paths:
        if not path.is_file():  # the bundle's reader says why
            continue
        try:
            check_size(path.stat().st_size)
            open_image_bytes(path.read_bytes())
            header = dcmread(path, stop_before_pixels=True)
            complete = all(header.get(f"{level}InstanceUID") for level in ("Study", "Series", "SOP"))
        except (Rejection, OSError):
            complete = False
        except Exception as error:  # pydicom names no common base of what a file can make it raise
            _log.warning("pydicom cannot parse one file (%s): it is left to the bundle's reader", type(error).__name__)
            complete = False
        if complete:
            yield header


def _list_paths(series: DICOMSeries) -> list[Path]:
    return [Path(instance.get_native_sop_instance().filename) for instance in series.get_sop_instances()]


def _format_left_out(left_out: Iterable[DICOMSeries], num_studies: int) -> None:
    if found := _count_modalities(left_out):
        _log.info("left out, neither CR nor DX: %s", found)
    if num_studies:
        _log.warning("%d of the studies without a CR or DX series: no predictions for them", num_studies)


def _count_modalities(series: Iterable[DICOMSeries]) -> str:
    counts = Counter(str(getattr(one, "Modality", None) or "none") for one in series)
    return ", ".join(f"{number} series of modality {modality}" for modality, number in sorted(counts.items()))
