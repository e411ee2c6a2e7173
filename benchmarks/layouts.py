"""Trees as archives lay them out: `python -m benchmarks.layouts` infers on each and tabulates what became of it.

Three patients with a study each, the first with two images of it and a second study. Names differ from layout to
layout, the images do not. What lies beside them in such a tree lies here too: an index, previews, reports, links and
hidden files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scripts.files import write_text
from scripts.synthetic import generate_tree

from benchmarks.commandline import run_command

#: Of each image: patient, study of the patient, series, and number of the image in it.
IMAGES = ((0, 0, 0, 0), (0, 0, 0, 1), (0, 1, 0, 0), (1, 0, 0, 0), (2, 0, 0, 0))
STUDIES = len({image[:2] for image in IMAGES})


@dataclass(frozen=True)
class Layout:
    """A way to lay out images.

    Args:
        name: in words.
        place: path of an image of this patient, study, series and number.
        beside: further files by their paths, and folders that links lead to.
    """

    name: str
    place: Callable[[int, int, int, int], str]
    beside: tuple[str, ...] = ()
    linked: bool = False


LAYOUTS = (
    Layout("flat folder", lambda p, s, r, n: f"image {p}{s}{r}{n}.dcm"),
    Layout("CD with DICOMDIR", lambda p, s, r, n: f"DICOM/PA{p:06}/ST{s:06}/SE{r:06}/IM{n:06}", ("DICOMDIR",)),
    Layout("MIMIC-CXR: pNN/pSUBJECT/sSTUDY", lambda p, s, r, n: f"p10/p1000003{p}/s5041426{s}/{n}.dcm"),
    Layout("CheXpert: patient/study/view", lambda p, s, r, n: f"patient0000{p}/study{s + 1}/view{n + 1}_frontal.dcm"),
    Layout(
        "XNAT: subject/session/scans/N/resources/DICOM/files",
        lambda p, s, r, n: f"SUBJ{p}/SESS{s}/scans/{r}/resources/DICOM/files/{n}.dcm",
        ("SUBJ0/SESS0/scans/0/resources/SNAPSHOTS/files/0.gif",),
    ),
    Layout(
        "TCIA: patient/date-description/series/1-N.dcm",
        lambda p, s, r, n: f"P{p}/0{s + 1}-01-2000-CHEST/1-NA/1-{n}.dcm",
    ),
    Layout(
        "Orthanc: files named by UUID, without suffix",
        lambda p, s, r, n: f"{p}{n}/{s}{r}/{p}{s}{r}{n}b1c2-0000-4000-8000-00000000000{n}",
    ),
    Layout(
        "patient's name/date", lambda p, s, r, n: f"Doe_John_{p}/2020031{s}/chest {n}.dcm", ("Doe_John_0/report.pdf",)
    ),
    Layout("images with JPEG previews", lambda p, s, r, n: f"{p}/{s}/IM{n}.dcm", ("0/0/IM0.jpg", "1/0/IM0.jpg")),
    Layout("folders by links, a circle, a broken link", lambda p, s, r, n: f"{p}/{s}/{n}.dcm", linked=True),
    Layout(
        "results of an earlier run below the input",
        lambda p, s, r, n: f"{p}{s}{n}.dcm",
        ("out/done.json", "out/masks/a.png"),
    ),
)


def lay_out(layout: Layout, images: list[Path], tree: Path) -> None:
    """Copy the images to their places, with what lies beside them."""
    store = tree.parent / f"{tree.name}_store" if layout.linked else tree
    for image, where in zip(images, IMAGES, strict=True):
        path = store / layout.place(*where)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, path)
    for name in layout.beside:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(b"no image")
    if layout.linked:
        tree.mkdir()
        for folder in sorted(store.iterdir()):
            (tree / f"to_{folder.name}").symlink_to(folder)
        (tree / "circle").symlink_to(tree)
        (tree / "broken").symlink_to(tree / "gone")


def infer(tree: Path, out: Path) -> tuple[int, int, dict[str, int]]:
    """Studies, images and rejected files of a run by the bundle's own command."""
    command = [*("-m", "monai.bundle", "run", "inferring", "--config_file", "bundle/configs/inference.json")]
    command += ["--dataset_dir", str(tree), "--output_dir", str(out), "--overlays", "0"]
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, *command], env=env, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        raise RuntimeError(done.stderr[-2000:])
    record = json.loads((out / "done.json").read_text())
    return record["studies"], record["images"], record["rejected"]


def measure(out: str = "runs/layouts") -> str:
    """Infer on every layout and write the table as layouts.md.

    Args:
        out: folder, made anew.
    """
    folder = Path(out).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    generate_tree(folder / "made", num_studies=12, num_test_studies=0, size=256, workers=1)
    by_study: dict[str, list[Path]] = {}
    for path in sorted((folder / "made").rglob("*.dcm")):
        by_study.setdefault(path.parts[-3], []).append(path)
    pair = next(paths for paths in by_study.values() if len(paths) > 1)[:2]
    images = [*pair, *[paths[0] for paths in by_study.values() if paths[0] not in pair][: len(IMAGES) - 2]]
    rows = ["| layout | files | studies | images | rejected |", "|---|---|---|---|---|"]
    for number, layout in enumerate(LAYOUTS):
        tree = folder / f"layout{number}"
        lay_out(layout, images, tree)
        studies, scored, rejected = infer(tree, folder / f"results{number}")
        rejections = ", ".join(f"{reason} {count}" for reason, count in rejected.items()) or "none"
        files = scored + sum(rejected.values())
        rows.append(f"| {layout.name} | {files} | {studies} | {scored} | {rejections} |")
        if (studies, scored) != (STUDIES, len(IMAGES)):
            raise RuntimeError(f"{layout.name}: {studies} studies of {scored} images")
    write_text(folder / "layouts.md", "\n".join(rows) + "\n")
    return "\n".join(rows)


if __name__ == "__main__":
    run_command({"measure": measure}, "benchmarks.layouts")
