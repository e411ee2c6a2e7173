"""Each experiment changes what it names and nothing else, and the change is seen: in loss, network, batch or input."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from monai.bundle import ConfigParser
from monai.data import list_data_collate

from tests.configs import CONFIGS, DETECTOR, INFERENCE, METADATA, TRAIN, find_base, read_json, stack

EXPERIMENTS = sorted((CONFIGS / "experiments").glob("*.json"))
SIZE = 64
SMALL: dict[str, Any] = {
    "device": "$torch.device('cpu')",
    "precision": "float32",
    "encoder": "test_efficientnet",
    "encoder_weights": None,
    "encoder_options": {},
    "image_size": SIZE,
    "train::dataloader": "$[None] * 10",
}


def read(files: list[Path], small: bool = False) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(file) for file in files])
    parser.read_meta(METADATA)
    if small:
        parser.update({key: value for key, value in SMALL.items() if key.split("::")[0] in parser.config})
    return parser


def name_experiment(path: Path) -> str:
    return path.stem


# Exactly the keys that it names


def flatten(config: Any, place: str = "") -> dict[str, Any]:
    """Every value of a config under its id."""
    if not isinstance(config, dict | list) or not config:
        return {place: config}
    items = config.items() if isinstance(config, dict) else enumerate(config)
    return {name: leaf for key, item in items for name, leaf in flatten(item, f"{place}::{key}").items()}


@pytest.mark.parametrize("path", EXPERIMENTS, ids=name_experiment)
def test_an_experiment_changes_the_keys_that_it_names_and_no_others(path: Path):
    before, after = (flatten(read(files).config) for files in (stack(path)[:-1], stack(path)))
    changed = {name for name in before | after if before.get(name, ...) != after.get(name, ...)}
    named = {"::" + key.removeprefix("+").replace("#", "::") for key in read_json(path)}
    touched = {key: {name for name in changed if name == key or name.startswith(f"{key}::")} for key in named}
    assert changed == set().union(*touched.values())
    assert [key for key, names in touched.items() if not names] == [], "these were so before"


@pytest.mark.parametrize("path", EXPERIMENTS, ids=name_experiment)
def test_an_experiment_reports_its_experiment_and_what_is_expected_of_it(path: Path):
    assert re.fullmatch(r"(Over \S+\.json: )?\S.+\. Expected: .+\.", read_json(path)["_desc_"])


def test_another_network_is_wired_as_the_usual_one():
    path = CONFIGS / "experiments" / "auxiliary_low_resolution.json"
    usual, other = (read_json(each)["network_def"] for each in (TRAIN, path))
    own = {"_target_", "mask_widths"}
    assert {key: other[key] for key in usual if key not in own} == {k: v for k, v in usual.items() if k not in own}
    assert set(other) <= set(usual) | own


@pytest.mark.parametrize("path", EXPERIMENTS, ids=name_experiment)
def test_an_encoder_is_one_that_timm_knows(path: Path):
    encoder = read_json(path).get("encoder")
    assert encoder is None or timm.is_model(encoder)


# What is seen of it


def write_images(number: int = 6) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "image": torch.rand(1, SIZE, SIZE, generator=generator),
            "mask": (torch.rand(1, SIZE, SIZE, generator=generator) > 0.7).float(),
            "label": image % 4,
            "boxes_known": image % 3 != 2,
            "study_id": f"study{image // 2}",
            "image_id": f"image{image}",
        }
        for image in range(number)
    ]


def observe_loss(parser: ConfigParser) -> Any:
    """The loss and its gradients on fixed logits."""
    generator, batch = torch.Generator().manual_seed(1), list_data_collate(write_images())
    logits = {
        "study": torch.randn(6, 4, generator=generator).requires_grad_(),
        "mask": torch.randn(6, 1, SIZE, SIZE, generator=generator).requires_grad_(),
    }
    loss = parser.get_parsed_content("loss")(logits, batch)
    loss.backward()
    gradients = [value.grad for value in logits.values()]
    assert torch.isfinite(loss) and all(torch.isfinite(gradient).all() for gradient in gradients)
    return loss.item(), [gradient.tolist() for gradient in gradients]


@torch.no_grad()
def observe_network(parser: ConfigParser) -> Any:
    """Predictions of a network with the weights of one seed on a fixed image."""
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def").eval()
    image = torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    return {name: value.tolist() for name, value in network(image).items()}


def observe_picture(parser: ConfigParser) -> Any:
    """Input of the network for a fixed image, before augmentation."""
    image = torch.rand(1, 90, 120, generator=torch.Generator().manual_seed(0))
    item = {"image": image, "lung_box": [20.0, 10.0, 100.0, 70.0]}
    for step in ("crop", "resize"):
        item = parser.get_parsed_content(step)(item)
    return item["image"].tolist()


def observe_augmentation(parser: ConfigParser) -> Any:
    augment = parser.get_parsed_content("augmentation")
    if isinstance(augment, list):  # of whole batches
        torch.manual_seed(0)
        batch = list_data_collate(write_images())
        for change in augment:
            batch = change(batch)
        return [batch[key].tolist() for key in ("image", "mask")]
    augment.set_random_state(0)
    return [{key: item[key].tolist() for key in ("image", "mask")} for item in map(augment, write_images())]


def observe_batch(parser: ConfigParser) -> Any:
    """Pictures and targets of a fixed batch."""
    torch.manual_seed(0)
    image, targets = parser.get_parsed_content("train::trainer::prepare_batch")(list_data_collate(write_images()))
    return image.tolist(), {k: v.tolist() if isinstance(v, torch.Tensor) else list(v) for k, v in targets.items()}


def observe_schedule(parser: ConfigParser) -> Any:
    """The optimizer, and learning rates over the first epoch."""
    optimizer, scheduler = (parser.get_parsed_content(name) for name in ("optimizer", "lr_scheduler"))
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return type(optimizer).__name__, parser["epochs"], rates


def observe_evaluated_network(parser: ConfigParser) -> Any:
    """True where the network that is trained is the one that is validated and kept."""
    return parser.get_parsed_content("evaluated_network") is parser.get_parsed_content("network")


def observe_images(parser: ConfigParser) -> Any:
    return parser["train_datalist"], parser["train_items"]


def observe_flips(parser: ConfigParser) -> Any:
    return parser.get_parsed_content("validate::inferer").tta_flips


OBSERVED: dict[str, Callable[[ConfigParser], Any]] = {
    "loss": observe_loss,
    "network": observe_network,
    "picture": observe_picture,
    "augmentation": observe_augmentation,
    "batch": observe_batch,
    "schedule": observe_schedule,
    "evaluated network": observe_evaluated_network,
    "images": observe_images,
    "tta_flips": observe_flips,
}

#: What is seen of each experiment over train.json; "encoder" and "size" are too large to be seen here: they are read.
SEEN: dict[str, set[str]] = {
    "seventeenth_place_recipe": {"augmentation", "schedule"},
    "auxiliary_1": {"loss"},
    "auxiliary_bce_dice": {"loss"},
    "auxiliary_dice": {"loss"},
    "auxiliary_low_resolution": {"network"},
    "bi_tempered": {"loss"},
    "cutmix": {"batch"},
    "efficientnet_b3": {"encoder"},
    "efficientnetv2_l": {"encoder", "size", "network"},
    "efficientnetv2_m": {"encoder"},
    "efficientnetv2_s": {"encoder"},
    "ema": {"evaluated network"},
    "external_data": {"images"},
    "focal": {"loss"},
    "imagenet_lite0": {"encoder", "network", "schedule"},
    "imagenet_lite1": {"encoder", "network", "schedule"},
    "imagenet_lite2": {"encoder", "network", "schedule"},
    "just_train_twice": {"images"},
    "label_smoothing_off": {"loss"},
    "lovasz": {"loss"},
    "lungs_blacked_out": {"network", "picture"},
    "mixup": {"batch"},
    "no_auxiliary": {"network"},
    "normalise_imagenet": {"network"},
    "pseudo_labels": {"images"},
    "random_erasing": {"augmentation"},
    "soft_labels": {"images", "loss"},
    "swin": {"encoder"},
    "thumbnails": {"network", "picture"},
    "tta_flips_1": {"tta_flips"},
    "tta_flips_4": {"tta_flips"},
    "weight_by_images": {"images"},
    "whole_image": {"picture"},
}


def observe(files: list[Path]) -> dict[str, Any]:
    plain, parser = read(files).config, read(files, small=True)
    options = [json.dumps(plain[name]) for name in ("encoder", "encoder_weights", "encoder_options")]
    seen = {name: look(parser) for name, look in OBSERVED.items()}
    return {**seen, "encoder": options, "size": plain["image_size"]}


@pytest.fixture(scope="module")
def observed() -> Callable[[list[Path]], dict[str, Any]]:
    kept: dict[tuple[Path, ...], dict[str, Any]] = {}

    def look(files: list[Path]) -> dict[str, Any]:
        if tuple(files) not in kept:
            kept[tuple(files)] = observe(files)
        return kept[tuple(files)]

    return look


OF_THE_CLASSIFIER = [path for path in EXPERIMENTS if find_base(path) == TRAIN and DETECTOR not in stack(path)]


@pytest.mark.parametrize("path", OF_THE_CLASSIFIER, ids=name_experiment)
def test_what_an_experiment_is_about_is_seen_and_nothing_else(path: Path, observed: Callable[..., dict[str, Any]]):
    assert path.stem in SEEN, "say in SEEN what it changes"
    before, after = observed(stack(path)[:-1]), observed(stack(path))
    assert {name for name in before if before[name] != after[name]} == SEEN[path.stem]


# Single ones


def experiment(name: str) -> list[Path]:
    return stack(CONFIGS / "experiments" / f"{name}.json")


def test_the_articles_learning_rate_falls_by_a_cosine_over_all_iterations_to_0():
    parser = read(experiment("seventeenth_place_recipe"), small=True)
    optimizer, scheduler = (parser.get_parsed_content(name) for name in ("optimizer", "lr_scheduler"))
    group = optimizer.param_groups[0]
    assert (type(optimizer).__name__, group["momentum"], group["weight_decay"]) == ("SGD", 0.9, 1e-5)
    rates = []
    for _ in range(100):  # 10 epochs of 10 iterations
        rates.append(group["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] == 0.01 and rates[50] == pytest.approx(0.005) and group["lr"] == pytest.approx(0, abs=1e-12)
    assert rates == sorted(rates, reverse=True)


def test_the_averaged_network_begins_as_the_trained_one_and_follows_it_slowly():
    parser = read(experiment("ema"), small=True)
    network, average = parser.get_parsed_content("network"), parser.get_parsed_content("evaluated_network")
    before = {name: value.clone() for name, value in average.state_dict().items()}
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    handler = parser.get_parsed_content("weight_average")
    assert handler.ema_model is average
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 1
    engine = torch.nn.Module()  # stands for an engine: the handler asks it for its momentum alone
    engine.state = torch.nn.Module()
    engine.state.momentum = handler.momentum
    handler._update_ema_model(engine, "momentum")
    for name, value in average.named_parameters():
        torch.testing.assert_close(value, before[name] + 0.005)


def test_the_average_is_what_is_kept_and_validated():
    parser = read(experiment("ema"))
    assert (
        parser["checkpoint"]["members"]["network"] == parser["validate"]["evaluator"]["network"] == "@evaluated_network"
    )
    (handlers,) = parser["train"]["handlers"]
    assert "@weight_average" in handlers["handlers"] and parser["train"]["trainer"]["network"] == "@network"


@pytest.mark.parametrize("name", ["boxes_from_mask", "annotated_lungs", "tta_flips_8"])
def test_an_experiment_of_inference_reaches_the_inferer(name: str):
    before, after = (read(files) for files in ([INFERENCE], experiment(name)))
    part, prefix = {
        "boxes_from_mask": ("opacity_inferer", "@"),
        "annotated_lungs": ("use_given_lung_boxes", "$@switches."),
        "tta_flips_8": ("wider_preparation", "@"),
    }[name]
    assert after["inferer"][part] == f"{prefix}{part}" and before[part] != after[part]


def test_8_views_are_4_at_each_of_two_margins():
    parser = read(experiment("tta_flips_8"), small=True)
    assert len(parser["tta_flips"]) == 4
    image = {"image": torch.arange(100.0).repeat(80, 1)[None] / 100, "lung_box": [40.0, 20.0, 60.0, 60.0]}
    wider = parser.get_parsed_content("wider_preparation")(image)
    assert wider["crop_box"].tolist() == [38, 16, 62, 64] and wider["image"].shape == (1, SIZE, SIZE)
