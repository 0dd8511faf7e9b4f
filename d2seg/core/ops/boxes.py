"""Areas, clipping and overlaps of axis-aligned boxes."""

import torch
from torch import Tensor


def box_area(boxes: Tensor) -> Tensor:
    """Compute the area of each box.

    Args:
        boxes: (..., 4) float, XYXY absolute pixels.

    Returns:
        (...) float, square pixels.
    """
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def clip_boxes(boxes: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Clip boxes to an image, out of place.

    Args:
        boxes: (..., 4) float, XYXY absolute pixels.
        size_hw: Image height and width in pixels.

    Returns:
        Same shape; x in [0, width], y in [0, height].
    """
    height, width = size_hw
    x = boxes[..., 0::2].clamp(min=0, max=width)
    y = boxes[..., 1::2].clamp(min=0, max=height)
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], dim=-1)


def nonempty(boxes: Tensor, threshold: float = 0.0) -> Tensor:
    """Tell which boxes are wider and higher than ``threshold`` pixels.

    Args:
        boxes: (..., 4) float, XYXY absolute pixels.
        threshold: Width and height must both exceed this.

    Returns:
        (...) bool.
    """
    width = boxes[..., 2] - boxes[..., 0]
    height = boxes[..., 3] - boxes[..., 1]
    return (width > threshold) & (height > threshold)


def at_least(boxes: Tensor, side: float) -> Tensor:
    """Tell which boxes are at least ``side`` pixels wide and high: (...) bool.

    Args:
        boxes: (..., 4) float, XYXY absolute pixels.
        side: Pixels.
    """
    width = boxes[..., 2] - boxes[..., 0]
    height = boxes[..., 3] - boxes[..., 1]
    return (width >= side) & (height >= side)


def large_enough(boxes: Tensor, above: float, side: float) -> Tensor:
    """Tell which boxes are :func:`nonempty`, and :func:`at_least` of a side if it is not 0.

    Args:
        boxes: (..., 4) float, XYXY absolute pixels.
        above: Width and height must both exceed this, in pixels.
        side: Width and height must both be this or more, in pixels.

    Returns:
        (...) bool.
    """
    large = nonempty(boxes, above)
    if side > 0:
        large = large & at_least(boxes, side)
    return large


def scale_boxes(boxes: Tensor, scale_x: float, scale_y: float) -> Tensor:
    """Multiply box coordinates by a factor per axis, out of place.

    Args:
        boxes: (N, 4) float, XYXY.
        scale_x: Factor of both x coordinates.
        scale_y: Factor of both y coordinates.
    """
    x, y = boxes[..., 0::2] * scale_x, boxes[..., 1::2] * scale_y
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], dim=-1)


def pairwise_intersection(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """Compute the overlap area of every pair.

    Args:
        boxes_a: (..., N, 4) float, XYXY absolute pixels.
        boxes_b: (..., M, 4) float, XYXY absolute pixels.

    Returns:
        (..., N, M) float, square pixels; 0 where boxes do not overlap.
    """
    # One coordinate at a time: reducing (N, M, 2) tensors is slower.
    left_a, top_a, right_a, bottom_a = boxes_a.unsqueeze(-1).unbind(dim=-2)  # [...,N,1] each
    left_b, top_b, right_b, bottom_b = boxes_b.unsqueeze(-3).unbind(dim=-1)  # [...,1,M] each
    width = torch.min(right_a, right_b) - torch.max(left_a, left_b)  # [...,N,M]
    height = torch.min(bottom_a, bottom_b) - torch.max(top_a, top_b)  # [...,N,M]
    return width.clamp(min=0) * height.clamp(min=0)


def pairwise_iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """Compute intersection over union of every pair.

    Args:
        boxes_a: (N, 4) float, XYXY absolute pixels.
        boxes_b: (M, 4) float, XYXY absolute pixels.

    Returns:
        (N, M) float in [0, 1]; 0 for pairs without overlap, two empty boxes included.
    """
    intersection = pairwise_intersection(boxes_a, boxes_b)
    union = box_area(boxes_a)[:, None] + box_area(boxes_b) - intersection
    return torch.where(intersection > 0, intersection / union, torch.zeros_like(intersection))
