"""Which object a place in the image stands for, and how central it is (FCOS, arXiv:2006.09214)."""

import torch
from torch import Tensor


def assign_points(
    points_xy: Tensor, strides: Tensor, ranges: Tensor, gt_boxes: Tensor, radius: float
) -> Tensor:
    """Give each point the smallest object that it can stand for (section 2.1 and 2.2).

    A point can stand for an object when it is inside its box, near its middle, and the farthest
    side of the box is at a distance that the level of the point is made for.

    Args:
        points_xy: (A, 2) float, XY pixels.
        strides: (A,) float, pixels between the points of each one's level.
        ranges: (A, 2) float, the distances in pixels between which, both left out, the farthest
            side may be.
        gt_boxes: (M, 4) float, XYXY pixels.
        radius: How near the middle, in strides and along either axis; 0 for anywhere in the box.

    Returns:
        (A,) int64 in [-1, M): the row of the box, -1 for none.
    """
    if gt_boxes.shape[0] == 0:
        return torch.full_like(points_xy[:, 0], -1, dtype=torch.int64)
    sides = _distances(points_xy, gt_boxes)  # [A,M,4]
    farthest = sides.amax(dim=2)
    possible = (sides.amin(dim=2) > 0) & (farthest > ranges[:, :1]) & (farthest < ranges[:, 1:])
    if radius > 0:
        middles = (gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2
        offsets = (points_xy[:, None] - middles[None]).abs().amax(dim=2)  # [A,M]
        possible &= offsets < radius * strides[:, None]
    extents = gt_boxes[:, 2:] - gt_boxes[:, :2]
    areas = extents[:, 0] * extents[:, 1]
    least, rows = torch.where(possible, areas[None], torch.inf).min(dim=1)
    return torch.where(least < torch.inf, rows, -1)


def centerness(points_xy: Tensor, boxes: Tensor) -> Tensor:
    """Measure how near the middle of its box each point is (equation 3).

    Args:
        points_xy: (N, 2) float, XY pixels, inside the boxes.
        boxes: (N, 4) float, XYXY pixels.

    Returns:
        (N,) float in [0, 1], 1 in the middle and 0 on the border.
    """
    left, top, right, bottom = _distances(points_xy, boxes[:, None])[:, 0].unbind(dim=1)
    horizontal = torch.minimum(left, right) / torch.maximum(left, right)
    vertical = torch.minimum(top, bottom) / torch.maximum(top, bottom)
    return (horizontal * vertical).clamp(min=0).sqrt()


def _distances(points_xy: Tensor, boxes: Tensor) -> Tensor:
    """Measure (A, M, 4) from points (A, 2) to the left, top, right, bottom of (M or A, M, 4)."""
    points = points_xy[:, None]  # [A,1,2]
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], dim=2)
