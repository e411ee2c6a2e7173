"""Two processes on one CPU do what one does: every image is scored once, and the score is the same."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from scripts.checkpoints import save_weights
from scripts.metrics import read_ground_truth, score_predictions
from scripts.networks import StudyClassifier
from scripts.submission import read_submission

from tests.configs import CONFIGS

ROOT = Path(__file__).resolve().parents[1]
TINY = {"image_size": 64, "batch_size": 4, "encoder": "test_efficientnet", "overlays": 0}
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def evaluate(configs: list[str], start: tuple[str, ...] = (), **options: object) -> None:
    files = str([str(CONFIGS / name) for name in ("train.json", "evaluate.json", *configs)])
    words = [text for key, value in {**TINY, **options}.items() for text in (f"--{key}", str(value))]
    command = [sys.executable, *start, "-m", "monai.bundle", "run", "evaluating", "--config_file", files, *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return sorted(csv.DictReader(file), key=lambda row: next(iter(row.values())))


@pytest.mark.slow
def test_two_processes_score_every_image_once_and_as_one_process_does(
    images: Path, datalist_file: Path, tmp_path: Path
):
    weights = tmp_path / "model.pt"
    save_weights(StudyClassifier("test_efficientnet").state_dict(), weights)
    options = {"dataset_dir": images, "datalist_file": datalist_file, "weights": weights}
    evaluate([], **options, output_dir=tmp_path / "one")
    evaluate(["multi_gpu_evaluate.json"], TORCHRUN, **options, output_dir=tmp_path / "two")
    ground_truth = read_ground_truth(datalist_file, 0)
    one, two = (tmp_path / name for name in ("one", "two"))
    found = [row["image_id"] for row in read_rows(two / "images.csv")]
    assert found == sorted(ground_truth.image_boxes), "each once, whichever process saw it"
    for first, second in zip(read_rows(one / "images.csv"), read_rows(two / "images.csv"), strict=True):
        assert first["image_id"] == second["image_id"]
        assert float(first["negative"]) == pytest.approx(float(second["negative"]), abs=2e-6)
    scores = [score_predictions(read_submission(folder / "submission.csv"), ground_truth) for folder in (one, two)]
    assert scores[1] == pytest.approx(scores[0], abs=1e-6, nan_ok=True)
    assert json.loads((two / "done.json").read_text())["images"] == len(found)
