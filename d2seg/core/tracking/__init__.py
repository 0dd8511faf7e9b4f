"""Following objects through the frames of a video, by their boxes."""

from d2seg.core.tracking.base_tracker import (
    TRACKER_HEADS_REGISTRY,
    BaseTracker,
    build_tracker_head,
)
from d2seg.core.tracking.bbox_iou_tracker import BBoxIOUTracker
from d2seg.core.tracking.hungarian_tracker import BaseHungarianTracker
from d2seg.core.tracking.iou_weighted_hungarian_bbox_iou_tracker import (
    IOUWeightedHungarianBBoxIOUTracker,
)
from d2seg.core.tracking.utils import create_prediction_pairs
from d2seg.core.tracking.vanilla_hungarian_bbox_iou_tracker import VanillaHungarianBBoxIOUTracker

__all__ = [
    "TRACKER_HEADS_REGISTRY",
    "BBoxIOUTracker",
    "BaseHungarianTracker",
    "BaseTracker",
    "IOUWeightedHungarianBBoxIOUTracker",
    "VanillaHungarianBBoxIOUTracker",
    "build_tracker_head",
    "create_prediction_pairs",
]
