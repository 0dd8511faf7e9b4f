"""Formats in which data sets come, and the data sets that are known by name."""

from d2seg.core.data.datasets import builtin
from d2seg.core.data.datasets.coco import (
    convert_to_coco_dict,
    convert_to_coco_json,
    load_coco_json,
    load_sem_seg,
    register_coco_instances,
)
from d2seg.core.data.datasets.coco_panoptic import (
    load_coco_panoptic_json,
    register_coco_panoptic,
    register_coco_panoptic_separated,
)
from d2seg.core.data.datasets.lvis import (
    get_lvis_instances_meta,
    load_lvis_json,
    register_lvis_instances,
)
from d2seg.core.data.datasets.pascal_voc import load_voc_instances, register_pascal_voc

__all__ = [
    "builtin",
    "convert_to_coco_dict",
    "convert_to_coco_json",
    "get_lvis_instances_meta",
    "load_coco_json",
    "load_coco_panoptic_json",
    "load_lvis_json",
    "load_sem_seg",
    "load_voc_instances",
    "register_coco_instances",
    "register_coco_panoptic",
    "register_coco_panoptic_separated",
    "register_lvis_instances",
    "register_pascal_voc",
]
