"""Registering data sets in COCO's formats, under a path that scripts use."""

from d2seg.core.data.datasets.coco import register_coco_instances
from d2seg.core.data.datasets.coco_panoptic import register_coco_panoptic_separated

__all__ = ["register_coco_instances", "register_coco_panoptic_separated"]
