"""Masks rendered point by point (PointRend, arXiv:1912.08193)."""

from d2seg.core.projects.point_rend.color_augmentation import ColorAugSSDTransform
from d2seg.core.projects.point_rend.config import add_pointrend_config
from d2seg.core.projects.point_rend.mask_head import PointRendMaskHead
from d2seg.core.projects.point_rend.roi_heads import PointRendROIHeads
from d2seg.core.projects.point_rend.semantic_seg import PointRendSemSegHead

__all__ = [
    "ColorAugSSDTransform",
    "PointRendMaskHead",
    "PointRendROIHeads",
    "PointRendSemSegHead",
    "add_pointrend_config",
]
