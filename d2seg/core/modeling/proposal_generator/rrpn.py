"""Region proposals that are rotated (arXiv:1703.01086)."""

from typing import Any

import torch
from torch import Tensor

from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling.box_regression import Box2BoxTransformRotated
from d2seg.core.modeling.proposal_generator.build import PROPOSAL_GENERATOR_REGISTRY
from d2seg.core.modeling.proposal_generator.rpn import RPN
from d2seg.core.ops.rotated import batched_nms_rotated
from d2seg.core.structures import Instances, RotatedBoxes, pairwise_iou_rotated


@PROPOSAL_GENERATOR_REGISTRY.register()
class RRPN(RPN):
    """`RPN` with rotated anchors, boxes and proposals; arguments as there."""

    pairwise_iou: Any = staticmethod(pairwise_iou_rotated)

    @classmethod
    def from_config(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Map config keys to arguments."""
        rpn = cfg.MODEL.RPN
        if len(rpn.BBOX_REG_WEIGHTS) != 5:
            raise ValueError(
                f"MODEL.RPN.BBOX_REG_WEIGHTS is {tuple(rpn.BBOX_REG_WEIGHTS)}, but "
                "MODEL.PROPOSAL_GENERATOR.NAME 'RRPN' needs five, the last for the angle."
            )
        return {
            **super().from_config(cfg, input_shape),
            "box2box_transform": Box2BoxTransformRotated(rpn.BBOX_REG_WEIGHTS),
        }

    @torch.no_grad()
    def predict_proposals(  # type: ignore[override]
        self,
        anchors: list[RotatedBoxes],
        pred_objectness_logits: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        image_sizes: list[tuple[int, int]],
    ) -> list[Instances]:
        """Turn predictions, per level (B, A_l) and (B, A_l, 5), into proposals of each image."""
        if self.training:
            self._require_finite(pred_objectness_logits, pred_anchor_deltas)
        return [
            self._proposals_of_image(
                anchors,
                [level[index] for level in pred_objectness_logits],
                [level[index] for level in pred_anchor_deltas],
                size_hw,
            )
            for index, size_hw in enumerate(image_sizes)
        ]

    def _proposals_of_image(
        self,
        anchors: list[RotatedBoxes],
        logits: list[Tensor],
        deltas: list[Tensor],
        size_hw: tuple[int, int],
    ) -> Instances:
        chosen, scores, levels = [], [], []
        for number, level in enumerate(anchors):
            count = min(len(level), self.pre_nms_topk[self.training])
            best, index = logits[number].topk(count)
            decoded = self.box2box_transform.apply_deltas(
                deltas[number][index], level.tensor[index]
            )
            chosen.append(decoded)
            scores.append(best)
            levels.append(torch.full_like(index, number))
        boxes, score, group = RotatedBoxes(torch.cat(chosen)), torch.cat(scores), torch.cat(levels)
        finite = torch.isfinite(boxes.tensor).all(dim=1) & torch.isfinite(score)
        boxes.clip(size_hw)
        usable = torch.nonzero(finite & boxes.nonempty(self.min_box_size))[:, 0]
        boxes, score, group = boxes[usable], score[usable], group[usable]
        keep = batched_nms_rotated(boxes.tensor, score, group, self.nms_thresh)
        keep = keep[: self.post_nms_topk[self.training]]
        return Instances(size_hw, proposal_boxes=boxes[keep], objectness_logits=score[keep])
