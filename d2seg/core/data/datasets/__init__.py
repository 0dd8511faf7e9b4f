"""Formats in which data sets come."""

from d2seg.core.data.datasets.coco import load_coco_json, register_coco_instances

__all__ = ["load_coco_json", "register_coco_instances"]
