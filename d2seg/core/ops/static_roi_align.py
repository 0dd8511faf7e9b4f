"""RoIAlign from a pyramid with fixed shapes, as matrix products.

Bilinear interpolation is a row interpolation times a column interpolation, and the sample points of
a region form a grid, so its pooled cells are ``rows (P, H) @ features (H, W) @ columns (Q, W).T``.
Every region is multiplied with every level, and its weights are zero on all levels but its own:
nothing is sorted, gathered or looped over whose size depends on the image.

Legend: R regions, P x Q output cells, G samples per cell and axis, L length of an axis of the
finest level.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from d2seg.core.ops.boxes import box_area

CHUNK_VALUES = 2**22
"""About how many numbers one product of rows and features may have; more regions are pooled in
several goes."""


class Pooling(NamedTuple):
    """How regions are pooled.

    Attributes:
        output_hw: P and Q.
        scales: Per level 1 / stride, finest first.
        sampling_ratio: Samples per cell and axis; 0 takes ``ceil(length / cells)`` of them.
        aligned: Whether cell centres are at half coordinates.
        canonical_size: Square root of the area that belongs on ``canonical_level``, in pixels.
        canonical_level: log2 of the stride of the level for that area.
        max_samples: At most this many samples per cell and axis where the sampling adapts; cells
            that are longer on the map are sampled less densely than RoIAlign does.
        level_margin: By how much of a level a box may be too small for one and still be given to
            it.
    """

    output_hw: tuple[int, int]
    scales: list[float]
    sampling_ratio: int
    aligned: bool
    canonical_size: float
    canonical_level: int
    max_samples: int = 8
    level_margin: float = 0.0


def pool_by_products(features: list[Tensor], boxes: Tensor, pooling: Pooling) -> Tensor:
    """Pool each box from the level that fits its size.

    Args:
        features: Per level (1, C, H_l, W_l) float, finest first.
        boxes: (R, 4) float, XYXY pixels; finite.
        pooling: See :class:`Pooling`.

    Returns:
        (R, C, P, Q) float, in the order of ``boxes``.
    """
    members = level_members(boxes, pooling)  # (R, levels)
    scale = members @ torch.tensor(pooling.scales, device=boxes.device)  # (R,)
    corners = boxes * scale[:, None] - (0.5 if pooling.aligned else 0.0)
    lengths = corners[:, 2:] - corners[:, :2]
    if not pooling.aligned:
        lengths = lengths.clamp(min=1.0)
    heights = torch.tensor([float(one.shape[2]) for one in features], device=boxes.device)
    widths = torch.tensor([float(one.shape[3]) for one in features], device=boxes.device)
    rows = _axis_weights(
        corners[:, 1], lengths[:, 1], members @ heights, features[0].shape[2], 0, pooling
    )
    columns = _axis_weights(
        corners[:, 0], lengths[:, 0], members @ widths, features[0].shape[3], 1, pooling
    )
    pooled = [
        _pool_level(feature, rows * members[:, level, None, None], columns)
        for level, feature in enumerate(features)
    ]
    return torch.stack(pooled).sum(dim=0) if len(pooled) > 1 else pooled[0]


def level_members(boxes: Tensor, pooling: Pooling) -> Tensor:
    """Choose the pyramid level for each box by comparing its area with the limits of the levels.

    Args:
        boxes: (R, 4) float, XYXY pixels.
        pooling: See :class:`Pooling`.

    Returns:
        (R, levels) float, 1 for the level of the box and 0 for the others.
    """
    finest = round(-math.log2(pooling.scales[0]))
    coarser = [finest + index for index in range(1, len(pooling.scales))]
    first = pooling.canonical_level + pooling.level_margin
    sides = [pooling.canonical_size * 2.0 ** (one - first) for one in coarser]
    limits = torch.tensor([side * side for side in sides], device=boxes.device)
    reached = (box_area(boxes)[:, None] >= limits[None]).to(boxes.dtype)  # (R, levels - 1)
    edge = torch.ones_like(boxes[:, :1])
    return torch.cat([edge, reached], dim=1) - torch.cat([reached, edge * 0.0], dim=1)


def _axis_weights(
    start: Tensor, length: Tensor, size: Tensor, longest: int, axis: int, pooling: Pooling
) -> Tensor:
    """Weigh the entries of one axis of the map for every region and output cell.

    Args:
        start: (R,) float, where each region begins on this axis, in cells of its level.
        length: (R,) float, how long it is.
        size: (R,) float, how long the axis is on its level.
        longest: L.
        axis: 0 for rows, 1 for columns.
        pooling: See :class:`Pooling`.

    Returns:
        (R, S, L) float with S cells along the axis, averaged over the samples; as in RoIAlign, a
        sample more than a cell off the map counts as zero, one less off takes the border's value.
    """
    cells = pooling.output_hw[axis]
    cell = length / cells
    samples = _num_samples(longest, cells, pooling)
    if pooling.sampling_ratio > 0:
        count = torch.full_like(cell, samples)
    else:
        count = cell.ceil().clamp(min=0.0, max=samples)
    step = cell / count.clamp(min=1.0)
    sample = torch.arange(samples, dtype=start.dtype, device=start.device)
    output = torch.arange(cells, dtype=start.dtype, device=start.device)
    first = start[:, None] + output * cell[:, None]  # (R, S)
    position = first[:, :, None] + ((sample + 0.5) * step[:, None])[:, None]  # (R, S, G)
    end = size[:, None, None]
    counted = ((sample < count[:, None])[:, None] & (position >= -1.0) & (position <= end)).to(
        start.dtype
    )
    share = counted / count.clamp(min=1.0)[:, None, None]
    position = position.clamp(min=0.0).minimum(end - 1.0)
    entry = torch.arange(longest, dtype=start.dtype, device=start.device)
    hat = (1.0 - (position[..., None] - entry).abs()).clamp(min=0.0)  # (R, S, G, L)
    weights = torch.bmm(share.reshape(-1, 1, samples), hat.reshape(-1, samples, longest))
    return weights.reshape(-1, cells, longest)


def _num_samples(longest: int, cells: int, pooling: Pooling) -> int:
    """Return G: no region inside the image has more samples, unless there is a limit."""
    if pooling.sampling_ratio > 0:
        return pooling.sampling_ratio
    return min(max(math.ceil(longest / cells), 1), pooling.max_samples)


def _pool_level(feature: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Multiply (1, C, H, W) with rows (R, P, L) and columns (R, Q, L): (R, C, P, Q)."""
    channels, height, width = feature.shape[1:]
    cells = rows.shape[1]
    flat = feature[0].permute(1, 2, 0).reshape(height, width * channels)
    size = max(CHUNK_VALUES // (cells * width * channels), 1)
    pooled = []
    for start in range(0, rows.shape[0], size):
        row, column = rows[start : start + size, :, :height], columns[start : start + size]
        # A batch of one: XNNPACK takes products of two computed matrices in that form only.
        by_row = torch.bmm(row.reshape(1, -1, height), flat[None])  # (1, R * P, W * C)
        by_row = by_row.reshape(-1, width, channels)
        spread = column[:, None, :, :width].expand(-1, cells, -1, -1)
        pooled.append(torch.bmm(spread.reshape(by_row.shape[0], -1, width), by_row))
    cells_last = torch.cat(pooled).reshape(rows.shape[0], cells, columns.shape[1], channels)
    return cells_last.permute(0, 3, 1, 2)
