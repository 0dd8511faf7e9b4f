"""What transforms do to rotated boxes: ``transform.apply_rotated_box(boxes)``.

A rotated box is (centre x, centre y, width, height, angle): pixels, and degrees counter-clockwise.
All functions take (N, 5) float and return a new array.
"""

import numpy as np
from fvcore.transforms.transform import (
    CropTransform,
    HFlipTransform,
    NoOpTransform,
    PadTransform,
    Transform,
    VFlipTransform,
)

from d2seg.core.data.transforms.resize import ResizeTransform
from d2seg.core.data.transforms.warp import RotationTransform


def HFlip_rotated_box(transform: Transform, rotated_boxes: np.ndarray) -> np.ndarray:
    """Mirror rotated boxes, left to right or top to bottom: the angle changes its sign.

    Args:
        transform: The flip.
        rotated_boxes: (N, 5) float.
    """
    flipped = _with_moved_centres(transform, rotated_boxes)
    flipped[:, 4] = -flipped[:, 4]
    return flipped


def Resize_rotated_box(transform: ResizeTransform, rotated_boxes: np.ndarray) -> np.ndarray:
    """Stretch rotated boxes.

    With unequal factors a rectangle would become a parallelogram; each of its sides is stretched
    along its own direction instead, and the angle is that of the stretched height.

    Args:
        transform: The change of size.
        rotated_boxes: (N, 5) float.
    """
    resized = _with_moved_centres(transform, rotated_boxes)
    scale_x, scale_y = transform.new_w / transform.w, transform.new_h / transform.h
    theta = np.radians(resized[:, 4])
    cos, sin = np.cos(theta), np.sin(theta)
    resized[:, 2] *= np.hypot(scale_x * cos, scale_y * sin)
    resized[:, 3] *= np.hypot(scale_x * sin, scale_y * cos)
    resized[:, 4] = np.degrees(np.arctan2(scale_x * sin, scale_y * cos))
    return resized


def _rotate_rotated_box(transform: RotationTransform, rotated_boxes: np.ndarray) -> np.ndarray:
    rotated = _with_moved_centres(transform, rotated_boxes)
    rotated[:, 4] += transform.angle
    return rotated


def _with_moved_centres(transform: Transform, rotated_boxes: np.ndarray) -> np.ndarray:
    moved = np.array(rotated_boxes, dtype=np.float64)
    moved[:, :2] = transform.apply_coords(moved[:, :2])
    return moved


NoOpTransform.register_type("rotated_box", lambda transform, rotated_boxes: rotated_boxes)
CropTransform.register_type("rotated_box", _with_moved_centres)
PadTransform.register_type("rotated_box", _with_moved_centres)
HFlipTransform.register_type("rotated_box", HFlip_rotated_box)
VFlipTransform.register_type("rotated_box", HFlip_rotated_box)
ResizeTransform.register_type("rotated_box", Resize_rotated_box)
RotationTransform.register_type("rotated_box", _rotate_rotated_box)
