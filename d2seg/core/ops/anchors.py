"""Anchor boxes of one feature level."""

import torch
from torch import Tensor


def cell_anchors(sizes: list[float], aspect_ratios: list[float]) -> Tensor:
    """List the anchors of one grid cell, centred on the origin.

    Args:
        sizes: Square roots of the anchor areas, in pixels.
        aspect_ratios: Height over width.

    Returns:
        (len(sizes) * len(aspect_ratios), 4) float32, XYXY pixels; ratios vary fastest.
    """
    rows: list[list[float]] = []
    for size in sizes:
        for ratio in aspect_ratios:
            half_width = 0.5 * (size * size / ratio) ** 0.5
            half_height = half_width * ratio
            rows.append([-half_width, -half_height, half_width, half_height])
    return torch.tensor(rows)


def rotated_cell_anchors(
    sizes: list[float], aspect_ratios: list[float], angles: list[float]
) -> Tensor:
    """List the rotated anchors of one grid cell, centred on the origin.

    Args:
        sizes: Square roots of the anchor areas, in pixels.
        aspect_ratios: Height over width.
        angles: Degrees, counter-clockwise.

    Returns:
        (len(sizes) * len(aspect_ratios) * len(angles), 5) float32; angles vary fastest.
    """
    rows: list[list[float]] = []
    for size in sizes:
        for ratio in aspect_ratios:
            width = (size * size / ratio) ** 0.5
            for angle in angles:
                rows.append([0.0, 0.0, width, width * ratio, angle])
    return torch.tensor(rows)


def grid_anchors(cell: Tensor, grid_hw: tuple[int, int], stride: int, offset: float) -> Tensor:
    """Repeat the anchors of one cell over a feature map.

    Args:
        cell: (A, 4) float, XYXY pixels around the origin.
        grid_hw: Height and width of the feature map.
        stride: Pixels between neighbouring cells.
        offset: Position of the first centre, in strides.

    Returns:
        (height * width * A, 4) float, XYXY pixels of the image, ordered (y, x, anchor).
    """
    height, width = grid_hw
    center_y = (torch.arange(height, dtype=cell.dtype, device=cell.device) + offset) * stride
    center_x = (torch.arange(width, dtype=cell.dtype, device=cell.device) + offset) * stride
    grid_y, grid_x = torch.meshgrid(center_y, center_x, indexing="ij")
    centers = torch.stack([grid_x, grid_y, grid_x, grid_y], dim=2).reshape(-1, 1, 4)
    return (centers + cell).reshape(-1, 4)
