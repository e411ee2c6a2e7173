"""How well boxes lie inside an evaluator: figures counted by hand, whatever the batches, and every film once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from ignite.engine import Engine

from scripts.metrics import BoxAveragePrecision

Box = tuple[float, float, float, float]

#: Image id, (score, box) of each box that was found, true boxes.
Film = tuple[str, Sequence[tuple[float, Box]], Sequence[Box]]

WHOLE, HALF, FAR = (0, 0, 10, 20), (0, 0, 10, 10), (50, 60, 70, 80)


def make_film(film: Film) -> dict[str, Any]:
    image, found, truth = film
    return {
        "image_id": image,
        "scores": torch.tensor([score for score, _ in found]),
        "boxes": torch.tensor([box for _, box in found], dtype=torch.float32).reshape(-1, 4),
        "truth": torch.tensor(truth, dtype=torch.float32).reshape(-1, 4),
    }


def run_metric(films: Sequence[Film], batch_size: int = 2) -> tuple[float, float]:
    engine = Engine(lambda engine, batch: batch)
    BoxAveragePrecision().attach(engine, "box_ap")
    described = [make_film(film) for film in films]
    batches = [described[start : start + batch_size] for start in range(0, len(films), batch_size)]
    metrics = engine.run(batches or [[]]).metrics
    assert set(metrics) == {"box_ap", "box_ap_mean_iou"}
    return metrics["box_ap"], metrics["box_ap_mean_iou"]


CASES: dict[str, tuple[list[Film], float, float]] = {
    "every box is found": ([("a", [(0.9, WHOLE)], [WHOLE]), ("b", [(0.2, FAR), (0.1, HALF)], [HALF, FAR])], 1, 1),
    "none is found": ([("a", [], [WHOLE])], 0, 0),
    # one of two truths, after one error: precision 1/2 on half of the recall
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
    "a box on a film without any is an error": ([("a", [(0.8, WHOLE)], [WHOLE]), ("b", [(0.9, FAR)], [])], 0.5, 1),
    "a film without any box changes nothing": ([("a", [(0.8, WHOLE)], [WHOLE]), ("b", [], [])], 1, 1),
    "a box belongs to its own film": ([("a", [], [FAR]), ("b", [(0.9, FAR)], [WHOLE])], 0, 0),
    # the truth's best overlap counts, whatever its score: 15 of 20 rows
    "the mean overlap asks for no score": ([("a", [(0.9, FAR), (0.1, (0, 0, 10, 15))], [WHOLE, FAR])], 1, 0.875),
}


@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.parametrize(("films", "precision", "overlap"), CASES.values(), ids=CASES.keys())
def test_the_figures_are_those_counted_by_hand(films: list[Film], precision: float, overlap: float, batch_size: int):
    assert run_metric(films, batch_size) == pytest.approx((precision, overlap))
    assert run_metric(films[::-1], batch_size) == pytest.approx((precision, overlap))


def test_a_film_that_comes_twice_counts_once():
    films: list[Film] = [("a", [(0.9, FAR)], [WHOLE]), ("b", [(0.8, WHOLE)], [WHOLE])]
    assert run_metric([*films, films[0], films[0]]) == run_metric(films) == (0.25, 0.5)


@pytest.mark.parametrize("films", [[], [("a", [], [])], [("a", [(0.9, WHOLE)], [])]])
def test_where_no_box_is_to_be_found_there_are_no_figures(films: list[Film]):
    assert all(math.isnan(figure) for figure in run_metric(films))


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_diverged_detector_scores_nan(score: float):
    box = (math.nan, 0, 10, 10)
    precision, overlap = run_metric([("a", [(0.9, WHOLE)], [WHOLE]), ("b", [(score, box)], [WHOLE])])
    assert math.isnan(precision) and overlap == 0.5


def test_every_epoch_begins_anew():
    films: list[Film] = [("a", [(0.9, WHOLE)], [WHOLE]), ("b", [(0.9, FAR)], [WHOLE])]
    engine = Engine(lambda engine, film: [make_film(film)])
    BoxAveragePrecision().attach(engine, "box_ap")
    assert engine.run(films).metrics["box_ap"] == 0.5 * 0.5
    assert engine.run(films[:1]).metrics == {"box_ap": 1, "box_ap_mean_iou": 1}


def test_films_come_from_whatever_the_engine_puts_out_and_need_no_gradient():
    def select(output: dict[str, Any]) -> list[dict[str, Any]]:
        return output["films"]

    film = make_film(("a", [(0.9, WHOLE)], [WHOLE]))
    film |= {"scores": film["scores"].requires_grad_(), "boxes": film["boxes"].requires_grad_()}
    engine = Engine(lambda engine, batch: {"films": [film]})
    BoxAveragePrecision(output_transform=select).attach(engine, "box_ap")
    assert engine.run([0]).metrics["box_ap"] == 1
