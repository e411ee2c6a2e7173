"""Training of a detector's anchors for a whole batch: matched and sampled on the host, computed on the device.

MONAI's detector goes image by image and asks the device a dozen times for each; every time the host waits for all that
is still to be computed. What boxes and anchors have to do with each other needs no network: it is settled on the host,
by MONAI's own matcher and sampler, while the device is busy. Only hard negatives depend on what the network predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from monai.apps.detection.utils.hard_negative_sampler import HardNegativeSampler


class AnchorSample(NamedTuple):
    """Anchors that the losses of a batch take, as indices on the host; P positives, N negatives, F foreground.

    Args:
        positives: (2, P) image and anchor of those that the classification loss takes.
        negatives: (2, N) image and rank among its background, the hardest first.
        foreground: (2, F) image and anchor of all that a box was matched with.
        boxes: (F, 4) these boxes.
        pool: the largest rank of a negative, plus 1.
    """

    positives: torch.Tensor
    negatives: torch.Tensor
    foreground: torch.Tensor
    boxes: torch.Tensor
    pool: int


def sample_anchors(
    matches: Sequence[torch.Tensor], boxes: Sequence[torch.Tensor], sampler: HardNegativeSampler
) -> AnchorSample:
    """Draw the anchors of a batch, as many and by the same random numbers as MONAI's sampler does image by image.

    Args:
        matches: for each image the box of each anchor (A,), negative where there is none, as a matcher gives it.
        boxes: for each image its boxes (M, 4).
        sampler: of the detector.
    """
    positives, negatives, pools = [], [], [1]
    for image, match in enumerate(matches):
        positive, negative = (match >= 0).nonzero()[:, 0], (match == -1).nonzero()[:, 0]
        num_positives = sampler.get_num_pos(positive)
        num_negatives = sampler.get_num_neg(negative, num_positives)
        pools.append(min(len(negative), int(num_negatives * sampler.pool_size)))
        chosen = positive[torch.randperm(len(positive))[:num_positives]]
        ranks = torch.randperm(pools[-1])[:num_negatives]
        positives.append(torch.stack([torch.full_like(chosen, image), chosen]))
        negatives.append(torch.stack([torch.full_like(ranks, image), ranks]))
    together = torch.stack(list(matches))
    foreground = (together >= 0).nonzero().T
    matched = [each[match[match >= 0]] for match, each in zip(matches, boxes, strict=True)]
    return AnchorSample(torch.cat(positives, 1), torch.cat(negatives, 1), foreground, torch.cat(matched), max(pools))


def find_hard_negatives(logits: torch.Tensor, sample: AnchorSample) -> torch.Tensor:
    """Images and anchors (2, N) of the sampled negatives, by logits (B, A), without asking the device for anything."""
    scores = logits.detach().float().clone()
    image, anchor = send(sample.foreground, logits.device)
    scores[image, anchor] = -torch.inf
    image, rank = send(sample.negatives, logits.device)
    hardest = scores.topk(sample.pool, dim=1).indices
    return torch.stack([image, hardest[image, rank]])


def decode_boxes(codes: torch.Tensor, anchors: torch.Tensor, weights: Sequence[float], limit: float) -> torch.Tensor:
    """Boxes (N, 4) by codes of centre and size (N, 4) relative to anchors (N, 4), as MONAI's box coder has them.

    Args:
        weights: of the four codes.
        limit: of the logarithm of a size, so that no box becomes infinite.
    """
    sizes = anchors[:, 2:] - anchors[:, :2]
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    shift = torch.stack([codes[:, axis] / weights[axis] for axis in (0, 1)], dim=1)
    growth = torch.stack([codes[:, axis] / weights[axis] for axis in (2, 3)], dim=1).clamp(max=limit)
    centres, halves = centres + shift * sizes, growth.exp() * sizes / 2
    return torch.cat([centres - halves, centres + halves], dim=1)


def measure_giou_losses(found: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """1 - generalised overlap (N,) of boxes (N, 4), pair by pair; MONAI's and torchvision's ask the device.

    Source: Rezatofighi et al. 2019, arXiv:1902.09630.
    """
    eps = torch.finfo(found.dtype).eps
    overlap = _measure_areas(torch.maximum(found[:, :2], boxes[:, :2]), torch.minimum(found[:, 2:], boxes[:, 2:]))
    hull = _measure_areas(torch.minimum(found[:, :2], boxes[:, :2]), torch.maximum(found[:, 2:], boxes[:, 2:]))
    union = _measure_areas(found[:, :2], found[:, 2:]) + _measure_areas(boxes[:, :2], boxes[:, 2:]) - overlap
    return 1 - overlap / (union + eps) + (hull - union) / (hull + eps)


def _measure_areas(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    sides = (high - low).clamp_min(0)
    return sides[:, 0] * sides[:, 1]


def send(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy small values from the host, which does not wait for the copy."""
    return values.to(device, non_blocking=True)
