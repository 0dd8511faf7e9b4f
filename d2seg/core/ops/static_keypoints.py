"""Keypoints from heat maps with fixed shapes: the peak is enlarged, not the whole map.

:func:`d2seg.core.ops.keypoints.decode_heatmaps` enlarges each map to the pixels of its box, whose
number depends on the image. Here only a window around the highest cell is enlarged, as a product of
two matrices of interpolation weights. It is as large as :data:`WINDOW_VALUES` allows, and holds at
least a cell and a half on each side of the peak. A box that fits it is read exactly.

Legend: N boxes, K keypoints, S cells along a side of a map, V and U rows and columns of the window.
"""

import math

import torch
from torch import Tensor

from d2seg.core.ops.static_selection import UNUSABLE

WINDOW_VALUES = 2**23
"""About how many pixels the windows of all keypoints may have together; the memory goes with it."""
CELLS = 3
"""How many cells of a map the window covers in the largest box."""
SHARPNESS = -0.75
"""The free parameter of bicubic interpolation, as torch has it (Keys 1981)."""
BORDER = 2
"""Cells beyond the border that interpolation reaches; they repeat the last one."""


def decode_fixed_heatmaps(
    heatmaps: Tensor, boxes: Tensor, longest_hw: tuple[int, int], score_is_logit: bool = False
) -> Tensor:
    """Read keypoints off their heat maps.

    Args:
        heatmaps: (N, K, S, S) float logits.
        boxes: (N, 4) float, XYXY pixels; narrower than a pixel counts as one.
        longest_hw: No box is higher or wider than this, in pixels.
        score_is_logit: Give the logit at the peak as the score.

    Returns:
        (N, K, 3) float: x and y in pixels, and a score: the softmax over the pixels, but with the
        sum over the cells of the map before enlargement. Where two places of a map are nearly as
        high, it may be the other one than ``decode_heatmaps`` chooses.
    """
    count, points, cells = heatmaps.shape[:3]
    size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1.0)  # [N,2] width, height
    pixels = size.ceil()
    padded = _repeat_border(heatmaps).flatten(0, 1)  # [N*K,S+4,S+4]
    row, column = _peak(padded)
    row, column = row.reshape(count, points), column.reshape(count, points)
    height, width = window_size(count * points, cells, longest_hw)
    top, rows, rows_inside = _window(row, pixels[:, 1:], cells, height)
    left, columns, columns_inside = _window(column, pixels[:, :1], cells, width)
    by_row = torch.bmm(rows.flatten(0, 1), padded)  # [N*K,V,S+4]
    enlarged = torch.bmm(by_row, columns.flatten(0, 1).transpose(1, 2))  # [N*K,V,U]
    inside = (rows_inside[..., :, None] & columns_inside[..., None, :]).flatten(0, 1)
    logit, place = torch.where(inside, enlarged, UNUSABLE).flatten(1).max(dim=1)  # [N*K]
    down, right = _split(place.reshape(count, points), columns.shape[2])
    scale = size / pixels
    x = (left + right + 0.5) * scale[:, :1] + boxes[:, :1]
    y = (top + down + 0.5) * scale[:, 1:] + boxes[:, 1:2]
    if score_is_logit:
        return torch.stack([x, y, logit.reshape(count, points)], dim=2)
    flat = heatmaps.flatten(2)
    highest = flat.amax(dim=2, keepdim=True)  # subtracted, so that no exponential is infinite
    total = (flat - highest).exp().sum(dim=2)
    score = (logit.reshape(count, points) - highest[..., 0]).exp() / total
    return torch.stack([x, y, score], dim=2)


def window_size(maps: int, cells: int, longest_hw: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width of the window, in pixels.

    Args:
        maps: How many windows there are.
        cells: S.
        longest_hw: No box is higher or wider than this.
    """
    side = math.isqrt(WINDOW_VALUES // max(maps, 1))
    height, width = (
        min(longest, max(side, CELLS * math.ceil(longest / cells) + 1)) for longest in longest_hw
    )
    return height, width


def _peak(padded: Tensor) -> tuple[Tensor, Tensor]:
    """Find the highest of the corners of cells: row and column (M,), in cells.

    Heads enlarge their map to twice its size as the last step, so that its peaks are there.

    Args:
        padded: (M, S + 4, S + 4) float.
    """
    corners = _between(_between(padded, 1), 2)  # [M,S+1,S+1]
    _, place = corners.flatten(1).max(dim=1)
    row, column = _split(place, corners.shape[2])
    return row - 0.5, column - 0.5


def _between(maps: Tensor, axis: int) -> Tensor:
    """Interpolate half way between the cells of an axis, which loses three of them."""
    length = maps.shape[axis] - 3
    inner = maps.narrow(axis, 1, length) + maps.narrow(axis, 2, length)
    outer = maps.narrow(axis, 0, length) + maps.narrow(axis, 3, length)
    return inner * (0.5 - SHARPNESS / 8) + outer * (SHARPNESS / 8)


def _split(place: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Turn places in rows of ``width`` into their row and column, as floats."""
    # A tensor: quantisation would turn a number into a float.
    per_row = torch.tensor(width, device=place.device)
    row = place.div(per_row, rounding_mode="floor")
    return row.to(torch.float32), place.remainder(per_row).to(torch.float32)


def _window(cell: Tensor, pixels: Tensor, cells: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Lay the window over one axis and weigh the cells for each of its pixels.

    Args:
        cell: (N, K) float, where the peak is on this axis; 0 is the middle of the first cell.
        pixels: (N, 1) float, length of the box in whole pixels.
        cells: S.
        length: V, of the window.

    Returns:
        Its first pixel (N, K); weights (N, K, V, S + 2 * BORDER) of the cells, the repeated ones
        among them; and which of its pixels lie in the box, (N, K, V) bool.
    """
    centre = (cell + 0.5) * (pixels / cells)
    latest = (pixels - length).clamp(min=0.0)
    first = (centre - length / 2).floor().clamp(min=0.0).minimum(latest)
    step = torch.arange(length, dtype=cell.dtype, device=cell.device)
    pixel = first[..., None] + step  # [N,K,V]
    source = (pixel + 0.5) * (cells / pixels)[..., None] - 0.5
    entry = torch.arange(cells + 2 * BORDER, dtype=cell.dtype, device=cell.device) - BORDER
    return first, _bicubic(source[..., None] - entry), pixel < pixels[..., None]


def _bicubic(distance: Tensor) -> Tensor:
    """Weigh cells by their distance, in cells."""
    d = distance.abs()
    a = SHARPNESS
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return torch.where(d <= 1, near, torch.where(d < BORDER, far, 0.0))


def _repeat_border(maps: Tensor) -> Tensor:
    """Put :data:`BORDER` copies of the outermost cells around (..., S, S)."""
    for axis in (-2, -1):
        first, last = maps.narrow(axis, 0, 1), maps.narrow(axis, maps.shape[axis] - 1, 1)
        maps = torch.cat([first, first, maps, last, last], dim=axis)
    return maps
