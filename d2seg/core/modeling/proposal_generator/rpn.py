"""Region proposal network (Faster R-CNN, arXiv:1506.01497, section 3.1)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling.anchor_generator import build_anchor_generator
from d2seg.core.modeling.backbone.backbone import named_shapes
from d2seg.core.modeling.box_regression import (
    Box2BoxTransform,
    check_box_values,
    dense_box_regression_loss,
)
from d2seg.core.modeling.ground_truth import check_boxes
from d2seg.core.modeling.losses import Losses, check_box_loss_type
from d2seg.core.modeling.matcher import Matcher, match_in_memory_bounds
from d2seg.core.modeling.proposal_generator.build import PROPOSAL_GENERATOR_REGISTRY
from d2seg.core.modeling.proposal_generator.rpn_head import (
    RPN_HEAD_REGISTRY,
    StandardRPNHead,
    build_rpn_head,
)
from d2seg.core.modeling.sampling import subsample_labels
from d2seg.core.ops.precision import at_least_single
from d2seg.core.ops.proposals import (
    all_finite,
    flatten_deltas,
    flatten_logits,
    select_proposals,
)
from d2seg.core.structures import Boxes, ImageList, Instances, pairwise_iou

__all__ = ["RPN", "RPN_HEAD_REGISTRY", "StandardRPNHead", "build_rpn_head"]


@PROPOSAL_GENERATOR_REGISTRY.register()
class RPN(nn.Module):
    """Scores anchors, refines them, and keeps the best as proposals.

    Shapes: B images, L levels, A anchors of all levels together.

    Args:
        in_features: Names of the feature levels, finest first.
        head: Predicts logits and deltas.
        anchor_generator: Lays the anchors.
        anchor_matcher: Assigns ground truth to anchors.
        box2box_transform: Encodes boxes relative to anchors.
        batch_size_per_image: Anchors of each image that enter the loss.
        positive_fraction: At most this share of them matches an object.
        pre_nms_topk: Boxes of each level that enter NMS, in training and in inference.
        post_nms_topk: Proposals of an image, in training and in inference.
        nms_thresh: IoU above which the lower-scored proposal of a level is dropped.
        min_box_size: Proposals must be wider and higher than this, in pixels.
        anchor_boundary_thresh: Anchors further outside the image than this are not trained on;
            negative for all.
        loss_weight: Weight of ``loss_rpn_cls`` and of ``loss_rpn_loc``.
        box_reg_loss_type: See `d2seg.core.modeling.losses.box_regression_loss`.
        smooth_l1_beta: Likewise.
        min_side: Proposals must be at least this wide and high, in pixels.
        rank_by: What proposals are ranked by, their ``logit`` or their ``probability``, which is
            the same for all large logits.
    """

    box2box_transform: Box2BoxTransform

    @configurable
    def __init__(
        self,
        *,
        in_features: list[str],
        head: nn.Module,
        anchor_generator: nn.Module,
        anchor_matcher: Matcher,
        box2box_transform: Box2BoxTransform,
        batch_size_per_image: int,
        positive_fraction: float,
        pre_nms_topk: tuple[int, int],
        post_nms_topk: tuple[int, int],
        nms_thresh: float = 0.7,
        min_box_size: float = 0.0,
        anchor_boundary_thresh: int = -1,
        loss_weight: dict[str, float] | float = 1.0,
        box_reg_loss_type: str = "smooth_l1",
        smooth_l1_beta: float = 0.0,
        min_side: float = 0.0,
        rank_by: str = "logit",
    ) -> None:
        super().__init__()
        check_box_loss_type("MODEL.RPN.BBOX_REG_LOSS_TYPE", box_reg_loss_type)
        check_box_values("MODEL.RPN.BBOX_REG_WEIGHTS", box2box_transform, anchor_generator)
        self.in_features = in_features
        self.rpn_head = head
        self.anchor_generator = anchor_generator
        self.anchor_matcher = anchor_matcher
        self.box2box_transform = box2box_transform
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.pre_nms_topk = {True: pre_nms_topk[0], False: pre_nms_topk[1]}
        self.post_nms_topk = {True: post_nms_topk[0], False: post_nms_topk[1]}
        self.nms_thresh = nms_thresh
        self.min_box_size = float(min_box_size)
        self.anchor_boundary_thresh = anchor_boundary_thresh
        self.loss_weight = loss_weight
        self.box_reg_loss_type = box_reg_loss_type
        self.smooth_l1_beta = smooth_l1_beta
        self.min_side = min_side
        if rank_by not in ("logit", "probability"):
            raise ValueError(
                f"MODEL.RPN.RANK_BY is '{rank_by}', but must be 'logit' or 'probability'."
            )
        self.by_probability = rank_by == "probability"

    @classmethod
    def from_config(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Map config keys to arguments."""
        rpn = cfg.MODEL.RPN
        named = named_shapes("MODEL.RPN.IN_FEATURES", rpn.IN_FEATURES, input_shape)
        shapes = list(named.values())
        return {
            "in_features": list(rpn.IN_FEATURES),
            "head": build_rpn_head(cfg, shapes),
            "anchor_generator": build_anchor_generator(cfg, shapes),
            "anchor_matcher": Matcher(
                rpn.IOU_THRESHOLDS, rpn.IOU_LABELS, allow_low_quality_matches=True
            ),
            "box2box_transform": Box2BoxTransform(rpn.BBOX_REG_WEIGHTS),
            "batch_size_per_image": rpn.BATCH_SIZE_PER_IMAGE,
            "positive_fraction": rpn.POSITIVE_FRACTION,
            "pre_nms_topk": (rpn.PRE_NMS_TOPK_TRAIN, rpn.PRE_NMS_TOPK_TEST),
            "post_nms_topk": (rpn.POST_NMS_TOPK_TRAIN, rpn.POST_NMS_TOPK_TEST),
            "nms_thresh": rpn.NMS_THRESH,
            "min_box_size": cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE,
            "anchor_boundary_thresh": rpn.BOUNDARY_THRESH,
            "loss_weight": {
                "loss_rpn_cls": rpn.LOSS_WEIGHT,
                "loss_rpn_loc": rpn.BBOX_REG_LOSS_WEIGHT * rpn.LOSS_WEIGHT,
            },
            "box_reg_loss_type": rpn.BBOX_REG_LOSS_TYPE,
            "smooth_l1_beta": rpn.SMOOTH_L1_BETA,
            "min_side": cfg.MODEL.PROPOSAL_GENERATOR.get("MIN_SIDE", 0.0),
            "rank_by": rpn.get("RANK_BY", "logit"),
        }

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        gt_instances: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Propose regions, and in training compute the losses.

        Args:
            images: B images; only their sizes are read.
            features: Name -> (B, C, H_l, W_l).
            gt_instances: For training, with ``gt_boxes``.

        Returns:
            For each image Instances with ``proposal_boxes`` and ``objectness_logits`` by falling
            logit, and the losses (empty in inference).

        Raises:
            FloatingPointError: In training, when predictions are not finite.
        """
        levels = [features[name] for name in self.in_features]
        anchors = self.anchor_generator(levels)
        logit_maps, delta_maps = self.rpn_head(levels)
        logits = [flatten_logits(at_least_single(level)) for level in logit_maps]
        box_dim = len(self.box2box_transform.weights)
        deltas = [flatten_deltas(level, box_dim) for level in delta_maps]
        losses: dict[str, Tensor] = {}
        if self.training:
            losses = self._training_losses(anchors, logits, deltas, gt_instances)
        return self.predict_proposals(anchors, logits, deltas, images.image_sizes), losses

    def _training_losses(
        self,
        anchors: list[Boxes],
        logits: list[Tensor],
        deltas: list[Tensor],
        gt_instances: list[Instances] | None,
    ) -> Losses:
        if gt_instances is None:
            raise ValueError("RPN needs gt_instances in training; call model.eval() to infer.")
        gt_labels, gt_boxes = self.label_and_sample_anchors(anchors, gt_instances)
        return self.losses(anchors, logits, gt_labels, deltas, gt_boxes)

    def predict_proposals(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        image_sizes: list[tuple[int, int]],
    ) -> list[Instances]:
        """Turn predictions, per level (B, A_l) and (B, A_l, 4), into proposals of each image."""
        if self.training:
            self._require_finite(pred_objectness_logits, pred_anchor_deltas)
        level_anchors = [boxes.tensor for boxes in anchors]
        proposals: list[Instances] = []
        for index, size_hw in enumerate(image_sizes):
            with torch.no_grad():
                boxes, logits = select_proposals(
                    [level[index] for level in pred_objectness_logits],
                    [level[index] for level in pred_anchor_deltas],
                    level_anchors,
                    size_hw,
                    self.box2box_transform.weights,
                    self.box2box_transform.scale_clamp,
                    self.nms_thresh,
                    self.pre_nms_topk[self.training],
                    self.post_nms_topk[self.training],
                    self.min_box_size,
                    min_side=self.min_side,
                    by_probability=self.by_probability,
                )
            of_image = Instances(size_hw)
            of_image.proposal_boxes = Boxes(boxes)
            of_image.objectness_logits = logits
            proposals.append(of_image)
        return proposals

    pairwise_iou = staticmethod(pairwise_iou)
    """How well boxes overlap; rotated ones differ."""

    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Choose the anchors to train on.

        Returns:
            For each image labels (A,) int8 (1 object, 0 background, -1 not used) and the matched
            ground-truth boxes (A, 4).
        """
        check_boxes(gt_instances)
        all_anchors = type(anchors[0]).cat(anchors)
        gt_labels, gt_boxes = [], []
        for instances in gt_instances:
            matches, labels = match_in_memory_bounds(
                self.anchor_matcher, self.pairwise_iou, instances.gt_boxes, all_anchors
            )
            if self.anchor_boundary_thresh >= 0:
                inside = all_anchors.inside_box(instances.image_size, self.anchor_boundary_thresh)
                labels[~inside] = -1
            gt_labels.append(self._subsample(labels))
            boxes = instances.gt_boxes.tensor
            gt_boxes.append(boxes[matches] if len(boxes) else torch.zeros_like(all_anchors.tensor))
        return gt_labels, gt_boxes

    def losses(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[Tensor],
        gt_labels: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        gt_boxes: list[Tensor],
    ) -> Losses:
        """Compute ``loss_rpn_cls`` and ``loss_rpn_loc`` over the sampled anchors (equation 1)."""
        labels = torch.stack(gt_labels)  # [B,A]
        logits = torch.cat(pred_objectness_logits, dim=1)  # [B,A]
        positive = labels == 1
        sampled = (labels >= 0).nonzero(as_tuple=True)

        objectness = F.binary_cross_entropy_with_logits(
            logits[sampled], labels[sampled].to(logits.dtype), reduction="sum"
        )
        localization = dense_box_regression_loss(
            anchors,
            self.box2box_transform,
            pred_anchor_deltas,
            gt_boxes,
            positive,
            self.box_reg_loss_type,
            self.smooth_l1_beta,
        )
        normalizer = self.batch_size_per_image * len(labels)
        losses = {
            "loss_rpn_cls": objectness / normalizer,
            "loss_rpn_loc": localization / normalizer,
        }
        metrics = {
            "rpn/num_pos_anchors": positive.sum() / len(labels),
            "rpn/num_neg_anchors": (labels == 0).sum() / len(labels),
        }
        return Losses(losses, metrics).weighted(self.loss_weight)

    def _subsample(self, labels: Tensor) -> Tensor:
        positive, negative = subsample_labels(
            labels, self.batch_size_per_image, self.positive_fraction, 0
        )
        sampled = torch.full_like(labels, -1)
        return sampled.index_fill_(0, positive, 1).index_fill_(0, negative, 0)

    @staticmethod
    def _require_finite(logits: list[Tensor], deltas: list[Tensor]) -> None:
        if not all_finite([*logits, *deltas]):
            raise FloatingPointError(
                "The RPN predicted Inf or NaN: training has diverged. Lower SOLVER.BASE_LR, "
                "lengthen SOLVER.WARMUP_ITERS or set SOLVER.CLIP_GRADIENTS.ENABLED True."
            )
