"""The stages of a static model: those of the dynamic one, with lists of fixed length between."""

from typing import Any

import torch
from torch import Tensor, nn

from d2seg.core.ops.anchors import grid_anchors
from d2seg.core.ops.box_coding import decode_boxes
from d2seg.core.ops.proposals import flatten_deltas, flatten_logits
from d2seg.core.ops.static_nms import keep_by_steps, suppression_matrix
from d2seg.core.ops.static_roi_align import Pooling, pool_by_products
from d2seg.core.ops.static_selection import select_fixed_detections, select_fixed_proposals
from d2seg.export.deployable import BoxStage, MaskStage, ProposalStage
from d2seg.export.layers import Pooler

NUM_CANDIDATES = 1000
"""How many pairs of a region and a class enter the NMS of the detections."""


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
        """Keep boxes (N, 4) in falling rank, usable (N,), of groups (N,): (N,) float 0 or 1."""
        matrix = suppression_matrix(boxes, self.iou_threshold, groups)
        return keep_by_steps(matrix, usable, self.steps)


class StaticPooler(nn.Module):
    """Region pooling by matrix products, with the settings of a dynamic pooler."""

    def __init__(self, pooler: Pooler) -> None:
        super().__init__()
        self.levels = pooler.levels
        self.pooling = Pooling(
            pooler.output_hw,
            pooler.scales,
            pooler.sampling_ratio,
            pooler.aligned,
            pooler.canonical_size,
            pooler.canonical_level,
        )

    def forward(self, features: list[Tensor], boxes: Tensor) -> Tensor:
        """Pool boxes (R, 4), XYXY pixels, from the levels (1, C, H_l, W_l): (R, C, h, w)."""
        return pool_by_products([features[level] for level in self.levels], boxes, self.pooling)


class StaticProposalStage(nn.Module):
    """The region proposal network for one size of image.

    Args:
        stage: The dynamic stage; its layers are shared.
        grids_hw: Height and width of each of its levels.
        steps: Of the non-maximum suppression.
    """

    def __init__(self, stage: ProposalStage, grids_hw: list[tuple[int, int]], steps: int) -> None:
        super().__init__()
        self.hidden, self.logits, self.deltas = stage.hidden, stage.logits, stage.deltas
        self.levels, self.weights = stage.levels, stage.weights
        self.scale_clamp, self.min_box_size = stage.scale_clamp, stage.min_box_size
        self.pre_nms_topk, self.post_nms_topk = stage.pre_nms_topk, stage.post_nms_topk
        self.nms = MatrixNms(stage.nms_thresh, steps)
        for index, (cell, stride) in enumerate(zip(stage.cells, stage.strides, strict=True)):
            anchors = grid_anchors(cell, grids_hw[index], stride, stage.offset)
            self.register_buffer(f"anchors_{index}", anchors)

    def forward(self, features: list[Tensor], limits: Tensor) -> tuple[Tensor, Tensor]:
        """Propose regions: (P, 4) XYXY pixels, by falling objectness, and (P,) which count."""
        hidden = [self.hidden(features[level]) for level in self.levels]
        return select_fixed_proposals(
            [flatten_logits(self.logits(one))[0] for one in hidden],
            [flatten_deltas(self.deltas(one))[0] for one in hidden],
            [self.get_buffer(f"anchors_{index}") for index in range(len(hidden))],
            limits,
            self.weights,
            self.scale_clamp,
            self.nms,
            self.pre_nms_topk,
            self.post_nms_topk,
            self.min_box_size,
        )


class StaticBoxStage(nn.Module):
    """Classification and refinement of the proposals.

    Args:
        stage: The dynamic stage; its layers are shared.
        steps: Of the non-maximum suppression.
    """

    def __init__(self, stage: BoxStage, steps: int) -> None:
        super().__init__()
        self.pooler = StaticPooler(stage.pooler)
        self.head, self.cls_score, self.bbox_pred = stage.head, stage.cls_score, stage.bbox_pred
        self.weights, self.scale_clamp = stage.weights, stage.scale_clamp
        self.score_thresh, self.topk = stage.score_thresh, stage.topk
        self.independent_classes = stage.independent_classes
        self.nms = MatrixNms(stage.nms_thresh, steps)

    def forward(
        self, features: list[Tensor], regions: Tensor, counted: Tensor, limits: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Turn regions (P, 4) into boxes (D, 4), scores (D,), classes (D,) and which count (D,)."""
        hidden = self.head(self.pooler(features, regions))
        logits = self.cls_score(hidden)
        probs = logits.sigmoid() if self.independent_classes else logits.softmax(dim=1)
        boxes = decode_boxes(self.bbox_pred(hidden), regions, self.weights, self.scale_clamp)
        return select_fixed_detections(
            boxes,
            probs,
            counted,
            limits,
            self.score_thresh,
            self.nms,
            self.topk,
            max(NUM_CANDIDATES, self.topk),
        )


class StaticMaskStage(nn.Module):
    """Masks of the detected boxes.

    Args:
        stage: The dynamic stage; its layers are shared.
    """

    def __init__(self, stage: MaskStage) -> None:
        super().__init__()
        self.pooler = StaticPooler(stage.pooler)
        self.head = stage.head

    def forward(self, features: list[Tensor], boxes: Tensor, classes: Tensor) -> Tensor:
        """Segment boxes (D, 4) of classes (D,): probabilities (D, 1, h, w)."""
        logits = self.head(self.pooler(features, boxes))
        rows = torch.arange(logits.shape[0], device=logits.device)
        chosen = logits if logits.shape[1] == 1 else logits[rows, classes][:, None]
        return chosen.sigmoid()


def grid_sizes(pyramid: nn.Module, size_hw: tuple[int, int], channels: int) -> list[Any]:
    """Find the height and width of each level of a pyramid for images of one size."""
    with torch.inference_mode():
        features = pyramid(torch.zeros(1, channels, *size_hw))
    return [(int(one.shape[2]), int(one.shape[3])) for one in features]
