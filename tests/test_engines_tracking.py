"""TensorBoard's tags, curves and table of settings, and a training that MLflow tracks by MONAI's own option."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.handlers import MLFlowHandler
from scripts.engines import TensorBoardCurves, TensorBoardSettings, complete_tracking, name_tag
from scripts.engines.tracking import simplify_settings
from scripts.labels import STUDY_CLASSES, UNKNOWN_CLASS
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

ROOT = Path(__file__).resolve().parents[1]
TINY = ("--image_size", "64", "--batch_size", "8", "--encoder", "test_efficientnet", "--precision", "float32")


def read_board(folder: Path) -> EventAccumulator:
    board = EventAccumulator(str(folder))
    board.Reload()
    return board


def test_tags_stand_in_groups():
    tags = [name_tag(name) for name in ("train_loss", "validation_loss", "learning_rate", "study_map", "box_ap")]
    assert tags == ["loss/train", "loss/validation", "run/learning_rate", "score/study_map", "score/box_ap"]


def test_every_class_has_a_curve_of_studies_and_an_unknown_label_none(tmp_path: Path):
    batches = [
        {"probabilities": torch.eye(4)[[0, 1]], "labels": torch.tensor([0, 1]), "study_ids": ["a", "b"]},
        {"probabilities": torch.eye(4)[[0, 3]], "labels": torch.tensor([1, UNKNOWN_CLASS]), "study_ids": ["b", "c"]},
    ]
    with SummaryWriter(str(tmp_path)) as board:
        engine = Engine(lambda engine, batch: batch)
        TensorBoardCurves(board, lambda output: output).attach(engine)
        engine.run(batches, max_epochs=1)
    read = read_board(tmp_path)
    assert read.Tags()["tensors"] == [f"precision_recall/{name}" for name in STUDY_CLASSES]
    (event,) = read.Tensors("precision_recall/typical")
    true_positives, false_positives = torch.tensor(event.tensor_proto.float_val).reshape(6, -1)[:2]
    # study b is typical by 0.5 on average, a is not: one hit up to there, one false positive at threshold 0 alone
    assert true_positives[0] == 1 and false_positives[0] == 1
    assert true_positives[60] == 1 and false_positives[60] == 0 and true_positives[-1] == 0


def test_settings_stand_in_the_run_itself_beside_its_score(tmp_path: Path):
    with SummaryWriter(str(tmp_path)) as board:
        engine = Engine(lambda engine, batch: None)
        TensorBoardSettings(board, {"epochs": 3, "encoder": "b0", "folds": [1, 2]}, "study_map").attach(engine)
        engine.run([0], max_epochs=1)
    assert len(list(tmp_path.iterdir())) == 1, "no folder of its own"
    plugins = read_board(tmp_path).summary_metadata
    assert {name for name in plugins if name.startswith("_hparams_")} == {
        "_hparams_/experiment", "_hparams_/session_start_info", "_hparams_/session_end_info",
    }  # fmt: skip
    content = plugins["_hparams_/experiment"].plugin_data.content
    assert b"score/study_map" in content and b"encoder" in content and b"folds" in content


def test_settings_become_numbers_and_texts():
    assert simplify_settings({"a": None, "b": [1], "c": True, "d": 0.1}) == {
        "a": "None",
        "b": "[1]",
        "c": True,
        "d": 0.1,
    }


def test_a_handler_of_mlflow_takes_the_loss_of_a_whole_batch_and_all_settings(tmp_path: Path):
    handler: Any = MLFlowHandler.__new__(MLFlowHandler)  # its constructor connects to a store
    (tmp_path / "config_20260101_000000.json").write_text("{}")
    assert complete_tracking([object(), handler], {"fold": 0}, tmp_path) == [handler]
    assert handler.output_transform({"loss": torch.tensor(2.0)}) == 2.0
    assert handler.experiment_param == {"fold": 0}
    assert [Path(path).name for path in handler.artifacts] == [
        "config_20260101_000000.json",
        "history.json",
        "record.json",
    ]


@pytest.mark.slow
def test_mlflow_tracks_a_training(images: Path, datalist_file: Path, tmp_path: Path):
    """`--tracking mlflow` of MONAI: a store in the output folder, with parameters, metrics and artifacts."""
    reason = "needs the extra mlflow: pip install '.[mlflow]'"
    mlflow = pytest.importorskip("mlflow", reason=reason)
    pytest.importorskip("sqlalchemy", reason=reason)
    pytest.importorskip("alembic", reason=reason)
    out = tmp_path / "training"
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", "bundle/configs/train.json"]
    places = ["--dataset_dir", str(images), "--datalist_file", str(datalist_file), "--output_dir", str(out)]
    options = ["--device", "$torch.device('cpu')", "--epochs", "2", "--val_interval", "1", "--experiment_name", "tried"]
    subprocess.run(
        [*command, *places, *TINY, *options, "--tracking", "mlflow"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"},
        check=True,
    )
    client = mlflow.MlflowClient(f"sqlite:///{out}/mlruns.db")
    experiment = client.get_experiment_by_name("tried")
    (run,) = client.search_runs(experiment.experiment_id)
    assert run.info.status == "FINISHED"
    assert run.data.params.items() >= {"image_size": "64", "encoder": "test_efficientnet", "fold": "0"}.items()
    assert {"train_loss", "validation_loss", "study_map", "study_map_negative", "lr_group_0"} <= run.data.metrics.keys()
    assert [each.step for each in client.get_metric_history(run.info.run_id, "study_map")] == [1, 2]
    names = [each.path for each in client.list_artifacts(run.info.run_id)]
    assert names[0].startswith("config_") and names[1:] == ["history.json", "record.json"]
