"""Rotated boxes as regression targets relative to other rotated boxes (arXiv:1703.01086)."""

import math

import torch
from torch import Tensor


def encode_rotated_boxes(source: Tensor, target: Tensor, weights: list[float]) -> Tensor:
    """Express each target box relative to its source box.

    Args:
        source: (N, 5) float, wider and higher than 0, angles in degrees.
        target: (N, 5) float.
        weights: Factors of (dx, dy, dw, dh, da).

    Returns:
        (N, 5) float: centre shift in source sizes, log size ratio, and the turn by the shorter way
        in radians; each weighted.
    """
    shift = (target[:, :2] - source[:, :2]) / source[:, 2:4]
    ratio = torch.log(target[:, 2:4] / source[:, 2:4])
    turn = torch.deg2rad((target[:, 4:] - source[:, 4:] + 180.0) % 360.0 - 180.0)
    deltas = torch.cat([shift, ratio, turn], dim=1)
    return torch.stack([deltas[:, index] * weights[index] for index in range(5)], dim=1)


def decode_rotated_boxes(
    deltas: Tensor, boxes: Tensor, weights: list[float], scale_clamp: float
) -> Tensor:
    """Apply deltas to boxes, the inverse of `encode_rotated_boxes`.

    Args:
        deltas: (N, 5K) float; K sets of (dx, dy, dw, dh, da) for each box.
        boxes: (N, 5) float.
        weights: Factors that the deltas carry.
        scale_clamp: Upper bound of dw and dh, so that exp() stays finite.

    Returns:
        (N, 5K) float; angles in [-180, 180).
    """
    grouped = deltas.float().reshape(deltas.shape[0], deltas.shape[1] // 5, 5)  # [N,K,5]
    grouped = torch.stack([grouped[..., index] / weights[index] for index in range(5)], dim=2)
    boxes = boxes.to(grouped.dtype)[:, None]  # [N,1,5]
    center = grouped[..., :2] * boxes[..., 2:4] + boxes[..., :2]
    size = torch.exp(grouped[..., 2:4].clamp(max=scale_clamp)) * boxes[..., 2:4]
    angle = grouped[..., 4:] * (180.0 / math.pi) + boxes[..., 4:]
    angle = (angle + 180.0) % 360.0 - 180.0
    return torch.cat([center, size, angle], dim=2).reshape(deltas.shape[0], deltas.shape[1])
