"""The whole way of an image: what is found in its lungs comes back to its own pixels, whatever stands beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.data.utils import no_collation
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, Resized
from scripts.boxes import compute_iou, fill_mask, find_regions
from scripts.engines import infer_images
from scripts.inferers import ImageInferer, LungInferer, Lungs, OpacityInferer, TTAInferer
from scripts.labels import STUDY_CLASSES
from scripts.networks import LungDetector, OpacityDetector, StudyClassifier
from scripts.predictions import NonFinitePrediction
from scripts.transforms import CropToLungsd, LogitsToFindingsd
from torch import nn

STUDY_SIZE, OPACITY_SIZE = 32, 48

# opacities, by the image that they lie on: images are not square, boxes neither on a diagonal nor in the middle
WIDE, HIGH, CLEAN = (100, 200), (260, 120), (64, 72)  # height, width
OPACITY = {WIDE: (60, 55, 84, 80), HIGH: (20, 30, 50, 60)}
LUNGS = {WIDE: (40.0, 10.0, 160.0, 90.0), HIGH: (10.0, 20.0, 100.0, 200.0), CLEAN: (8.0, 4.0, 60.0, 60.0)}

Box = Sequence[float]


def draw_image(size: tuple[int, int]) -> torch.Tensor:
    """A grey image, and its opacity white."""
    opacities = [OPACITY[size]] if size in OPACITY else []
    return 0.1 + 0.8 * torch.from_numpy(fill_mask(opacities, *size))[None]


def resize(size: int) -> Resized:
    shape = (size, size)
    return Resized(keys="image", spatial_size=shape, mode="bilinear", align_corners=False, anti_aliasing=False)


class WhiteClassifier(nn.Module):
    """Marks what is white, and calls a picture negative by how little of it is; remembers what it was shown."""

    def __init__(self, has_mask: bool = True) -> None:
        super().__init__()
        self.bias, self.has_mask, self.seen = nn.Parameter(torch.zeros(1)), has_mask, []

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        self.seen.append(image)
        white = (image > 0.5).float().mean(dim=(1, 2, 3))
        study = torch.stack([0.1 - white, 5 * white, 2 * white, white], dim=1) * 8 + self.bias
        return {"study": study, "mask": 12 * (image - 0.5)} if self.has_mask else {"study": study}


class KnownLungs:
    """Finds the lungs of the images above by their size, and remembers what it was asked."""

    def __init__(self, flags: tuple[str, ...] = ()) -> None:
        self.flags, self.asked = flags, []

    def __call__(self, images: Sequence[torch.Tensor]) -> list[Lungs]:
        sizes = [tuple(image.shape[-2:]) for image in images]
        self.asked.append(sizes)
        return [Lungs(LUNGS[size], 0.9, 0.01, self.flags) for size in sizes]


class WhiteOpacities:
    """Finds what is white, as an `OpacityInferer` does, and remembers what it was shown."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def __call__(self, pictures: torch.Tensor) -> list[tuple[Any, Any]]:
        self.seen.append(pictures)
        return [find_regions(picture, 0.5) for picture in pictures[:, 0].numpy()]


def build(**parts: Any) -> ImageInferer:
    """All parts, unless other ones are given; the opacity inferer sees larger pictures than the classifier."""
    crop = CropToLungsd("image")
    return ImageInferer(
        **{
            "study_inferer": TTAInferer(dtype=None),
            "study_preparation": Compose([crop, resize(STUDY_SIZE)]),
            "lung_inferer": KnownLungs(),
            "opacity_inferer": WhiteOpacities(),
            "opacity_preparation": Compose([crop, resize(OPACITY_SIZE)]),
            **parts,
        }
    )


def infer(*sizes: tuple[int, int], lung_boxes: Any = None, network: nn.Module | None = None, **parts: Any) -> Any:
    images = [draw_image(size) for size in sizes]
    with torch.no_grad():
        return build(**parts)(images, network or WhiteClassifier(), lung_boxes)


def find_pixel(size: tuple[int, int], lungs: Box | None, shown: int) -> float:
    """The larger side of what one pixel of a picture covers on the image."""
    xmin, ymin, xmax, ymax = lungs or (0, 0, size[1], size[0])
    return max(xmax - xmin, ymax - ymin) / shown


def assert_near(found: Any, expected: Any, atol: float) -> None:
    np.testing.assert_allclose(found, expected, atol=atol, rtol=0)


@pytest.mark.parametrize("lungs", [LUNGS[WIDE], (40.5, 9.5, 160.5, 90.0), (50.0, -20.0, 230.0, 85.0), None])
def test_an_opacity_comes_back_to_image_pixels_through_the_crop(lungs: Box | None):
    (found,) = infer(WIDE, lung_boxes=[lungs], lung_inferer=None)
    assert_near(found["boxes"], [OPACITY[WIDE]], find_pixel(WIDE, lungs, OPACITY_SIZE))
    assert found["scores"].shape == (1,)


@pytest.mark.parametrize("lungs", [LUNGS[WIDE], None])
def test_the_same_opacity_is_found_in_the_mask_of_the_classifier(lungs: Box | None):
    (found,) = infer(WIDE, lung_boxes=[lungs], lung_inferer=None, opacity_inferer=None)
    assert found["mask"].shape == (1, STUDY_SIZE, STUDY_SIZE)
    item = LogitsToFindingsd()({"pred": found})
    assert_near(item["result"]["boxes"], [OPACITY[WIDE]], find_pixel(WIDE, lungs, STUDY_SIZE))
    (marked,), _ = find_regions(item["pred"][0], 0.5)
    assert_near(marked, OPACITY[WIDE], find_pixel(WIDE, lungs, STUDY_SIZE))


def test_an_opacity_outside_of_the_lungs_is_not_seen():
    (found,) = infer(WIDE, lung_boxes=[(100.0, 0.0, 200.0, 100.0)], lung_inferer=None)
    assert found["boxes"].shape == (0, 4) and found["scores"].shape == (0,)
    assert not (found["mask"] > 0).any()


@pytest.mark.parametrize(
    ("lungs", "crop"),
    [
        ((40.0, 10.0, 160.0, 90.0), (40, 10, 160, 90)),
        ((40.5, 10.9, 159.1, 89.2), (40, 10, 160, 90)),
        ((-9.0, 10.0, 300.0, 90.0), (0, 10, 200, 90)),
        (None, (0, 0, 200, 100)),
    ],
    ids=["whole pixels", "widened to them", "within the image", "whole image"],
)
def test_what_the_classifier_saw_is_reported(lungs: Box | None, crop: tuple[int, ...]):
    (found,) = infer(WIDE, lung_boxes=[lungs], lung_inferer=None)
    assert found["crop_box"].tolist() == list(crop)
    assert found["original_size"].tolist() == list(WIDE)
    assert found["lung_flags"] == ()


def test_the_margin_of_the_opacities_may_be_another_one():
    """Each picture's boxes come back through its own crop, not through the classifier's."""
    wider = Compose([CropToLungsd("image", margin=0.2), resize(OPACITY_SIZE)])
    (found,) = infer(WIDE, opacity_preparation=wider)
    assert found["crop_box"].tolist() == list(LUNGS[WIDE])
    assert_near(found["boxes"], [OPACITY[WIDE]], 1.4 * find_pixel(WIDE, LUNGS[WIDE], OPACITY_SIZE))


def test_without_a_preparation_of_its_own_the_opacity_inferer_sees_what_the_classifier_sees():
    network, lung_inferer = WhiteClassifier(), WhiteOpacities()
    (found,) = infer(WIDE, network=network, opacity_inferer=lung_inferer, opacity_preparation=None)
    assert torch.equal(lung_inferer.seen[0][:1], network.seen[0][:1])
    assert_near(found["boxes"], [OPACITY[WIDE]], find_pixel(WIDE, LUNGS[WIDE], STUDY_SIZE))


def test_what_is_left_out_is_not_there():
    (found,) = infer(WIDE, opacity_inferer=None, network=WhiteClassifier(has_mask=False))
    assert set(found) == {"study", "study_tta", "crop_box", "original_size", "lung_flags"}


SYNTHETIC = (50.0, 40.0, 150.0, 90.0)


@pytest.mark.parametrize(
    ("trusted", "asked", "crop"),
    [(False, [WIDE, HIGH, CLEAN], LUNGS[WIDE]), (True, [HIGH, CLEAN], SYNTHETIC)],
    ids=["looked for", "trusted"],
)
def test_a_box_that_came_with_an_image_is_used_where_it_is_trusted(
    trusted: bool, asked: list[tuple[int, int]], crop: Box
):
    lung_inferer = KnownLungs(flags=("rotated",))
    boxes = [SYNTHETIC, None, None]
    found = infer(WIDE, HIGH, CLEAN, lung_boxes=boxes, lung_inferer=lung_inferer, use_given_lung_boxes=trusted)
    assert lung_inferer.asked == [asked]
    assert [image["crop_box"].tolist() for image in found] == [list(crop), list(LUNGS[HIGH]), list(LUNGS[CLEAN])]
    assert [image["lung_flags"] for image in found] == [() if trusted else ("rotated",), ("rotated",), ("rotated",)]


def test_an_image_between_two_that_need_no_inferer_gets_its_own_lungs():
    lung_inferer = KnownLungs()
    boxes = [SYNTHETIC, None, (1.0, 2.0, 70.0, 60.0)]
    found = infer(WIDE, HIGH, CLEAN, lung_boxes=boxes, lung_inferer=lung_inferer, use_given_lung_boxes=True)
    assert [image["crop_box"].tolist() for image in found] == [list(SYNTHETIC), list(LUNGS[HIGH]), [1, 2, 70, 60]]


def test_where_all_boxes_are_trusted_nothing_is_looked_for():
    lung_inferer = KnownLungs()
    infer(WIDE, HIGH, lung_boxes=[SYNTHETIC, LUNGS[HIGH]], lung_inferer=lung_inferer, use_given_lung_boxes=True)
    assert lung_inferer.asked == []


def test_lungs_that_are_not_accepted_leave_the_image_whole_and_its_annotated_box_unused():
    def find_nothing(images: Sequence[torch.Tensor]) -> list[Lungs]:
        return [Lungs(None, 0.1, 0.5, ("no_lungs",)) for _ in images]

    (found,) = infer(WIDE, lung_boxes=[SYNTHETIC], lung_inferer=find_nothing)
    assert found["crop_box"].tolist() == [0, 0, 200, 100]
    assert found["lung_flags"] == ("no_lungs",)


@pytest.mark.parametrize("trusted", [False, True])
def test_without_an_inferer_images_keep_their_boxes_and_others_are_seen_whole(trusted: bool):
    found = infer(WIDE, HIGH, lung_boxes=[SYNTHETIC, None], lung_inferer=None, use_given_lung_boxes=trusted)
    assert [image["crop_box"].tolist() for image in found] == [list(SYNTHETIC), [0, 0, 120, 260]]


def test_without_lung_boxes_all_are_looked_for():
    lung_inferer = KnownLungs()
    infer(WIDE, HIGH, lung_inferer=lung_inferer, use_given_lung_boxes=True)
    assert lung_inferer.asked == [[WIDE, HIGH]]


@pytest.mark.parametrize("kind", [np.array, torch.tensor], ids=["array", "tensor"])
def test_lung_boxes_may_come_as_one_array(kind: Any):
    boxes = kind([SYNTHETIC, (5.0, 6.0, 100.0, 200.0)])
    found = infer(WIDE, HIGH, lung_boxes=boxes, use_given_lung_boxes=True)
    assert [image["crop_box"].tolist() for image in found] == [list(SYNTHETIC), [5, 6, 100, 200]]


def test_a_lung_box_too_few_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        infer(WIDE, HIGH, lung_boxes=[SYNTHETIC])


def test_images_of_different_sizes_are_found_as_each_alone():
    together = infer(CLEAN, WIDE, HIGH)
    for size, found in zip((CLEAN, WIDE, HIGH), together, strict=True):
        (alone,) = infer(size)
        assert found.keys() == alone.keys()
        for name in set(found) - {"lung_flags"}:
            np.testing.assert_allclose(found[name], alone[name], atol=1e-5, err_msg=name)
        boxes = [OPACITY[size]] if size in OPACITY else np.zeros((0, 4))
        assert_near(found["boxes"], boxes, find_pixel(size, LUNGS[size], OPACITY_SIZE))


def test_a_batch_of_images_of_one_size_is_taken_too():
    images = torch.stack([draw_image(WIDE), draw_image(WIDE).flip(-1)])
    with torch.no_grad():
        first, second = build()(images, WhiteClassifier())
    xmin, ymin, xmax, ymax = OPACITY[WIDE]  # the lungs of that size lie in the middle
    atol = find_pixel(WIDE, LUNGS[WIDE], OPACITY_SIZE)
    assert_near(first["boxes"], [(xmin, ymin, xmax, ymax)], atol)
    assert_near(second["boxes"], [(200 - xmax, ymin, 200 - xmin, ymax)], atol)


def test_networks_are_shown_plain_tensors_of_one_size():
    network, lung_inferer = WhiteClassifier(), WhiteOpacities()
    images = [MetaTensor(draw_image(WIDE)), draw_image(HIGH)]
    with torch.no_grad():
        build(opacity_inferer=lung_inferer)(images, network)
    shown = [*network.seen, *lung_inferer.seen]
    assert [tuple(each.shape) for each in shown] == [(4, 1, 32, 32), (2, 1, 48, 48)]
    assert {type(each) for each in shown} == {torch.Tensor}, "a MetaTensor's bookkeeping would go through every layer"


def test_given_images_and_boxes_are_not_changed():
    image, boxes = draw_image(WIDE), [None]
    with torch.no_grad():
        build()([image], WhiteClassifier(), boxes)
    assert torch.equal(image, draw_image(WIDE)) and boxes == [None]


def describe_items(*sizes: tuple[int, int]) -> list[dict[str, Any]]:
    """Images as inference has them, with true masks and boxes that must not be taken for predictions."""
    return [
        {
            "image": MetaTensor(draw_image(size)),
            "image_id": f"image{number}",
            "lung_box": np.array(LUNGS[size], dtype=np.float32) if number % 2 else None,
            "image_flags": "body_part" if number % 2 else "",
            "mask": torch.ones(1, *size),
            "boxes": np.array([(1.0, 2.0, 3.0, 4.0)]),
            "scores": [1.0],
        }
        for number, size in enumerate(sizes)
    ]


def run_evaluator(network: nn.Module, inferer: ImageInferer, *sizes: tuple[int, int], batch_size: int = 2) -> Any:
    """Run what inference.json wires: MONAI's evaluator over images of different sizes; (items, outputs), in order."""
    items, outputs = [], []
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(Dataset(describe_items(*sizes)), batch_size=batch_size, collate_fn=no_collation),
        network=network,
        iteration_update=infer_images,
        inferer=inferer,
        postprocessing=LogitsToFindingsd("pred"),
        decollate=False,
    )

    @evaluator.on("ITERATION_COMPLETED")
    def keep(engine: Any) -> None:
        items.extend(engine.state.batch)
        outputs.extend(engine.state.output)

    evaluator.run()
    return items, outputs


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_monais_evaluator_leads_images_of_different_sizes_to_their_findings(batch_size: int):
    sizes = (WIDE, HIGH, CLEAN, WIDE, CLEAN)
    network = WhiteClassifier().train()
    items, outputs = run_evaluator(network, build(), *sizes, batch_size=batch_size)
    assert [item["image_id"] for item in items] == [f"image{number}" for number in range(5)]
    for number, (size, output) in enumerate(zip(sizes, outputs, strict=True)):
        result, mask = output["result"], output["pred"]
        boxes = [OPACITY[size]] if size in OPACITY else np.zeros((0, 4))
        assert mask.shape == (1, *size) and mask.dtype == torch.uint8
        assert_near(np.reshape(result["boxes"], (-1, 4)), boxes, find_pixel(size, LUNGS[size], OPACITY_SIZE))
        if size in OPACITY:
            (marked,), _ = find_regions(mask[0], 0.5)
            assert compute_iou([marked], boxes)[0, 0] > 0.7
        assert bool(mask.any()) == (size in OPACITY), "the true mask is none that was found"
        assert result["crop_box"] == list(LUNGS[size]) and result["out_of_scope"] == ""
        assert result["flags"] == (["body_part"] if number % 2 else [])
        assert (max(result["probabilities"], key=result["probabilities"].get) == "negative") == (size == CLEAN)
    assert network.training, "the network is left in the mode that it was found in"


def test_the_evaluator_hands_over_the_lung_boxes_of_its_images():
    lung_inferer = KnownLungs()
    run_evaluator(WhiteClassifier(), build(lung_inferer=lung_inferer, use_given_lung_boxes=True), WIDE, HIGH, CLEAN)
    assert lung_inferer.asked == [[WIDE], [CLEAN]], "every second image brings its box"


def test_an_image_without_lungs_that_is_called_another_body_part_is_out_of_scope():
    def find_nothing(images: Sequence[torch.Tensor]) -> list[Lungs]:
        return [Lungs(None, 0.1, 0.5, ("no_lungs",)) for _ in images]

    _, outputs = run_evaluator(WhiteClassifier(), build(lung_inferer=find_nothing), WIDE, HIGH)
    assert [output["result"]["flags"] for output in outputs] == [
        ["no_lungs", "whole_image"],
        ["body_part", "no_lungs", "whole_image"],
    ]
    assert [bool(output["result"]["out_of_scope"]) for output in outputs] == [False, True]


class DivergedClassifier(WhiteClassifier):
    """Gives no number for one image."""

    weights_file = "study.pt"

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        found = super().forward(image)
        found["study"] = torch.where(image.amax(dim=(1, 2, 3))[:, None] > 0.5, torch.nan, found["study"])
        return found


def test_a_prediction_that_is_not_finite_names_the_image_and_the_weights():
    with pytest.raises(NonFinitePrediction, match=r"NaN or infinity in study by study\.pt on image1; use weights"):
        run_evaluator(DivergedClassifier(), build(), CLEAN, WIDE, HIGH)


def test_an_opacity_detector_that_diverged_is_no_image_without_opacities():
    network = OpacityDetector("test_efficientnet", width=8).eval()
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(NonFinitePrediction, match="NaN or infinity in boxes"):
        OpacityInferer([network])(torch.rand(1, 1, 64, 64))


def test_the_networks_of_the_project_fit_together():
    torch.manual_seed(0)
    tiny = "test_efficientnet"
    opacities = OpacityDetector(tiny, width=8, min_score=0.0)
    inferer = build(
        lung_inferer=LungInferer(LungDetector(tiny, width=8), resize(64)),
        opacity_inferer=OpacityInferer([opacities], max_boxes=4),
        opacity_preparation=Compose([CropToLungsd("image"), resize(64)]),
    )
    _, outputs = run_evaluator(StudyClassifier(tiny, mask_widths=(4, 4, 4, 4, 4)), inferer, WIDE, HIGH, CLEAN)
    for size, output in zip((WIDE, HIGH, CLEAN), outputs, strict=True):
        result = output["result"]
        assert output["pred"].shape == (1, *size)
        assert tuple(result["probabilities"]) == STUDY_CLASSES
        assert 1 <= len(result["boxes"]) <= 4
        assert all(
            0 <= xmin < xmax <= size[1] and 0 <= ymin < ymax <= size[0] for xmin, ymin, xmax, ymax in result["boxes"]
        )


def test_a_second_wider_look_is_averaged_into_the_studys_probabilities_and_nothing_else():
    """Mask, crop and boxes stay those of the first look: they have one frame."""
    wide = Compose([CropToLungsd("image", margin=0.2), resize(STUDY_SIZE)])
    first, second = (infer(WIDE, HIGH, **parts) for parts in ({}, {"study_preparation": wide}))
    both = infer(WIDE, HIGH, wider_preparation=wide)
    for image, near, far in zip(both, first, second, strict=True):
        expected = (near["study"].softmax(dim=0) + far["study"].softmax(dim=0)) / 2
        torch.testing.assert_close(image["study"].softmax(dim=0), expected)
        assert not torch.allclose(near["study"].softmax(dim=0), expected, atol=1e-3)
        assert torch.equal(image["mask"], near["mask"])
        np.testing.assert_array_equal(image["crop_box"], near["crop_box"])
        np.testing.assert_array_equal(image["boxes"], near["boxes"])
