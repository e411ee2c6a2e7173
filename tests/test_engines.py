"""What MONAI's engines are given here: a batch's preparation, a stop before harm is done, history and pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from ignite.metrics import Loss
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset, MetaTensor, list_data_collate
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler
from torch import nn

from scripts.datalist import validation_films
from scripts.engines import (
    HistoryRecorder,
    PictureBoard,
    StopOnNonFiniteLoss,
    count_films,
    prepare_study_batch,
    select_logits_and_targets,
    select_mask_probabilities,
    select_study_probabilities,
)
from scripts.errors import InputError
from scripts.losses import AuxiliaryMaskLoss

CONFIGS = Path(__file__).resolve().parents[1] / "bundle" / "configs"


def describe_films(number: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "image": torch.rand(1, 4, 4, generator=generator),
            "mask": torch.zeros(1, 4, 4),
            "label": film % 4,
            "boxes_known": True,
            "study_id": f"study{film // 2}",
            "image_id": f"image{film}",
            "path": f"tree/{film}.dcm",
        }
        for film in range(number)
    ]


class TinyNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 4)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"study": self.linear(image.flatten(1)), "mask": image - 0.5}


def build_trainer(loss: Callable[..., torch.Tensor], films: int = 6, **arguments: Any) -> SupervisedTrainer:
    torch.manual_seed(0)
    network = TinyNetwork()
    return SupervisedTrainer(
        device="cpu",
        train_data_loader=DataLoader(Dataset(describe_films(films)), batch_size=2),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=loss,
        prepare_batch=prepare_study_batch,
        decollate=False,
        **{"max_epochs": 1, **arguments},
    )


def build_loss() -> AuxiliaryMaskLoss:
    return AuxiliaryMaskLoss(nn.CrossEntropyLoss(), [nn.BCEWithLogitsLoss()])


def turn_bad(after: int, value: float) -> Callable[..., torch.Tensor]:
    """A loss that is `value` in iteration `after` + 1."""
    losses = [1.0] * after + [value]

    def compute(logits: dict[str, torch.Tensor], targets: dict[str, Any]) -> torch.Tensor:
        return logits["study"].sum() * losses.pop(0)

    return compute


def test_a_batch_is_split_into_pictures_and_what_is_known_of_them():
    batch = list_data_collate(describe_films(3))
    image, targets = prepare_study_batch(batch)
    assert image.shape == (3, 1, 4, 4)
    assert set(targets) == {"mask", "label", "boxes_known", "study_id", "image_id"}, "a path is nobody's target"
    assert list(targets["image_id"]) == ["image0", "image1", "image2"]
    assert targets["label"].tolist() == [0, 1, 2]


def test_films_without_label_are_prepared_too():
    batch = list_data_collate([{"image": torch.zeros(1, 4, 4), "image_id": "a"}])
    image, targets = prepare_study_batch(batch, device="cpu", non_blocking=True)
    assert image.shape == (1, 1, 4, 4) and set(targets) == {"image_id"}


def test_pictures_and_targets_become_plain_tensors():
    films = [{"image": MetaTensor(torch.zeros(1, 4, 4)), "mask": MetaTensor(torch.zeros(1, 4, 4)), "image_id": "a"}]
    image, targets = prepare_study_batch(list_data_collate(films))
    assert type(image) is torch.Tensor and type(targets["mask"]) is torch.Tensor


def test_pictures_take_the_engines_precision():
    image, targets = prepare_study_batch(list_data_collate(describe_films(1)), dtype=torch.float64)
    assert image.dtype == torch.float64 and targets["mask"].dtype == torch.float32


def make_output(films: int = 3) -> dict[str, Any]:
    image, targets = prepare_study_batch(list_data_collate(describe_films(films)))
    study = torch.arange(4.0 * films).reshape(films, 4).requires_grad_()
    return {"image": image, "label": targets, "pred": {"study": study, "mask": image - 0.5}}


def test_the_study_metric_gets_probabilities_with_ids_and_labels():
    found = select_study_probabilities(make_output())
    assert set(found) == {"probabilities", "study_ids", "image_ids", "labels"}
    torch.testing.assert_close(found["probabilities"].sum(dim=1), torch.ones(3))
    assert not found["probabilities"].requires_grad
    assert found["study_ids"] == ["study0", "study0", "study1"] and found["image_ids"] == ["image0", "image1", "image2"]
    assert found["labels"].tolist() == [0, 1, 2]


def test_the_loss_gets_logits_and_targets():
    output = make_output()
    logits, targets = select_logits_and_targets(output)
    assert logits is output["pred"] and targets is output["label"]
    assert count_films(targets) == 3


def test_mask_probabilities_are_sigmoids():
    output = make_output()
    torch.testing.assert_close(select_mask_probabilities(output), output["pred"]["mask"].sigmoid())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_the_training_before_the_optimizer_steps(value: float):
    trainer = build_trainer(turn_bad(after=2, value=value), train_handlers=[StopOnNonFiniteLoss()])
    weights = trainer.network.linear.weight
    steps: list[torch.Tensor] = []
    trainer.optimizer.register_step_post_hook(lambda *_: steps.append(weights.detach().clone()))
    with pytest.raises(InputError, match=r"in epoch 1, iteration 3, films image4, image5; look at these films"):
        trainer.run()
    assert len(steps) == 2
    assert torch.equal(weights, steps[-1]) and torch.isfinite(weights).all()


def test_a_finite_loss_stops_nothing():
    trainer = build_trainer(build_loss(), train_handlers=[StopOnNonFiniteLoss()], max_epochs=2)
    trainer.run()
    assert trainer.state.iteration == 6


def test_a_film_of_nan_stops_the_training_by_its_name():
    trainer = build_trainer(build_loss(), train_handlers=[StopOnNonFiniteLoss()])
    trainer.data_loader.dataset.data[2]["image"][:] = math.nan
    with pytest.raises(InputError, match="found nan .* films image2, image3"):
        trainer.run()
    assert torch.isfinite(trainer.network.linear.weight).all()


def build_evaluator(network: nn.Module, films: int = 5) -> SupervisedEvaluator:
    return SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(Dataset(describe_films(films)), batch_size=2),
        network=network,
        prepare_batch=prepare_study_batch,
        key_val_metric={"validation_loss": Loss(build_loss(), select_logits_and_targets, count_films)},
        decollate=False,
    )


def test_the_validation_loss_is_the_mean_over_films_though_the_last_batch_is_smaller():
    network = TinyNetwork()
    evaluator = build_evaluator(network, films=5)
    evaluator.run()
    image, targets = prepare_study_batch(list_data_collate(describe_films(5)))
    with torch.no_grad():
        expected = build_loss()(network(image), targets).item()
    assert evaluator.state.metrics["validation_loss"] == pytest.approx(expected, rel=1e-5)


class FakeBoard:
    """Stands for TensorBoard's writer."""

    def __init__(self) -> None:
        self.scalars: list[tuple[str, float, int]] = []
        self.pictures: list[tuple[str, torch.Tensor, int]] = []

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.scalars.append((tag, value, step))

    def add_images(self, tag: str, pictures: torch.Tensor, step: int) -> None:
        self.pictures.append((tag, pictures, step))


def train_with_history(
    output_dir: Path, interval: int = 2, epochs: int = 4
) -> tuple[list[dict[str, float]], FakeBoard]:
    trainer, board = build_trainer(build_loss(), max_epochs=epochs), FakeBoard()
    evaluator = build_evaluator(trainer.network)
    ValidationHandler(validator=evaluator, interval=interval, epoch_level=True).attach(trainer)
    HistoryRecorder(evaluator, trainer.optimizer, output_dir, board).attach(trainer)  # type: ignore[arg-type]
    trainer.run()
    return json.loads((output_dir / "history.json").read_text()), board


def test_the_history_has_a_row_for_each_epoch_and_metrics_where_one_was_validated(tmp_path: Path):
    rows, _ = train_with_history(tmp_path)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert ["validation_loss" in row for row in rows] == [False, True, False, True]
    assert all(row["learning_rate"] == 0.1 and row["seconds"] >= 0 for row in rows)
    assert rows[0]["train_loss"] > rows[-1]["train_loss"] > 0


def test_the_training_loss_of_an_epoch_is_the_mean_of_its_iterations(tmp_path: Path):
    losses = iter([1.0, 2.0, 6.0])
    trainer = build_trainer(lambda logits, targets: logits["study"].sum() * 0 + next(losses))
    evaluator = SimpleNamespace(state=SimpleNamespace(epoch=0, metrics={}))
    HistoryRecorder(evaluator, trainer.optimizer, tmp_path).attach(trainer)  # type: ignore[arg-type]
    trainer.run()
    assert json.loads((tmp_path / "history.json").read_text())[0]["train_loss"] == 3


def test_the_history_is_in_tensorboard_as_well(tmp_path: Path):
    rows, board = train_with_history(tmp_path, interval=1, epochs=2)
    expected = [(name, value, row["epoch"]) for row in rows for name, value in row.items()]
    assert board.scalars == expected


def show(output: dict[str, Any], num_films: int = 6) -> list[tuple[str, torch.Tensor, int]]:
    board = FakeBoard()
    engine = Engine(lambda engine, batch: output)
    PictureBoard(board, num_films).attach(engine)  # type: ignore[arg-type]
    engine.run([0, 1], max_epochs=1)
    return board.pictures


def test_films_are_shown_beside_their_masks_once_a_validation_those_with_opacities_first():
    output = make_output(films=4)
    output["label"]["mask"] = output["label"]["mask"].clone()
    output["label"]["mask"][2] = 1
    pictures = show(output, num_films=2)
    assert len(pictures) == 1, "of the first batch only"
    name, rows, step = pictures[0]
    assert (name, step) == ("film, mask, prediction", 1)
    assert rows.shape == (2, 1, 4, 12)
    torch.testing.assert_close(rows[0, :, :, :4], output["image"][2])
    assert rows[0, :, :, 4:8].all() and not rows[1, :, :, 4:8].any()
    torch.testing.assert_close(rows[0, :, :, 8:], output["pred"]["mask"][2].sigmoid())


def test_a_network_without_mask_shows_nothing():
    output = make_output()
    del output["pred"]["mask"]
    assert show(output) == []


@pytest.mark.parametrize("batch_size", [4, 5, 1000])
def test_the_validation_loader_loses_no_last_batch(batch_size: int, films: Path, datalist_file: Path):
    parser = ConfigParser()
    parser.read_config(CONFIGS / "train.json")
    parser.read_meta(CONFIGS / "metadata.json")
    places = {"dataset_dir": str(films), "datalist_file": str(datalist_file)}
    parser.update({**places, "image_size": 32, "cache_rate": 0.0, "batch_size": batch_size})
    seen = [image for batch in parser.get_parsed_content("validate#dataloader") for image in batch["image_id"]]
    assert sorted(seen) == sorted(film["image_id"] for film in validation_films(datalist_file, films, fold=0))
