"""The comparison on a GPU runs, at a tiny size on the CPU, and says where it was not measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.speed import gpu
from benchmarks.speed.comparison import tabulate_comparisons

TINY = gpu.Sizes(
    {"encoder": "test_efficientnet", "image_size": 64, "batch_size": 4, "mask_widths": [8, 8, 8, 8, 8]},
    studies=24, pixels=96, copies=1, repeats=1, workers=1, batch_size=14, matrix=64, compiles=False,
)  # fmt: skip
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("gpu")
    return folder, *gpu.make_images(folder, TINY)


def test_without_a_gpu_both_rows_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    rows = gpu.measure(tmp_path)
    assert tabulate_comparisons(rows).count("not measured") == len(rows) == 2 and not list(tmp_path.iterdir())


def test_an_epoch_of_both_ways_trains_on_as_many_images(made: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch):
    folder, tree, datalist = made
    seen: list[int] = []
    step = gpu.PlainLoop.train_batch
    monkeypatch.setattr(
        gpu.PlainLoop, "train_batch", lambda loop, batch: (seen.append(len(batch["image"])), step(loop, batch))[1]
    )
    row = gpu.compare_training(tree, datalist, folder, replace(TINY, copies=2), CPU)
    assert len(row.ours) == len(row.theirs) == 1 and min(*row.ours, *row.theirs) > 0
    warmed_up_and_timed, of_one_batch = sum(seen[:-1]), seen[-1]
    assert warmed_up_and_timed == 2 * row.amount and of_one_batch == 4
    assert "TFLOP/s of matrix products" in row.note and "images/s" in row.format_row()[1]


def test_all_images_are_predicted_by_both_ways(made: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch):
    _, tree, _ = made
    seen: list[int] = []
    infer = gpu.infer
    monkeypatch.setattr(
        gpu, "infer", lambda parser, batch, device: (seen.append(len(batch)), infer(parser, batch, device))[1]
    )
    row = gpu.compare_inference(tree, TINY, CPU)
    assert row.amount == len(list((tree / "train").rglob("*.dcm"))) and sum(seen) == 4 * row.amount
    assert "not compiled" in row.note


def test_spans_of_time_are_joined():
    assert gpu.join_spans([(0, 2), (1, 3), (5, 6), (5, 5.5)]) == 4 and gpu.join_spans([]) == 0
