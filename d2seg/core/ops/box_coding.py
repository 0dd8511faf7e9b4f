"""Boxes as regression targets relative to other boxes (R-CNN, arXiv:1311.2524, appendix C).

Weights stay numbers: as a tensor they would be copied to the device, which waits for it.
"""

import torch
from torch import Tensor


def encode_boxes(source: Tensor, target: Tensor, weights: list[float]) -> Tensor:
    """Express each target box relative to its source box.

    Args:
        source: (N, 4) float, XYXY pixels, wider and higher than 0.
        target: (N, 4) float, XYXY pixels.
        weights: Factors of (dx, dy, dw, dh).

    Returns:
        (N, 4) float (dx, dy, dw, dh): centre shift in source sizes, log size ratio, each weighted.
    """
    source_size = source[:, 2:] - source[:, :2]
    target_size = target[:, 2:] - target[:, :2]
    source_center = source[:, :2] + 0.5 * source_size
    target_center = target[:, :2] + 0.5 * target_size
    shift = (target_center - source_center) / source_size
    deltas = torch.cat([shift, torch.log(target_size / source_size)], dim=1)
    return torch.stack([deltas[:, index] * weights[index] for index in range(4)], dim=1)


def decode_boxes(deltas: Tensor, boxes: Tensor, weights: list[float], scale_clamp: float) -> Tensor:
    """Apply deltas to boxes, the inverse of `encode_boxes`.

    Args:
        deltas: (N, 4K) float; K sets of (dx, dy, dw, dh) for each box.
        boxes: (N, 4) float, XYXY pixels.
        weights: Factors that the deltas carry.
        scale_clamp: Upper bound of dw and dh, so that exp() stays finite.

    Returns:
        (N, 4K) float, XYXY pixels, not clipped to an image.
    """
    # The product, not -1, names the second size: it is known where N = 0 too.
    grouped = deltas.float().reshape(deltas.shape[0], deltas.shape[1] // 4, 4)  # [N,K,4]
    boxes = boxes.to(grouped.dtype)[:, None, :]  # [N,1,4]
    size = boxes[..., 2:] - boxes[..., :2]
    center = boxes[..., :2] + 0.5 * size
    grouped = torch.stack([grouped[..., index] / weights[index] for index in range(4)], dim=2)
    new_center = grouped[..., :2] * size + center
    new_half = 0.5 * (torch.exp(grouped[..., 2:].clamp(max=scale_clamp)) * size)
    decoded = torch.cat([new_center - new_half, new_center + new_half], dim=2)
    return decoded.reshape(deltas.shape[0], deltas.shape[1])
