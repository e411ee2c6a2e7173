"""Random geometry of a batch: masks and boxes follow their image, each image by a draw of its own."""

from __future__ import annotations

import pytest
import torch
from scripts.transforms import RandAffineBatchd
from scripts.transforms.batch_affine import build_grid

BOX = torch.tensor([[6.0, 10.0, 26.0, 18.0]])  # off the diagonal, on images that are not square
HEIGHT, WIDTH = 48, 64


def make_batch(count: int = 16) -> dict[str, object]:
    mask = torch.zeros(count, 1, HEIGHT, WIDTH)
    mask[:, :, 10:18, 6:26] = 1
    boxes = [BOX.clone() for _ in range(count)]
    return {"image": mask.clone(), "mask": mask, "boxes": boxes, "label": list(range(count))}


def find_box(mask: torch.Tensor) -> torch.Tensor:
    rows, columns = mask[0].any(dim=1).nonzero().flatten(), mask[0].any(dim=0).nonzero().flatten()
    return torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]).float()


def test_a_flip_moves_mask_and_box_exactly():
    batch = RandAffineBatchd(flip_prob=1.0, prob=0.0)(make_batch(2))
    assert torch.equal(batch["mask"], make_batch(2)["mask"].flip(-1))
    assert torch.allclose(batch["boxes"][0], torch.tensor([[WIDTH - 26.0, 10.0, WIDTH - 6.0, 18.0]]))


def test_nothing_changes_with_chances_of_zero():
    batch, before = RandAffineBatchd(flip_prob=0.0, prob=0.0)(make_batch()), make_batch()
    assert torch.allclose(batch["image"], before["image"], atol=1e-5) and torch.equal(batch["mask"], before["mask"])
    assert batch["label"] == before["label"]


@pytest.mark.parametrize("seed", range(5))
def test_boxes_follow_what_they_stand_round(seed: int):
    torch.manual_seed(seed)
    batch = RandAffineBatchd(rotate=0.0, shift=0.03, scale=(0.9, 1.1), prob=1.0)(make_batch())
    for mask, boxes in zip(batch["mask"], batch["boxes"], strict=True):
        assert (find_box(mask) - boxes[0]).abs().max() <= 1.0


def test_each_image_has_a_draw_of_its_own():
    torch.manual_seed(0)
    images = RandAffineBatchd(prob=1.0)(make_batch())["image"]
    assert len({tuple(image.flatten().tolist()) for image in images}) == len(images)


def test_the_same_seed_gives_the_same_batch():
    batches = []
    for _ in range(2):
        torch.manual_seed(3)
        batches.append(RandAffineBatchd()(make_batch())["image"])
    assert torch.equal(*batches)


def test_draws_stay_within_their_bounds_and_vary():
    torch.manual_seed(0)
    matrices = RandAffineBatchd(0.5, 1.0, rotate=10, scale=(0.8, 1.25), stretch=1.0, shift=0.1).sample(2000)
    size = torch.linalg.det(matrices[:, :, :2]).abs().sqrt()
    angle = torch.rad2deg(torch.atan2(matrices[:, 0, 1], matrices[:, 1, 1]))
    assert 0.8 - 1e-4 <= size.min() < 0.82 and 1.22 < size.max() <= 1.25 + 1e-4
    assert -10.01 <= angle.min() < -9 and 9 < angle.max() <= 10.01
    assert matrices[:, :, 2].abs().max() <= 0.2 + 1e-6
    assert 0.45 < (torch.linalg.det(matrices[:, :, :2]) < 0).float().mean() < 0.55


def test_a_box_that_leaves_the_image_is_left_out():
    batch = RandAffineBatchd(flip_prob=0.0, prob=1.0, rotate=0, scale=(3.0, 3.0), shift=0.0)(make_batch(4))
    assert all(len(boxes) == 0 for boxes in batch["boxes"])


def test_the_grid_undoes_the_matrix():
    image = torch.rand(3, 1, 16, 16)
    matrices = RandAffineBatchd(prob=0.0, flip_prob=0.0).sample(3)
    moved = torch.nn.functional.grid_sample(image, build_grid(matrices, image), align_corners=False)
    assert torch.allclose(moved, image, atol=1e-5)


def test_the_grid_is_that_of_torch_for_images_of_any_shape():
    image = torch.rand(5, 1, 24, 17)
    matrices = RandAffineBatchd(prob=1.0, flip_prob=0.5).sample(5)
    inverse = torch.linalg.inv(torch.cat([matrices, torch.tensor([[[0.0, 0.0, 1.0]]]).repeat(5, 1, 1)], dim=1))[:, :2]
    expected = torch.nn.functional.affine_grid(inverse, list(image.shape), align_corners=False)
    torch.testing.assert_close(build_grid(matrices, image), expected, atol=1e-5, rtol=1e-5)
