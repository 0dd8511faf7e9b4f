"""Areas and rasters of polygons: flat coordinate arrays ``x0, y0, x1, y1, ...``."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from d2seg.core.runtime.untrusted.run_lengths import draw_polygons

_SMALLEST_BOX_SIDE = 0.1
"""Pixels. A narrower box is treated as this wide, so that cropping to it stays finite."""


def polygon_area(x: np.ndarray, y: np.ndarray) -> float:
    """Return the area of one simple polygon from its vertices' x and y (shoelace formula)."""
    return float(0.5 * np.abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))))


def polygons_to_bitmask(polygons: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
    """Rasterise the union of polygons by COCO's rule.

    Args:
        polygons: Flat coordinate arrays in pixels, for one object.
        height: Rows of the result.
        width: Columns of the result.

    Returns:
        (height, width) bool; all false without polygons.

    Raises:
        ValueError: A coordinate is not finite, or an outline is longer than any image has.
    """
    if len(polygons) == 0:
        return np.zeros((height, width), dtype=bool)
    return draw_polygons(polygons, height, width).astype(bool)


def rasterize_polygons_within_box(
    polygons: Sequence[np.ndarray], box: np.ndarray, mask_size: int
) -> Tensor:
    """Rasterise an object as seen through a box that is stretched to a square.

    Args:
        polygons: Flat coordinate arrays in image pixels, for one object. Not modified.
        box: (4,) XYXY image pixels.
        mask_size: Height and width S of the result.

    Returns:
        (S, S) bool.
    """
    box = np.asarray(box, dtype=np.float64)
    scale_xy = mask_size / np.maximum(box[2:] - box[:2], _SMALLEST_BOX_SIDE)
    in_box = [
        ((np.asarray(polygon, dtype=np.float64).reshape(-1, 2) - box[:2]) * scale_xy).reshape(-1)
        for polygon in polygons
    ]
    return torch.from_numpy(polygons_to_bitmask(in_box, mask_size, mask_size))
