"""Anchors and the region proposal network of a deployable model."""

from typing import Any

from torch import Tensor, nn

from d2seg.core.ops.anchors import grid_anchors, level_strides
from d2seg.core.ops.proposals import flatten_deltas, flatten_logits, select_proposals
from d2seg.export.layers import fold_all


class Anchors(nn.Module):
    """The anchors of every level.

    Args:
        generator: detectron2's ``DefaultAnchorGenerator``.
    """

    def __init__(self, generator: Any) -> None:
        super().__init__()
        self.cells: list[Tensor] = [cell.clone() for cell in generator.cell_anchors]
        self.strides: list[int] = list(generator.strides)
        self.offset = float(generator.offset)
        self.measured_strides: bool = getattr(generator, "measured_strides", False)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Lay anchors over maps (1, C, H_l, W_l): (H_l * W_l * A, 4) each, XYXY pixels."""
        grids = [(one.shape[2], one.shape[3]) for one in maps]
        strides = level_strides(self.strides, grids, self.measured_strides)
        anchors: list[Tensor] = []
        for level, grid_hw in enumerate(grids):
            anchors.append(grid_anchors(self.cells[level], grid_hw, strides[level], self.offset))
        return anchors


class ProposalStage(nn.Module):
    """The region proposal network.

    Args:
        rpn: detectron2's ``RPN``.
        level_names: Names of the backbone's maps.
        aten_only: Use no torchvision operator.
    """

    def __init__(self, rpn: Any, level_names: list[str], aten_only: bool) -> None:
        super().__init__()
        head = rpn.rpn_head
        convs = [head.conv] if isinstance(head.conv, nn.Conv2d) else list(head.conv)
        self.hidden = nn.Sequential(*fold_all(convs))
        self.logits, self.deltas = fold_all([head.objectness_logits, head.anchor_deltas])
        self.levels: list[int] = [level_names.index(name) for name in rpn.in_features]
        self.anchors = Anchors(rpn.anchor_generator)
        self.weights = [float(weight) for weight in rpn.box2box_transform.weights]
        self.scale_clamp = float(rpn.box2box_transform.scale_clamp)
        self.nms_thresh = float(rpn.nms_thresh)
        self.pre_nms_topk: int = rpn.pre_nms_topk[False]
        self.post_nms_topk: int = rpn.post_nms_topk[False]
        self.min_box_size = float(rpn.min_box_size)
        self.min_side = float(getattr(rpn, "min_side", 0.0))
        self.by_probability: bool = getattr(rpn, "by_probability", False)
        self.aten_only = aten_only

    def forward(self, features: list[Tensor], size_hw: tuple[int, int]) -> Tensor:
        """Propose regions: (P, 4) XYXY pixels, by falling objectness."""
        logits: list[Tensor] = []
        deltas: list[Tensor] = []
        maps = [features[level] for level in self.levels]
        for one in maps:
            hidden = self.hidden(one)
            logits.append(flatten_logits(self.logits(hidden))[0])
            deltas.append(flatten_deltas(self.deltas(hidden))[0])
        boxes, _ = select_proposals(
            logits,
            deltas,
            self.anchors(maps),
            size_hw,
            self.weights,
            self.scale_clamp,
            self.nms_thresh,
            self.pre_nms_topk,
            self.post_nms_topk,
            self.min_box_size,
            self.aten_only,
            self.min_side,
            self.by_probability,
        )
        return boxes
