"""Maps against slower twins, figures by hand, corners that are changed and nothing else, and what is written."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from monai.data.utils import no_collation
from monai.engines import SupervisedEvaluator
from monai.inferers import SimpleInferer
from monai.transforms import Compose, Resized
from PIL import Image
from scripts.bootstrap import sample_weights
from scripts.boxes import fill_mask
from scripts.errors import InputError
from scripts.explanations import (
    CHANGES,
    ExplainedImage,
    ExplanationsWriter,
    Fraction,
    ImageExplainer,
    change_corners,
    compute_maps,
    find_corner_boxes,
    measure_change,
    measure_fractions,
    measure_pointing,
    paint_explanation,
    summarise_explanations,
)
from scripts.explanations.pictures import crop_map
from scripts.labels import STUDY_CLASSES
from scripts.networks import StudyClassifier
from scripts.outputs.pictures import CROP_COLOUR, OPACITY_COLOUR
from scripts.transforms import CropToLungsd
from torch import nn

HEIGHT, WIDTH = 60, 100
CORNERS = [[0, 0, 15, 9], [85, 0, 100, 9], [85, 51, 100, 60], [0, 51, 15, 60]]


@pytest.fixture(scope="module")
def network() -> StudyClassifier:
    torch.manual_seed(0)
    network = StudyClassifier("test_efficientnet", mask_widths=[4, 4, 4, 4, 4])
    nn.init.normal_(network.classifier.weight)
    return network.eval().to(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(4, 1, 96, 128).contiguous(memory_format=torch.channels_last)


def look(network: StudyClassifier, pictures: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Last maps (B, F, h, w), class weights (N, F) and logits (B, N)."""
    with torch.no_grad():
        features, logits = network.encoder(pictures), network(pictures)["study"]
    return features.numpy(), network.classifier.weight.detach().numpy(), logits.numpy()


def enlarge(small: np.ndarray, pictures: torch.Tensor) -> np.ndarray:
    size = pictures.shape[2:]
    return nn.functional.interpolate(torch.tensor(small)[None, None].float(), size=size, mode="bilinear")[0, 0].numpy()


def test_grad_cam_of_a_pooled_linear_head_is_the_class_activation_map(network: StudyClassifier, pictures: torch.Tensor):
    """Zhou et al. 2016: the weighted sum of maps; each picture by its own class, though they are in one batch."""
    features, weights, _ = look(network, pictures)
    classes = [2, 0, 3, 1]
    maps = compute_maps(network, pictures, torch.tensor(classes))
    assert maps.shape == pictures.shape and (maps >= 0).all() and maps.flatten(1).any(dim=1).all()
    for number, name in enumerate(classes):
        summed = sum(weight * channel for weight, channel in zip(weights[name], features[number], strict=True))
        expected = enlarge(np.maximum(summed, 0) / summed.size, pictures)
        np.testing.assert_allclose(maps[number, 0], expected, rtol=1e-3, atol=1e-5)


def test_grad_cam_plus_plus_is_what_its_formula_says(network: StudyClassifier, pictures: torch.Tensor):
    """Equations 10 and 19 of the paper, place by place; the gradient of a pooled linear head is its weight / places."""
    features, weights, logits = look(network, pictures)
    classes = [1, 3, 0, 2]
    maps = compute_maps(network, pictures, torch.tensor(classes), "grad_cam++")
    for number, name in enumerate(classes):
        small = np.zeros(features.shape[2:])
        for weight, channel in zip(weights[name], features[number], strict=True):
            gradient = weight / channel.size
            alpha = gradient**2 / (2 * gradient**2 + channel.sum() * gradient**3)
            small += channel.size * alpha * max(np.exp(logits[number, name]) * gradient, 0) * channel
        np.testing.assert_allclose(maps[number, 0], enlarge(np.maximum(small, 0), pictures), rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("method", ["grad_cam", "grad_cam++"])
@pytest.mark.parametrize("training", [False, True])
def test_a_network_is_left_as_it_was(network: StudyClassifier, pictures: torch.Tensor, method: str, training: bool):
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network.train(training)
    try:
        with torch.no_grad():  # as an evaluator asks
            maps = compute_maps(network, pictures, torch.zeros(4, dtype=torch.long), method)
            assert not torch.is_grad_enabled() and not maps.requires_grad
        assert all(module.training is training for module in network.modules())
    finally:
        network.eval()
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())
    assert all(value.equal(before[key]) for key, value in network.state_dict().items())


def test_corners_are_whole_pixels_clockwise_from_the_top_left():
    assert find_corner_boxes(HEIGHT, WIDTH).tolist() == CORNERS
    assert find_corner_boxes(3, 3, 0.1)[0].tolist() == [0, 0, 1, 1], "at least a pixel"


@pytest.mark.parametrize("fraction", [0, -0.1, 0.51, float("nan")])
def test_corners_that_are_none_are_rejected(fraction: float):
    with pytest.raises(InputError, match="above 0 and at most 0.5, found .*; choose such a corner_fraction"):
        find_corner_boxes(HEIGHT, WIDTH, fraction)


def draw_corners(values: list[float], height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    """An image of 0.5 with a shade for each corner, clockwise from the top left."""
    image = torch.full((1, height, width), 0.5)
    for (xmin, ymin, xmax, ymax), value in zip(find_corner_boxes(height, width).astype(int), values, strict=True):
        image[:, ymin:ymax, xmin:xmax] = value
    return image


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("black", [0, 0, 0, 0]),
        ("white", [1, 1, 1, 1]),
        ("moved", [0.4, 0.1, 0.2, 0.3]),
        ("exchanged", [0.6, 0.7, 0.8, 0.9]),
    ],
)
def test_the_corners_are_changed_and_nothing_else(change: str, expected: list[float]):
    image, donor = draw_corners([0.1, 0.2, 0.3, 0.4]), draw_corners([0.6, 0.7, 0.8, 0.9], height=130, width=70)
    changed = change_corners(image, donor, change)
    torch.testing.assert_close(changed, draw_corners(expected))
    assert image.equal(draw_corners([0.1, 0.2, 0.3, 0.4])), "the image itself stays"


def test_what_is_moved_is_the_same_to_the_last_bit():
    image = torch.rand(1, HEIGHT, WIDTH)
    moved = change_corners(image, image, "moved")
    assert moved[:, :9, 85:].equal(image[:, :9, :15]) and moved[:, :9, :15].equal(image[:, 51:, :15])


def test_every_change_is_one_of_the_list():
    assert set(CHANGES) == {"black", "white", "moved", "exchanged"}


def test_shares_equal_a_count_pixel_by_pixel():
    heat = np.random.default_rng(0).random((HEIGHT, WIDTH))
    crop, boxes = (20.0, 5.0, 90.0, 55.0), [(10.0, 10.0, 40.0, 30.0), (30.0, 20.0, 95.0, 28.0)]
    total = energy = area = seen = inside = 0.0
    for row in range(HEIGHT):
        for column in range(WIDTH):
            is_seen = 20 <= column < 90 and 5 <= row < 55
            heat[row, column] *= is_seen
            hit = any(b[0] <= column < b[2] and b[1] <= row < b[3] for b in boxes)
            total, energy = total + heat[row, column], energy + heat[row, column] * hit
            area, seen, inside = area + hit, seen + is_seen, inside + (is_seen and hit)
    found = measure_fractions(heat, boxes, crop)
    assert found.energy == pytest.approx(energy / total)
    assert found.area == pytest.approx(area / (HEIGHT * WIDTH)) and found.seen == pytest.approx(inside / seen)


def test_an_even_map_has_what_chance_gives():
    crop, boxes = [20, 5, 90, 55], [[10, 10, 40, 30]]
    even = measure_fractions(np.ones((HEIGHT, WIDTH)), boxes, [0, 0, WIDTH, HEIGHT])
    assert even.energy == pytest.approx(even.area) and even.seen == pytest.approx(even.area)
    in_crop = measure_fractions(fill_mask([crop], HEIGHT, WIDTH), boxes, crop)
    assert in_crop.energy == pytest.approx(in_crop.seen) and in_crop.seen != pytest.approx(in_crop.area)


@pytest.mark.parametrize(("heat", "boxes"), [(np.zeros((9, 9)), [[0, 0, 4, 4]]), (np.ones((9, 9)), [])])
def test_without_a_map_or_a_box_nothing_is_measured(heat: np.ndarray, boxes: list[Any]):
    fraction = measure_fractions(heat, boxes, [0, 0, 9, 9])
    assert np.isnan([fraction.energy, fraction.area, fraction.seen, measure_pointing(heat, boxes)]).all()


@pytest.mark.parametrize(
    ("maxima", "expected"), [([(3, 12)], 1), ([(12, 3)], 0), ([(3, 12), (12, 3)], 0.5), ([(2, 10)], 1), ([(6, 10)], 0)]
)
def test_pointing_asks_where_the_maximum_lies(maxima: list[tuple[int, int]], expected: float):
    heat = np.full((16, 20), 0.5)
    for row, column in maxima:
        heat[row, column] = 1
    assert measure_pointing(heat, [[10, 2, 15, 6]]) == expected


def test_a_change_is_reported_by_its_mean_its_largest_part_and_the_top_class():
    before = {"negative": 0.5, "typical": 0.3, "indeterminate": 0.1, "atypical": 0.1}
    after = {"negative": 0.2, "typical": 0.5, "indeterminate": 0.2, "atypical": 0.1}
    change = measure_change(before, after)
    assert (change.mean, change.largest) == (pytest.approx(0.15), pytest.approx(0.3))
    assert (change.top, change.moved) == ("typical", True)
    assert not measure_change(before, before).moved


def describe_image(number: int, height: int, width: int, is_last: bool) -> dict[str, Any]:
    frame = torch.tensor([width, height, width, height])
    lungs = torch.tensor([0.1 if number % 2 else 0.2, 0.1, 0.8, 0.9]) * frame
    return {
        "image": torch.rand(1, height, width),
        "image_id": f"image{number}",
        "study_id": f"study{number}",
        "patient": f"patient{number % 2}",
        "label": number % 2,
        "lung_box": None if is_last else lungs,
        "boxes": torch.tensor([[0.3, 0.3, 0.5, 0.6]]) * frame,
    }


def describe_images(sizes: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Images of several sizes, of two patients, negative and typical in turn.

    The lung boxes of typical ones hold a part of the corners; the last has no lung box.
    """
    torch.manual_seed(2)
    return [describe_image(number, *size, number == len(sizes) - 1) for number, size in enumerate(sizes)]


SIZES = [(60, 100), (100, 60), (80, 80), (64, 96), (96, 64)]


def explain(
    network: StudyClassifier, batch_size: int = 5, handlers: Any = None, **options: Any
) -> list[ExplainedImage]:
    images: list[ExplainedImage] = []
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        network=network,
        val_data_loader=DataLoader(Dataset(describe_images(SIZES)), batch_size=batch_size, collate_fn=no_collation),
        iteration_update=ImageExplainer(
            Compose([CropToLungsd("image"), Resized("image", spatial_size=(64, 64), mode="bilinear")]), **options
        ),
        inferer=SimpleInferer(),
        val_handlers=handlers,
        decollate=False,
    )
    evaluator.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: images.extend(engine.state.output))
    evaluator.run()
    return images


@pytest.fixture(scope="module")
def explained(network: StudyClassifier) -> list[ExplainedImage]:
    return explain(network, explained="typical")


def test_a_map_lies_on_the_image_where_the_network_looked(explained: list[ExplainedImage]):
    for image, (height, width) in zip(explained, SIZES, strict=True):
        assert image.heat.shape == image.pixels.shape == (height, width)
        xmin, ymin, xmax, ymax = image.crop_box.astype(int)
        outside = image.heat.copy()
        outside[ymin:ymax, xmin:xmax] = 0
        assert image.heat.any() and not outside.any()


def test_only_who_sees_the_corners_is_moved_by_them(explained: list[ExplainedImage]):
    sees = [False, True, False, True, True]
    assert [image.corners_seen > 0 for image in explained] == sees
    for change in CHANGES:
        assert [image.measure_change(change).largest > 0 for image in explained] == sees
    assert explained[-1].corners_seen == 1 and np.isnan(explained[-1].fractions["lungs"].energy)


def test_batches_change_nothing_but_the_donor_of_the_first_image(network: StudyClassifier):
    """`exchanged` takes the image before, over the border of a batch."""
    whole, parts = explain(network, batch_size=5), explain(network, batch_size=2)
    for image, other in zip(whole[1:], parts[1:], strict=True):
        np.testing.assert_allclose(image.heat, other.heat, rtol=1e-3, atol=1e-5)
        for change, prediction in image.predictions.items():
            assert prediction == pytest.approx(other.predictions[change], abs=1e-5)


@pytest.mark.parametrize(
    ("explained", "expected"),
    [("label", ["negative", "typical", "negative", "typical", "negative"]), ("atypical", ["atypical"] * 5)],
)
def test_the_class_that_is_asked_for_is_explained(network: StudyClassifier, explained: str, expected: list[str]):
    images = explain(network, explained=explained)
    assert [image.explained for image in images] == expected
    asked = [image.explained != "negative" for image in images]
    assert [not np.isnan(image.fractions["opacities"].energy) for image in images] == asked
    assert [not np.isnan(image.points_at_opacity) for image in images] == asked


def test_by_default_what_is_predicted_is_explained(network: StudyClassifier):
    for image in explain(network):
        assert image.explained == max(image.probabilities, key=image.probabilities.__getitem__)
        assert sum(image.probabilities.values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "options", [{"method": "lime"}, {"explained": "covid"}, {"corner_fraction": 0.7}], ids=lambda each: next(iter(each))
)
def test_an_option_that_is_none_is_rejected(options: dict[str, Any]):
    with pytest.raises(InputError, match="expected .*, found .*; choose"):
        ImageExplainer(Compose([]), **options)


def make_image(number: int, patient: str, energy: float) -> ExplainedImage:
    prediction = dict(zip(STUDY_CLASSES, (0.4, 0.3, 0.2, 0.1), strict=True))
    changed = {change: dict(zip(STUDY_CLASSES, (0.3, 0.4, 0.2, 0.1), strict=True)) for change in CHANGES}
    fraction, none = Fraction(energy, 0.5, 0.5), Fraction(float("nan"), float("nan"), float("nan"))
    pixels = np.ones((HEIGHT, WIDTH), dtype=np.float32) / 2
    heat = np.zeros_like(pixels)
    heat[20:40, 40:60] = 1
    return ExplainedImage(
        image_id=f"image{number}",
        study_id=f"study{number}",
        patient=patient,
        label="negative",
        explained="typical",
        predictions={"untouched": prediction, **changed},
        crop_box=np.array([20.0, 0, 80, 60]),
        lungs=np.array([[20.0, 5, 80, 50]]),
        opacities=np.array([[38.0, 18, 62, 42]]),
        corners=find_corner_boxes(HEIGHT, WIDTH),
        fractions={"lungs": fraction, "opacities": none, "corners": fraction},
        points_at_opacity=float("nan"),
        corners_seen=0.0,
        pixels=pixels,
        heat=heat,
    )


def test_means_have_the_interval_of_a_bootstrap_that_draws_patients():
    energies, patients = [0.1, 0.2, 0.9, float("nan"), 0.5], ["a", "a", "b", "c", "c"]
    images = [make_image(number, *pair) for number, pair in enumerate(zip(patients, energies, strict=True))]
    summary = summarise_explanations(images, num_resamples=200, seed=3)
    resampled = []
    for weights in sample_weights(3, 200, seed=3):
        synthetic = [e for p, e in zip(patients, energies, strict=True) for _ in range(int(weights["abc".index(p)]))]
        resampled.append(np.nanmean(synthetic))
    found = summary.figures["energy_in_lungs"]
    assert found.value == pytest.approx(np.mean([0.1, 0.2, 0.9, 0.5]))
    assert (found.low, found.high) == pytest.approx(np.quantile(resampled, [0.025, 0.975]))
    assert (summary.num_images, summary.num_patients, summary.num_empty) == (5, 3, 1)
    assert summary.counts["energy_in_lungs"] == 4 and summary.counts["energy_in_opacities"] == 0
    assert np.isnan(summary.figures["energy_in_opacities"].value)
    assert summary.figures["mean_change_black"].value == pytest.approx(0.05)
    assert summary.largest["black"] == pytest.approx(0.1)
    assert summary.figures["top_changes_black"].value == 1
    assert summary.figures["accuracy_untouched"].value == 1 and summary.figures["accuracy_black"].value == 0


def test_a_picture_shows_the_image_beside_its_map():
    picture = paint_explanation(make_image(0, "a", 0.5)).astype(int)
    scale, gap, head = 5.12, 12, 28  # a panel is 512 pixels wide
    right = gap + 512 + gap
    assert picture.shape[1] == 3 * gap + 2 * 512 and picture.shape[0] > head + 307

    def look_at(row: float, column: float, left: int) -> list[int]:
        return picture[round(head + row * scale), round(left + column * scale)].tolist()

    assert look_at(30, 50, gap) == [127] * 3, "the image itself"
    red, _, blue = look_at(30, 50, right)
    assert red > blue + 50, "warm where the map is high"
    seen, unseen = look_at(30, 30, right), look_at(30, 17, right)
    assert len(set(seen)) == len(set(unseen)) == 1, "no colour where the map is 0"
    assert 127 > seen[0] > unseen[0] > 0, "darker where the network does not see"
    for left in (gap, right):
        assert look_at(30, 20 + 2 / scale, left) == list(CROP_COLOUR)
        assert look_at(30, 38 + 2 / scale, left) == list(OPACITY_COLOUR)


def test_the_map_is_cut_out_of_its_picture():
    picture = paint_explanation(make_image(0, "a", 0.5))
    panel = np.asarray(crop_map(Image.fromarray(picture)))
    assert panel.shape == (round(HEIGHT * 5.12), 512, 3)
    np.testing.assert_array_equal(panel, picture[28 : 28 + len(panel), 12 + 512 + 12 : -12])


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_what_is_written_is_what_was_found(network: StudyClassifier, tmp_path: Path):
    writer = ExplanationsWriter(tmp_path, overlays=2, method="grad_cam++", explained="label", num_resamples=20)
    images = explain(network, batch_size=3, handlers=[writer], method="grad_cam++", explained="label")
    rows = read_csv(tmp_path / "explanations.csv")
    assert [row["image_id"] for row in rows] == [image.image_id for image in images]
    for row, image in zip(rows, images, strict=True):
        assert (row["label"], row["explained"]) == (image.label, image.explained)
        assert float(row["typical"]) == pytest.approx(image.probabilities["typical"], abs=1e-6)
        for region, fraction in image.fractions.items():
            cell = row[f"energy_in_{region}"]
            assert float(cell or "nan") == pytest.approx(fraction.energy, abs=1e-6, nan_ok=True)
        assert (row["points_at_opacity"] == "") is (image.explained == "negative")
    corners = read_csv(tmp_path / "corners.csv")
    assert [(row["image_id"], row["corners"]) for row in corners] == [(f.image_id, c) for f in images for c in CHANGES]
    assert float(corners[-1]["atypical"]) == pytest.approx(images[-1].predictions["exchanged"]["atypical"], abs=1e-6)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["num_images"], summary["explained"], summary["method"]) == (5, "label", "grad_cam++")
    values = [float(row["energy_in_lungs"]) for row in rows if row["energy_in_lungs"]]
    assert summary["figures"]["energy_in_lungs"]["value"] == pytest.approx(np.mean(values), abs=1e-5)
    text = (tmp_path / "summary.txt").read_text()
    assert "Grad-CAM++ of the label class: 5 images of 2 patients" in text and "exchanged" in text
    assert sorted(path.name for path in (tmp_path / "overlays").iterdir()) == ["image0.png", "image1.png"]
    with Image.open(tmp_path / "overlays" / "image0.png") as picture:
        assert picture.mode == "RGB" and not picture.info


def test_json_knows_no_nan(tmp_path: Path):
    writer, engine = (
        ExplanationsWriter(tmp_path, overlays=0, num_resamples=5),
        Engine(lambda *_: [make_image(0, "a", 0.5)]),
    )
    writer.attach(engine)
    engine.run([0])
    text = (tmp_path / "summary.json").read_text()
    assert json.loads(text)["figures"]["energy_in_opacities"] == {"value": None, "low": None, "high": None}
    assert "NaN" not in text and "nan" not in (tmp_path / "explanations.csv").read_text()


def test_a_run_that_breaks_leaves_no_summary_of_the_one_before(tmp_path: Path):
    def fail(engine: Engine, batch: Any) -> None:
        raise ValueError("broken")

    (tmp_path / "summary.json").write_text("{}")
    engine = Engine(fail)
    ExplanationsWriter(tmp_path).attach(engine)
    with pytest.raises(ValueError, match="broken"):
        engine.run([0])
    assert not (tmp_path / "summary.json").exists()
