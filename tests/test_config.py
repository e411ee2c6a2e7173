"""The configs hold together: what MONAI takes in silence (typos, double keys, drift, unused parts) is caught here."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from scripts.checkpoints import save_weights
from scripts.labels import STUDY_CLASSES

from tests.configs import (
    CONFIGS,
    DETECTOR,
    FILES,
    INFERENCE,
    LUNGS,
    METADATA,
    RUNNABLE,
    TRAIN,
    WHOLE,
    find_base,
    merge,
    read_json,
    reject_duplicates,
    stack,
    write_first_run,
    write_soft_labels_file,
)

MAX_EXPRESSION = 80
MAX_EXPERIMENT_LINES = 17

# Run ids: what `python -m monai.bundle run <id>` may be given.
RUN_IDS = {
    *("run", "initialize", "finalize"),
    *("training", "evaluating", "explaining", "inferring", "predicting", "caching"),
}
# What the bundle's users ask for by name though no other part may need it (MONAI's property ids).
PROPERTIES = {"bundle_root", "network_def", "val_interval", "preprocessing", "postprocessing", "handlers", "inferer"}
# train.json and inference.json say each of these on their own; every other name that both hold is one thing.
#: What explains a config, and configures nothing.
COMMENTS = {"_desc_", "_about_"}

OWN_PARTS = {
    "_desc_",
    "dataset_dir",
    "datalist_file",
    "fold",
    "output_dir",
    "num_workers",
    "batch_size",
    "network",
    "switches",
    "run",
}

# Everything is built in about a second.
SMALL: dict[str, Any] = {
    "device": "$torch.device('cpu')",
    "precision": "float32",
    "num_workers": 0,
    "encoder": "test_efficientnet",
    "encoder_weights": None,
    "encoder_options": {},
    "mask_widths": [8, 8, 8, 8, 8],
    "image_size": 64,
    "batch_size": 8,
    "epochs": 1,
}

# What torchrun reports a process, for a run of one; any free port will do.
TORCHRUN = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}


def name_file(value: object) -> str | None:
    return str(value.relative_to(CONFIGS)) if isinstance(value, Path) else None


OVERRIDES = [path for path in RUNNABLE if path not in WHOLE]
EXPERIMENTS = [path for path in RUNNABLE if path.parent.name == "experiments"]


def find_strings(value: Any) -> Iterator[str]:
    """All strings of a config but comments."""
    if isinstance(value, dict):
        yield from (text for key, item in value.items() if key != "_desc_" for text in find_strings(item))
    elif isinstance(value, list):
        yield from (text for item in value for text in find_strings(item))
    elif isinstance(value, str):
        yield value


def find_references(value: Any) -> set[str]:
    """Top-level keys that a config refers to."""
    found = (re.findall(r"@([A-Za-z_]\w*)", text) for text in find_strings(value))
    return {name for names in found for name in names}


def has_key(config: Any, key: str) -> bool:
    for part in re.split(r"#|::", key.removeprefix("+")):
        if isinstance(config, list):
            return False  # nothing is addressed by its number in a list
        if not isinstance(config, dict) or part not in config:
            return False
        config = config[part]
    return True


def test_there_are_configs_of_each_kind():
    assert {TRAIN, INFERENCE} == set(WHOLE)
    assert METADATA in FILES


@pytest.mark.parametrize("path", FILES, ids=name_file)
def test_no_key_stands_twice(path: Path):
    assert read_json(path)


def test_a_duplicate_key_is_found():
    with pytest.raises(ValueError, match="duplicate keys: a"):
        json.loads('{"b": {"a": 1, "a": 2}}', object_pairs_hook=reject_duplicates)


@pytest.mark.parametrize("path", OVERRIDES, ids=name_file)
def test_an_override_changes_what_is_there_or_uses_what_it_adds(path: Path):
    override, base = read_json(path), merge(stack(path)[:-1])
    added = {key for key in override if key != "_desc_" and not has_key(base, key)}
    assert added - find_references(override) - RUN_IDS == set(), "MONAI accepts an unknown key in silence"


@pytest.mark.parametrize(
    ("key", "there"),
    [
        ("image_size", True),
        ("image_sise", False),
        ("validate#evaluator#decollate", True),
        ("validate::evaluator::decollate", True),
        ("validate#evaluator#decolate", False),
        ("+train#handlers", True),
        ("train#handlers#0", False),
    ],
)
def test_a_misspelt_key_is_found(key: str, there: bool):
    assert has_key(read_json(TRAIN), key) is there


@pytest.mark.parametrize("path", WHOLE, ids=name_file)
def test_every_top_level_part_is_used(path: Path):
    config = read_json(path)
    overrides = [read_json(override) for override in OVERRIDES if find_base(override) == path]
    used = find_references(config).union(*map(find_references, overrides))
    known = RUN_IDS | PROPERTIES | COMMENTS | {"imports", "train", "validate"}
    assert set(config) - used - known == set(), "a part that nothing refers to does nothing"


@pytest.mark.parametrize("path", RUNNABLE, ids=name_file)
def test_every_reference_leads_somewhere(path: Path):
    config = merge(stack(path))
    names = {re.split(r"#|::", key.removeprefix("+"))[0] for key in config}
    assert find_references(config) - names - {"_meta_"} == set()


@pytest.mark.parametrize("path", RUNNABLE, ids=name_file)
def test_expressions_are_short_and_only_wire(path: Path):
    expressions = [text for text in find_strings(read_json(path)) if text.startswith("$")]
    assert [text for text in expressions if len(text) > MAX_EXPRESSION] == []
    forbidden = re.compile(r"\b(lambda|for|open|eval|exec|subprocess|os|sys|shutil|__import__)\b")
    assert [text for text in expressions if forbidden.search(text)] == []


@pytest.mark.parametrize("path", EXPERIMENTS, ids=name_file)
def test_an_experiment_is_one_experiment(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_EXPERIMENT_LINES
    config = read_json(path)
    assert config["_desc_"], "say the experiment"
    assert config["output_dir"] == f"runs/{path.stem}", "its output does not fall into another's"


@pytest.mark.parametrize("path", RUNNABLE, ids=name_file)
def test_options_that_are_on_or_off_are_taken_from_the_switches(path: Path):
    """A command line gives `false` as a text, which is true by itself."""
    config = merge(stack(path))
    switches = config.pop("switches")
    options = {
        name for name, value in config.items() if "#" not in name and (isinstance(value, bool) or value == "@on_gpu")
    }
    read = {value["value"] for value in config.values() if isinstance(value, dict) and value.get("name") == "resume"}
    bare = {f"@{name}" for name in options} & find_references({**config, **dict.fromkeys(options)})
    assert options <= set(switches) and bare <= read, f"not by read_switches: {options - set(switches)}, bare: {bare}"


@pytest.mark.parametrize("path", [path for path in RUNNABLE if TRAIN in stack(path)], ids=name_file)
def test_weights_say_the_normalisation_of_the_network_that_is_trained(path: Path):
    """Their origin names options, which an override may set and its network ignore."""
    network = merge(stack(path))["network_def"]
    assert {name: network.get(name) for name in ("pixel_mean", "pixel_std")} == {
        "pixel_mean": "@pixel_mean",
        "pixel_std": "@pixel_std",
    }


def test_what_is_evaluated_needs_no_pretrained_weights():
    stacks = [
        stack(path) for path in RUNNABLE if {CONFIGS / "evaluate.json", CONFIGS / "predict.json"} & set(stack(path))
    ]
    pretrained = CONFIGS / "experiments" / "imagenet_lite0.json"
    assert stacks
    for files in stacks:
        assert merge([files[0], pretrained, *files[1:]])["encoder_weights"] is None, name_stack(files)


@pytest.mark.parametrize("path", [TRAIN, INFERENCE], ids=name_file)
@pytest.mark.parametrize(("device", "precision"), [("cpu", "float32"), ("cuda", "bfloat16"), ("cuda:1", "bfloat16")])
def test_the_precision_is_that_of_the_device_and_not_of_the_machine(
    path: Path, device: str, precision: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    parser = ConfigParser(merge([path]) | {"device": device})
    assert parser.get_parsed_content("precision") == precision


def test_what_training_and_inference_share_is_equal():
    train, inference = read_json(TRAIN), read_json(INFERENCE)
    shared = set(train) & set(inference) - OWN_PARTS - COMMENTS
    assert {"network_def", "crop", "resize", "image_size", "tta_flips"} <= shared
    assert {key: inference[key] for key in shared} == {key: train[key] for key in shared}


MAX_DETECTOR_LINES, MAX_REPEATED_LINES = 70, 12


def test_the_detectors_say_only_what_differs_from_train_json():
    there, lines = ([line.strip() for line in path.read_text().splitlines()] for path in (TRAIN, DETECTOR))
    assert len(lines) <= MAX_DETECTOR_LINES
    brackets = re.compile(r"[][{},]*")
    repeated = [line for line in lines if line in there and not brackets.fullmatch(line)]
    assert len(repeated) <= MAX_REPEATED_LINES, repeated
    config, base = read_json(DETECTOR), read_json(TRAIN)
    assert [key for key in config if key in base and config[key] == base[key]] == []


@pytest.mark.parametrize("path", [TRAIN, DETECTOR, LUNGS], ids=name_file)
def test_every_training_has_cache_processes_and_board(path: Path):
    parser = ConfigParser()
    parser.read_config(list(map(str, stack(path))))
    for part in ("train", "validate"):
        assert parser[f"{part}#prepared#cache_dir"] == "@cache_dir"
    (handlers,) = parser["train#handlers"]
    assert {"@training_board", "@history", "@checkpoint", "@run_record"} <= set(handlers["handlers"])
    writers = [name for name, part in parser.config.items() if isinstance(part, dict) and "_disabled_" in part]
    assert {"tensorboard", "training_board", "history", "output_folder", "run_record", "progress"} <= set(writers)
    assert {parser[f"{name}#_disabled_"] for name in writers} == {"$not @switches.writes"}
    assert parser["checkpoint#writes"] == "$@switches.writes", "all processes of a run resume, one writes"
    (metric,) = parser["key_metric"]
    assert parser["checkpoint#metric"] == metric, "what is best is reported by the key metric"


def name_parts(config: dict[str, Any], **renamed: str) -> dict[str, Any]:
    """A config's parts under the names that inference.json has for them, references included."""
    text = json.dumps(config)
    for name, other in renamed.items():
        text = re.sub(rf"(?<![A-Za-z_]){name}(?![A-Za-z_])", other, text)
    return json.loads(text)


@pytest.mark.parametrize(
    ("path", "prefix", "parts"),
    [
        (DETECTOR, "opacity", [*(f"opacity_{part}" for part in ("encoder", "image_size", "resize", "crop", "margin"))]),
        (LUNGS, "lung", ["lung_encoder", "lung_image_size", "lung_resize", "lung_pixel_mean"]),
    ],
)
def test_a_detector_is_asked_as_it_was_trained(path: Path, prefix: str, parts: list[str]):
    trained = merge(stack(path))
    names = {
        name: f"{prefix}_{name}" for name in ("encoder", "image_size", "resize", "crop", "pixel_mean", "pixel_std")
    }
    names["lung_margin"] = f"{prefix}_margin"
    trained, inference = name_parts(trained, **names), read_json(INFERENCE)
    assert {part: inference[part] for part in parts} == {part: trained[part] for part in parts}
    asked, taught = inference[f"{prefix}_detector_def"], trained["network_def"]
    training_only = {"weights", "encoder_options"}
    own = {key.removeprefix(f"{prefix}_"): part for key, part in taught.items()}
    assert asked == {key: part for key, part in own.items() if key not in training_only}


def test_the_classes_of_the_metadata_are_those_of_the_code():
    channels = read_json(METADATA)["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert tuple(channels[str(number)] for number in range(len(channels))) == STUDY_CLASSES


def test_training_and_inference_prepare_an_image_alike():
    """Up to what training alone needs: the boxes' mask, and other items that are kept."""
    train = [step for step in read_json(TRAIN)["train"]["preprocessing"]["transforms"] if is_of_the_image(step)]
    config = read_json(INFERENCE)
    inference = [step for step in config["preprocessing"]["transforms"] if is_of_the_image(step)]
    inference += config["inferer"]["study_preparation"]["transforms"]
    assert name_steps(train) == name_steps(inference)


def is_of_the_image(step: Any) -> bool:
    """Not so: the mask, what is kept, and the last step, which is there for the cache alone."""
    if isinstance(step, str):
        return step != "@boxes"
    return not step["_target_"].endswith("SelectItemsd") and "crop_box" not in step.get("keys", "")


def name_steps(steps: list[Any]) -> list[str]:
    return [step if isinstance(step, str) else step["_target_"] for step in steps]


def shrink(files: list[Path], **places: Path) -> dict[str, Any]:
    """Shrink a stack of configs to synthetic images; a mask decoder stays away where the config has none."""
    config = merge(files)
    changes = SMALL | {key: str(value) for key, value in places.items()}
    if config.get("mask_widths") is None:
        del changes["mask_widths"]
    return {key: value for key, value in changes.items() if key in config}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained weights of the small network."""
    parser = ConfigParser()
    parser.read_config(TRAIN)
    parser.read_meta(METADATA)
    parser.update(shrink([TRAIN]))
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    save_weights(parser.get_parsed_content("network_def").state_dict(), path)
    return path


def name_stack(files: list[Path]) -> str:
    return "+".join(path.stem for path in files)


MULTI_GPU = CONFIGS / "multi_gpu_train.json"
STACKS = [stack(path) for path in RUNNABLE] + [[*stack(path), MULTI_GPU] for path in (DETECTOR, LUNGS)]


@pytest.mark.parametrize("files", STACKS, ids=name_stack)
def test_every_config_offers_what_monai_asks_for_and_each_part_can_be_built(
    files: list[Path],
    images: Path,
    external_images: Path,
    joined_datalist_file: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Running them is tested in test_commands.py."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # `report_errors` sets it; put it back afterwards
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    inferring = files[0] == INFERENCE
    places = {
        "dataset_dir": images / "test" if inferring else images,
        "weights": weights,
        "output_dir": tmp_path / "out",
    }
    if not inferring:
        places |= {"datalist_file": joined_datalist_file, "external_dir": external_images}
        places |= {"replace": True}  # in no order: TensorBoard's writer may make its file before the folder is claimed
        places |= {"first_run": write_first_run(joined_datalist_file, tmp_path)}
        places |= {"soft_labels_file": write_soft_labels_file(joined_datalist_file, tmp_path / "soft_labels.json")}
    if merge(files).get("cache_dir"):
        places |= {"cache_dir": tmp_path / "cache"}
    changes = shrink(files, **places)
    if "members" in merge(files):
        changes["members"] = {"one": str(weights), "other": str(weights)}
        changes["ensemble_weights"] = [2, 1]
    workflow = ConfigWorkflow(
        [str(file) for file in files],
        meta_file=str(METADATA),
        logging_file=False,
        workflow_type="infer" if inferring else "train",
        **changes,
    )
    workflow.initialize()
    try:
        assert workflow.check_properties() == []
        for key in set(workflow.parser.config) - RUN_IDS:
            workflow.parser.get_parsed_content(key)
    finally:
        workflow.finalize()
