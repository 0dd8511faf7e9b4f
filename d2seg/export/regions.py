"""What a deployable model does with regions: pool them, classify and refine, mask, find points."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from d2seg.core.ops.box_coding import decode_boxes
from d2seg.core.ops.boxes import clip_boxes
from d2seg.core.ops.detections import select_detections
from d2seg.core.ops.keypoints import decode_heatmaps
from d2seg.core.ops.masks import mask_probabilities
from d2seg.export.layers import Pooler, fold_all, plain_convolution
from d2seg.export.residual import residual_stage


class Regions(nn.Module):
    """Features of regions: pooled, and in C4 models taken through ``res5``.

    Args:
        pooler: detectron2's ``ROIPooler``.
        levels: Which of the backbone's maps it pools from, finest first.
        aten_only: Use no torchvision operator.
        res5: detectron2's blocks; None for models that pool and no more.
    """

    def __init__(
        self, pooler: Any, levels: list[int], aten_only: bool, res5: nn.Sequential | None = None
    ) -> None:
        super().__init__()
        self.pooler = Pooler(pooler, levels, aten_only)
        self.trunk = nn.Sequential() if res5 is None else residual_stage(res5)

    def forward(self, features: list[Tensor], boxes: Tensor) -> Tensor:
        """Map boxes (R, 4), XYXY pixels, to (R, C, h, w)."""
        return self.trunk(self.pooler(features, boxes))


class BoxHead(nn.Module):
    """Classifies regions and refines their boxes.

    Args:
        head: detectron2's ``FastRCNNConvFCHead``; None to average the region, as C4 models do.
        predictor: detectron2's ``FastRCNNOutputLayers``.
    """

    def __init__(self, head: Any, predictor: Any) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_box_layers(head))
        self.cls_score = copy.deepcopy(predictor.cls_score)
        self.bbox_pred = copy.deepcopy(predictor.bbox_pred)
        self.weights = [float(weight) for weight in predictor.box2box_transform.weights]
        self.scale_clamp = float(predictor.box2box_transform.scale_clamp)
        self.independent_classes: bool = predictor.use_sigmoid_ce

    def forward(self, pooled: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Map (R, C, h, w) and (R, 4) to boxes (R, 4K) or (R, 4) and probabilities (R, K + 1)."""
        hidden = self.layers(pooled)
        logits = self.cls_score(hidden)
        probs = logits.sigmoid() if self.independent_classes else logits.softmax(dim=1)
        refined = decode_boxes(self.bbox_pred(hidden), boxes, self.weights, self.scale_clamp)
        return refined, probs


def _box_layers(head: Any) -> list[nn.Module]:
    if head is None:
        return [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    layers = fold_all(head.conv_norm_relus) + [nn.Flatten()]
    for linear in head.fcs:
        layers += [copy.deepcopy(linear), nn.ReLU()]
    return layers


class BoxStage(nn.Module):
    """Turns proposals into detections by one box head, or by a cascade (arXiv:1712.00726).

    Args:
        heads: One for each step of the cascade.
        predictor: The last one's ``FastRCNNOutputLayers``, for its thresholds.
        regions: Pools for all of them.
        aten_only: Use no torchvision operator.
    """

    def __init__(
        self, heads: list[BoxHead], predictor: Any, regions: Regions, aten_only: bool
    ) -> None:
        super().__init__()
        self.regions = regions
        self.heads = nn.ModuleList(heads)
        self.score_thresh = float(predictor.test_score_thresh)
        self.nms_thresh = float(predictor.test_nms_thresh)
        self.topk: int = predictor.test_topk_per_image
        self.min_side = float(getattr(predictor, "test_min_side", 0.0))
        self.aten_only = aten_only

    def forward(
        self, features: list[Tensor], boxes: Tensor, size_hw: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Turn proposals (P, 4) into boxes (N, 4), scores (N,) and classes (N,)."""
        judged: list[Tensor] = []
        for step, head in enumerate(self.heads):
            if step > 0:
                boxes = clip_boxes(boxes, size_hw)
            boxes, probs = head(self.regions(features, boxes), boxes)
            judged.append(probs)
        probs = average_steps(judged)
        chosen, scores, classes, _ = select_detections(
            boxes,
            probs,
            size_hw,
            self.score_thresh,
            self.nms_thresh,
            self.topk,
            self.aten_only,
            self.min_side,
        )
        return chosen, scores, classes


def average_steps(judged: list[Tensor]) -> Tensor:
    """Average the probabilities of the steps of a cascade, which all judge the last one's boxes."""
    return judged[0] if len(judged) == 1 else torch.stack(judged).mean(dim=0)


class MaskStage(nn.Module):
    """Masks of the detected boxes.

    Args:
        head: detectron2's ``MaskRCNNConvUpsampleHead``.
        regions: Pools for it.
    """

    def __init__(self, head: Any, regions: Regions) -> None:
        super().__init__()
        self.regions = regions
        self.layers = nn.Sequential(
            *fold_all(head.conv_norm_relus),
            copy.deepcopy(head.deconv),
            nn.ReLU(),
            *fold_all([head.predictor]),
        )

    def forward(self, features: list[Tensor], boxes: Tensor, classes: Tensor) -> Tensor:
        """Segment boxes (N, 4) of classes (N,): probabilities (N, 1, h, w)."""
        return mask_probabilities(self.layers(self.regions(features, boxes)), classes)


class KeypointStage(nn.Module):
    """Keypoints of the detected boxes.

    Args:
        head: detectron2's ``KRCNNConvDeconvUpsampleHead``.
        regions: Pools for it.
    """

    def __init__(self, head: Any, regions: Regions) -> None:
        super().__init__()
        self.regions = regions
        layers: list[nn.Module] = []
        for conv in head.children():
            if isinstance(conv, nn.Conv2d):
                layers += [plain_convolution(conv), nn.ReLU()]
        self.layers = nn.Sequential(*layers, copy.deepcopy(head.score_lowres))
        self.score_column = 2 if getattr(head, "score_is_logit", False) else 3

    def forward(self, features: list[Tensor], boxes: Tensor) -> Tensor:
        """Find the points in boxes (N, 4): (N, K, 3) x, y in pixels, and a score."""
        low = self.layers(self.regions(features, boxes))
        # The operator itself: F.interpolate would bring every other kind of resizing along.
        heatmaps = torch.ops.aten.upsample_bilinear2d(low, None, False, [2.0, 2.0])
        points = decode_heatmaps(heatmaps, boxes)
        score = points[:, :, self.score_column : self.score_column + 1]
        return torch.cat([points[:, :, :2], score], dim=2)
