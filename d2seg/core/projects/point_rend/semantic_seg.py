"""Semantic maps refined where two classes are near (PointRend, arXiv:1912.08193, section 5)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2seg.core.config import configurable
from d2seg.core.layers import ShapeSpec
from d2seg.core.modeling import SEM_SEG_HEADS_REGISTRY
from d2seg.core.modeling.backbone.backbone import named_shapes
from d2seg.core.modeling.losses import Losses
from d2seg.core.projects.point_rend.point_features import (
    get_uncertain_point_coords_on_grid,
    get_uncertain_point_coords_with_randomness,
    point_sample,
)
from d2seg.core.projects.point_rend.point_head import build_point_head


def calculate_uncertainty(sem_seg_logits: Tensor) -> Tensor:
    """Measure how near the two best classes are.

    Args:
        sem_seg_logits: (B, C, ...) float, of at least two classes.

    Returns:
        (B, 1, ...) float, at most 0, which is the most uncertain.
    """
    best, second = sem_seg_logits.topk(2, dim=1)[0].split(1, dim=1)
    return second - best


@SEM_SEG_HEADS_REGISTRY.register()
class PointRendSemSegHead(nn.Module):
    """A coarse head for semantic maps, and a point head that refines them.

    Args:
        coarse_sem_seg_head: Such as `SemSegFPNHead`: has ``layers``, ``losses`` and
            ``ignore_value``.
        point_head: From points' features and coarse predictions to logits.
        point_in_features: Levels that the point head reads.
        train_num_points: Points of each image that are trained on.
        oversample_ratio: See `get_uncertain_point_coords_with_randomness`.
        importance_sample_ratio: Likewise.
        subdivision_steps: How many times inference doubles the coarse map.
        subdivision_num_points: Points that each doubling refines at most.
    """

    coarse_sem_seg_head: Any

    @configurable
    def __init__(
        self,
        *,
        coarse_sem_seg_head: nn.Module,
        point_head: nn.Module,
        point_in_features: Sequence[str],
        train_num_points: int,
        oversample_ratio: float,
        importance_sample_ratio: float,
        subdivision_steps: int,
        subdivision_num_points: int,
    ) -> None:
        super().__init__()
        self.coarse_sem_seg_head = coarse_sem_seg_head
        self.point_head = point_head
        self.in_features = list(point_in_features)
        self.ignore_value: int = self.coarse_sem_seg_head.ignore_value
        self.train_num_points = train_num_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        self.subdivision_steps = subdivision_steps
        self.subdivision_num_points = subdivision_num_points

    @classmethod
    def from_config(cls, cfg: Any, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Map config keys to arguments."""
        point = cfg.MODEL.POINT_HEAD
        if point.NUM_CLASSES != cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES or point.NUM_CLASSES < 2:
            raise ValueError(
                f"MODEL.POINT_HEAD.NUM_CLASSES is {point.NUM_CLASSES}, but must be that of "
                f"MODEL.SEM_SEG_HEAD, {cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES}, and at least 2."
            )
        shapes = named_shapes("MODEL.POINT_HEAD.IN_FEATURES", point.IN_FEATURES, input_shape)
        channels = sum(one.channels or 0 for one in shapes.values())
        coarse = SEM_SEG_HEADS_REGISTRY.get(point.COARSE_SEM_SEG_HEAD_NAME)(cfg, input_shape)
        return {
            "coarse_sem_seg_head": coarse,
            "point_head": build_point_head(cfg, ShapeSpec(channels, height=1, width=1)),
            "point_in_features": point.IN_FEATURES,
            "train_num_points": point.TRAIN_NUM_POINTS,
            "oversample_ratio": point.OVERSAMPLE_RATIO,
            "importance_sample_ratio": point.IMPORTANCE_SAMPLE_RATIO,
            "subdivision_steps": point.SUBDIVISION_STEPS,
            "subdivision_num_points": point.SUBDIVISION_NUM_POINTS,
        }

    def forward(
        self, features: dict[str, Tensor], targets: Tensor | None = None
    ) -> tuple[Tensor | None, Losses]:
        """Compute losses in training, the logits otherwise.

        Args:
            features: Name -> (B, C_l, H_l, W_l).
            targets: (B, H, W) int64 classes, for training.

        Returns:
            In training None and the losses; otherwise logits (B, C, h, w), the coarse ones doubled
            ``subdivision_steps`` times, and no losses.
        """
        coarse = self.coarse_sem_seg_head.layers(features)
        if self.training:
            if targets is None:
                raise ValueError("PointRendSemSegHead needs targets in training; call eval().")
            return None, self.losses(features, coarse, targets)
        return self.subdivide(features, coarse), Losses()

    def losses(self, features: dict[str, Tensor], coarse: Tensor, targets: Tensor) -> Losses:
        """Compute the losses of the coarse head, and ``loss_sem_seg_point`` of drawn points."""
        losses = Losses(self.coarse_sem_seg_head.losses(coarse, targets))
        with torch.no_grad():
            points = get_uncertain_point_coords_with_randomness(
                coarse,
                calculate_uncertainty,
                self.train_num_points,
                self.oversample_ratio,
                self.importance_sample_ratio,
            )
            labels = point_sample(targets[:, None].to(points), points, mode="nearest")
        logits = self.point_logits(features, coarse, points)
        losses["loss_sem_seg_point"] = F.cross_entropy(
            logits, labels[:, 0].long(), ignore_index=self.ignore_value
        )
        return losses

    def point_logits(self, features: dict[str, Tensor], coarse: Tensor, points: Tensor) -> Tensor:
        """Predict points (B, P, 2), XY in [0, 1] of the map: (B, C, P) logits."""
        fine = torch.cat([point_sample(features[name], points) for name in self.in_features], dim=1)
        return self.point_head(fine, point_sample(coarse, points))

    def subdivide(self, features: dict[str, Tensor], coarse: Tensor) -> Tensor:
        """Double the coarse map (B, C, h, w), refining the uncertain points each time."""
        logits = coarse
        for _ in range(self.subdivision_steps):
            logits = F.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=False)
            cells, points = get_uncertain_point_coords_on_grid(
                calculate_uncertainty(logits), self.subdivision_num_points
            )
            refined = self.point_logits(features, coarse, points)
            index = cells[:, None].expand(-1, refined.shape[1], -1)
            logits = logits.flatten(2).scatter(2, index, refined).view_as(logits)
        return logits
