"""The stages of a static model: those of the dynamic one, with lists of fixed length between."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from d2seg.core.ops.masks import mask_probabilities
from d2seg.core.ops.proposals import flatten_deltas, flatten_logits
from d2seg.core.ops.static_keypoints import decode_fixed_heatmaps
from d2seg.core.ops.static_nms import keep_by_steps, suppression_matrix
from d2seg.core.ops.static_roi_align import Pooling, pool_by_products
from d2seg.core.ops.static_selection import (
    clip_to_limits,
    select_fixed_detections,
    select_fixed_proposals,
)
from d2seg.export.proposals import Anchors, ProposalStage
from d2seg.export.regions import BoxStage, KeypointStage, MaskStage, Regions, average_steps

NUM_CANDIDATES = 1000
"""How many pairs of a region and a class enter the NMS of the detections."""


PROPOSAL_STEPS = 24
"""Steps of the NMS of the proposals; more than the chains of overlaps in real images are long."""

BOX_STEPS = 16
"""Likewise of the detections."""


class Found(NamedTuple):
    """Detections of one image, by falling score.

    Attributes:
        boxes: (D, 4) float, XYXY pixels.
        scores: (D,) float.
        classes: (D,) int64.
        counted: (D,) bool; the others are zeros.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    counted: Tensor


class MatrixNms(nn.Module):
    """Non-maximum suppression as a fixed number of matrix products.

    Args:
        iou_threshold: Boxes that overlap a better one by more than this are dropped.
        steps: How often to update which boxes are kept.
    """

    def __init__(self, iou_threshold: float, steps: int) -> None:
        super().__init__()
        self.iou_threshold = iou_threshold
        self.steps = steps

    def forward(self, boxes: Tensor, usable: Tensor, groups: Tensor | None = None) -> Tensor:
        """Keep boxes (..., N, 4) in falling rank, usable (..., N): (..., N) float 0 or 1."""
        matrix = suppression_matrix(boxes, self.iou_threshold, groups)
        return keep_by_steps(matrix, usable, self.steps)


class FixedAnchors(nn.Module):
    """The anchors of every level, for one size of image.

    Args:
        anchors: Lays them out.
        grids_hw: Height and width of each level.
    """

    def __init__(self, anchors: Anchors, grids_hw: list[tuple[int, int]]) -> None:
        super().__init__()
        self.count = len(grids_hw)
        maps = [torch.zeros(1, 1, *grid_hw) for grid_hw in grids_hw]
        for index, level in enumerate(anchors(maps)):
            self.register_buffer(f"level_{index}", level)

    def forward(self) -> list[Tensor]:
        """Return (H_l * W_l * A, 4) for each level, XYXY pixels."""
        return [self.get_buffer(f"level_{index}") for index in range(self.count)]


class StaticRegions(nn.Module):
    """Features of regions, pooled by matrix products.

    Args:
        regions: The dynamic form; its layers are shared.
    """

    def __init__(self, regions: Regions) -> None:
        super().__init__()
        pooler = regions.pooler
        self.levels = pooler.levels
        self.pooling = Pooling(
            pooler.output_hw,
            pooler.scales,
            pooler.sampling_ratio,
            pooler.aligned,
            pooler.canonical_size,
            pooler.canonical_level,
            level_margin=pooler.level_margin,
        )
        self.trunk = regions.trunk

    def forward(self, features: list[Tensor], boxes: Tensor) -> Tensor:
        """Map boxes (R, 4), XYXY pixels, to (R, C, h, w)."""
        maps = [features[level] for level in self.levels]
        pooled: Tensor = self.trunk(pool_by_products(maps, boxes, self.pooling))
        return pooled


class StaticProposalStage(nn.Module):
    """The region proposal network for one size of image.

    Args:
        stage: The dynamic stage; its layers are shared.
        grids_hw: Height and width of each map of the backbone.
    """

    def __init__(self, stage: ProposalStage, grids_hw: list[tuple[int, int]]) -> None:
        super().__init__()
        self.hidden, self.logits, self.deltas = stage.hidden, stage.logits, stage.deltas
        self.levels, self.weights = stage.levels, stage.weights
        self.scale_clamp = stage.scale_clamp
        self.min_box_size, self.min_side = stage.min_box_size, stage.min_side
        self.pre_nms_topk, self.post_nms_topk = stage.pre_nms_topk, stage.post_nms_topk
        self.nms = MatrixNms(stage.nms_thresh, PROPOSAL_STEPS)
        self.anchors = FixedAnchors(stage.anchors, [grids_hw[level] for level in self.levels])

    def forward(self, features: list[Tensor], limits: Tensor) -> tuple[Tensor, Tensor]:
        """Propose regions: (P, 4) XYXY pixels, by falling objectness, and (P,) which count."""
        hidden = [self.hidden(features[level]) for level in self.levels]
        return select_fixed_proposals(
            [flatten_logits(self.logits(one))[0] for one in hidden],
            [flatten_deltas(self.deltas(one))[0] for one in hidden],
            self.anchors(),
            limits,
            self.weights,
            self.scale_clamp,
            self.nms,
            self.pre_nms_topk,
            self.post_nms_topk,
            self.min_box_size,
            self.min_side,
        )


class StaticBoxStage(nn.Module):
    """Classification and refinement of the proposals, in one step or in a cascade.

    Args:
        stage: The dynamic stage; its layers are shared.
    """

    def __init__(self, stage: BoxStage) -> None:
        super().__init__()
        self.regions, self.heads = StaticRegions(stage.regions), stage.heads
        self.score_thresh, self.topk = stage.score_thresh, stage.topk
        self.min_side = stage.min_side
        self.nms = MatrixNms(stage.nms_thresh, BOX_STEPS)

    def forward(
        self, features: list[Tensor], boxes: Tensor, counted: Tensor, limits: Tensor
    ) -> Found:
        """Turn proposals (P, 4), of which ``counted`` (P,) count, into detections."""
        judged = []
        for step, head in enumerate(self.heads):
            if step > 0:
                boxes = clip_to_limits(boxes, limits)
            boxes, probs = head(self.regions(features, boxes), boxes)
            judged.append(probs)
        probs = average_steps(judged)
        found = select_fixed_detections(
            boxes,
            probs,
            counted,
            limits,
            self.score_thresh,
            self.nms,
            self.topk,
            max(NUM_CANDIDATES, self.topk),
            self.min_side,
        )
        return Found(*found)


class StaticMaskStage(nn.Module):
    """Masks of the detected boxes.

    Args:
        stage: The dynamic stage; its layers are shared.
    """

    def __init__(self, stage: MaskStage) -> None:
        super().__init__()
        self.regions, self.layers = StaticRegions(stage.regions), stage.layers

    def forward(self, features: list[Tensor], boxes: Tensor, classes: Tensor) -> Tensor:
        """Segment boxes (D, 4) of classes (D,): probabilities (D, 1, h, w)."""
        return mask_probabilities(self.layers(self.regions(features, boxes)), classes)


class StaticKeypointStage(nn.Module):
    """Keypoints of the detected boxes.

    Args:
        stage: The dynamic stage; its layers are shared.
        canvas_hw: No box is higher or wider than this.
    """

    def __init__(self, stage: KeypointStage, canvas_hw: tuple[int, int]) -> None:
        super().__init__()
        self.regions, self.canvas_hw = StaticRegions(stage.regions), canvas_hw
        # Apart from the last, which gives the scores: quantisation goes by the names of layers.
        self.layers, self.heatmaps = stage.layers[:-1], stage.layers[-1]
        self.score_is_logit = stage.score_column == 2

    def forward(self, features: list[Tensor], boxes: Tensor) -> Tensor:
        """Find the points in boxes (D, 4): (D, K, 3) x, y in pixels, and a score."""
        low = self.heatmaps(self.layers(self.regions(features, boxes)))
        heatmaps = torch.ops.aten.upsample_bilinear2d(low, None, False, [2.0, 2.0])
        return decode_fixed_heatmaps(heatmaps, boxes, self.canvas_hw, self.score_is_logit)


def grid_sizes(
    backbone: nn.Module, size_hw: tuple[int, int], channels: int
) -> list[tuple[int, int]]:
    """Find the height and width of each map of a backbone for images of one size."""
    with torch.inference_mode():
        features = backbone(torch.zeros(1, channels, *size_hw))
    return [(int(one.shape[2]), int(one.shape[3])) for one in features]
