"""Every policy that detectron2 has."""

from d2seg.core.data.transforms.random_color import (
    RandomBrightness,
    RandomContrast,
    RandomLighting,
    RandomSaturation,
)
from d2seg.core.data.transforms.random_crop import (
    FixedSizeCrop,
    MinIoURandomCrop,
    RandomCrop,
    RandomCrop_CategoryAreaConstraint,
)
from d2seg.core.data.transforms.random_geometry import (
    RandomApply,
    RandomExtent,
    RandomFlip,
    RandomRotation,
)
from d2seg.core.data.transforms.random_resize import (
    RandomResize,
    Resize,
    ResizeScale,
    ResizeShortestEdge,
)

__all__ = [
    "FixedSizeCrop",
    "MinIoURandomCrop",
    "RandomApply",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomCrop_CategoryAreaConstraint",
    "RandomExtent",
    "RandomFlip",
    "RandomLighting",
    "RandomResize",
    "RandomRotation",
    "RandomSaturation",
    "Resize",
    "ResizeScale",
    "ResizeShortestEdge",
]
