"""Typed containers for what enters and leaves a model: images, boxes, masks, instances."""

from d2seg.core.structures.box_mode import BoxMode
from d2seg.core.structures.boxes import (
    Boxes,
    pairwise_intersection,
    pairwise_ioa,
    pairwise_iou,
    pairwise_point_box_distance,
)
from d2seg.core.structures.image_list import ImageList
from d2seg.core.structures.instances import Instances
from d2seg.core.structures.keypoints import Keypoints, heatmaps_to_keypoints
from d2seg.core.structures.masks import BitMasks, PolygonMasks, ROIMasks
from d2seg.core.structures.polygons import (
    polygon_area,
    polygons_to_bitmask,
    rasterize_polygons_within_box,
)
from d2seg.core.structures.rotated_boxes import RotatedBoxes
from d2seg.core.structures.rotated_boxes import pairwise_iou as pairwise_iou_rotated

__all__ = [
    "BitMasks",
    "BoxMode",
    "Boxes",
    "ImageList",
    "Instances",
    "Keypoints",
    "PolygonMasks",
    "ROIMasks",
    "RotatedBoxes",
    "heatmaps_to_keypoints",
    "pairwise_intersection",
    "pairwise_ioa",
    "pairwise_iou",
    "pairwise_iou_rotated",
    "pairwise_point_box_distance",
    "polygon_area",
    "polygons_to_bitmask",
    "rasterize_polygons_within_box",
]
