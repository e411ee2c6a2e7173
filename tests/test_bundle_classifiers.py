"""The classifiers that are shipped: their configs build the networks that their weights belong to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from scripts.labels import STUDY_CLASSES

from tests.configs import CONFIGS, INFERENCE, METADATA, merge, read_json

ROOT = Path(__file__).resolve().parents[1]
STACKS = {
    "inference": [INFERENCE],
    "inference_lite0": [INFERENCE, CONFIGS / "inference_lite0.json"],
    "inference_fold0": [INFERENCE, CONFIGS / "inference_fold0.json"],
    "inference_ensemble": [INFERENCE, CONFIGS / "inference_ensemble.json"],
}


def read_stack(name: str) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(file) for file in STACKS[name]])
    parser.read_meta(METADATA)
    parser["bundle_root"], parser["device"] = str(ROOT / "bundle"), "$torch.device('cpu')"
    return parser


@pytest.mark.parametrize("name", STACKS)
def test_shipped_weights_fit_the_network_of_their_config(name: str):
    parser = read_stack(name)
    network, size = parser.get_parsed_content("network").eval(), parser.get_parsed_content("image_size")
    with torch.no_grad():
        logits = network(torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(0)))
    assert logits["study"].shape == (2, len(STUDY_CLASSES)) and logits["mask"].shape == (2, 1, size, size)
    assert torch.isfinite(logits["study"]).all() and (logits["study"][0] != logits["study"][1]).any()


@pytest.mark.parametrize(
    ("config", "family", "held_out"),
    [
        ("inference.json", "b0_student", "all"),
        ("inference_fold0.json", "b0_student", "fold0"),
        ("inference_lite0.json", "lite0_student", "all"),
    ],
)
def test_a_shipped_classifier_is_asked_as_its_recipe_trained_it(config: str, family: str, held_out: str):
    recipe = json.loads((ROOT / "scripts" / "recipe" / "shipped.json").read_text())["families"][family]
    trained = {**merge([CONFIGS / file for file in recipe["stack"]]), **recipe["options"]}
    asked = {**read_json(INFERENCE), **read_json(CONFIGS / config)}
    names = ("encoder", "image_size", "pixel_mean", "pixel_std", "mask_widths", "lung_margin", "network_def", "crop")
    assert {name: asked[name] for name in names} == {name: trained[name] for name in names}
    assert recipe["ship"][held_out] == Path(asked["weights"].split("'")[1]).name


@pytest.mark.parametrize("held_out", ["fold0", "fold1", "fold2"])
def test_a_shipped_opacity_detector_is_asked_as_its_recipe_trained_it(held_out: str):
    recipe = json.loads((ROOT / "scripts" / "recipe" / "shipped.json").read_text())["families"]["boxes"]
    trained = {**merge([CONFIGS / file for file in recipe["stack"]]), **recipe["options"]}
    asked = read_stack("inference_ensemble")
    for ours, theirs in (
        ("opacity_encoder", "encoder"),
        ("opacity_image_size", "image_size"),
        ("opacity_margin", "lung_margin"),
        ("opacity_pixel_mean", "pixel_mean"),
        ("opacity_pixel_std", "pixel_std"),
    ):
        assert asked.get_parsed_content(ours) == trained[theirs], ours
    assert Path(asked.get_parsed_content("opacity_weights")[held_out]).name == recipe["ship"][held_out]


def test_the_ensemble_fuses_the_boxes_of_three_detectors():
    one, three = (
        read_stack(name).get_parsed_content("opacity_inferer") for name in ("inference", "inference_ensemble")
    )
    assert len(one.networks) == 1 and len(three.networks) == 3
    picture = torch.rand(1, 1, 288, 288, generator=torch.Generator().manual_seed(0))
    (alone,), (fused,) = one(picture), three(picture)
    assert len({tuple(next(each.parameters()).flatten()[:4].tolist()) for each in three.networks}) == 3
    assert not (alone[1].shape == fused[1].shape and (alone[1] == fused[1]).all())


def test_all_shipped_weights_together_are_at_most_60_mb():
    assert sum(path.stat().st_size for path in (ROOT / "bundle" / "models").glob("*.pt")) <= 60e6
