"""Anchor boxes of one feature level."""

import torch
from torch import Tensor


def cell_anchors(
    sizes: list[float], aspect_ratios: list[float], whole_pixels: bool = False
) -> Tensor:
    """List the anchors of one grid cell, centred on the origin.

    Args:
        sizes: Square roots of the anchor areas, in pixels.
        aspect_ratios: Height over width.
        whole_pixels: Round the corners to whole pixels, halves to the even one.

    Returns:
        (len(sizes) * len(aspect_ratios), 4) float32, XYXY pixels; ratios vary fastest.
    """
    rows: list[list[float]] = []
    for size in sizes:
        for ratio in aspect_ratios:
            half_width = 0.5 * (size * size / ratio) ** 0.5
            half_height = half_width * ratio
            rows.append([-half_width, -half_height, half_width, half_height])
    anchors = torch.tensor(rows)
    return anchors.round() if whole_pixels else anchors


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


def level_strides(
    strides: list[int], grids_hw: list[tuple[int, int]], measured: bool
) -> list[tuple[int, int]]:
    """Say how many pixels lie between the cells of each level, down and to the right.

    A level that halves an odd number of cells covers more than the image: its cells are then
    closer together than its nominal stride, if the image is to be shared out among them.

    Args:
        strides: Nominal strides, finest level first.
        grids_hw: Height and width of each feature map.
        measured: Share the padded image, as large as the finest map says, out among the cells of
            each level, in whole pixels; otherwise strides are the nominal ones.

    Returns:
        For each level the stride along the height and along the width.
    """
    if not measured:
        return [(stride, stride) for stride in strides]
    height, width = grids_hw[0][0] * strides[0], grids_hw[0][1] * strides[0]
    return [(height // grid[0], width // grid[1]) for grid in grids_hw]


def grid_anchors(
    cell: Tensor, grid_hw: tuple[int, int], stride_hw: tuple[int, int], offset: float
) -> Tensor:
    """Repeat the anchors of one cell over a feature map.

    Args:
        cell: (A, 4) float, XYXY pixels around the origin.
        grid_hw: Height and width of the feature map.
        stride_hw: Pixels between neighbouring cells, down and to the right.
        offset: Position of the first centre, in strides.

    Returns:
        (height * width * A, 4) float, XYXY pixels of the image, ordered (y, x, anchor).
    """
    height, width = grid_hw
    center_y = (torch.arange(height, dtype=cell.dtype, device=cell.device) + offset) * stride_hw[0]
    center_x = (torch.arange(width, dtype=cell.dtype, device=cell.device) + offset) * stride_hw[1]
    grid_y, grid_x = torch.meshgrid(center_y, center_x, indexing="ij")
    centers = torch.stack([grid_x, grid_y, grid_x, grid_y], dim=2).reshape(-1, 1, 4)
    return (centers + cell).reshape(-1, 4)
