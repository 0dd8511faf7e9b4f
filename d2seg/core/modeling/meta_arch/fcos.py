"""One-stage detection without anchors (FCOS, arXiv:2006.09214, first arXiv:1904.01355)."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from fvcore.nn import giou_loss, sigmoid_focal_loss_jit
from torch import Tensor, nn

from d2seg.core.modeling.anchor_generator import DefaultAnchorGenerator
from d2seg.core.modeling.backbone import Backbone
from d2seg.core.modeling.box_regression import Box2BoxTransformLinear
from d2seg.core.modeling.losses import Losses
from d2seg.core.modeling.meta_arch.dense_detector import DenseDetector, in_anchor_order
from d2seg.core.modeling.meta_arch.fcos_head import FCOSHead, Predictions
from d2seg.core.ops.dense import best_candidates
from d2seg.core.ops.nms import batched_nms
from d2seg.core.ops.points import assign_points, centerness
from d2seg.core.structures import Boxes, ImageList, Instances

__all__ = ["FCOS", "FCOSHead"]

_FIRST_NORMALIZER = 300.0
_NORMALIZER_MOMENTUM = 0.9
_RANGE = (4.0, 8.0)
"""A level of stride s finds objects whose farthest side is 4s to 8s pixels from the point."""


class FCOS(DenseDetector):
    """Finds at every point of every level the class of its object and the way to its four sides.

    Shapes: B images, A points of all levels together, K classes; class K is background. A point is
    the middle of a square as wide as the stride of its level.

    Args:
        backbone: From images to features.
        head: From levels to class logits, distances and centerness logits, see `FCOSHead`.
        head_in_features: Names of the levels, finest first; None for all of the backbone.
        box2box_transform: Encodes boxes relative to those squares; by default in strides.
        num_classes: K.
        center_sampling_radius: Points this near the middle of an object, in strides, stand for it.
        focal_loss_alpha: As of `RetinaNet`.
        focal_loss_gamma: Likewise.
        test_score_thresh: Detections score above this; the score is the geometric mean of the
            probabilities of class and centerness.
        test_topk_candidates: Pairs of point and class of each level that enter NMS.
        test_nms_thresh: IoU above which the lower-scored detection of a class is dropped.
        max_detections_per_image: At most this many detections of an image.
        pixel_mean: Of each channel, subtracted from images.
        pixel_std: Of each channel; images are divided by it.
        **kwargs: As of `DenseDetector`.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        head: nn.Module,
        head_in_features: Sequence[str] | None = None,
        box2box_transform: Any = None,
        num_classes: int,
        center_sampling_radius: float = 1.5,
        focal_loss_alpha: float = 0.25,
        focal_loss_gamma: float = 2.0,
        test_score_thresh: float = 0.2,
        test_topk_candidates: int = 1000,
        test_nms_thresh: float = 0.6,
        max_detections_per_image: int = 100,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        **kwargs: Any,
    ) -> None:
        super().__init__(
            backbone, head, head_in_features, pixel_mean=pixel_mean, pixel_std=pixel_std, **kwargs
        )
        shapes = backbone.output_shape()
        strides = [shapes[name].stride or 1 for name in self.head_in_features]
        self.anchor_generator = DefaultAnchorGenerator(
            sizes=[[stride] for stride in strides],
            aspect_ratios=[[1.0]],
            strides=strides,
            offset=0.5,
        )
        self.box2box_transform = box2box_transform or Box2BoxTransformLinear(normalize_by_size=True)
        self.num_classes = num_classes
        self.center_sampling_radius = center_sampling_radius
        self.focal_loss_alpha = focal_loss_alpha
        self.focal_loss_gamma = focal_loss_gamma
        self.test_score_thresh = test_score_thresh
        self.test_topk_candidates = test_topk_candidates
        self.test_nms_thresh = test_nms_thresh
        self.max_detections_per_image = max_detections_per_image
        self.loss_normalizer = _FIRST_NORMALIZER

    def forward_training(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: Predictions,
        gt_instances: list[Instances],
    ) -> Losses:
        """Compute ``loss_fcos_cls``, ``loss_fcos_loc`` and ``loss_fcos_ctr``.

        Args:
            images: Not read.
            features: Per level (B, C, H_l, W_l); their sizes place the points.
            predictions: What the head returned for them.
            gt_instances: For each image, with ``gt_boxes`` and ``gt_classes``.
        """
        widths = (self.num_classes, 4, 1)
        logits, deltas, central = (
            torch.cat(in_anchor_order(maps, width), dim=1)  # [B,A,width]
            for maps, width in zip(predictions, widths, strict=True)
        )
        anchors = self.anchor_generator(features)
        labels, boxes = self.label_anchors(anchors, gt_instances)
        return self.point_losses(
            Boxes.cat(anchors), logits, torch.stack(labels), deltas, torch.stack(boxes), central
        )

    @torch.no_grad()
    def label_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Give every point its class and box.

        Args:
            anchors: The squares around the points of each level, A in all.
            gt_instances: For each image, with ``gt_boxes`` and ``gt_classes``.

        Returns:
            For each image labels (A,) int64 in [0, K], K for background, and boxes (A, 4), zeros
            for background.
        """
        ranges = _distance_ranges(anchors)
        squares = Boxes.cat(anchors)
        strides = squares.tensor[:, 2] - squares.tensor[:, 0]
        labels, boxes = [], []
        for one in gt_instances:
            rows = assign_points(
                squares.get_centers(),
                strides,
                ranges,
                one.gt_boxes.tensor,
                self.center_sampling_radius,
            )
            # One more row, which -1 points at, for background.
            classes = F.pad(one.gt_classes.to(torch.int64), (0, 1), value=self.num_classes)
            labels.append(classes[rows])
            boxes.append(F.pad(one.gt_boxes.tensor, (0, 0, 0, 1))[rows])
        return labels, boxes

    def point_losses(
        self,
        anchors: Boxes,
        logits: Tensor,
        gt_labels: Tensor,
        deltas: Tensor,
        gt_boxes: Tensor,
        centerness_logits: Tensor,
    ) -> Losses:
        """Compute the losses, divided by a running mean of the number of positive points.

        Args:
            anchors: The squares around the A points.
            logits: (B, A, K) float.
            gt_labels: (B, A) int64, see `label_anchors`.
            deltas: (B, A, 4) float.
            gt_boxes: (B, A, 4) float.
            centerness_logits: (B, A, 1) float.
        """
        positive = gt_labels != self.num_classes
        _, points = positive.nonzero(as_tuple=True)
        squares, targets = anchors.tensor[points], gt_boxes[positive]
        self._update_normalizer(len(points))
        losses = {
            "loss_fcos_cls": self._class_loss(logits, gt_labels),
            "loss_fcos_loc": giou_loss(
                self.box2box_transform.apply_deltas(deltas[positive], squares),
                targets,
                reduction="sum",
            ),
            "loss_fcos_ctr": F.binary_cross_entropy_with_logits(
                centerness_logits[positive][:, 0],
                centerness(Boxes(squares).get_centers(), targets),
                reduction="sum",
            ),
        }
        metrics = {"num_pos_anchors": len(points) / len(gt_labels)}
        return Losses(losses, metrics).weighted(1 / self.loss_normalizer)

    def _class_loss(self, logits: Tensor, gt_labels: Tensor) -> Tensor:
        target = F.one_hot(gt_labels, self.num_classes + 1)[..., :-1]
        return sigmoid_focal_loss_jit(
            logits,
            target.to(logits.dtype),
            alpha=self.focal_loss_alpha,
            gamma=self.focal_loss_gamma,
            reduction="sum",
        )

    def _update_normalizer(self, num_positive: int) -> None:
        before = _NORMALIZER_MOMENTUM * self.loss_normalizer
        self.loss_normalizer = before + (1 - _NORMALIZER_MOMENTUM) * max(num_positive, 1)

    def forward_inference(
        self, images: ImageList, features: list[Tensor], predictions: Predictions
    ) -> list[Instances]:
        """Return the detections of each image by falling score."""
        anchors = self.anchor_generator(features)
        logits = in_anchor_order(predictions[0], self.num_classes)
        deltas = in_anchor_order(predictions[1], 4)
        central = in_anchor_order(predictions[2], 1)
        results = []
        for index, size_hw in enumerate(images.image_sizes):
            scores = [
                (of_class[index].sigmoid() * of_center[index].sigmoid()).sqrt()
                for of_class, of_center in zip(logits, central, strict=True)
            ]
            results.append(
                self._select(size_hw, scores, [level[index] for level in deltas], anchors)
            )
        return results

    def _select(
        self,
        size_hw: tuple[int, int],
        scores: list[Tensor],
        deltas: list[Tensor],
        anchors: list[Boxes],
    ) -> Instances:
        """Pick the detections of one image from scores (A_l, K) and deltas (A_l, 4) per level."""
        chosen = []
        for of_level, change, squares in zip(scores, deltas, anchors, strict=True):
            best, rows, classes = best_candidates(
                of_level, self.test_score_thresh, self.test_topk_candidates
            )
            boxes = self.box2box_transform.apply_deltas(change[rows], squares.tensor[rows])
            chosen.append((boxes, best, classes))
        boxes, best, classes = (torch.cat(levels) for levels in zip(*chosen, strict=True))
        keep = batched_nms(boxes, best, classes, self.test_nms_thresh)
        keep = keep[: self.max_detections_per_image]
        return Instances(
            size_hw, pred_boxes=Boxes(boxes[keep]), scores=best[keep], pred_classes=classes[keep]
        )


def _distance_ranges(anchors: Sequence[Boxes]) -> Tensor:
    """Return (A, 2), the distances each level is made for; the first and the last are open."""
    ranges = []
    for level, boxes in enumerate(anchors):
        strides = boxes.tensor[:, 2] - boxes.tensor[:, 0]
        low = torch.zeros_like(strides) if level == 0 else _RANGE[0] * strides
        last = level == len(anchors) - 1
        high = torch.full_like(strides, math.inf) if last else _RANGE[1] * strides
        ranges.append(torch.stack([low, high], dim=1))
    return torch.cat(ranges)
