"""Agreement of the integrations: the same images through each, and the differences between their results.

    python -m apps.integrations ask  --out runs/integrations      the images, and what `monai.bundle run`, TorchScript
    and ONNX say python -m apps.integrations report --out runs/integrations      the table of all integrations that have
    answered

MONAI Label and MONAI Deploy predict in environments of their own (`make test-label`, `make test-deploy`), the PACS loop
as a service (`make test-pacs`): an integration leaves `<out>/<integration>/predictions.json` and `masks/` as a bundle
run does, and in `<out>/<integration>.json` what it took.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fire
import numpy as np
from PIL import Image
from scripts.errors import InputError, report_input_errors
from scripts.predictions import DONE_FILE, read_done

#: Largest differences that results may have: probabilities and networks' tensors, edges of boxes in image pixels,
#: masks.
MAX_PROBABILITY, MAX_EDGE, MIN_MASK_IOU = 1e-4, 0.5, 0.999

REFERENCE = "bundle_run"
INTEGRATIONS = {REFERENCE: "bundle run", "label": "MONAI Label", "deploy": "MONAI Deploy", "pacs": "PACS loop"}
EXPORTS = {"torchscript": "TorchScript", "onnx": "ONNX Runtime"}


@dataclass(frozen=True)
class Distance:
    """Largest differences between an integration's results and the bundle run's: over images, classes, edges."""

    images: int
    probability: float
    edge: float
    mask_iou: float

    @property
    def agrees(self) -> bool:
        return self.probability <= MAX_PROBABILITY and self.edge <= MAX_EDGE and self.mask_iou >= MIN_MASK_IOU


def compare_results(reference: str | Path, result: str | Path) -> Distance:
    """Compare two folders of predictions.json and masks/.

    Raises:
        InputError: where the images are not the same, or an image has another number of boxes.
    """
    images, others = read_images(reference), read_images(result)
    if images.keys() != others.keys():
        found = ", ".join(sorted(images.keys() ^ others.keys()))
        raise InputError("results of the same images", f"only one has {found}", "run both again")
    probability, edge, overlap = 0.0, 0.0, 1.0
    for name, image in images.items():
        other = others[name]
        differences = [abs(image["probabilities"][key] - other["probabilities"][key]) for key in image["probabilities"]]
        probability = max(probability, *differences)
        boxes, other_boxes = (np.asarray(each["boxes"]).reshape(-1, 4) for each in (image, other))
        if boxes.shape != other_boxes.shape:
            found = f"{len(boxes)} and {len(other_boxes)} on {name}"
            raise InputError("the same boxes", found, "compare both results")
        edge = max(edge, float(np.abs(boxes - other_boxes).max(initial=0.0)))
        overlap = min(overlap, overlap_masks(*(Path(each, "masks", f"{name}.png") for each in (reference, result))))
    return Distance(len(images), probability, edge, overlap)


def read_images(result: str | Path) -> dict[str, dict[str, Any]]:
    """The images of a result's predictions.json, by image id."""
    content = json.loads(Path(result, "predictions.json").read_text(encoding="utf-8"))
    return {image["image_id"]: image for image in content["images"]}


def overlap_masks(first: Path, second: Path) -> float:
    """Intersection over union of two masks of one size, PNG files; two empty masks agree."""
    one, other = (np.asarray(Image.open(path)) > 0 for path in (first, second))
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 1.0


def run_bundle(images: str | Path, out: str | Path, release: str | Path) -> None:
    """Ask the packed bundle by `monai.bundle run` in a process of its own, from the bundle's folder.

    Raises:
        InputError: where it fails.
    """
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "inferring"]
    command += ["--config_file", "configs/inference.json", "--dataset_dir", str(Path(images).resolve())]
    command += ["--output_dir", str(Path(out).resolve()), "--num_workers", "0", "--replace", "true"]
    ended = subprocess.run(command, cwd=release, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise InputError("a run that ends well", ended.stderr.strip().rpartition("\n")[2][:300], "run it by hand")


def write_cost(out: str | Path, integration: str, **cost: Any) -> None:
    """Note what an integration took: seconds to start and for an image, megabytes, and the like."""
    Path(out, f"{integration}.json").write_text(json.dumps(cost, indent=1) + "\n", encoding="utf-8")


def read_cost(out: str | Path, integration: str) -> dict[str, Any]:
    """Read the cost that `write_cost` noted; empty where nobody did."""
    path = Path(out, f"{integration}.json")
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def ask(out: str = "runs/integrations", release: str = "dist/chest_xray_covid19") -> str:
    """Draw the images, and ask the packed bundle: as it runs, and its networks as TorchScript and ONNX."""
    from scripts.exports import export_networks

    from apps.images import write_images

    folder = Path(out)
    if not (folder / "images").is_dir():
        write_images(folder / "images")
    before = _read_weights(folder / REFERENCE)
    start = time.monotonic()
    run_bundle(folder / "images", folder / REFERENCE, release)
    if before != _read_weights(folder / REFERENCE):
        _forget_results(folder)
    write_cost(folder, REFERENCE, seconds_in_all=round(time.monotonic() - start, 1))
    measured = export_networks(Path(release, "configs", "inference.json"), folder / "exports", bundle_root=release)
    for export in EXPORTS:
        write_cost(folder, export, **{name: found[export] for name, found in measured.items()})
    return report(out)


def _read_weights(folder: Path) -> object:
    return read_done(folder)["weights_sha256"] if (folder / DONE_FILE).is_file() else None


def _forget_results(folder: Path) -> None:
    """Remove what the integrations found by other weights; images and the bundle's own results stay."""
    for path in folder.iterdir():
        if path.is_dir() and path.name not in ("images", REFERENCE):
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()


def report(out: str = "runs/integrations") -> str:
    """The table of every entry point that has answered, as Markdown.

    Raises:
        InputError: where an integration's result is not the bundle run's.
    """
    folder = Path(out)
    rows = ["| entry point | images | probabilities | boxes, px | mask IoU | |", "|---|---|---|---|---|---|"]
    for integration, name in INTEGRATIONS.items():
        if not (folder / integration / "predictions.json").is_file():
            continue
        distance = compare_results(folder / REFERENCE, folder / integration)
        if not distance.agrees:
            raise InputError(
                "one result through every integration", f"{name}: {distance}", "find out which integration is wrong"
            )
        cost = ", ".join(f"{what.replace('_', ' ')} {value}" for what, value in read_cost(folder, integration).items())
        figures = f"{distance.images} | {distance.probability:.1e} | {distance.edge:.3f} | {distance.mask_iou:.4f}"
        rows.append(f"| {name} | {figures} | {cost} |")
    for export, name in EXPORTS.items():
        if not (distances := read_cost(folder, export)):
            continue
        compared = {network: value for network, value in distances.items() if value is not None}
        if max(compared.values(), default=0.0) > MAX_PROBABILITY:
            raise InputError("networks' tensors within 1e-4", f"{name}: {compared}", "find out which network")
        worst = f"tensors {max(compared.values()):.1e}" if compared else "not compared"
        rows.append(f"| {name} | | {worst} | | | {', '.join(compared)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    report_input_errors()
    fire.Fire({"ask": ask, "report": report}, name="python -m apps.integrations")
