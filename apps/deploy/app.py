"""DICOM studies in, findings on their chest radiographs out: the bundle as a MONAI Deploy application.

    ulimit -s 32768
    .venv-deploy/bin/python apps/deploy/app.py -i INPUT_FOLDER -o OUTPUT_FOLDER -m dist/chest_xray_covid19

Where an option is not given, HOLOSCAN_INPUT_PATH, HOLOSCAN_OUTPUT_PATH or HOLOSCAN_MODEL_PATH is taken, as a container
of the App SDK sets them. loader -> selector of CR and DX series -> the bundle, which writes its own outputs.

Exit status: 0 there are predictions, rejected images are in rejected.csv; 1 there are none, for the reason given in one
line; 2 wrong options.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

# Holoscan looks for CUDA's runtime library in the system; where torch has brought its own, that one is taken.
import torch  # noqa: F401  # isort: skip
from holoscan.conditions import CountCondition
from holoscan.logger import LogLevel, set_log_level
from monai.deploy.core import Application, RuntimeEnv
from monai.deploy.operators.dicom_series_selector_operator import DICOMSeriesSelectorOperator

#: What `DICOMSeriesSelectorOperator` selects in each study: every series of these modalities.
RULES = {"selections": [{"name": "radiographs", "conditions": {"Modality": "^(CR|DX)$"}}]}


class ChestRadiographApp(Application):
    """Loader -> selector -> findings.

    Args:
        input_folder: DICOM files at any depth.
        output_folder: for everything that is written.
        bundle: folder of the packed bundle, which is on the import path.

    Raises:
        InputError: from `run`, where no image can be answered for.
    """

    def __init__(self, input_folder: Path, output_folder: Path, bundle: Path) -> None:
        self.input_folder, self.output_folder, self.bundle = input_folder, output_folder, bundle
        super().__init__()

    def compose(self) -> None:
        from operators import ImageLoaderOperator, RadiographFindingsOperator

        once = CountCondition(self, 1)  # a source without it is asked again for ever
        loader = ImageLoaderOperator(self, once, input_folder=self.input_folder, must_load=False, name="loader")
        selector = DICOMSeriesSelectorOperator(self, rules=json.dumps(RULES), all_matched=True, name="selector")
        self.findings = RadiographFindingsOperator(
            self, input_folder=self.input_folder, output_folder=self.output_folder, bundle=self.bundle, name="findings"
        )
        self.add_flow(loader, selector, {("dicom_study_list", "dicom_study_list")})
        self.add_flow(loader, self.findings, {("dicom_study_list", "dicom_study_list")})
        self.add_flow(selector, self.findings, {("study_selected_series_list", "study_selected_series_list")})

    def run(self) -> None:
        super().run()
        if self.findings.error is not None:
            raise self.findings.error


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Options of the command line over the SDK's environment variables; absolute paths."""
    # The SDK's own parser would load what -m names as a model, and a bundle's folder is none.
    given = RuntimeEnv()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-i", "--input", default=given.input, help="folder of DICOM files")
    parser.add_argument("-o", "--output", default=given.output, help="folder for the findings")
    parser.add_argument("-m", "--model", default=given.model, help="folder of the packed bundle")
    options = parser.parse_args(arguments)
    return argparse.Namespace(**{name: Path(path).resolve() for name, path in vars(options).items()})


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the application once; see above for its exit status."""
    options = parse_options(arguments)
    if not (options.model / "configs" / "inference.json").is_file() or not (options.model / "scripts").is_dir():
        sys.exit(f"error: expected a packed bundle, found none in {options.model}; name its folder with -m")
    if not options.input.is_dir():
        sys.exit(f"error: expected a folder of DICOM files, found no folder {options.input}; name one with -i")
    # The selector logs what it compares, UIDs and descriptions: a log is no place for them.
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("scripts", "operators"):
        logging.getLogger(name).setLevel(logging.INFO)
    set_log_level(LogLevel.ERROR)  # it warns of every machine without a GPU
    sys.path.insert(0, str(options.model))
    from scripts.errors import report_input_errors

    report_input_errors()
    ChestRadiographApp(options.input, options.output, options.model).run()


if __name__ == "__main__":
    main()
