"""The three networks: shapes, sizes, scripting, external weights, and boxes at their positions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scripts.boxes import compute_iou, compute_paired_iou
from scripts.errors import InputError
from scripts.losses import LungBoxLoss
from scripts.networks import (
    SEVENTEENTH_PLACE_MASK_WIDTHS,
    SLIM_MASK_WIDTHS,
    LungDetector,
    MaskDecoder,
    OpacityDetector,
    StudyClassifier,
    StudyEnsemble,
)
from scripts.networks.lungs import average_positions, measure_edge_std

TINY = "test_efficientnet"  # timm's own test model: stride 32, a third of a million parameters
SHIPPED = "tf_efficientnetv2_b0"
IMAGES = torch.rand(2, 1, 64, 96, generator=torch.Generator().manual_seed(0))


def build_network(encoder: str = TINY, **arguments: Any) -> StudyClassifier:
    torch.manual_seed(0)
    return StudyClassifier(encoder, **arguments).eval()


@pytest.fixture(scope="module")
def network() -> StudyClassifier:
    return build_network()


@torch.no_grad()
def test_an_image_gets_four_logits_and_a_mask_at_its_own_resolution(network: StudyClassifier):
    logits = network(IMAGES)
    assert {name: tuple(value.shape) for name, value in logits.items()} == {"study": (2, 4), "mask": (2, 1, 64, 96)}
    assert all(torch.isfinite(value).all() for value in logits.values())


@pytest.mark.parametrize("widths", [None, (), []])
@torch.no_grad()
def test_without_widths_there_is_no_decoder(widths: Any):
    network = build_network(mask_widths=widths)
    assert set(network(IMAGES)) == {"study"}
    assert not any(name.startswith("mask_decoder") for name in network.state_dict())


@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
def test_an_image_has_one_channel_and_others_are_possible(channels: int):
    network = build_network(in_channels=channels)
    first = next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d))
    assert first.in_channels == channels
    assert network(torch.zeros(1, channels, 32, 32))["study"].shape == (1, 4)


def test_one_channel_is_the_default(network: StudyClassifier):
    assert next(network.parameters()).shape[1] == 1


@torch.no_grad()
def test_the_number_of_classes_is_an_argument():
    assert build_network(num_classes=2)(IMAGES)["study"].shape == (2, 2)


@pytest.mark.parametrize(
    ("height", "width", "nearest"),
    [(65, 64, "64 x 64"), (64, 81, "64 x 96"), (1, 64, "32 x 64"), (448, 450, "448 x 448"), (15, 15, "32 x 32")],
)
def test_a_size_that_does_not_fit_is_rejected_with_the_nearest_valid_one(
    network: StudyClassifier, height: int, width: int, nearest: str
):
    with pytest.raises(ValueError, match=f"got {height} x {width}; the nearest valid size is {nearest}"):
        network(torch.zeros(1, 1, height, width))


def count_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_articles_decoder_has_14_and_a_half_million_parameters():
    decoder = MaskDecoder(1280, SEVENTEENTH_PLACE_MASK_WIDTHS)
    assert round(count_parameters(decoder) / 1e6, 1) == 14.5


def test_the_slim_decoder_has_less_than_a_million_parameters():
    assert count_parameters(MaskDecoder(1280, SLIM_MASK_WIDTHS)) < 1e6


@torch.no_grad()
def test_a_decoder_doubles_its_map_with_every_width():
    assert MaskDecoder(8, (4, 4, 2))(torch.zeros(1, 8, 3, 5)).shape == (1, 1, 24, 40)


@pytest.mark.parametrize("encoder", [TINY, pytest.param(SHIPPED, marks=pytest.mark.slow)])
@pytest.mark.parametrize("widths", [SLIM_MASK_WIDTHS, None])
@torch.no_grad()
def test_the_scripted_network_equals_the_eager_one(encoder: str, widths: Any, tmp_path: Path):
    network = build_network(encoder, mask_widths=widths)
    torch.jit.script(network).save(tmp_path / "network.ts")
    scripted = torch.jit.load(tmp_path / "network.ts")(IMAGES)
    eager = network(IMAGES)
    assert scripted.keys() == eager.keys()
    for name, value in eager.items():
        torch.testing.assert_close(scripted[name], value, rtol=1e-4, atol=1e-5)


def test_the_scripted_network_rejects_a_size_as_the_eager_one_does(network: StudyClassifier):
    with pytest.raises(torch.jit.Error, match="the nearest valid size is 64 x 64"):
        torch.jit.script(network)(torch.zeros(1, 1, 65, 64))


@torch.no_grad()
def test_an_image_is_evaluated_alike_alone_and_in_a_batch(network: StudyClassifier):
    together = network(IMAGES)
    for name, value in network(IMAGES[1:]).items():
        torch.testing.assert_close(value, together[name][1:], rtol=1e-5, atol=1e-6)


def test_every_parameter_learns_from_study_and_mask():
    network = build_network().train()
    logits = network(torch.rand(4, 1, 64, 64))
    (logits["study"].square().mean() + logits["mask"].square().mean()).backward()
    idle = [name for name, each in network.named_parameters() if each.grad is None or not each.grad.any()]
    assert idle == []


def test_the_mask_shapes_the_encoder():
    """The reason for the decoder: its gradient reaches the map that the classifier reads."""
    network = build_network().train()
    network(torch.rand(4, 1, 64, 64))["mask"].square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.encoder.parameters())
    assert network.classifier.weight.grad is None


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_encoder_weights_come_from_a_file_and_a_classifiers_surplus_is_ignored(suffix: str, tmp_path: Path):
    source, path = build_network(), tmp_path / f"encoder{suffix}"
    state = {**source.encoder.state_dict(), "classifier.weight": torch.zeros(1000, 256)}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    torch.manual_seed(1)
    target = StudyClassifier(TINY, weights=path)
    for name, value in source.encoder.state_dict().items():
        assert torch.equal(target.encoder.state_dict()[name], value)


def test_missing_encoder_weights_are_rejected_by_name(tmp_path: Path):
    with pytest.raises(InputError, match=r"found nothing at .*absent\.pt; correct the path or set weights to null"):
        build_network(weights=tmp_path / "absent.pt")


def test_weights_of_another_encoder_are_rejected(tmp_path: Path):
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"tensors missing in other\.pt; choose the matching encoder"):
        build_network(weights=tmp_path / "other.pt")


def test_weights_for_colour_pictures_are_rejected(tmp_path: Path):
    torch.save(build_network(in_channels=3).encoder.state_dict(), tmp_path / "colour.pt")
    with pytest.raises(InputError, match=r"in colour\.pt; choose the matching encoder and number of channels"):
        build_network(weights=tmp_path / "colour.pt")


@pytest.mark.parametrize("name", ["damaged.pt", "damaged.safetensors"])
def test_damaged_encoder_weights_are_rejected(name: str, tmp_path: Path):
    (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(InputError, match=re.escape(name)):
        build_network(weights=tmp_path / name)


@pytest.mark.parametrize("weights", [None, "hub"])
def test_an_unknown_encoder_is_rejected_by_name(weights: str | None):
    with pytest.raises(InputError, match="expected the name of a timm model, found 'efficientnet_v9'"):
        StudyClassifier("efficientnet_v9", weights=weights)


def test_the_hub_is_reported_in_one_clear_line_when_it_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=f"expected the weights of {SHIPPED} from timm's hub, found no way") as caught:
        StudyClassifier(SHIPPED, weights="hub")
    assert len(str(caught.value).splitlines()) == 1
    assert "go online, name a local file, or set the weights to null" in str(caught.value)


def test_options_reach_the_encoder():
    network = StudyClassifier(SHIPPED, encoder_options={"drop_path_rate": 0.5})
    rates = [module.drop_prob for module in network.modules() if type(module).__name__ == "DropPath"]
    assert rates and max(rates) > 0


# Encoders of detectors


def name_encoder(detector: torch.nn.Module) -> torch.nn.Module:
    return detector.network.feature_extractor.encoder if isinstance(detector, OpacityDetector) else detector.encoder


DETECTORS = [LungDetector, OpacityDetector]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("detector", DETECTORS)
def test_a_detector_begins_with_the_encoder_of_a_study_classifier(detector: type, suffix: str, tmp_path: Path):
    source, path = build_network(), tmp_path / f"model{suffix}"
    save_file(source.state_dict(), path) if suffix == ".safetensors" else torch.save(source.state_dict(), path)
    torch.manual_seed(1)
    taken = name_encoder(detector(TINY, weights=path)).state_dict()
    assert taken and all(torch.equal(value, source.encoder.state_dict()[name]) for name, value in taken.items())


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_detector_rejects_the_weights_of_another_encoder(detector: type, tmp_path: Path):
    torch.save(StudyClassifier("test_resnet").state_dict(), tmp_path / "other.pt")
    with pytest.raises(
        InputError, match=r"weights of this encoder, found .* in other\.pt; choose the matching encoder"
    ):
        detector(TINY, weights=tmp_path / "other.pt")


@pytest.mark.parametrize(("detector", "strides"), [(LungDetector, [16, 32]), (OpacityDetector, [8, 16, 32])])
@pytest.mark.parametrize("encoder", [TINY, "test_resnet", "test_convnext"])
def test_encoders_whose_first_map_has_stride_2_or_4_give_the_same_strides(
    encoder: str, detector: type, strides: list[int]
):
    assert name_encoder(detector(encoder)).feature_info.reduction() == strides


@pytest.mark.parametrize(("detector", "strides"), [(LungDetector, "16, 32"), (OpacityDetector, "8, 16, 32")])
def test_an_encoder_without_these_strides_is_rejected(detector: type, strides: str):
    with pytest.raises(InputError, match=f"an encoder with maps of stride {strides}, found 16, 16.* in test_vit"):
        detector("test_vit")


@pytest.mark.parametrize("detector", DETECTORS)
def test_an_encoder_without_enough_maps_is_reported_by_name(detector: type):
    with pytest.raises(InputError, match="expected the name of a timm model, found 'efficientnet_v9'"):
        detector("efficientnet_v9")


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_detector_rejects_a_size_that_does_not_fit(detector: type):
    network = detector(TINY).eval()
    images = torch.zeros(1, 1, 64, 81)
    with pytest.raises(ValueError, match="got 64 x 81; the nearest valid size is 64 x 96"):
        (network.network if detector is OpacityDetector else network)(images)


# The lung detector


@pytest.fixture(scope="module")
def lung_detector() -> LungDetector:
    torch.manual_seed(0)
    return LungDetector(TINY).eval()


@torch.no_grad()
def test_each_edge_is_a_distribution_along_its_own_side_of_the_image(lung_detector: LungDetector):
    found = lung_detector(IMAGES)  # 64 rows, 96 columns: 4 x 6 cells of 4 places
    shapes = {"x": (2, 2, 24), "y": (2, 2, 16), "box": (2, 4), "edge_std": (2,), "lungs": (2,), "rotation": (2, 4)}
    assert {name: tuple(value.shape) for name, value in found.items()} == shapes
    assert all(torch.isfinite(value).all() for value in found.values())
    assert LungDetector(TINY, positions_per_cell=3).eval()(IMAGES)["x"].shape == (2, 2, 18)


@pytest.mark.parametrize("seed", range(4))
@torch.no_grad()
def test_edges_stand_in_order_within_the_image_however_odd_the_weights_are(seed: int):
    torch.manual_seed(seed)
    network = LungDetector(TINY).eval()
    for head in (network.x, network.y):
        torch.nn.init.normal_(head.weight)
        torch.nn.init.normal_(head.bias, std=5)
    box = network(torch.rand(8, 1, 64, 96))["box"]
    assert (box[:, :2] <= box[:, 2:]).all() and box.min() >= 0 and box.max() <= 1


@torch.no_grad()
def test_the_box_and_its_spread_are_those_of_the_distributions(lung_detector: LungDetector):
    found = lung_detector(IMAGES)
    for image in range(2):
        means, edge_stds = {}, []
        for axis in ("x", "y"):
            logits = found[axis][image].double().numpy()
            positions = np.linspace(0, 1, logits.shape[1])
            ensemble_weights = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            means[axis] = sorted(ensemble_weights @ positions)
            edge_stds += [np.sqrt(row @ positions**2 - (row @ positions) ** 2) for row in ensemble_weights]
        expected = [means["x"][0], means["y"][0], means["x"][1], means["y"][1]]
        np.testing.assert_allclose(found["box"][image], expected, atol=1e-5)
        assert found["edge_std"][image].item() == pytest.approx(max(edge_stds), abs=1e-5), "that of the least sure edge"


@pytest.mark.parametrize(
    ("logits", "mean", "edge_std"),
    [
        ([0, 0, 50, 0, 0], 0.5, 0.0),
        ([50, 0, 0, 0, 50], 0.5, 0.5),  # torn between the image's two ends
        ([0, 50, 50, 0, 0], 0.375, 0.125),
        ([0, 0, 0, 0, 50], 1.0, 0.0),
    ],
)
def test_spread_reports_how_sure_an_edge_is(logits: list[float], mean: float, edge_std: float):
    edges = torch.tensor([[logits, logits]], dtype=torch.float32)
    torch.testing.assert_close(average_positions(edges), torch.full((1, 2), mean))
    torch.testing.assert_close(measure_edge_std(edges), torch.full((1, 2), edge_std), atol=1e-5, rtol=0)


class OneBrightCell(torch.nn.Module):
    """An encoder that sees one cell of its fine map, and nothing in the coarse one."""

    def __init__(self, row: int, column: int, value: float) -> None:
        super().__init__()
        self.fine = torch.zeros(1, 48, 4, 12)
        self.fine[:, :, row, column] = value

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [self.fine, torch.zeros(1, 64, 2, 6)]


@torch.no_grad()
def test_x_reads_columns_and_y_reads_rows_each_place_in_the_order_of_the_image():
    torch.manual_seed(0)
    network = LungDetector(TINY).eval()
    says = []
    for value in (0.0, 10.0):
        network.encoder = OneBrightCell(row=0, column=8, value=value)
        says.append(network(torch.zeros(1, 1, 64, 192)))
    # two 3-wide convolutions lie between a cell and its logits; four places a cell
    changed = {axis: (says[1][axis] != says[0][axis])[0].any(dim=0) for axis in ("x", "y")}
    assert changed["x"].nonzero().flatten().tolist() == list(range(4 * 6, 4 * 11))
    assert changed["y"].nonzero().flatten().tolist() == list(range(4 * 3))


@pytest.mark.parametrize("encoder", [TINY, pytest.param("mobilenetv4_conv_small", marks=pytest.mark.slow)])
@torch.no_grad()
def test_the_scripted_lung_detector_equals_the_eager_one(encoder: str, tmp_path: Path):
    torch.manual_seed(0)
    network = LungDetector(encoder).eval()
    torch.jit.script(network).save(tmp_path / "network.ts")
    scripted, eager = torch.jit.load(tmp_path / "network.ts")(IMAGES), network(IMAGES)
    assert scripted.keys() == eager.keys()
    for name, value in eager.items():
        torch.testing.assert_close(scripted[name], value, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_lungs_of_an_image_are_found_alike_alone_and_in_a_batch(lung_detector: LungDetector):
    together = lung_detector(IMAGES)
    for name, value in lung_detector(IMAGES[1:]).items():
        torch.testing.assert_close(value, together[name][1:], rtol=1e-5, atol=1e-6)


def draw_rectangles(number: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Bright rectangles anywhere on pictures of 64 rows and 128 columns, and their boxes (B, 4)."""
    images, boxes = 0.1 * torch.rand(number, 1, 64, 128, generator=generator), []
    for image in images:
        width, height = (int(torch.randint(16, most, (1,), generator=generator)) for most in (60, 40))
        x, y = (int(torch.randint(0, most, (1,), generator=generator)) for most in (128 - width, 64 - height))
        image[:, y : y + height, x : x + width] += 0.8
        boxes.append([x, y, x + width, y + height])
    return images, torch.tensor(boxes, dtype=torch.float32)


def test_every_parameter_of_the_lung_detector_learns_from_its_loss():
    torch.manual_seed(0)
    network, (images, boxes) = LungDetector(TINY).train(), draw_rectangles(4, torch.Generator().manual_seed(0))
    targets = [{"boxes": box[None], "size": (64, 128), "rotation": rotation} for rotation, box in enumerate(boxes)]
    LungBoxLoss()(network(images), targets).backward()
    idle = [name for name, each in network.named_parameters() if each.grad is None or not each.grad.any()]
    assert idle == []


@pytest.mark.slow
def test_the_lung_detector_learns_to_find_what_it_has_not_seen_off_the_middle_of_images_that_are_not_square():
    torch.manual_seed(0)
    generator, network = torch.Generator().manual_seed(0), LungDetector(TINY, width=32).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for _ in range(60):
        images, boxes = draw_rectangles(8, generator)
        targets = [{"boxes": box[None], "size": (64, 128), "rotation": 0} for box in boxes]
        optimizer.zero_grad()
        LungBoxLoss()(network(images), targets).backward()
        optimizer.step()
    images, boxes = draw_rectangles(16, generator)
    with torch.no_grad():
        found = network.eval()(images)["box"] * torch.tensor([128, 64, 128, 64])
    assert compute_paired_iou(found, boxes).mean() > 0.6, "chance, and the mean of all boxes, give 0.3"


# The opacity detector


def build_detector(**arguments: Any) -> OpacityDetector:
    torch.manual_seed(0)
    return OpacityDetector(TINY, **{"width": 16, **arguments})


def describe(*boxes: list[float]) -> dict[str, Any]:
    known = {"size": (64, 128), "rotation": 0, "image_id": "a"}
    return {"boxes": torch.tensor(boxes).reshape(-1, 4), "labels": torch.zeros(len(boxes), dtype=torch.long), **known}


class OneAnchor(torch.nn.Module):
    """A RetinaNet on a picture of 64 x 128 that is sure of one anchor of the finest map, just as it is."""

    def __init__(self, shape: int, row: int, column: int) -> None:
        super().__init__()
        sizes = [(8, 16), (4, 8), (2, 4)]
        self.scores = [torch.full((1, 3, *size), -20.0) for size in sizes]
        self.scores[0][0, shape, row, column] = 5
        self.offsets = [torch.zeros(1, 12, *size) for size in sizes]

    def forward(self, images: torch.Tensor) -> dict[str, list[torch.Tensor]]:
        return {"classification": list(self.scores), "box_regression": list(self.offsets)}


# its second shape, 36 rows high and 20 columns wide, round the middle of the cell in row 4 and column 11
ANCHOR = [92.0 - 10, 36.0 - 18, 92.0 + 10, 36.0 + 18]


@torch.no_grad()
def test_a_box_comes_out_with_x_along_columns():
    detector = build_detector().eval()
    detector.network = OneAnchor(shape=1, row=4, column=11)
    (found,) = detector(torch.zeros(1, 1, 64, 128))
    assert found["boxes"].tolist() == [ANCHOR] and found["labels"].tolist() == [0]
    assert found["scores"].item() == pytest.approx(torch.tensor(5.0).sigmoid().item())


def test_a_box_goes_in_with_x_along_columns():
    """Anchors fit a target of their own shape, and the one that is sure of itself is right at its own place only."""
    detector = build_detector(num_candidates=1).train()
    detector.network = OneAnchor(shape=1, row=4, column=11)
    xmin, ymin, xmax, ymax = ANCHOR
    right, beside, lying = (
        detector(torch.zeros(1, 1, 64, 128), [describe(box)])
        for box in (ANCHOR, [xmin - 40, ymin, xmax - 40, ymax], [xmin, ymin, xmin + 36, ymin + 20])
    )
    assert max(right["box_regression"], beside["box_regression"]) < 0.2 < lying["box_regression"]
    assert right["classification"] < beside["classification"] - 0.2


def test_anchors_are_upright():
    detector = build_detector().eval()
    detector(torch.zeros(1, 1, 64, 128))
    rows, columns = (detector.anchors[0][:, side + 2] - detector.anchors[0][:, side] for side in (0, 1))
    assert len(rows) == 3 * (8 * 16 + 4 * 8 + 2 * 4) and (rows > columns).all()


@torch.no_grad()
def test_anchors_of_another_shape_and_number_are_height_and_width_in_cells_of_each_map():
    detector = build_detector(anchors_in_cells=[[6, 2]], min_score=0.0).eval()
    (found,) = detector(torch.zeros(1, 1, 64, 128))
    sizes = (detector.anchors[0][:, 2:] - detector.anchors[0][:, :2]).unique(dim=0)
    assert sizes.tolist() == [[48, 16], [96, 32], [192, 64]] and len(found["boxes"]) > 0


def test_the_opacity_detector_learns_where_a_box_lies_off_the_middle_of_an_image_that_is_not_square():
    detector = build_detector().train()
    image, box = 0.1 * torch.rand(1, 1, 64, 128), [80.0, 40.0, 120.0, 60.0]
    image[:, :, 40:60, 80:120] += 0.8
    optimizer = torch.optim.AdamW(detector.parameters(), lr=1e-2)
    for _ in range(40):
        losses = detector(image, [describe(box)])
        optimizer.zero_grad()
        (losses["classification"] + losses["box_regression"]).backward()
        optimizer.step()
    with torch.no_grad():
        (found,) = detector.eval()(image)
    assert compute_iou(found["boxes"][:1], [box]).item() > 0.6 and found["scores"][0] > 0.5


def test_images_without_boxes_are_learned_from_as_background():
    detector, images = build_detector().train(), torch.rand(2, 1, 64, 128)
    losses = detector(images, [describe(), describe()])
    assert losses["box_regression"] == 0
    sum(losses.values()).backward()
    scores = detector.network.classification_head.cls_logits
    assert scores.bias.grad.min() > 0, "scores go down"
    assert all(torch.isfinite(each.grad).all() for each in detector.parameters() if each.grad is not None)


def test_images_with_and_without_boxes_stand_in_one_batch():
    detector, images = build_detector().train(), torch.rand(2, 1, 64, 128)
    losses = detector(images, [describe(), describe([10.0, 5, 30, 45], [80, 10, 110, 60])])
    assert losses["box_regression"] > 0 and all(torch.isfinite(loss) for loss in losses.values())


def test_a_target_is_left_as_it_was_given():
    target = describe([10.0, 5.0, 30.0, 45.0])
    build_detector().train()(torch.rand(1, 1, 64, 128), [target])
    assert target["boxes"].tolist() == [[10, 5, 30, 45]]


def test_training_without_targets_is_rejected():
    with pytest.raises(ValueError, match="targets"):
        build_detector().train()(torch.rand(1, 1, 64, 128))


@torch.no_grad()
def test_boxes_come_best_first_within_the_picture_and_no_more_than_asked():
    detector = build_detector(min_score=0.0, max_overlap=0.3, max_boxes=7).eval()
    torch.nn.init.normal_(detector.network.regression_head.bbox_reg.bias)
    torch.nn.init.normal_(detector.network.classification_head.cls_logits.weight)
    for found in detector(torch.rand(2, 1, 64, 128)):
        boxes, scores = found["boxes"], found["scores"]
        assert boxes.shape == (7, 4) and scores.shape == found["labels"].shape == (7,)
        assert (scores.diff() <= 0).all() and 0 < scores[-1] < scores[0] < 1
        assert (boxes[:, :2] < boxes[:, 2:]).all() and boxes.min() >= 0
        assert boxes[:, 2].max() <= 128 and boxes[:, 3].max() <= 64 and boxes[:, 2].max() > 64, "columns, then rows"
        assert (compute_iou(boxes, boxes) - np.eye(7)).max() <= 0.3 + 1e-6


@torch.no_grad()
def test_boxes_below_the_least_score_are_not_reported():
    (found,) = build_detector(min_score=0.5).eval()(torch.rand(1, 1, 64, 128))
    assert found["boxes"].shape == (0, 4) and found["scores"].shape == (0,)


@torch.no_grad()
def test_the_boxes_of_an_image_are_the_same_alone_in_a_batch_and_after_images_of_another_size():
    detector, images = build_detector(min_score=0.0).eval(), torch.rand(3, 1, 64, 128)
    together = detector(images)
    detector(torch.rand(1, 1, 128, 64))
    for number in range(3):
        (alone,) = detector(images[number : number + 1])
        torch.testing.assert_close(alone["boxes"], together[number]["boxes"], rtol=1e-4, atol=1e-3)


@torch.no_grad()
def test_mixed_precision_does_not_round_boxes_to_whole_pixels():
    """Steps of bfloat16 are one pixel from 128 on; anchors, boxes and scores are computed in full precision."""
    detector, image = build_detector(min_score=0.0, max_boxes=50).eval(), torch.rand(1, 1, 32, 320)
    torch.nn.init.normal_(detector.network.regression_head.bbox_reg.bias, std=0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (found,) = detector(image)
    assert found["boxes"].dtype == found["scores"].dtype == detector.anchors[0].dtype == torch.float32
    inside = found["boxes"][:, 0][(found["boxes"][:, 0] > 128)]
    assert len(inside) > 5 and (inside - inside.round()).abs().max() > 0.05


def test_every_parameter_of_the_opacity_detector_learns():
    network = build_detector().network.train()
    outputs = network(torch.rand(4, 1, 64, 64))
    sum(each.square().mean() for maps in outputs.values() for each in maps).backward()
    idle = [name for name, each in network.named_parameters() if each.grad is None or not each.grad.any()]
    assert idle == []


@torch.no_grad()
def test_the_network_inside_of_the_opacity_detector_can_be_scripted(tmp_path: Path):
    network = build_detector().eval().network
    torch.jit.script(network).save(tmp_path / "network.ts")
    scripted, eager = torch.jit.load(tmp_path / "network.ts")(IMAGES), network(IMAGES)
    assert scripted.keys() == eager.keys() == {"classification", "box_regression"}
    for name, maps in eager.items():
        assert [tuple(each.shape[2:]) for each in maps] == [(8, 12), (4, 6), (2, 3)]
        for each, other in zip(maps, scripted[name], strict=True):
            torch.testing.assert_close(other, each, rtol=1e-4, atol=1e-5)


# several classifiers as one


class Fixed(torch.nn.Module):
    """Says the same of every picture."""

    def __init__(self, study: list[float], mask: float | None = None) -> None:
        super().__init__()
        self.study, self.mask = torch.tensor([study]), mask

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        out = {"study": self.study.expand(len(image), -1)}
        return out if self.mask is None else {**out, "mask": torch.full((len(image), 1, 2, 2), self.mask)}


@pytest.mark.parametrize("ensemble_weights", [None, [1.0, 1.0], [3.0, 1.0]])
def test_an_ensemble_is_the_weighted_mean_of_probabilities(ensemble_weights: list[float] | None):
    first, second = [2.0, 0.0, -1.0, 0.5], [-1.0, 1.0, 3.0, 0.0]
    network = StudyEnsemble([Fixed(first, 2.0), Fixed(second, -1.0)], ensemble_weights)
    out = network(torch.zeros(3, 1, 2, 2))
    ensemble_weight = 0.75 if ensemble_weights == [3.0, 1.0] else 0.5
    study = ensemble_weight * torch.tensor(first).softmax(0) + (1 - ensemble_weight) * torch.tensor(second).softmax(0)
    assert torch.allclose(out["study"].softmax(1), study.expand(3, -1))
    mask = ensemble_weight * torch.tensor(2.0).sigmoid() + (1 - ensemble_weight) * torch.tensor(-1.0).sigmoid()
    assert torch.allclose(out["mask"].sigmoid(), mask.expand(3, 1, 2, 2))


def test_an_ensemble_of_classifiers_without_mask_has_none():
    assert set(StudyEnsemble([Fixed([0.0] * 4)])(torch.zeros(1, 1, 2, 2))) == {"study"}


@pytest.mark.parametrize(("members", "ensemble_weights"), [(0, None), (2, [1.0]), (2, [1.0, 0.0]), (2, [1.0, -1.0])])
def test_an_ensemble_needs_members_and_a_fraction_for_each(members: int, ensemble_weights: list[float] | None):
    with pytest.raises(InputError, match=f"a fraction above 0 for each of {members} members"):
        StudyEnsemble([Fixed([0.0] * 4) for _ in range(members)], ensemble_weights)
