"""One answer through every door: the same films asked about through each, and how far the answers lie apart.

    python -m apps.doors ask  --out runs/doors      the films, and what `monai.bundle run`, TorchScript and ONNX say
    python -m apps.doors tell --out runs/doors      the table of all doors that have answered

MONAI Label and MONAI Deploy answer in environments of their own (`make test-label`, `make test-deploy`): a door leaves
`<out>/<door>/predictions.json` and `masks/` as a bundle run does, and in `<out>/<door>.json` what it took.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fire
import numpy as np
from PIL import Image

from scripts.errors import InputError, tell_in_one_line

#: What the answers may differ by: probabilities and networks' tensors, edges of boxes in film pixels, masks.
MAX_PROBABILITY, MAX_EDGE, MIN_MASK_IOU = 1e-4, 0.5, 0.999

REFERENCE = "bundle_run"
DOORS = {REFERENCE: "bundle run", "label": "MONAI Label", "deploy": "MONAI Deploy"}
EXPORTS = {"torchscript": "TorchScript", "onnx": "ONNX Runtime"}


@dataclass(frozen=True)
class Distance:
    """How far a door's answers lie from the bundle run's, at worst: over films, classes, edges."""

    films: int
    probability: float
    edge: float
    mask_iou: float

    @property
    def agrees(self) -> bool:
        return self.probability <= MAX_PROBABILITY and self.edge <= MAX_EDGE and self.mask_iou >= MIN_MASK_IOU


def compare_answers(reference: str | Path, answer: str | Path) -> Distance:
    """Compare two folders of predictions.json and masks/.

    Raises:
        InputError: where the films are not the same, or a film has another number of boxes.
    """
    films, others = read_films(reference), read_films(answer)
    if films.keys() != others.keys():
        found = ", ".join(sorted(films.keys() ^ others.keys()))
        raise InputError("answers about the same films", f"only one knows {found}", "ask both again")
    probability, edge, overlap = 0.0, 0.0, 1.0
    for name, film in films.items():
        other = others[name]
        differences = [abs(film["probabilities"][key] - other["probabilities"][key]) for key in film["probabilities"]]
        probability = max(probability, *differences)
        boxes, other_boxes = (np.asarray(each["boxes"]).reshape(-1, 4) for each in (film, other))
        if boxes.shape != other_boxes.shape:
            found = f"{len(boxes)} and {len(other_boxes)} on {name}"
            raise InputError("the same boxes", found, "look at both answers")
        edge = max(edge, float(np.abs(boxes - other_boxes).max(initial=0.0)))
        overlap = min(overlap, overlap_masks(*(Path(each, "masks", f"{name}.png") for each in (reference, answer))))
    return Distance(len(films), probability, edge, overlap)


def read_films(answer: str | Path) -> dict[str, dict[str, Any]]:
    """The films of an answer's predictions.json, by image id."""
    content = json.loads(Path(answer, "predictions.json").read_text(encoding="utf-8"))
    return {film["image_id"]: film for film in content["films"]}


def overlap_masks(first: Path, second: Path) -> float:
    """Intersection over union of two masks of one size, PNG files; two empty masks agree."""
    one, other = (np.asarray(Image.open(path)) > 0 for path in (first, second))
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 1.0


def run_bundle(films: str | Path, out: str | Path, release: str | Path) -> None:
    """Ask the packed bundle by `monai.bundle run` in a process of its own, from the bundle's folder.

    Raises:
        InputError: where it fails.
    """
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "inferring"]
    command += ["--config_file", "configs/inference.json", "--dataset_dir", str(Path(films).resolve())]
    command += ["--output_dir", str(Path(out).resolve()), "--num_workers", "0"]
    ended = subprocess.run(command, cwd=release, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise InputError("a run that ends well", ended.stderr.strip().rpartition("\n")[2][:300], "run it by hand")


def write_cost(out: str | Path, door: str, **cost: Any) -> None:
    """Note what a door took: seconds to start and for a film, megabytes, and the like."""
    Path(out, f"{door}.json").write_text(json.dumps(cost, indent=1) + "\n", encoding="utf-8")


def read_cost(out: str | Path, door: str) -> dict[str, Any]:
    """What `write_cost` noted; nothing where nobody did."""
    path = Path(out, f"{door}.json")
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def ask(out: str = "runs/doors", release: str = "dist/chest_xray_covid19") -> str:
    """Draw the films, and ask the packed bundle: as it runs, and its networks as TorchScript and ONNX."""
    from apps.films import draw_films
    from scripts.exports import export_networks

    folder = Path(out)
    if not (folder / "films").is_dir():
        draw_films(folder / "films")
    start = time.monotonic()
    run_bundle(folder / "films", folder / REFERENCE, release)
    write_cost(folder, REFERENCE, seconds_in_all=round(time.monotonic() - start, 1))
    measured = export_networks(Path(release, "configs", "inference.json"), folder / "exports", bundle_root=release)
    for export in EXPORTS:
        write_cost(folder, export, **{name: found[export] for name, found in measured.items()})
    return tell(out)


def tell(out: str = "runs/doors") -> str:
    """The table of every door that has answered, as Markdown.

    Raises:
        InputError: where a door's answer is not the bundle run's.
    """
    folder = Path(out)
    rows = ["| door | films | probabilities | boxes, px | mask IoU | |", "|---|---|---|---|---|---|"]
    for door, name in DOORS.items():
        if not (folder / door / "predictions.json").is_file():
            continue
        distance = compare_answers(folder / REFERENCE, folder / door)
        if not distance.agrees:
            raise InputError("one answer through every door", f"{name}: {distance}", "find out which door is wrong")
        cost = ", ".join(f"{what.replace('_', ' ')} {value}" for what, value in read_cost(folder, door).items())
        figures = f"{distance.films} | {distance.probability:.1e} | {distance.edge:.3f} | {distance.mask_iou:.4f}"
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
    tell_in_one_line()
    fire.Fire({"ask": ask, "tell": tell}, name="python -m apps.doors")
