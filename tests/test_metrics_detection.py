"""Detection metric inside an evaluator: figures counted by hand, whatever the batches, every image once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from scripts.metrics import BoxAveragePrecision

Box = tuple[float, float, float, float]

#: Image id, (score, box) of each box that was found, true boxes.
Image = tuple[str, Sequence[tuple[float, Box]], Sequence[Box]]

WHOLE, HALF, FAR = (0, 0, 10, 20), (0, 0, 10, 10), (50, 60, 70, 80)


def make_image(case: Image) -> dict[str, Any]:
    image, found, ground_truth = case
    return {
        "image_id": image,
        "scores": torch.tensor([score for score, _ in found]),
        "boxes": torch.tensor([box for _, box in found], dtype=torch.float32).reshape(-1, 4),
        "ground_truth": torch.tensor(ground_truth, dtype=torch.float32).reshape(-1, 4),
    }


def run_metric(images: Sequence[Image], batch_size: int = 2) -> tuple[float, float]:
    engine = Engine(lambda engine, batch: batch)
    BoxAveragePrecision().attach(engine, "box_ap")
    described = [make_image(image) for image in images]
    batches = [described[start : start + batch_size] for start in range(0, len(images), batch_size)]
    metrics = engine.run(batches or [[]]).metrics
    assert set(metrics) == {"box_ap", "box_ap_mean_iou"}
    return metrics["box_ap"], metrics["box_ap_mean_iou"]


CASES: dict[str, tuple[list[Image], float, float]] = {
    "every box is found": ([("a", [(0.9, WHOLE)], [WHOLE]), ("b", [(0.2, FAR), (0.1, HALF)], [HALF, FAR])], 1, 1),
    "none is found": ([("a", [], [WHOLE])], 0, 0),
    # one of two references, after one error: precision 1/2 on half of the recall
    "an overlap of exactly one half is none": ([("a", [(0.9, HALF)], [WHOLE]), ("b", [(0.8, FAR)], [FAR])], 0.25, 0.75),
    "a surer error costs more": ([("a", [(0.9, FAR), (0.8, WHOLE)], [WHOLE])], 0.5, 1),
    "a less sure error costs nothing": ([("a", [(0.9, WHOLE), (0.8, FAR)], [WHOLE])], 1, 1),
    "an equally sure error costs as much": ([("a", [(0.9, WHOLE), (0.9, FAR)], [WHOLE])], 0.5, 1),
    # hit, error, hit: 1/2 x 1 + 1/2 x 2/3
    "a box that is found twice is an error": (
        [("a", [(0.9, WHOLE), (0.8, (0, 0, 10, 19)), (0.7, FAR)], [WHOLE, FAR])],
        5 / 6,
        1,
    ),
    "a box on an image without any is an error": ([("a", [(0.8, WHOLE)], [WHOLE]), ("b", [(0.9, FAR)], [])], 0.5, 1),
    "an image without any box changes nothing": ([("a", [(0.8, WHOLE)], [WHOLE]), ("b", [], [])], 1, 1),
    "a box belongs to its own image": ([("a", [], [FAR]), ("b", [(0.9, FAR)], [WHOLE])], 0, 0),
    # the ground truth's best overlap counts, whatever its score: 15 of 20 rows
    "the mean overlap asks for no score": ([("a", [(0.9, FAR), (0.1, (0, 0, 10, 15))], [WHOLE, FAR])], 1, 0.875),
}


@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.parametrize(("images", "precision", "overlap"), CASES.values(), ids=CASES.keys())
def test_the_figures_are_those_counted_by_hand(images: list[Image], precision: float, overlap: float, batch_size: int):
    assert run_metric(images, batch_size) == pytest.approx((precision, overlap))
    assert run_metric(images[::-1], batch_size) == pytest.approx((precision, overlap))


def test_an_image_that_comes_twice_counts_once():
    images: list[Image] = [("a", [(0.9, FAR)], [WHOLE]), ("b", [(0.8, WHOLE)], [WHOLE])]
    assert run_metric([*images, images[0], images[0]]) == run_metric(images) == (0.25, 0.5)


@pytest.mark.parametrize("images", [[], [("a", [], [])], [("a", [(0.9, WHOLE)], [])]])
def test_where_no_box_is_to_be_found_there_are_no_figures(images: list[Image]):
    assert all(math.isnan(figure) for figure in run_metric(images))


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_diverged_detector_scores_nan(score: float):
    box = (math.nan, 0, 10, 10)
    precision, overlap = run_metric([("a", [(0.9, WHOLE)], [WHOLE]), ("b", [(score, box)], [WHOLE])])
    assert math.isnan(precision) and overlap == 0.5


def test_every_epoch_begins_anew():
    images: list[Image] = [("a", [(0.9, WHOLE)], [WHOLE]), ("b", [(0.9, FAR)], [WHOLE])]
    engine = Engine(lambda engine, image: [make_image(image)])
    BoxAveragePrecision().attach(engine, "box_ap")
    assert engine.run(images).metrics["box_ap"] == 0.5 * 0.5
    assert engine.run(images[:1]).metrics == {"box_ap": 1, "box_ap_mean_iou": 1}


def test_images_come_from_whatever_the_engine_puts_out_and_need_no_gradient():
    def select(output: dict[str, Any]) -> list[dict[str, Any]]:
        return output["images"]

    image = make_image(("a", [(0.9, WHOLE)], [WHOLE]))
    image |= {"scores": image["scores"].requires_grad_(), "boxes": image["boxes"].requires_grad_()}
    engine = Engine(lambda engine, batch: {"images": [image]})
    BoxAveragePrecision(output_transform=select).attach(engine, "box_ap")
    assert engine.run([0]).metrics["box_ap"] == 1


#: An odd number, so that a sampler for two processes repeats one; what is worst stands in the second process.
SPREAD: list[Image] = [
    ("a", [(0.9, WHOLE)], [WHOLE]),
    ("b", [(0.8, FAR)], [HALF]),
    ("c", [(0.7, HALF), (0.6, FAR)], [HALF, FAR]),
    ("d", [], [WHOLE]),
    ("e", [(0.5, FAR)], []),
]


def _score_in_process(rank: int, meeting_point: str, results: str) -> None:
    torch.distributed.init_process_group("gloo", f"file://{meeting_point}", rank=rank, world_size=2)
    sampler = torch.utils.data.DistributedSampler(SPREAD, num_replicas=2, rank=rank, shuffle=False)
    Path(results, f"{rank}").write_text(" ".join(map(repr, run_metric([SPREAD[place] for place in sampler]))))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_score_the_images_of_both_and_the_padding_once(tmp_path: Path):
    torch.multiprocessing.spawn(_score_in_process, (str(tmp_path / "meeting"), str(tmp_path)), nprocs=2)
    reported = [tuple(map(float, (tmp_path / rank).read_text().split())) for rank in "01"]
    assert reported[0] == reported[1] == pytest.approx(run_metric(SPREAD))
    halves = [run_metric(SPREAD[rank::2]) for rank in (0, 1)]
    assert reported[0] not in halves, "each process alone would say something else"
