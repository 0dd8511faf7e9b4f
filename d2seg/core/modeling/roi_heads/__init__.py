"""Networks from regions to boxes, classes, masks and keypoints."""

from d2seg.core.modeling.roi_heads.base import (
    ROI_HEADS_REGISTRY,
    ROIHeads,
    build_roi_heads,
    select_foreground_proposals,
    select_proposals_with_visible_keypoints,
)
from d2seg.core.modeling.roi_heads.box_head import (
    ROI_BOX_HEAD_REGISTRY,
    FastRCNNConvFCHead,
    build_box_head,
)
from d2seg.core.modeling.roi_heads.cascade_rcnn import CascadeROIHeads
from d2seg.core.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from d2seg.core.modeling.roi_heads.keypoint_head import (
    ROI_KEYPOINT_HEAD_REGISTRY,
    BaseKeypointRCNNHead,
    KRCNNConvDeconvUpsampleHead,
    build_keypoint_head,
)
from d2seg.core.modeling.roi_heads.mask_head import (
    ROI_MASK_HEAD_REGISTRY,
    BaseMaskRCNNHead,
    MaskRCNNConvUpsampleHead,
    build_mask_head,
)
from d2seg.core.modeling.roi_heads.res5 import Res5ROIHeads
from d2seg.core.modeling.roi_heads.rotated_fast_rcnn import RROIHeads
from d2seg.core.modeling.roi_heads.standard import StandardROIHeads

__all__ = [
    "ROI_BOX_HEAD_REGISTRY",
    "ROI_HEADS_REGISTRY",
    "ROI_KEYPOINT_HEAD_REGISTRY",
    "ROI_MASK_HEAD_REGISTRY",
    "BaseKeypointRCNNHead",
    "BaseMaskRCNNHead",
    "CascadeROIHeads",
    "FastRCNNConvFCHead",
    "FastRCNNOutputLayers",
    "KRCNNConvDeconvUpsampleHead",
    "MaskRCNNConvUpsampleHead",
    "ROIHeads",
    "RROIHeads",
    "Res5ROIHeads",
    "StandardROIHeads",
    "build_box_head",
    "build_keypoint_head",
    "build_mask_head",
    "build_roi_heads",
    "select_foreground_proposals",
    "select_proposals_with_visible_keypoints",
]
