"""One-stage detection with a loss for rare objects (RetinaNet, arXiv:1708.02002)."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from fvcore.nn import sigmoid_focal_loss_jit
from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.layers import CycleBatchNormList, ShapeSpec, get_norm
from d2seg.core.modeling.anchor_generator import build_anchor_generator
from d2seg.core.modeling.backbone import build_backbone
from d2seg.core.modeling.backbone.backbone import named_shapes
from d2seg.core.modeling.box_regression import Box2BoxTransform, check_box_values
from d2seg.core.modeling.ground_truth import check_boxes, check_classes
from d2seg.core.modeling.losses import Losses, box_regression_loss, check_box_loss_type
from d2seg.core.modeling.matcher import Matcher, match_in_memory_bounds
from d2seg.core.modeling.meta_arch.build import META_ARCH_REGISTRY
from d2seg.core.modeling.meta_arch.dense_detector import (
    DenseDetector,
    in_anchor_order,
    permute_to_N_HWA_K,
)
from d2seg.core.ops.dense import select_dense_detections
from d2seg.core.structures import Boxes, ImageList, Instances, pairwise_iou

__all__ = ["RetinaNet", "RetinaNetHead", "permute_to_N_HWA_K"]

_FIRST_NORMALIZER = 100.0
_NORMALIZER_MOMENTUM = 0.9


@META_ARCH_REGISTRY.register()
class RetinaNet(DenseDetector):
    """Classifies and refines the anchors of every level.

    Shapes: B images, A anchors of all levels together, K classes; class K is background.

    Args:
        anchor_generator: Lays the anchors.
        box2box_transform: Encodes boxes relative to anchors.
        anchor_matcher: Assigns ground truth to anchors.
        num_classes: K.
        focal_loss_alpha: Weight of objects against background (section 3.1).
        focal_loss_gamma: How much the loss of well-classified anchors is reduced (equation 4).
        smooth_l1_beta: See `d2seg.core.modeling.losses.box_regression_loss`.
        box_reg_loss_type: Likewise.
        test_score_thresh: Detections score above this.
        test_topk_candidates: Pairs of anchor and class of each level that enter NMS.
        test_nms_thresh: IoU above which the lower-scored detection of a class is dropped.
        max_detections_per_image: At most this many detections of an image.
        **kwargs: As of `DenseDetector`.
    """

    @configurable
    def __init__(
        self,
        *,
        anchor_generator: nn.Module,
        box2box_transform: Box2BoxTransform,
        anchor_matcher: Matcher,
        num_classes: int,
        focal_loss_alpha: float = 0.25,
        focal_loss_gamma: float = 2.0,
        smooth_l1_beta: float = 0.0,
        box_reg_loss_type: str = "smooth_l1",
        test_score_thresh: float = 0.05,
        test_topk_candidates: int = 1000,
        test_nms_thresh: float = 0.5,
        max_detections_per_image: int = 100,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_box_loss_type("MODEL.RETINANET.BBOX_REG_LOSS_TYPE", box_reg_loss_type)
        check_box_values("MODEL.RETINANET.BBOX_REG_WEIGHTS", box2box_transform, anchor_generator)
        self.anchor_generator = anchor_generator
        self.box2box_transform = box2box_transform
        self.anchor_matcher = anchor_matcher
        self.num_classes = num_classes
        self.focal_loss_alpha = focal_loss_alpha
        self.focal_loss_gamma = focal_loss_gamma
        self.smooth_l1_beta = smooth_l1_beta
        self.box_reg_loss_type = box_reg_loss_type
        self.test_score_thresh = test_score_thresh
        self.test_topk_candidates = test_topk_candidates
        self.test_nms_thresh = test_nms_thresh
        self.max_detections_per_image = max_detections_per_image
        self.loss_normalizer = _FIRST_NORMALIZER

    @classmethod
    def from_config(cls, cfg: Any) -> dict[str, Any]:
        """Map config keys to arguments."""
        keys = cfg.MODEL.RETINANET
        _check(cfg)
        backbone = build_backbone(cfg)
        named = named_shapes(
            "MODEL.RETINANET.IN_FEATURES", keys.IN_FEATURES, backbone.output_shape()
        )
        shapes = list(named.values())
        return {
            "backbone": backbone,
            "head": RetinaNetHead(cfg, shapes),
            "head_in_features": list(keys.IN_FEATURES),
            "anchor_generator": build_anchor_generator(cfg, shapes),
            "box2box_transform": Box2BoxTransform(keys.BBOX_REG_WEIGHTS),
            "anchor_matcher": Matcher(
                keys.IOU_THRESHOLDS, keys.IOU_LABELS, allow_low_quality_matches=True
            ),
            "num_classes": keys.NUM_CLASSES,
            "focal_loss_alpha": keys.FOCAL_LOSS_ALPHA,
            "focal_loss_gamma": keys.FOCAL_LOSS_GAMMA,
            "smooth_l1_beta": keys.SMOOTH_L1_LOSS_BETA,
            "box_reg_loss_type": keys.BBOX_REG_LOSS_TYPE,
            "test_score_thresh": keys.SCORE_THRESH_TEST,
            "test_topk_candidates": keys.TOPK_CANDIDATES_TEST,
            "test_nms_thresh": keys.NMS_THRESH_TEST,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            **cls.image_arguments(cfg),
        }

    def forward_training(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: tuple[list[Tensor], list[Tensor]],
        gt_instances: list[Instances],
    ) -> Losses:
        """Compute ``loss_cls`` and ``loss_box_reg``.

        Args:
            images: Not read.
            features: Per level (B, C, H_l, W_l); their sizes place the anchors.
            predictions: What the head returned for them.
            gt_instances: For each image, with ``gt_boxes`` and ``gt_classes``.
        """
        logits = in_anchor_order(predictions[0], self.num_classes)
        deltas = in_anchor_order(predictions[1], 4)
        anchors = self.anchor_generator(features)
        labels, boxes = self.label_anchors(anchors, gt_instances)
        return self.losses(anchors, logits, labels, deltas, boxes)

    @torch.no_grad()
    def label_anchors(
        self, anchors: Boxes | list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Give every anchor its class and box.

        Args:
            anchors: A anchors, in one or by levels.
            gt_instances: For each image, with ``gt_boxes`` and ``gt_classes``.

        Returns:
            For each image labels (A,) int64 in [-1, K], -1 for those that do not count and K for
            background, and boxes (A, 4), zeros without objects.
        """
        check_boxes(gt_instances)
        check_classes(gt_instances, self.num_classes, "MODEL.RETINANET.NUM_CLASSES")
        all_anchors = anchors if isinstance(anchors, Boxes) else Boxes.cat(anchors)
        labels, boxes = [], []
        for one in gt_instances:
            matches, kinds = match_in_memory_bounds(
                self.anchor_matcher, pairwise_iou, one.gt_boxes, all_anchors
            )
            if len(one):
                classes = one.gt_classes[matches].to(torch.int64)
                matched = one.gt_boxes.tensor[matches]
            else:
                classes = torch.full_like(matches, self.num_classes)
                matched = torch.zeros_like(all_anchors.tensor)
            classes = torch.where(kinds == 0, self.num_classes, classes)
            labels.append(torch.where(kinds == -1, -1, classes))
            boxes.append(matched)
        return labels, boxes

    def losses(
        self,
        anchors: list[Boxes],
        pred_logits: list[Tensor],
        gt_labels: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        gt_boxes: list[Tensor],
    ) -> Losses:
        """Compute both losses, divided by a running mean of the number of positive anchors.

        Args:
            anchors: Of each level, A in all.
            pred_logits: Per level (B, A_l, K) float.
            gt_labels: For each image (A,) int64, see `label_anchors`.
            pred_anchor_deltas: Per level (B, A_l, 4) float.
            gt_boxes: For each image (A, 4) float.
        """
        logits = torch.cat(pred_logits, dim=1)  # [B,A,K]
        deltas = torch.cat(pred_anchor_deltas, dim=1)  # [B,A,4]
        labels = torch.stack(gt_labels)  # [B,A]
        positive = (labels >= 0) & (labels != self.num_classes)
        counted = labels >= 0
        count = positive.sum()
        self.loss_normalizer = _NORMALIZER_MOMENTUM * self.loss_normalizer + (
            1 - _NORMALIZER_MOMENTUM
        ) * max(int(count), 1)
        target = F.one_hot(labels[counted], self.num_classes + 1)[:, :-1]
        classification = sigmoid_focal_loss_jit(
            logits[counted],
            target.to(logits.dtype),
            alpha=self.focal_loss_alpha,
            gamma=self.focal_loss_gamma,
            reduction="sum",
        )
        image, anchor = positive.nonzero(as_tuple=True)
        source, matched = Boxes.cat(anchors).tensor[anchor], torch.stack(gt_boxes)[image, anchor]
        chosen = deltas[positive]
        localization = box_regression_loss(
            chosen,
            self.box2box_transform.apply_deltas(chosen, source),
            self.box2box_transform.get_deltas(source, matched),
            matched,
            self.box_reg_loss_type,
            self.smooth_l1_beta,
        )
        losses = {
            "loss_cls": classification / self.loss_normalizer,
            "loss_box_reg": localization / self.loss_normalizer,
        }
        return Losses(losses, {"num_pos_anchors": count / len(labels)})

    def forward_inference(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: tuple[list[Tensor], list[Tensor]],
    ) -> list[Instances]:
        """Return the detections of each image by falling score."""
        anchors = [boxes.tensor for boxes in self.anchor_generator(features)]
        logits = in_anchor_order(predictions[0], self.num_classes)
        deltas = in_anchor_order(predictions[1], 4)
        results = []
        for index, size_hw in enumerate(images.image_sizes):
            boxes, scores, classes = select_dense_detections(
                [level[index].sigmoid() for level in logits],
                [level[index] for level in deltas],
                anchors,
                self.box2box_transform.weights,
                self.box2box_transform.scale_clamp,
                self.test_score_thresh,
                self.test_topk_candidates,
                self.test_nms_thresh,
                self.max_detections_per_image,
            )
            fields = {"pred_boxes": Boxes(boxes), "scores": scores, "pred_classes": classes}
            results.append(Instances(size_hw, **fields))
        return results


class RetinaNetHead(nn.Module):
    """Two towers of 3x3 convolutions, shared by all levels, to classes and boxes (figure 3).

    Args:
        input_shape: Of each level; all have the same channels.
        num_classes: K.
        num_anchors: Anchors of each cell, the same for every level.
        conv_dims: Channels of each convolution of a tower.
        norm: As of `d2seg.core.layers.get_norm`; batch norms keep statistics for each level.
        prior_prob: Score of every class before training (section 4.1).
    """

    @configurable
    def __init__(
        self,
        *,
        input_shape: Sequence[ShapeSpec],
        num_classes: int,
        num_anchors: int,
        conv_dims: Sequence[int],
        norm: str | Callable[[int], nn.Module] = "",
        prior_prob: float = 0.01,
    ) -> None:
        super().__init__()
        channels = input_shape[0].channels or 0
        levels = len(input_shape)
        self.cls_subnet = _tower(channels, conv_dims, norm, levels)
        self.bbox_subnet = _tower(channels, conv_dims, norm, levels)
        width = conv_dims[-1] if conv_dims else channels
        self.cls_score = nn.Conv2d(width, num_anchors * num_classes, 3, padding=1)
        self.bbox_pred = nn.Conv2d(width, num_anchors * 4, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)
        nn.init.constant_(self.cls_score.bias, -math.log((1 - prior_prob) / prior_prob))  # type: ignore[arg-type]

    @classmethod
    def from_config(cls, cfg: Any, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """Map config keys to arguments."""
        channels = {shape.channels for shape in input_shape}
        if len(channels) != 1:
            raise ValueError(
                f"MODEL.RETINANET.IN_FEATURES have {sorted(map(str, channels))} channels, but need "
                "equal ones."
            )
        counts = set(build_anchor_generator(cfg, input_shape).num_anchors)  # type: ignore[arg-type]
        if len(counts) != 1:
            raise ValueError(
                f"MODEL.ANCHOR_GENERATOR gives {sorted(counts)} anchors for the cells of different "
                "levels, but RetinaNet needs as many on every level."
            )
        return {
            "input_shape": input_shape,
            "num_classes": cfg.MODEL.RETINANET.NUM_CLASSES,
            "num_anchors": counts.pop(),
            "conv_dims": [channels.pop()] * cfg.MODEL.RETINANET.NUM_CONVS,
            "norm": cfg.MODEL.RETINANET.NORM,
            "prior_prob": cfg.MODEL.RETINANET.PRIOR_PROB,
        }

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Predict from features (B, C, H_l, W_l) of each level.

        Returns:
            Per level class logits (B, A * K, H_l, W_l) and deltas (B, A * 4, H_l, W_l).
        """
        logits = [self.cls_score(self.cls_subnet(x)) for x in features]
        deltas = [self.bbox_pred(self.bbox_subnet(x)) for x in features]
        return logits, deltas


def _tower(channels: int, widths: Sequence[int], norm: Any, num_levels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in widths:
        layers.append(nn.Conv2d(channels, width, 3, padding=1))
        if norm in ("BN", "SyncBN"):
            # The levels differ in their statistics: each has its own.
            kind = nn.BatchNorm2d if norm == "BN" else nn.SyncBatchNorm
            layers.append(CycleBatchNormList(length=num_levels, bn_class=kind, num_features=width))
        elif norm:
            layers.append(get_norm(norm, width))  # type: ignore[arg-type]
        layers.append(nn.ReLU())
        channels = width
    return nn.Sequential(*layers)


def _check(cfg: Any) -> None:
    """Refuse heads that RetinaNet does not have, and to detect nothing."""
    if cfg.MODEL.RETINANET.NUM_CLASSES < 1:
        raise ValueError(
            f"MODEL.RETINANET.NUM_CLASSES is {cfg.MODEL.RETINANET.NUM_CLASSES}, but must be at "
            "least 1; the background is not counted."
        )
    for key in ("MASK_ON", "KEYPOINT_ON"):
        if cfg.MODEL[key]:
            raise ValueError(
                f"MODEL.{key} is True, but MODEL.META_ARCHITECTURE 'RetinaNet' detects boxes only; "
                "set it to False, or use 'GeneralizedRCNN'."
            )
