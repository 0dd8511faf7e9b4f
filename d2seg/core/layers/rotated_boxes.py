"""Overlap of rotated boxes under detectron2's name."""

from d2seg.core.ops.rotated import pairwise_iou_rotated

__all__ = ["pairwise_iou_rotated"]
