"""Region proposals that are rotated (arXiv:1703.01086)."""

from typing import Any

import torch
from torch import Tensor

from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling.box_regression import Box2BoxTransformRotated
from d2seg.core.modeling.proposal_generator.build import PROPOSAL_GENERATOR_REGISTRY
from d2seg.core.modeling.proposal_generator.rpn import RPN
from d2seg.core.ops.proposals import all_finite
from d2seg.core.ops.rotated import batched_nms_rotated
from d2seg.core.structures import Instances, RotatedBoxes, pairwise_iou_rotated


@PROPOSAL_GENERATOR_REGISTRY.register()
class RRPN(RPN):
    """`RPN` with rotated anchors, boxes and proposals; arguments as there."""

    box2box_transform: Box2BoxTransformRotated
    pairwise_iou = staticmethod(pairwise_iou_rotated)  # type: ignore[assignment]

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
        proposals: list[Instances] = []
        for index, size_hw in enumerate(image_sizes):
            with torch.no_grad():
                of_image = self._proposals_of_image(
                    anchors,
                    [level[index] for level in pred_objectness_logits],
                    [level[index] for level in pred_anchor_deltas],
                    size_hw,
                )
            proposals.append(of_image)
        return proposals

    def _proposals_of_image(
        self,
        anchors: list[RotatedBoxes],
        logits: list[Tensor],
        deltas: list[Tensor],
        size_hw: tuple[int, int],
    ) -> Instances:
        chosen: list[Tensor] = []
        scores: list[Tensor] = []
        for number, level in enumerate(anchors):
            count = min(len(level), self.pre_nms_topk[self.training])
            best, index = logits[number].topk(count)
            decoded = self.box2box_transform.apply_deltas(
                deltas[number][index], level.tensor[index]
            )
            chosen.append(decoded)
            scores.append(best)
        return _best_after_nms(
            chosen,
            scores,
            size_hw,
            self.nms_thresh,
            self.post_nms_topk[self.training],
            self.min_box_size,
        )


def find_top_rrpn_proposals(
    proposals: list[Tensor],
    pred_objectness_logits: list[Tensor],
    image_sizes: list[tuple[int, int]],
    nms_thresh: float,
    pre_nms_topk: int,
    post_nms_topk: int,
    min_box_size: float,
    training: bool,
) -> list[Instances]:
    """Pick proposals among decoded rotated boxes; see `find_top_rpn_proposals`.

    Args:
        proposals: Per level (B, A_l, 5) float.
        pred_objectness_logits: Per level (B, A_l) float.
        image_sizes: Height and width of each image.
        nms_thresh: IoU above which the lower-scored proposal of a level is dropped.
        pre_nms_topk: Boxes of each level that enter NMS.
        post_nms_topk: Proposals of an image.
        min_box_size: Proposals must be wider and higher than this, in pixels.
        training: Whether values that are not finite are an error; otherwise they are left out.

    Returns:
        For each image Instances with ``proposal_boxes``, RotatedBoxes, and ``objectness_logits``.
    """
    if training and not all_finite([*proposals, *pred_objectness_logits]):
        raise FloatingPointError("Proposals are Inf or NaN: training has diverged.")
    results: list[Instances] = []
    for image, size_hw in enumerate(image_sizes):
        chosen: list[Tensor] = []
        scores: list[Tensor] = []
        for boxes, logits in zip(proposals, pred_objectness_logits, strict=True):
            best, index = logits[image].topk(min(logits.shape[1], pre_nms_topk))
            chosen.append(boxes[image][index])
            scores.append(best)
        results.append(
            _best_after_nms(chosen, scores, size_hw, nms_thresh, post_nms_topk, min_box_size)
        )
    return results


def _best_after_nms(
    boxes_of_levels: list[Tensor],
    scores_of_levels: list[Tensor],
    size_hw: tuple[int, int],
    nms_thresh: float,
    post_nms_topk: int,
    min_box_size: float,
) -> Instances:
    """Clip the boxes of an image, drop unusable ones, and keep the best after NMS per level."""
    levels = [
        torch.full_like(scores, float(level)).to(torch.int64)
        for level, scores in enumerate(scores_of_levels)
    ]
    boxes, score = RotatedBoxes(torch.cat(boxes_of_levels)), torch.cat(scores_of_levels)
    group = torch.cat(levels)
    finite = torch.isfinite(boxes.tensor).all(dim=1) & torch.isfinite(score)
    boxes.clip(size_hw)
    usable = torch.nonzero(finite & boxes.nonempty(min_box_size))[:, 0]
    boxes, score, group = boxes[usable], score[usable], group[usable]
    keep = batched_nms_rotated(boxes.tensor, score, group, nms_thresh)[:post_nms_topk]
    proposals = Instances(size_hw)
    proposals.proposal_boxes = boxes[keep]
    proposals.objectness_logits = score[keep]
    return proposals
