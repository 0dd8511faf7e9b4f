"""Masks that are refined where they are uncertain (PointRend, arXiv:1912.08193)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling.backbone.backbone import named_shapes
from d2seg.core.modeling.losses import Losses, LossesOrInstances
from d2seg.core.modeling.roi_heads.mask_head import (
    ROI_MASK_HEAD_REGISTRY,
    mask_loss,
    mask_rcnn_inference,
)
from d2seg.core.projects.point_rend.coarse_mask_head import ConvFCHead
from d2seg.core.projects.point_rend.point_features import (
    generate_regular_grid_point_coords,
    get_uncertain_point_coords_on_grid,
    get_uncertain_point_coords_with_randomness,
    point_sample,
    point_sample_fine_grained_features,
    sample_point_labels,
)
from d2seg.core.projects.point_rend.point_head import build_point_head, point_loss, select_class
from d2seg.core.structures import Boxes, Instances

__all__ = ["ConvFCHead", "PointRendMaskHead", "calculate_uncertainty"]


def calculate_uncertainty(logits: Tensor, classes: Tensor) -> Tensor:
    """Measure how near to the border between inside and outside each point is.

    Args:
        logits: (R, K or 1, ...) float.
        classes: (R,) int64 in [0, K).

    Returns:
        (R, 1, ...) float, at most 0, which is the most uncertain.
    """
    return -select_class(logits, classes).abs()


@ROI_MASK_HEAD_REGISTRY.register()
class PointRendMaskHead(nn.Module):
    """A coarse mask for each box, and a point head that refines it.

    Args:
        feature_strides: Pixels from one cell to the next of each feature level.
        coarse_head: From regions (R, C, S, S), the coarse levels one after another, to mask logits
            (R, K, s, s).
        coarse_in_features: Levels that the coarse head reads.
        coarse_pooler_size: S.
        coarse_output_size: s.
        point_head: From points' features and coarse predictions to logits; None for coarse masks.
        point_in_features: Levels that the point head reads.
        train_num_points: Points of each box that are trained on.
        oversample_ratio: See `get_uncertain_point_coords_with_randomness`.
        importance_sample_ratio: Likewise.
        subdivision_steps: How many times inference doubles the side of the mask.
        subdivision_num_points: Points that each doubling refines at most.
    """

    @configurable
    def __init__(
        self,
        *,
        feature_strides: dict[str, int],
        coarse_head: nn.Module,
        coarse_in_features: Sequence[str],
        coarse_pooler_size: int,
        coarse_output_size: int,
        point_head: nn.Module | None = None,
        point_in_features: Sequence[str] = (),
        train_num_points: int = 196,
        oversample_ratio: float = 3,
        importance_sample_ratio: float = 0.75,
        subdivision_steps: int = 5,
        subdivision_num_points: int = 784,
    ) -> None:
        super().__init__()
        self.feature_strides = dict(feature_strides)
        self.coarse_head = coarse_head
        self.coarse_in_features = list(coarse_in_features)
        self.coarse_pooler_size = coarse_pooler_size
        self.coarse_output_size = coarse_output_size
        self.mask_point_on = point_head is not None
        if point_head is not None:
            self.point_head = point_head
        self.point_in_features = list(point_in_features)
        self.train_num_points = train_num_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        self.subdivision_steps = subdivision_steps
        self.subdivision_num_points = subdivision_num_points

    @classmethod
    def from_config(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Map config keys to arguments."""
        if not isinstance(input_shape, dict):
            raise ValueError(
                f"PointRendMaskHead reads the features themselves, but MODEL.ROI_MASK_HEAD."
                f"POOLER_TYPE is '{cfg.MODEL.ROI_MASK_HEAD.POOLER_TYPE}'; set it to ''."
            )
        mask, side = cfg.MODEL.ROI_MASK_HEAD, cfg.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION
        coarse = named_shapes("MODEL.ROI_MASK_HEAD.IN_FEATURES", mask.IN_FEATURES, input_shape)
        pooled = ShapeSpec(_channels(coarse), height=side, width=side)
        return {
            "feature_strides": {name: one.stride for name, one in input_shape.items()},
            "coarse_head": ConvFCHead(cfg, pooled),
            "coarse_in_features": mask.IN_FEATURES,
            "coarse_pooler_size": side,
            "coarse_output_size": mask.OUTPUT_SIDE_RESOLUTION,
            **(cls._point_arguments(cfg, input_shape) if mask.POINT_HEAD_ON else {}),
        }

    @classmethod
    def _point_arguments(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        point, regions = cfg.MODEL.POINT_HEAD, cfg.MODEL.ROI_HEADS
        if point.NUM_CLASSES != regions.NUM_CLASSES:
            raise ValueError(
                f"MODEL.POINT_HEAD.NUM_CLASSES is {point.NUM_CLASSES}, but must be that of "
                f"MODEL.ROI_HEADS, {regions.NUM_CLASSES}."
            )
        shapes = named_shapes("MODEL.POINT_HEAD.IN_FEATURES", point.IN_FEATURES, input_shape)
        return {
            "point_head": build_point_head(cfg, ShapeSpec(_channels(shapes), height=1, width=1)),
            "point_in_features": point.IN_FEATURES,
            "train_num_points": point.TRAIN_NUM_POINTS,
            "oversample_ratio": point.OVERSAMPLE_RATIO,
            "importance_sample_ratio": point.IMPORTANCE_SAMPLE_RATIO,
            "subdivision_steps": point.SUBDIVISION_STEPS,
            "subdivision_num_points": point.SUBDIVISION_NUM_POINTS,
        }

    def forward(self, features: dict[str, Tensor], instances: list[Instances]) -> LossesOrInstances:
        """Compute losses in training, masks otherwise.

        Args:
            features: Name -> (B, C_l, H_l, W_l).
            instances: Of each image; in training with ``proposal_boxes``, ``gt_classes`` and
                ``gt_masks``, otherwise with ``pred_boxes`` and ``pred_classes``.

        Returns:
            In training Losses; otherwise the instances with ``pred_masks`` (N, 1, S, S)
            probabilities added.
        """
        if self.training:
            return self.losses(features, instances)
        boxes = [one.pred_boxes for one in instances]
        logits = self.coarse_logits(features, boxes)
        if self.mask_point_on:
            classes = torch.cat([one.pred_classes for one in instances])
            logits = self.subdivide(features, boxes, classes, logits)
        mask_rcnn_inference(logits, instances)
        return instances

    def losses(self, features: dict[str, Tensor], instances: list[Instances]) -> Losses:
        """Compute ``loss_mask`` of the coarse masks and ``loss_mask_point`` of drawn points."""
        boxes = [one.proposal_boxes for one in instances]
        coarse = self.coarse_logits(features, boxes)
        losses = mask_loss(coarse, instances)
        if self.mask_point_on:
            points, labels = self._training_points(coarse, instances)
            logits = self.point_logits(features, boxes, coarse, points)
            losses.add(point_loss(logits, instances, labels))
        return losses

    @torch.no_grad()
    def _training_points(self, coarse: Tensor, instances: list[Instances]) -> tuple[Tensor, Tensor]:
        classes = torch.cat([one.gt_classes for one in instances])
        points = get_uncertain_point_coords_with_randomness(
            coarse,
            lambda logits: calculate_uncertainty(logits, classes),
            self.train_num_points,
            self.oversample_ratio,
            self.importance_sample_ratio,
        )
        return points, sample_point_labels(instances, points)

    def coarse_logits(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        """Predict coarse masks (R, K, s, s)."""
        count = sum(one.tensor.shape[0] for one in boxes)
        side = self.coarse_pooler_size
        # One sample for each cell, from all levels; RoIAlign would take one level for each box.
        grid = generate_regular_grid_point_coords(count, side, boxes[0].tensor.device)
        pooled = self._read(features, self.coarse_in_features, boxes, grid)
        return self.coarse_head(pooled.unflatten(2, (side, side)))

    def point_logits(
        self, features: dict[str, Tensor], boxes: list[Boxes], coarse: Tensor, points: Tensor
    ) -> Tensor:
        """Predict points (R, P, 2) of boxes: (R, K or 1, P) logits."""
        fine = self._read(features, self.point_in_features, boxes, points)
        return self.point_head(fine, point_sample(coarse, points))

    def _read(
        self, features: dict[str, Tensor], names: list[str], boxes: list[Boxes], points: Tensor
    ) -> Tensor:
        scales = [1 / self.feature_strides[name] for name in names]
        return point_sample_fine_grained_features(
            [features[name] for name in names], scales, boxes, points
        )[0]

    def subdivide(
        self, features: dict[str, Tensor], boxes: list[Boxes], classes: Tensor, coarse: Tensor
    ) -> Tensor:
        """Double masks until they have their full size, refining the uncertain points each time.

        As long as all points can be refined nothing of the mask before remains, so that the first
        mask is predicted at the largest such size.

        Args:
            features: Name -> (B, C_l, H_l, W_l).
            boxes: Of each image, R in all.
            classes: (R,) int64.
            coarse: (R, K, s, s) float, logits.

        Returns:
            (R, 1, S, S) float, the logits of the boxes' own classes; S = s 2 ** subdivision_steps.
        """
        side, doublings = self._first_size()
        grid = generate_regular_grid_point_coords(coarse.shape[0], side, coarse.device)
        logits = select_class(self.point_logits(features, boxes, coarse, grid), classes)
        logits = logits.unflatten(2, (side, side))
        for _ in range(doublings):
            logits = F.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=False)
            cells, points = get_uncertain_point_coords_on_grid(
                -logits.abs(), self.subdivision_num_points
            )
            refined = select_class(self.point_logits(features, boxes, coarse, points), classes)
            logits = logits.flatten(2).scatter(2, cells[:, None], refined).view_as(logits)
        return logits

    def _first_size(self) -> tuple[int, int]:
        """Return the side of the first mask and how often it is still to be doubled."""
        side, doublings = self.coarse_output_size, self.subdivision_steps
        while doublings > 0 and (2 * side) ** 2 <= self.subdivision_num_points:
            side, doublings = 2 * side, doublings - 1
        return side, doublings


def _channels(shapes: dict[str, ShapeSpec]) -> int:
    return sum(one.channels or 0 for one in shapes.values())
