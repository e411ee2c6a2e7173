"""DICOM validators and images of many kinds with DICOM results: for the tests and for the documentation.

    python -m tests.validators      the table of bundle/docs/dicom_results.md

dciodvfy is of Debian's dicom3tools, dsrdump and dcmp2pgm are of dcmtk; where they are absent, their tests are skipped.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from scripts.outputs.dicom import Algorithm, OperatingPoint, StudyFindings, write_dicom_results
from scripts.outputs.pictures import paint_overlay
from scripts.predictions import ImageFindings
from scripts.radiographs import read_radiograph
from scripts.synthetic import ImageStyle, store_picture, write_image

HEIGHT, WIDTH = 80, 120
#: Off the diagonal of an image that is not square; the second one has edges between pixels.
BOXES = ((12.0, 48.0, 60.0, 72.0), (70.5, 8.25, 110.125, 30.0))
SCORES = (0.8123, 0.25)
PROBABILITIES = {"negative": 0.125, "typical": 0.5, "indeterminate": 0.25, "atypical": 0.125}
ALGORITHM = Algorithm("0.1.0", {"study_classifier": "ab" * 32, "opacity_detector": "cd" * 32})
POINT = OperatingPoint(0.4227, "sensitivity 0.95 on images that were not trained on")
CREATED = datetime(2026, 1, 2, 3, 4, 5)

JAPANESE = {"character_set": "\\ISO 2022 IR 87", "patient_name": "Yamada^Tarou=山田^太郎=やまだ^たろう"}
#: Name -> how the drawn picture is displayed, changes of the style, elements set afterwards (None deletes).
IMAGES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "cr": ("linear", {"pixel_spacing": (0.143, 0.143), "manufacturer": "Drawn Systems"}, {}),
    "cr_monochrome1": ("linear", {"photometric": "MONOCHROME1"}, {}),
    "dx": ("linear", {"kind": "DX", "patient_sex": "F", "patient_age": "054Y"}, {}),
    "dx_monochrome1": ("sigmoid", {"kind": "DX", "photometric": "MONOCHROME1", "bits_stored": 14}, {}),
    "voi_lut": ("lut", {}, {}),
    "voi_lut_big_endian": ("lut", {"syntax": "big_endian"}, {}),
    "rescale": ("rescale", {"syntax": "implicit"}, {}),
    "no_window": ("full", {}, {}),
    "no_spacing": ("linear", {}, {"PixelSpacing": None}),
    "zero_spacing": ("linear", {}, {"PixelSpacing": [0, 0]}),
    "high_pixels": ("linear", {"aspect_ratio": (1190, 1000)}, {}),
    "cyrillic": ("linear", {"character_set": "ISO_IR 144", "patient_name": "Рисунков^Иван"}, {}),
    "japanese": ("linear", JAPANESE, {}),
    "utf8": ("linear", {"character_set": "ISO_IR 192", "patient_name": "Zmyślona^Łucja"}, {}),
    "lossy": ("linear", {"syntax": "jpeg_baseline", "bits_stored": 8}, {}),
    "bare": ("linear", {"patient_orientation": None}, dict.fromkeys(
        ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
         "AccessionNumber", "ReferringPhysicianName", "SpecificCharacterSet", "PatientOrientation", "Manufacturer"))),
    "secondary_capture": ("linear", {"kind": "SC", "modality": "CR"}, {}),
}  # fmt: skip

#: dciodvfy's warnings that are no fault of an object, each with its reason.
EXPLAINED: dict[str, str] = {
    r"needed to build DICOMDIR": "the image itself does not say it, and it is passed on empty",
    r"Unrecognized defined term = <99COVIDCXR>": "the private coding scheme, which the object identifies",
}
#: dsrdump's.
EXPLAINED_BY_DCMTK: dict[str, str] = {
    r"VR checker does not support this Specific Character Set": "dcmtk 3.6.7 checks values in few character sets",
    r"Reading unknown/unsupported SpecificCharacterSet": "nor do its reports know several character sets at once",
}


def draw_picture() -> np.ndarray:
    """Gray that grows towards the right and the bottom, brighter in the first box: what is upside down is seen."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    picture = 0.1 + 0.3 * x / WIDTH + 0.2 * y / HEIGHT
    xmin, ymin, xmax, ymax = (int(edge) for edge in BOXES[0])
    picture[ymin:ymax, xmin:xmax] += 0.35
    picture[0, 0], picture[-1, -1] = 0, 1
    return picture.astype(np.float32)


def draw_mask() -> np.ndarray:
    """A region `(H, W)` without symmetry."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[50:70, 15:55] = mask[60:72, 50:60] = mask[10:12, 100:101] = 1
    return mask


def draw_image(folder: Path, name: str) -> Path:
    """One of `IMAGES` as a file."""
    display, changes, elements = IMAGES[name]
    values, style = store_picture(draw_picture(), ImageStyle(**changes), display)
    path = write_image(folder / f"{name}.dcm", values, style)
    if elements:
        image = pydicom.dcmread(path)
        for keyword, value in elements.items():
            if value is not None:
                setattr(image, keyword, value)
            elif keyword in image:
                delattr(image, keyword)
        image.save_as(path)
    return path


def describe_image(name: str, **changes: Any) -> ImageFindings:
    """Findings with two boxes and two flags."""
    metadata: dict[str, Any] = {
        "probabilities": PROBABILITIES,
        "boxes": BOXES,
        "scores": SCORES,
        "none": 0.1,
        "crop_box": (5.0, 6.0, 110.0, 70.0),
        "flags": ("body_part", "whole_image"),
    }
    return ImageFindings(name, "study", **{**metadata, **changes})


def write_results(path: Path, folder: Path, name: str = "image", **changes: Any) -> dict[str, Path]:
    """Kind -> file of the DICOM results of an image, as a run has them; `changes` are of `write_dicom_results`."""
    options = changes.get("reader_options", {"accept_secondary_capture": True})
    radiograph = read_radiograph(path, **options)
    image, mask = changes.pop("image", describe_image(name)), changes.get("mask", draw_mask())
    arguments: dict[str, Any] = {
        "image": replace(image, flags=tuple(sorted({*image.flags, *radiograph.metadata.flags}))),
        "mask": mask,
        "overlay": paint_overlay(radiograph.pixels[0], mask, image),
        "study": StudyFindings(PROBABILITIES, (path,)),
        "path": path,
        "folder": folder,
        "algorithm": ALGORITHM,
        "point": POINT,
        "created": CREATED,
        "reader_options": options,
    }
    return {file.stem: file for file in write_dicom_results(**{**arguments, **changes})}


def run_dciodvfy(path: Path) -> tuple[list[str], list[str]]:
    """Errors, and warnings that are not explained."""
    run = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, check=False)
    lines = (run.stdout + run.stderr).decode("utf-8", "replace").splitlines()
    errors = [line for line in lines if line.startswith("Error")]
    warnings = [line for line in lines if line.startswith("Warning")]
    return errors, [line for line in warnings if not _is_explained(line, EXPLAINED)]


def run_dsrdump(path: Path) -> tuple[list[str], list[str], str]:
    """Errors, warnings that are not explained, and the document as text."""
    run = subprocess.run(["dsrdump", "+Pl", str(path)], capture_output=True, check=False)
    lines = run.stderr.decode("utf-8", "replace").splitlines()
    errors = [line for line in lines if line.startswith(("E:", "F:"))]
    errors += [f"exit status {run.returncode}"] if run.returncode else []
    warnings = [line for line in lines if line.startswith("W:") and not _is_explained(line, EXPLAINED_BY_DCMTK)]
    return errors, warnings, run.stdout.decode("utf-8", "replace")


def render_presentation(image: Path, state: Path, picture: Path) -> None:
    """The image as dcmtk shows it by the presentation state's shades, without its annotations, as PGM."""
    subprocess.run(["dcmp2pgm", "-p", str(state), str(image), str(picture)], capture_output=True, check=True)


def _is_explained(line: str, explained: dict[str, str]) -> bool:
    return any(re.search(pattern, line) for pattern in explained)


def _count_all_warnings(path: Path) -> Counter[str]:
    run = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False, errors="replace")
    return Counter(line.split(" ", 1)[0] for line in (run.stdout + run.stderr).splitlines())


def tabulate() -> Iterator[str]:
    """Rows of errors / warnings / warnings that are not explained, for each image and object."""
    kinds = ("report", "presentation", "segmentation", "capture")
    yield f"| image | {' | '.join(kinds)} | report, dsrdump |"
    yield f"|---|{'---|' * (len(kinds) + 1)}"
    with tempfile.TemporaryDirectory() as folder:
        for name in IMAGES:
            files = write_results(draw_image(Path(folder), name), Path(folder) / "out", name)
            cells = []
            for kind in kinds:
                counts, open_warnings = _count_all_warnings(files[kind]), run_dciodvfy(files[kind])[1]
                cells.append(f"{counts['Error']} / {counts['Warning']} / {len(open_warnings)}")
            errors, warnings, _ = run_dsrdump(files["report"])
            yield (f"| {name} | {' | '.join(cells)} | {len(errors)} / {len(warnings)} |")


def has_program(name: str) -> bool:
    """True where a validator is installed."""
    return shutil.which(name) is not None


if __name__ == "__main__":
    sys.stdout.writelines(f"{row}\n" for row in tabulate())
