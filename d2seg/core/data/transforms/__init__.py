"""Geometric changes of images and of what is annotated on them; the base classes are fvcore's."""

from fvcore.transforms.transform import HFlipTransform, NoOpTransform, Transform, TransformList

from d2seg.core.data.transforms.augmentation import Augmentation, ResizeShortestEdge
from d2seg.core.data.transforms.resize import ResizeTransform

__all__ = [
    "Augmentation",
    "HFlipTransform",
    "NoOpTransform",
    "ResizeShortestEdge",
    "ResizeTransform",
    "Transform",
    "TransformList",
]
