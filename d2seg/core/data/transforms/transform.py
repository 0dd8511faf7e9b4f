"""Every transform, detectron2's and fvcore's."""

from fvcore.transforms.transform import (
    BlendTransform,
    CropTransform,
    GridSampleTransform,
    HFlipTransform,
    NoOpTransform,
    PadTransform,
    ScaleTransform,
    Transform,
    TransformList,
    VFlipTransform,
)

from d2seg.core.data.transforms.color import ColorTransform, PILColorTransform
from d2seg.core.data.transforms.extent import ExtentTransform
from d2seg.core.data.transforms.resize import ResizeTransform
from d2seg.core.data.transforms.rotated_boxes import HFlip_rotated_box, Resize_rotated_box
from d2seg.core.data.transforms.warp import AffineTransform, RotationTransform

__all__ = [
    "AffineTransform",
    "BlendTransform",
    "ColorTransform",
    "CropTransform",
    "ExtentTransform",
    "GridSampleTransform",
    "HFlipTransform",
    "HFlip_rotated_box",
    "NoOpTransform",
    "PILColorTransform",
    "PadTransform",
    "ResizeTransform",
    "Resize_rotated_box",
    "RotationTransform",
    "ScaleTransform",
    "Transform",
    "TransformList",
    "VFlipTransform",
]
