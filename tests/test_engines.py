"""Parts of MONAI's engines: batch preparation, a stop before harm is done, history and TensorBoard images."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Loss
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset, MetaTensor, list_data_collate
from monai.data.utils import no_collation
from monai.engines import IterationEvents, SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler
from scripts.datalist import validation_images
from scripts.engines import (
    EnabledHandlers,
    HistoryRecorder,
    StopOnNonFiniteLoss,
    TensorBoardImages,
    count_images,
    infer_images,
    name_tag,
    prepare_box_batch,
    prepare_detection_batch,
    prepare_study_batch,
    select_logits_and_targets,
    select_lung_boxes,
    select_mask_probabilities,
    select_opacity_boxes,
    select_study_probabilities,
)
from scripts.errors import InputError
from scripts.labels import UNKNOWN_CLASS
from scripts.losses import AuxiliaryMaskLoss, DetectionLoss
from scripts.metrics import BoxAveragePrecision
from torch import nn

CONFIGS = Path(__file__).resolve().parents[1] / "bundle" / "configs"


def describe_images(number: int) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "image": torch.rand(1, 4, 4, generator=generator),
            "mask": torch.zeros(1, 4, 4),
            "label": image % 4,
            "boxes_known": True,
            "study_id": f"study{image // 2}",
            "image_id": f"image{image}",
            "path": f"tree/{image}.dcm",
        }
        for image in range(number)
    ]


class TinyNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 4)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"study": self.linear(image.flatten(1)), "mask": image - 0.5}


def build_trainer(loss: Callable[..., torch.Tensor], images: int = 6, **arguments: Any) -> SupervisedTrainer:
    torch.manual_seed(0)
    network = TinyNetwork()
    return SupervisedTrainer(
        device="cpu",
        train_data_loader=DataLoader(Dataset(describe_images(images)), batch_size=2),
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
    batch = list_data_collate(describe_images(3))
    image, targets = prepare_study_batch(batch)
    assert image.shape == (3, 1, 4, 4)
    assert set(targets) == {"mask", "label", "boxes_known", "study_id", "image_id"}, "a path is nobody's target"
    assert list(targets["image_id"]) == ["image0", "image1", "image2"]
    assert targets["label"].tolist() == [0, 1, 2]


def test_what_a_loss_leaves_out_is_decided_on_the_host():
    """The device "meta" has shapes only: whatever asks it for a value fails, where a GPU would let the host wait."""
    images = describe_images(4)
    images[1]["label"], images[2]["boxes_known"] = UNKNOWN_CLASS, False
    image, targets = prepare_study_batch(list_data_collate(images), device="meta", non_blocking=True)
    assert image.device.type == targets["mask"].device.type == "meta"
    assert targets["label"].device.type == targets["boxes_known"].device.type == "cpu"
    logits = {"study": torch.zeros(4, 4, device="meta"), "mask": torch.zeros(4, 1, 4, 4, device="meta")}
    assert build_loss()(logits, targets).shape == ()


def test_the_boxes_that_a_detector_matches_stay_on_the_host():
    batch = [{"image": torch.rand(1, 8, 8), "boxes": torch.rand(2, 4), "image_id": "a"}]
    image, targets, (own,), _ = prepare_detection_batch(batch, device="meta")
    assert image.device.type == targets[0]["boxes"].device.type == "meta"
    assert torch.equal(own[0]["boxes"], batch[0]["boxes"]) and own[0]["image_id"] == "a"


def test_images_without_label_are_prepared_too():
    batch = list_data_collate([{"image": torch.zeros(1, 4, 4), "image_id": "a"}])
    image, targets = prepare_study_batch(batch, device="cpu", non_blocking=True)
    assert image.shape == (1, 1, 4, 4) and set(targets) == {"image_id"}


def test_pictures_and_targets_become_plain_tensors():
    images = [{"image": MetaTensor(torch.zeros(1, 4, 4)), "mask": MetaTensor(torch.zeros(1, 4, 4)), "image_id": "a"}]
    image, targets = prepare_study_batch(list_data_collate(images))
    assert type(image) is torch.Tensor and type(targets["mask"]) is torch.Tensor


def test_pictures_take_the_engines_precision():
    image, targets = prepare_study_batch(list_data_collate(describe_images(1)), dtype=torch.float64)
    assert image.dtype == torch.float64 and targets["mask"].dtype == torch.float32


def make_output(images: int = 3) -> dict[str, Any]:
    image, targets = prepare_study_batch(list_data_collate(describe_images(images)))
    study = torch.arange(4.0 * images).reshape(images, 4).requires_grad_()
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
    assert count_images(targets) == 3


def test_mask_probabilities_are_sigmoids():
    output = make_output()
    torch.testing.assert_close(select_mask_probabilities(output), output["pred"]["mask"].sigmoid())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_the_training_before_the_optimizer_steps(value: float):
    trainer = build_trainer(turn_bad(after=2, value=value), train_handlers=[StopOnNonFiniteLoss()])
    weights = trainer.network.linear.weight
    steps: list[torch.Tensor] = []
    trainer.optimizer.register_step_post_hook(lambda *_: steps.append(weights.detach().clone()))
    with pytest.raises(InputError, match=r"in epoch 1, iteration 3, images image4, image5; look at these images"):
        trainer.run()
    assert len(steps) == 2
    assert torch.equal(weights, steps[-1]) and torch.isfinite(weights).all()


def build_waiting_trainer(interval: int, after: int, value: float, images: int = 10) -> tuple[SupervisedTrainer, Any]:
    """A trainer with a fused optimizer, whose losses are looked at every few iterations, and that handler."""
    trainer = build_trainer(turn_bad(after, value) if after >= 0 else build_loss(), images=images)
    trainer.optimizer = torch.optim.AdamW(trainer.network.parameters(), lr=0.1, weight_decay=0.1, fused=True)
    handler = StopOnNonFiniteLoss(trainer.optimizer, interval)
    handler.attach(trainer)
    return trainer, handler


@pytest.mark.parametrize("interval", [2, 3, 50])
@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_losses_that_wait_on_the_device_stop_the_training_with_the_weights_of_the_last_good_step(
    interval: int, after: int, value: float
):
    """Decay and momentum would move the weights also where gradients were set to zero."""
    trainer, _ = build_waiting_trainer(interval, after, value)
    trainer.loss_function = follow(trainer.loss_function)
    weights, steps = trainer.network.linear.weight, [trainer.network.linear.weight.detach().clone()]
    trainer.optimizer.register_step_post_hook(lambda *_: steps.append(weights.detach().clone()))
    names = f"image{2 * after}, image{2 * after + 1}"
    message = rf"found (nan|inf|-inf) in epoch 1, iteration {after + 1}, images {names}; look at these images"
    with pytest.raises(InputError, match=message):
        trainer.run()
    assert len(steps) - 1 <= after + interval, "stopped at the next look"
    assert all(torch.equal(step, steps[after]) for step in steps[after:]) and torch.isfinite(weights).all()
    assert after == 0 or not torch.equal(steps[after], steps[after - 1])


def follow(loss: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The loss, and after its last value another that is finite: weights must stay, whatever comes."""

    def compute(logits: dict[str, torch.Tensor], targets: dict[str, Any]) -> torch.Tensor:
        try:
            return loss(logits, targets)
        except IndexError:
            return logits["study"].sum()

    return compute


def test_losses_that_wait_and_losses_that_are_looked_at_train_alike():
    weights = []
    for interval in (1, 4):
        trainer, _ = build_waiting_trainer(interval, after=-1, value=1.0)
        trainer.run()
        weights.append(trainer.network.linear.weight.detach().clone())
    assert torch.equal(*weights)


def test_a_loss_is_looked_at_before_its_step_where_the_optimizer_is_not_a_fused_one():
    trainer = build_trainer(turn_bad(after=1, value=math.nan))
    StopOnNonFiniteLoss(trainer.optimizer, interval=50).attach(trainer)
    with pytest.raises(InputError, match="iteration 2, images image2, image3"):
        trainer.run()
    assert torch.isfinite(trainer.network.linear.weight).all()


def test_nothing_is_validated_or_kept_after_a_loss_that_waits_and_is_not_finite(tmp_path: Path):
    trainer, _ = build_waiting_trainer(50, after=4, value=math.nan)
    ended: list[int] = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: ended.append(engine.state.epoch))
    with pytest.raises(InputError, match="iteration 5"):
        trainer.run()
    assert ended == []


class Unread(torch.Tensor):
    """A tensor whose reading is an error, as one that would wait for a GPU."""

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(function, "__name__", "") in {"item", "tolist", "__bool__", "__float__", "numpy"}:
            raise AssertionError(f"the host waits in {function.__name__}")
        return super().__torch_function__(function, types, args, kwargs or {})


def test_no_iteration_reads_its_loss(tmp_path: Path):
    trainer, handler = build_waiting_trainer(50, after=-1, value=1.0)
    evaluator = SimpleNamespace(state=SimpleNamespace(epoch=0, metrics={}))
    history = HistoryRecorder(evaluator, trainer.optimizer, tmp_path)  # type: ignore[arg-type]
    trainer.state.output = {"loss": torch.tensor(1.0).as_subclass(Unread)}
    trainer.state.batch = [{"image_id": "a"}]
    for _ in range(3):
        handler(trainer)
        history._add_loss(trainer)
    with pytest.raises(AssertionError, match="the host waits"):
        handler._look(trainer)


def test_a_finite_loss_stops_nothing():
    trainer = build_trainer(build_loss(), train_handlers=[StopOnNonFiniteLoss()], max_epochs=2)
    trainer.run()
    assert trainer.state.iteration == 6


def test_an_image_of_nan_stops_the_training_by_its_name():
    trainer = build_trainer(build_loss(), train_handlers=[StopOnNonFiniteLoss()])
    trainer.data_loader.dataset.data[2]["image"][:] = math.nan
    with pytest.raises(InputError, match="found nan .* images image2, image3"):
        trainer.run()
    assert torch.isfinite(trainer.network.linear.weight).all()


def build_evaluator(network: nn.Module, images: int = 5) -> SupervisedEvaluator:
    return SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(Dataset(describe_images(images)), batch_size=2),
        network=network,
        prepare_batch=prepare_study_batch,
        key_val_metric={"validation_loss": Loss(build_loss(), select_logits_and_targets, count_images)},
        decollate=False,
    )


def test_the_validation_loss_is_the_mean_over_images_though_the_last_batch_is_smaller():
    network = TinyNetwork()
    evaluator = build_evaluator(network, images=5)
    evaluator.run()
    image, targets = prepare_study_batch(list_data_collate(describe_images(5)))
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
    expected = [(name_tag(name), value, row["epoch"]) for row in rows for name, value in row.items()]
    assert board.scalars == expected


def show(output: dict[str, Any], num_images: int = 6) -> list[tuple[str, torch.Tensor, int]]:
    board = FakeBoard()
    engine = Engine(lambda engine, batch: output)
    TensorBoardImages(board, num_images).attach(engine)  # type: ignore[arg-type]
    engine.run([0, 1], max_epochs=1)
    return board.pictures


def test_images_are_shown_beside_their_masks_once_a_validation_those_with_opacities_first():
    output = make_output(images=4)
    output["label"]["mask"] = output["label"]["mask"].clone()
    output["label"]["mask"][2] = 1
    pictures = show(output, num_images=2)
    assert len(pictures) == 1, "of the first batch only"
    name, rows, step = pictures[0]
    assert (name, step) == ("pictures/image, mask, prediction", 1)
    assert rows.shape == (2, 1, 4, 12)
    torch.testing.assert_close(rows[0, :, :, :4], output["image"][2])
    assert rows[0, :, :, 4:8].all() and not rows[1, :, :, 4:8].any()
    torch.testing.assert_close(rows[0, :, :, 8:], output["pred"]["mask"][2].sigmoid())


def test_a_network_without_mask_shows_nothing():
    output = make_output()
    del output["pred"]["mask"]
    assert show(output) == []


@pytest.mark.parametrize("batch_size", [4, 5, 1000])
def test_the_validation_loader_loses_no_last_batch(batch_size: int, images: Path, datalist_file: Path):
    parser = ConfigParser()
    parser.read_config(CONFIGS / "train.json")
    parser.read_meta(CONFIGS / "metadata.json")
    places = {"dataset_dir": str(images), "datalist_file": str(datalist_file)}
    parser.update({**places, "image_size": 32, "cache_rate": 0.0, "batch_size": batch_size})
    seen = [image_id for batch in parser.get_parsed_content("validate#dataloader") for image_id in batch["image_id"]]
    assert sorted(seen) == sorted(image["image_id"] for image in validation_images(datalist_file, images, fold=0))


def test_disabled_handlers_are_passed_over_and_the_others_keep_their_order():
    config = {
        "off": {"_target_": "scripts.engines.StopOnNonFiniteLoss", "_disabled_": True},
        "on": {"_target_": "scripts.engines.StopOnNonFiniteLoss"},
        "open": None,
        "handlers": [{"_target_": "scripts.engines.EnabledHandlers", "handlers": ["@off", "@on", "@open"]}],
    }
    (group,) = ConfigParser(config).get_parsed_content("handlers")
    assert [type(handler) for handler in group.handlers] == [StopOnNonFiniteLoss]
    attached: list[str] = []
    handlers = [SimpleNamespace(attach=lambda engine, name=name: attached.append(name)) for name in "ab"]
    EnabledHandlers([handlers[0], None, handlers[1]]).attach(Engine(lambda engine, batch: None))
    assert attached == ["a", "b"]


def test_monai_label_can_put_a_checkpoint_loader_before_the_handlers():
    """It asks each entry of train#handlers for its `_target_`: a reference, which is a text, would end a training."""
    handlers = json.loads((CONFIGS / "train.json").read_text())["train"]["handlers"]
    assert handlers and all(isinstance(handler, dict) for handler in handlers)


# Detectors: images with boxes, and images of different sizes


def describe_boxed_images(number: int) -> list[dict[str, Any]]:
    """Images of 4 rows and 6 columns: the first without a box, the second with one, the third with two."""
    boxes = torch.tensor([[1.0, 2.0, 5.0, 3.0], [0.0, 1.0, 2.0, 4.0]])
    return [
        {"image": torch.full((1, 4, 6), float(image)), "boxes": boxes[: image % 3], "image_id": f"image{image}"}
        for image in range(number)
    ]


def test_images_of_a_batch_keep_their_own_number_of_boxes():
    image, targets = prepare_box_batch(describe_boxed_images(3))
    assert image.shape == (3, 1, 4, 6) and image[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert image.is_contiguous(memory_format=torch.channels_last)
    assert [tuple(target["boxes"].shape) for target in targets] == [(0, 4), (1, 4), (2, 4)]
    assert [target["labels"].tolist() for target in targets] == [[], [0], [0, 0]]
    assert all(target["labels"].dtype == torch.long for target in targets)
    assert [target["size"] for target in targets] == [(4, 6)] * 3, "height and width"
    assert [target["image_id"] for target in targets] == ["image0", "image1", "image2"]


def test_an_image_says_how_it_was_turned_and_one_that_was_not_need_not():
    images = describe_boxed_images(2)
    images[1]["rotation"] = 3
    assert [int(target["rotation"]) for target in prepare_box_batch(images)[1]] == [0, 3]


def test_boxed_images_become_plain_tensors_in_the_engines_precision():
    images = [{**item, "image": MetaTensor(item["image"])} for item in describe_boxed_images(2)]
    image, targets = prepare_box_batch(images, device="cpu", non_blocking=True, dtype=torch.float64)
    assert type(image) is torch.Tensor and image.dtype == torch.float64
    assert all(target["boxes"].dtype == torch.float32 for target in targets)


def test_a_detector_that_computes_its_own_loss_is_given_the_targets():
    image, targets, arguments, options = prepare_detection_batch(describe_boxed_images(3), device="cpu")
    assert image.shape == (3, 1, 4, 6) and len(targets) == 3
    assert arguments == (targets,) and options == {}


class TinyDetector(nn.Module):
    """Losses in training, the boxes of `describe_boxed_images` in evaluation; it remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seen: list[list[dict[str, Any]]] = []

    def forward(self, image: torch.Tensor, targets: list[dict[str, Any]] | None = None) -> Any:
        if self.training:
            assert targets is not None
            self.seen.append(targets)
            return {"classification": self.weight * image.mean(), "box_regression": self.weight.square()}
        assert targets is None
        boxes = torch.tensor([[1.0, 2.0, 5.0, 3.0], [0.0, 1.0, 2.0, 4.0]])
        return [{"boxes": boxes, "scores": torch.tensor([0.9, 0.8]), "labels": torch.zeros(2)} for _ in image]


def load_boxed_images(number: int) -> DataLoader:
    return DataLoader(Dataset(describe_boxed_images(number)), batch_size=2, collate_fn=no_collation)


def build_detection_trainer(network: nn.Module, loss: Callable[..., Any], **arguments: Any) -> SupervisedTrainer:
    return SupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=load_boxed_images(3),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        loss_function=loss,
        prepare_batch=prepare_detection_batch,
        decollate=False,
        **arguments,
    )


def test_a_trainer_gives_each_batch_of_images_with_its_boxes_to_the_detector():
    network = TinyDetector()
    build_detection_trainer(network, DetectionLoss()).run()
    assert [[target["image_id"] for target in batch] for batch in network.seen] == [["image0", "image1"], ["image2"]]
    assert network.weight < 1, "it learned"


def test_a_detectors_loss_that_is_not_finite_stops_the_training_by_the_names_of_its_images():
    losses = iter([1.0, math.nan])
    trainer = build_detection_trainer(
        TinyDetector(),
        lambda found, targets: found["classification"] * next(losses),
        train_handlers=[StopOnNonFiniteLoss()],
    )
    with pytest.raises(InputError, match="found nan in epoch 1, iteration 2, images image2; look at"):
        trainer.run()
    assert torch.isfinite(trainer.network.weight)


def test_an_evaluator_evaluates_a_detector_by_its_boxes():
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=load_boxed_images(3),
        network=TinyDetector(),
        prepare_batch=prepare_box_batch,
        key_val_metric={"box_ap": BoxAveragePrecision(select_opacity_boxes)},
        decollate=False,
    )
    evaluator.run()
    # of six boxes at two scores three are right: 2 of 3 at 0.9, 1 of 3 at 0.8
    assert evaluator.state.metrics["box_ap"] == pytest.approx((2 * 2 / 3 + 1 / 2) / 3)
    assert evaluator.state.metrics["box_ap_mean_iou"] == 1


def test_opacity_boxes_are_passed_on_with_the_ground_truth_of_their_image():
    _, targets = prepare_box_batch(describe_boxed_images(3))
    found = [
        {"boxes": torch.rand(image, 4), "scores": torch.rand(image), "labels": torch.zeros(image)}
        for image in (2, 0, 1)
    ]
    images = select_opacity_boxes({"label": targets, "pred": found})
    for number, image in enumerate(images):
        assert set(image) == {"image_id", "boxes", "scores", "ground_truth"} and image["image_id"] == f"image{number}"
        assert image["boxes"] is found[number]["boxes"] and image["scores"] is found[number]["scores"]
        assert image["ground_truth"] is targets[number]["boxes"]


def test_lung_boxes_are_brought_from_shares_to_pixels_x_along_columns():
    _, targets = prepare_box_batch(describe_boxed_images(2))
    box = torch.tensor([[0.0, 0.25, 0.5, 1.0], [0.5, 0.0, 1.0, 0.75]], requires_grad=True)
    images = select_lung_boxes({"label": targets, "pred": {"box": box, "lungs": torch.tensor([0.0, 20.0])}})
    assert [image["boxes"].tolist() for image in images] == [[[0, 1, 3, 4]], [[3, 0, 6, 3]]]
    assert [image["scores"].tolist() for image in images] == [[0.5], [pytest.approx(1)]]
    assert [image["ground_truth"].tolist() for image in images] == [[], [[1, 2, 5, 3]]]
    assert [image["image_id"] for image in images] == ["image0", "image1"]
    assert not any(image["boxes"].requires_grad or image["scores"].requires_grad for image in images)


class ImageNames:
    """Stands for a `ImageInferer`: reports what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[tuple[int, ...]], Any, bool, bool]] = []

    def __call__(self, images: list[torch.Tensor], network: nn.Module, lung_boxes: Any) -> list[dict[str, Any]]:
        assert all(type(image) is torch.Tensor for image in images)
        self.asked.append(
            ([tuple(image.shape) for image in images], lung_boxes, network.training, torch.is_grad_enabled())
        )
        return [{"original_size": image.shape[1:]} for image in images]


def build_examiner(inferer: Any, images: list[dict[str, Any]], **arguments: Any) -> SupervisedEvaluator:
    return SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(Dataset(images), batch_size=2, collate_fn=no_collation),
        network=TinyNetwork(),
        inferer=inferer,
        iteration_update=infer_images,
        decollate=False,
        **arguments,
    )


DIFFERENT_IMAGES = [
    {"image": MetaTensor(torch.zeros(1, 4, 6)), "lung_box": torch.tensor([1.0, 1.0, 3.0, 3.0]), "image_id": "a"},
    {"image": torch.zeros(1, 9, 5), "lung_box": None, "image_id": "b"},
    {"image": torch.zeros(1, 2, 2), "image_id": "c"},
]


def test_images_of_different_sizes_are_examined_together_with_the_boxes_that_they_came_with():
    inferer = ImageNames()
    build_examiner(inferer, DIFFERENT_IMAGES).run()
    (first, boxes, *modes), (second, no_boxes, *_) = inferer.asked
    assert first == [(1, 4, 6), (1, 9, 5)] and second == [(1, 2, 2)]
    assert boxes[0].tolist() == [1, 1, 3, 3] and boxes[1] is None and no_boxes == [None]
    assert modes == [False, False], "neither dropout nor gradients"


def test_each_examined_image_goes_through_the_postprocessing_by_itself():
    outputs: list[list[dict[str, Any]]] = []
    examiner = build_examiner(
        ImageNames(),
        DIFFERENT_IMAGES,
        postprocessing=lambda item: {**item, "name": (item["image_id"], tuple(item["pred"]["original_size"]))},
    )
    examiner.add_event_handler(IterationEvents.MODEL_COMPLETED, lambda engine: outputs.append(engine.state.output))
    examiner.run()
    assert [image["name"] for batch in outputs for image in batch] == [("a", (4, 6)), ("b", (9, 5)), ("c", (2, 2))]
