"""Study metric inside an evaluator: every image once, whatever the batches and processes; published mistakes."""

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

# Image id, study id, label, probabilities; study "two" has two images, in one batch or in two. The numbers are such
# that every mistake below changes the score.
IMAGES = [
    ("a", "one", 0, (0.3, 0.5, 0.0, 0.2)),
    ("b", "two", 1, (0.0, 0.2, 0.0, 0.8)),
    ("c", "two", 1, (0.3, 0.3, 0.4, 0.0)),
    ("d", "three", 2, (0.2, 0.1, 0.1, 0.6)),
    ("e", "four", 1, (0.0, 0.3, 0.0, 0.7)),
]
STUDY_ROWS = [(0.3, 0.5, 0.0, 0.2), (0.15, 0.25, 0.2, 0.4), (0.2, 0.1, 0.1, 0.6), (0.0, 0.3, 0.0, 0.7)]
EXPECTED = metrics.score_studies(STUDY_ROWS, [0, 1, 2, 1])


def make_batch(cases: Sequence[tuple]) -> dict[str, Any]:
    images, studies, labels, rows = zip(*cases, strict=True)
    return {
        "probabilities": torch.tensor(rows),
        "labels": torch.tensor(labels),
        "study_ids": list(studies),
        "image_ids": list(images),
    }


def run_metric(images: Sequence[tuple], batch_size: int) -> tuple[StudyMeanAveragePrecision, dict[str, Any]]:
    engine, metric = Engine(lambda engine, batch: batch), StudyMeanAveragePrecision()
    metric.attach(engine, "study_map")
    batches = [make_batch(images[start : start + batch_size]) for start in range(0, len(images), batch_size)]
    return metric, engine.run(batches).metrics


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
@pytest.mark.parametrize("images", [IMAGES, IMAGES[::-1], [IMAGES[place] for place in (1, 0, 3, 2, 4)]])
def test_two_images_of_one_study_are_averaged_and_the_last_batch_is_not_lost(images: list[tuple], batch_size: int):
    metric, reported = run_metric(images, batch_size)
    assert reported["study_map"] != pytest.approx(run_metric(IMAGES[:4], batch_size)[1]["study_map"])
    assert metric.scores == pytest.approx(EXPECTED, nan_ok=True)
    assert (
        reported["study_map"] == metric.scores["study_map"]
        and reported["study_map_typical"] == metric.scores["typical"]
    )


def test_neither_image_of_a_study_overwrites_the_other():
    reported = run_metric(IMAGES, 3)[1]["study_map"]
    assert reported == pytest.approx(13 / 18)  # negative 1, typical 2/3, indeterminate 1/2
    for kept in IMAGES[1:3]:
        overwritten = metrics.score_studies([STUDY_ROWS[0], kept[3], *STUDY_ROWS[2:]], [0, 1, 2, 1])
        assert reported != pytest.approx(overwritten["study_map"])


def test_multi_image_studies_are_not_dropped_nor_counted_by_image():
    reported = run_metric(IMAGES, 2)[1]["study_map"]
    single = [image for image in IMAGES if image[1] != "two"]
    by_image = metrics.score_studies([image[3] for image in IMAGES], [image[2] for image in IMAGES])
    assert reported != pytest.approx(run_metric(single, 2)[1]["study_map"])
    assert reported != pytest.approx(by_image["study_map"])


def test_images_of_an_unknown_class_are_not_scored():
    strangers = [("s", "stranger", UNKNOWN_CLASS, (0.7, 0.1, 0.1, 0.1))]
    assert run_metric([*strangers, *IMAGES], 2)[0].scores == pytest.approx(EXPECTED, nan_ok=True)
    reported = run_metric(strangers, 1)[1]
    assert math.isnan(reported["study_map"]) and math.isnan(reported["study_map_typical"])


def test_an_image_seen_twice_counts_once_and_an_epoch_starts_anew():
    assert run_metric([*IMAGES, IMAGES[1], IMAGES[0]], 3)[0].scores == pytest.approx(EXPECTED, nan_ok=True)
    metric, _ = run_metric(IMAGES, 2)
    metric.reset()
    with pytest.raises(ValueError, match="at least one image"):
        metric.compute()


def test_a_diverged_network_scores_nan():
    assert math.isnan(run_metric([*IMAGES[:4], ("e", "four", 1, (math.nan,) * 4)], 2)[1]["study_map"])


@pytest.mark.parametrize(
    ("image", "match"),
    [
        (("e", "four", 1, (3.0, -1.0, 0.0, 0.0)), "apply the softmax"),
        (("e", "four", 1, (0.5, 0.5)), "expected probabilities of shape"),
        (("e", "four", 7, (0.5, 0.5, 0.0, 0.0)), "expected labels 0 to 3"),
        (("e", "two", 0, (0.5, 0.5, 0.0, 0.0)), "one label for study two"),
        (("a", "four", 1, (0.5, 0.5, 0.0, 0.0)), "one study and one label for image a"),
    ],
)
def test_what_cannot_be_an_image_is_rejected(image: tuple, match: str):
    with pytest.raises(ValueError, match=match):
        run_metric([*IMAGES[:4], image], 4 if len(image[3]) == 2 else 5)


class _Logits(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"study": image}


def test_the_metric_works_as_key_metric_of_an_evaluator_wired_by_json():
    images = [
        {"image": torch.tensor(row).clamp_min(1e-9).log(), "label": label, "study_id": study, "image_id": image}
        for image, study, label, row in IMAGES
    ]
    config = {
        "images": images,
        "dataset": {"_target_": "monai.data.Dataset", "data": "@images"},
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
    sampler = torch.utils.data.DistributedSampler(IMAGES, num_replicas=2, rank=rank, shuffle=False)
    reported = run_metric([IMAGES[place] for place in sampler], 2)[1]
    Path(results, f"{rank}").write_text(repr(reported["study_map"]))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_lose_no_study_and_count_the_padding_once(tmp_path: Path):
    torch.multiprocessing.spawn(_score_in_process, (str(tmp_path / "meeting"), str(tmp_path)), nprocs=2)
    assert [float((tmp_path / rank).read_text()) for rank in "01"] == pytest.approx([EXPECTED["study_map"]] * 2)
