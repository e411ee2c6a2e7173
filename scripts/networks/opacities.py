"""The opacity detector: MONAI's RetinaNet on a timm encoder with MONAI's feature pyramid, and the rest's boxes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.apps.detection.networks.retinanet_network import RetinaNet
from monai.apps.detection.utils.anchor_utils import AnchorGeneratorWithAnchorShape
from monai.networks.blocks.feature_pyramid_network import FeaturePyramidNetwork
from scripts.networks.anchors import decode_boxes, find_hard_negatives, measure_giou_losses, sample_anchors, send
from scripts.networks.encoders import build_feature_encoder, check_input_shape, normalise
from scripts.predictions import NonFinitePrediction
from scripts.processes import compare_counts
from torch import nn

#: Strides of the maps that boxes are found on.
STRIDES: tuple[int, ...] = (8, 16, 32)

#: Height and width of anchors in cells of a map: k-means of the challenge's boxes in lung crops gave upright ones,
#: 42 x 39 to 172 x 81 pixels of a crop resized to 192 x 192. Three shapes on three maps cover 20 to 176 pixels.
ANCHORS_IN_CELLS: tuple[tuple[float, float], ...] = ((2.5, 2.25), (4.5, 2.5), (5.5, 2.25))


class PyramidEncoder(nn.Module):
    """A timm encoder with MONAI's feature pyramid: (B, C, H, W) -> maps (B, width, H / s, W / s) for s in `STRIDES`.

    Args:
        encoder, in_channels, weights, encoder_options, pixel_mean, pixel_std: as for `StudyClassifier`.
        width: channels of each map.
    """

    def __init__(
        self,
        encoder: str,
        in_channels: int,
        width: int,
        weights: str | Path | None = None,
        encoder_options: dict[str, Any] | None = None,
        pixel_mean: float = 0.0,
        pixel_std: float = 1.0,
    ) -> None:
        super().__init__()
        self.pixel_mean, self.pixel_std = pixel_mean, pixel_std
        self.encoder = build_feature_encoder(encoder, in_channels, STRIDES, weights, encoder_options or {})
        channels = self.encoder.feature_info.channels()  # type: ignore[union-attr,operator]
        self.pyramid = FeaturePyramidNetwork(2, channels, width)
        self.out_channels = width

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        check_input_shape(image)
        maps: dict[str, torch.Tensor] = OrderedDict()
        for number, features in enumerate(self.encoder(normalise(image, self.pixel_mean, self.pixel_std))):
            maps[str(number)] = features
        return self.pyramid(maps)


class OpacityNetwork(RetinaNet):
    """MONAI's RetinaNet without its look for NaN in each map, which waits for the device: the detector has its own."""

    def forward(self, images: torch.Tensor) -> dict[str, list[torch.Tensor]]:
        maps = list(self.feature_extractor(images).values())
        logits = [self.classification_head.cls_logits(self.classification_head.conv(each)) for each in maps]
        codes = [self.regression_head.bbox_reg(self.regression_head.conv(each)) for each in maps]
        return {self.cls_key: logits, self.box_reg_key: codes}


class OpacityDetector(RetinaNetDetector):
    """Finds the boxes of opacities on a lung crop.

    MONAI takes the first spatial axis for x. This class is the one place that converts: what goes in and comes out is
    xmin, ymin, xmax, ymax with x along columns, in pixels of the picture.

    Args:
        encoder, in_channels, weights, encoder_options, pixel_mean, pixel_std: as for `StudyClassifier`.
        width: channels of the pyramid and of both heads.
        anchors_in_cells: heights and widths of the anchors of every map, in its cells.
        num_candidates: anchors of each map and shape that ATSS considers for a box (Zhang et al. 2020,
            arXiv:1912.02424).
        samples_per_image, positive_fraction: anchors that the classification loss takes of an image, the hardest
            negatives among them.
        min_score, max_overlap, max_boxes: what is kept of an image: boxes from this score on, of two that overlap more
            the better one, so many at most.

    Shape:
        images (B, in_channels, H, W) in [0, 1] and, in training, targets, for each image a dictionary of "boxes" (N, 4)
        and "labels" (N,), zeros -> in training {"classification": scalar, "box_regression": scalar}, both losses;
        in evaluation a list of {"boxes": (M, 4), "labels": (M,), "scores": (M,)}, best first.
    """

    def __init__(
        self,
        encoder: str = "tf_efficientnetv2_b0",
        in_channels: int = 1,
        width: int = 64,
        weights: str | Path | None = None,
        encoder_options: dict[str, Any] | None = None,
        anchors_in_cells: Sequence[Sequence[float]] = ANCHORS_IN_CELLS,
        num_candidates: int = 4,
        samples_per_image: int = 64,
        positive_fraction: float = 0.5,
        min_score: float = 0.02,
        max_overlap: float = 0.45,
        max_boxes: int = 12,
        pixel_mean: float = 0.0,
        pixel_std: float = 1.0,
    ) -> None:
        anchors = AnchorGeneratorWithAnchorShape(
            feature_map_scales=STRIDES, base_anchor_shapes=[list(shape) for shape in anchors_in_cells]
        )
        network = OpacityNetwork(
            spatial_dims=2,
            num_classes=1,
            num_anchors=len(anchors_in_cells),
            feature_extractor=PyramidEncoder(
                encoder, in_channels, width, weights, encoder_options, pixel_mean, pixel_std
            ),
            size_divisible=STRIDES[-1],
        )
        super().__init__(network, anchors)
        self.set_target_keys(box_key="boxes", label_key="labels")
        self.pred_score_key = "scores"
        self.set_atss_matcher(num_candidates=num_candidates)
        self.set_hard_negative_sampler(samples_per_image, positive_fraction, min_neg=16, pool_size=10)
        self.set_box_selector_parameters(min_score, nms_thresh=max_overlap, detections_per_img=max_boxes)

    def forward(
        self,
        input_images: list[torch.Tensor] | torch.Tensor,
        targets: Sequence[dict[str, torch.Tensor]] | None = None,
        use_inferer: bool = False,
    ) -> Any:
        """Losses in training, boxes in evaluation; see the class."""
        if self.training:
            return super().forward(input_images, [_swap_axes(target) for target in targets or []], use_inferer)
        return [_swap_axes(found) for found in super().forward(input_images, None, use_inferer)]  # type: ignore[arg-type]

    def generate_anchors(self, images: torch.Tensor, head_outputs: dict[str, list[torch.Tensor]]) -> None:
        """In full precision, and boxes and scores with them: from 128 on bfloat16 knows whole pixels only."""
        if not self.training and not all(torch.isfinite(each).all() for maps in head_outputs.values() for each in maps):
            # a score that is not a number passes no threshold: it would look like an image without opacities
            raise NonFinitePrediction(f"NaN or infinity in boxes by {getattr(self, 'weights_file', 'the detector')}")
        head_outputs.update({name: [each.float() for each in maps] for name, maps in head_outputs.items()})
        known = self.anchors
        super().generate_anchors(images, head_outputs)
        if self.anchors is not None and self.anchors is not known:  # images of another size
            self.anchors_on_host = self.anchors[0].cpu()

    def _reshape_maps(self, result_maps: list[torch.Tensor]) -> torch.Tensor:
        """Maps (B, A * K, H, W) as (B, sum of H * W * A, K), as MONAI does it, without its look for NaN."""
        parts = [each.unflatten(1, (self.num_anchors_per_loc, -1)) for each in result_maps]
        return torch.cat([each.permute(0, 3, 4, 1, 2).flatten(1, 3) for each in parts], dim=1)

    def compute_loss(
        self,
        head_outputs_reshape: dict[str, torch.Tensor],
        targets: list[dict[str, torch.Tensor]],
        anchors: list[torch.Tensor],
        num_anchor_locs_per_level: Sequence[int],
    ) -> dict[str, torch.Tensor]:
        """MONAI's losses of the same anchors for the batch at once; several processes weigh each anchor alike.

        A logit that is not finite makes its loss NaN, sampled or not. Both heads are in the graph, boxes or not.
        """
        logits, codes = (head_outputs_reshape[name] for name in (self.cls_key, self.box_reg_key))
        boxes = [target[self.target_box_key].cpu() for target in targets]
        matches = self.compute_anchor_matched_idxs(
            [self.anchors_on_host] * len(boxes),
            [{self.target_box_key: each} for each in boxes],
            num_anchor_locs_per_level,
        )
        sample = sample_anchors(matches, boxes, self.fg_bg_sampler)  # type: ignore[arg-type]
        negatives = find_hard_negatives(logits[..., 0], sample)
        image, anchor = torch.cat([send(sample.positives, logits.device), negatives], dim=1)
        sampled = logits[image, anchor]
        classes = torch.zeros_like(sampled)
        classes[: sample.positives.shape[1]] = 1.0
        image, anchor = send(sample.foreground, codes.device)
        found = decode_boxes(
            codes[image, anchor], anchors[0][anchor], self.box_coder.weights, self.box_coder.boxes_xform_clip
        )
        losses = {
            self.cls_key: self.cls_loss_func(sampled, classes),
            # the loss of overlaps is what the score's threshold on overlaps asks for
            self.box_reg_key: measure_giou_losses(found, send(sample.boxes, codes.device)).sum() / max(1, len(found)),
        }
        ratios = compare_counts([len(sampled), len(found)], logits.device)
        return {
            name: ratio * losses[name] + 0.0 * output.sum()
            for name, ratio, output in zip(losses, ratios, (logits, codes), strict=True)
        }


def _swap_axes(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Boxes with x along columns <-> boxes with x along rows; each way is the other's inverse."""
    return {**found, "boxes": found["boxes"][:, [1, 0, 3, 2]]}
