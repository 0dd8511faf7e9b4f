"""A sequence of box heads, each trained on the boxes of the one before (arXiv:1712.00726)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling.box_regression import Box2BoxTransform, check_box_values
from d2seg.core.modeling.losses import Losses
from d2seg.core.modeling.matcher import Matcher
from d2seg.core.modeling.poolers import ROIPooler
from d2seg.core.modeling.roi_heads.base import ROI_HEADS_REGISTRY, build_pooler
from d2seg.core.modeling.roi_heads.box_head import build_box_head
from d2seg.core.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers, fast_rcnn_inference
from d2seg.core.modeling.roi_heads.standard import StandardROIHeads
from d2seg.core.structures import Boxes, Instances, pairwise_iou


@ROI_HEADS_REGISTRY.register()
class CascadeROIHeads(StandardROIHeads):
    """Box heads in sequence; masks and keypoints as in `StandardROIHeads`.

    Args:
        box_in_features: Feature levels the box heads pool from, finest first.
        box_pooler: Pools regions for all box heads.
        box_heads: One for each stage.
        box_predictors: One for each stage.
        proposal_matchers: One for each stage; the first is that of ``ROIHeads``.
        **kwargs: As of `StandardROIHeads`.
    """

    box_head: Any

    @configurable
    def __init__(
        self,
        *,
        box_in_features: list[str],
        box_pooler: ROIPooler,
        box_heads: Sequence[nn.Module],
        box_predictors: Sequence[nn.Module],
        proposal_matchers: Sequence[Matcher],
        **kwargs: Any,
    ) -> None:
        self.num_cascade_stages = len(box_heads)
        if not len(box_heads) == len(box_predictors) == len(proposal_matchers):
            raise ValueError(
                "CascadeROIHeads needs a head, a predictor and a matcher for every stage, but got "
                f"{len(box_heads)}, {len(box_predictors)} and {len(proposal_matchers)}."
            )
        super().__init__(
            box_in_features=box_in_features,
            box_pooler=box_pooler,
            box_head=nn.ModuleList(box_heads),
            box_predictor=nn.ModuleList(box_predictors),
            proposal_matcher=proposal_matchers[0],
            **kwargs,
        )
        self.proposal_matchers = list(proposal_matchers)

    @classmethod
    def from_config(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Map config keys to arguments."""
        arguments = super().from_config(cfg, input_shape)
        first = arguments.pop("proposal_matcher")
        later = cfg.MODEL.ROI_BOX_CASCADE_HEAD.IOUS[1:]
        arguments["proposal_matchers"] = [first, *(Matcher([iou], [0, 1]) for iou in later)]
        return arguments

    @classmethod
    def _init_box_head(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        _check(cfg)
        pooler, shape = build_pooler(cfg, cfg.MODEL.ROI_BOX_HEAD, input_shape)
        heads, predictors = [], []
        for weights in cfg.MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS:
            head = build_box_head(cfg, shape)
            transform = Box2BoxTransform(weights)
            check_box_values("MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS", transform)
            heads.append(head)
            predictors.append(
                FastRCNNOutputLayers(cfg, head.output_shape, box2box_transform=transform)
            )
        return {
            "box_in_features": list(cfg.MODEL.ROI_HEADS.IN_FEATURES),
            "box_pooler": pooler,
            "box_heads": heads,
            "box_predictors": predictors,
        }

    def _box_losses(
        self, features: dict[str, Tensor], proposals: list[Instances], targets: list[Instances]
    ) -> Any:
        # The stages after the first match their own boxes to the objects.
        return self._forward_box(features, proposals, targets)

    def _forward_box(
        self,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> Any:
        losses = Losses()
        probs: list[list[Tensor]] = []
        boxes: list[Tensor] = []
        for stage, predictor in enumerate(self.box_predictor):
            if stage > 0:
                proposals = self._refined_proposals(boxes, proposals)
                if self.training:
                    proposals = self._match_and_label_boxes(proposals, stage, targets or [])
            predictions = self._run_stage(features, proposals, stage)
            boxes = predictor.predict_boxes(predictions, proposals)
            if self.training:
                losses.add(Losses(predictor.losses(predictions, proposals)).of_stage(stage))
            else:
                probs.append(predictor.predict_probs(predictions, proposals))
        if self.training:
            return losses
        # All stages judge the boxes of the last one (section 4.3).
        mean = [torch.stack(of_image).mean(dim=0) for of_image in zip(*probs, strict=True)]
        return fast_rcnn_inference(
            boxes,
            mean,
            [one.image_size for one in proposals],
            predictor.test_score_thresh,
            predictor.test_nms_thresh,
            predictor.test_topk_per_image,
            predictor.test_min_side,
        )[0]

    def _run_stage(
        self, features: dict[str, Tensor], proposals: list[Instances], stage: int
    ) -> tuple[Tensor, Tensor]:
        pooled = self.box_pooler(
            [features[name] for name in self.box_in_features],
            [one.proposal_boxes for one in proposals],
        )
        # The features get the mean of the gradients of all stages, not their sum.
        pooled = _ScaleGradient.apply(pooled, 1.0 / self.num_cascade_stages)
        return self.box_predictor[stage](self.box_head[stage](pooled))

    def _refined_proposals(
        self, boxes: list[Tensor], proposals: list[Instances]
    ) -> list[Instances]:
        """Make proposals (R, 4) of the boxes that a stage predicted."""
        refined = []
        for one, tensor in zip(proposals, boxes, strict=True):
            new = Boxes(tensor.detach())
            new.clip(one.image_size)
            if self.training:
                # In inference the rows of all stages must stay the same.
                new = new[new.nonempty()]
            refined.append(Instances(one.image_size, proposal_boxes=new))
        return refined

    @torch.no_grad()
    def _match_and_label_boxes(
        self, proposals: list[Instances], stage: int, targets: list[Instances]
    ) -> list[Instances]:
        """Give all proposals the class and box of their object by the IoU of a stage."""
        for one, target in zip(proposals, targets, strict=True):
            iou = pairwise_iou(target.gt_boxes, one.proposal_boxes)
            matches, labels = self.proposal_matchers[stage](iou)
            if len(target):
                one.gt_classes = torch.where(
                    labels == 0, self.num_classes, target.gt_classes[matches]
                )
                one.gt_boxes = target.gt_boxes[matches]
            else:
                one.gt_classes = torch.full_like(matches, self.num_classes)
        return proposals


class _ScaleGradient(torch.autograd.Function):
    """Pass values through and multiply their gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0] * ctx.factor, None


def _check(cfg: Any) -> None:
    """Refuse settings that no cascade can be built from."""
    keys = cfg.MODEL.ROI_BOX_CASCADE_HEAD
    if len(keys.IOUS) != len(keys.BBOX_REG_WEIGHTS):
        raise ValueError(
            f"MODEL.ROI_BOX_CASCADE_HEAD.IOUS has {len(keys.IOUS)} stages, but BBOX_REG_WEIGHTS "
            f"{len(keys.BBOX_REG_WEIGHTS)}; give both one entry for each stage."
        )
    if not cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG:
        raise ValueError(
            "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG is False, but a cascade hands one box of "
            "each region from stage to stage; set it to True."
        )
    if list(cfg.MODEL.ROI_HEADS.IOU_THRESHOLDS) != [keys.IOUS[0]]:
        raise ValueError(
            f"MODEL.ROI_BOX_CASCADE_HEAD.IOUS begins with {keys.IOUS[0]}, but the first stage is "
            f"trained at MODEL.ROI_HEADS.IOU_THRESHOLDS {list(cfg.MODEL.ROI_HEADS.IOU_THRESHOLDS)};"
            " make them equal."
        )
