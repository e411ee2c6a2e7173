"""The metric inside evaluation: every film once, whatever the batches and processes; the published mistakes by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.bundle import ConfigParser

from scripts import metrics
from scripts.labels import UNKNOWN_CLASS
from scripts.metrics import StudyMeanAveragePrecision

# Image id, study id, label, probabilities; study "two" has two films, in one batch or in two. The numbers are such that
# every mistake below changes the score.
FILMS = [
    ("a", "one", 0, (0.3, 0.5, 0.0, 0.2)),
    ("b", "two", 1, (0.0, 0.2, 0.0, 0.8)),
    ("c", "two", 1, (0.3, 0.3, 0.4, 0.0)),
    ("d", "three", 2, (0.2, 0.1, 0.1, 0.6)),
    ("e", "four", 1, (0.0, 0.3, 0.0, 0.7)),
]
STUDY_ROWS = [(0.3, 0.5, 0.0, 0.2), (0.15, 0.25, 0.2, 0.4), (0.2, 0.1, 0.1, 0.6), (0.0, 0.3, 0.0, 0.7)]
EXPECTED = metrics.score_studies(STUDY_ROWS, [0, 1, 2, 1])


def make_batch(films: Sequence[tuple]) -> dict[str, Any]:
    images, studies, labels, rows = zip(*films, strict=True)
    return {
        "probabilities": torch.tensor(rows),
        "labels": torch.tensor(labels),
        "study_ids": list(studies),
        "image_ids": list(images),
    }


def run_metric(films: Sequence[tuple], batch_size: int) -> tuple[StudyMeanAveragePrecision, dict[str, Any]]:
    engine, metric = Engine(lambda engine, batch: batch), StudyMeanAveragePrecision()
    metric.attach(engine, "study_map")
    batches = [make_batch(films[start : start + batch_size]) for start in range(0, len(films), batch_size)]
    return metric, engine.run(batches).metrics


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
@pytest.mark.parametrize("films", [FILMS, FILMS[::-1], [FILMS[place] for place in (1, 0, 3, 2, 4)]])
def test_two_images_of_one_study_are_averaged_and_the_last_batch_is_not_lost(films: list[tuple], batch_size: int):
    metric, told = run_metric(films, batch_size)
    assert told["study_map"] != pytest.approx(run_metric(FILMS[:4], batch_size)[1]["study_map"])
    assert metric.scores == pytest.approx(EXPECTED, nan_ok=True)
    assert told["study_map"] == metric.scores["study_map"] and told["study_map_typical"] == metric.scores["typical"]


def test_neither_image_of_a_study_overwrites_the_other():
    told = run_metric(FILMS, 3)[1]["study_map"]
    assert told == pytest.approx(13 / 18)  # negative 1, typical 2/3, indeterminate 1/2
    for kept in FILMS[1:3]:
        overwritten = metrics.score_studies([STUDY_ROWS[0], kept[3], *STUDY_ROWS[2:]], [0, 1, 2, 1])
        assert told != pytest.approx(overwritten["study_map"])


def test_multi_image_studies_are_not_dropped_nor_counted_by_image():
    told = run_metric(FILMS, 2)[1]["study_map"]
    single = [film for film in FILMS if film[1] != "two"]
    by_image = metrics.score_studies([film[3] for film in FILMS], [film[2] for film in FILMS])
    assert told != pytest.approx(run_metric(single, 2)[1]["study_map"])
    assert told != pytest.approx(by_image["study_map"])


def test_films_of_an_unknown_class_are_not_scored():
    strangers = [("s", "stranger", UNKNOWN_CLASS, (0.7, 0.1, 0.1, 0.1))]
    assert run_metric([*strangers, *FILMS], 2)[0].scores == pytest.approx(EXPECTED, nan_ok=True)
    told = run_metric(strangers, 1)[1]
    assert math.isnan(told["study_map"]) and math.isnan(told["study_map_typical"])


def test_a_film_seen_twice_counts_once_and_an_epoch_starts_anew():
    assert run_metric([*FILMS, FILMS[1], FILMS[0]], 3)[0].scores == pytest.approx(EXPECTED, nan_ok=True)
    metric, _ = run_metric(FILMS, 2)
    metric.reset()
    with pytest.raises(ValueError, match="at least one film"):
        metric.compute()


def test_a_diverged_network_scores_nan():
    assert math.isnan(run_metric([*FILMS[:4], ("e", "four", 1, (math.nan,) * 4)], 2)[1]["study_map"])


@pytest.mark.parametrize(
    ("film", "match"),
    [
        (("e", "four", 1, (3.0, -1.0, 0.0, 0.0)), "apply the softmax"),
        (("e", "four", 1, (0.5, 0.5)), "expected probabilities of shape"),
        (("e", "four", 7, (0.5, 0.5, 0.0, 0.0)), "expected labels 0 to 3"),
        (("e", "two", 0, (0.5, 0.5, 0.0, 0.0)), "one label for study two"),
        (("a", "four", 1, (0.5, 0.5, 0.0, 0.0)), "one study and one label for image a"),
    ],
)
def test_what_cannot_be_a_film_is_refused(film: tuple, match: str):
    with pytest.raises(ValueError, match=match):
        run_metric([*FILMS[:4], film], 4 if len(film[3]) == 2 else 5)


class _Logits(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"study": image}


def test_the_metric_works_as_key_metric_of_an_evaluator_wired_by_json():
    films = [
        {"image": torch.tensor(row).clamp_min(1e-9).log(), "label": label, "study_id": study, "image_id": image}
        for image, study, label, row in FILMS
    ]
    config = {
        "films": films,
        "dataset": {"_target_": "monai.data.Dataset", "data": "@films"},
        "loader": {"_target_": "monai.data.DataLoader", "dataset": "@dataset", "batch_size": 2},
        "evaluator": {
            "_target_": "monai.engines.SupervisedEvaluator",
            "device": "cpu",
            "val_data_loader": "@loader",
            "network": _Logits(),
            "decollate": False,
            "prepare_batch": {"_target_": "scripts.engines.prepare_study_batch", "_mode_": "callable"},
            "key_val_metric": {
                "study_map": {
                    "_target_": "scripts.metrics.StudyMeanAveragePrecision",
                    "output_transform": {
                        "_target_": "scripts.engines.select_study_probabilities",
                        "_mode_": "callable",
                    },
                }
            },
        },
    }
    evaluator = ConfigParser(config).get_parsed_content("evaluator")
    evaluator.run()
    assert evaluator.state.metrics["study_map"] == pytest.approx(EXPECTED["study_map"])
    assert evaluator.state.best_metric == evaluator.state.metrics["study_map"]


def _score_in_process(rank: int, meeting_point: str, results: str) -> None:
    torch.distributed.init_process_group("gloo", f"file://{meeting_point}", rank=rank, world_size=2)
    sampler = torch.utils.data.DistributedSampler(FILMS, num_replicas=2, rank=rank, shuffle=False)
    told = run_metric([FILMS[place] for place in sampler], 2)[1]
    Path(results, f"{rank}").write_text(repr(told["study_map"]))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_lose_no_study_and_count_the_padding_once(tmp_path: Path):
    torch.multiprocessing.spawn(_score_in_process, (str(tmp_path / "meeting"), str(tmp_path)), nprocs=2)
    assert [float((tmp_path / rank).read_text()) for rank in "01"] == pytest.approx([EXPECTED["study_map"]] * 2)
