"""The light table of one network's predictions: boxes come back to the image, and a wrong file is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from scripts.engines import select_boxes_in_image, select_probabilities
from scripts.errors import InputError
from scripts.files import compute_sha256
from scripts.outputs import PredictionTable, read_prediction_table


def test_probabilities_are_those_of_the_logits():
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0]])
    found = select_probabilities({"pred": {"study": logits}, "label": {"image_id": ["a", "b"], "study_id": ["s", "t"]}})
    assert found["a"]["study_id"] == "s" and found["a"]["probabilities"] == pytest.approx(logits[0].softmax(0).tolist())
    assert found["b"]["probabilities"] == [0.25] * 4


def test_boxes_come_back_to_the_original_image():
    target = {"image_id": "a", "crop_box": torch.tensor([100.0, 20.0, 300.0, 120.0]), "size": (64, 64)}
    prediction = {"boxes": np.array([[0.0, 32.0, 16.0, 64.0]]), "scores": np.array([0.75])}
    found = select_boxes_in_image({"pred": [prediction], "label": [target]})
    assert found == {"a": {"boxes": [[100.0, 70.0, 150.0, 120.0]], "scores": [0.75]}}


def test_a_table_holds_all_batches_and_names_its_network(datalist_file: Path, tmp_path: Path):
    weights, path = tmp_path / "run" / "last.pt", tmp_path / "table.json"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    engine = Engine(lambda engine, batch: batch)
    PredictionTable(path, lambda output: {output: {"study_id": "s"}}, weights, datalist_file, [0, 2]).attach(engine)
    engine.run(["a", "b"])
    table = read_prediction_table(path)
    assert table["images"] == {"a": {"study_id": "s"}, "b": {"study_id": "s"}} and table["held_out"] == [0, 2]
    assert table["weights_sha256"] == compute_sha256(weights) and table["name"] == "run"
    assert table["datalist_hash"] == json.loads(datalist_file.read_text())["content_hash"]


@pytest.mark.parametrize("text", ["", "[]", '{"images": {}}'])
def test_another_file_is_rejected(text: str, tmp_path: Path):
    (tmp_path / "table.json").write_text(text)
    with pytest.raises(InputError, match="another content"):
        read_prediction_table(tmp_path / "table.json")
    with pytest.raises(InputError, match="none at"):
        read_prediction_table(tmp_path / "absent.json")
