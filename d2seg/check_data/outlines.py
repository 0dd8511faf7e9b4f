"""Segmentations measured: polygons, and run-length encoded masks (RLE) in both of COCO's forms.

Coordinates are pixels, x before y. An RLE counts pixels column by column, first those outside the
object, then those inside, and so on.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pycocotools.mask as mask_util

from d2seg.check_data.findings import counted
from d2seg.core.runtime.untrusted.run_lengths import compress_rle, rle_fault

MIN_POLYGON_NUMBERS = 6
"""Three points."""
MIN_POLYGON_AREA = 1e-3
"""In pixels; what is below has no inside."""


class Outline(NamedTuple):
    """What a usable segmentation covers.

    Attributes:
        extent_xyxy: The smallest box around it.
        area: In pixels; of overlapping polygons the sum.
        num_parts: How many polygons are usable; 1 for an RLE.
    """

    extent_xyxy: tuple[float, float, float, float]
    area: float
    num_parts: int = 1


def measure_outline(segmentation: list[list[float]] | dict[str, Any] | None) -> Outline | None:
    """Measure polygons or an RLE.

    Args:
        segmentation: Lists of finite numbers, or a dict with ``size`` and ``counts``.

    Returns:
        None if nothing of it can be used: no polygon with an inside, an RLE that is broken or
        empty, or no segmentation at all.
    """
    if isinstance(segmentation, dict):
        return _measure_rle(segmentation)
    polygons, area = [], 0.0
    for polygon in segmentation or ():
        part = _area_of_usable(polygon)
        if part:
            polygons.append(np.asarray(polygon, dtype=np.float64).reshape(-1, 2))
            area += part
    if not polygons:
        return None
    points_xy = np.concatenate(polygons)
    (left, top), (right, bottom) = points_xy.min(axis=0).tolist(), points_xy.max(axis=0).tolist()
    return Outline((left, top, right, bottom), area, len(polygons))


def usable_polygons(segmentation: Sequence[list[float]] | None) -> list[list[float]]:
    """Return the polygons that have an inside."""
    return [polygon for polygon in segmentation or () if _area_of_usable(polygon)]


def polygon_fault(polygon: Sequence[float]) -> str | None:
    """Say what makes a polygon useless, to follow "a polygon"; None if nothing does."""
    if len(polygon) % 2:
        return f"of {len(polygon)} numbers, which are not pairs of x and y"
    if len(polygon) < MIN_POLYGON_NUMBERS:
        return f"of {counted(len(polygon) // 2, 'point')}, fewer than three"
    if not _area_of_usable(polygon):
        return "without area"
    return None


def polygon_area(polygon: Sequence[float]) -> float:
    """Return the area inside a polygon of x, y, x, y, ...: the shoelace formula.

    A polygon that crosses itself counts its parts against each other.
    """
    points_xy = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    # Far from the origin differences would lose digits; with the first point there, the products
    # with it, which close the polygon, are 0.
    x, y = (points_xy - points_xy[0]).T
    return float(abs(x[:-1] @ y[1:] - y[:-1] @ x[1:]) / 2)


def covered_area(polygons: Sequence[Sequence[float]], size_hw: tuple[int, int]) -> float:
    """Return how many pixels of an image polygons cover together; overlaps count once."""
    height, width = size_hw
    upper = np.array([width, height], dtype=np.float64)
    inside = [
        np.clip(np.asarray(polygon, dtype=np.float64).reshape(-1, 2), 0, upper).ravel().tolist()
        for polygon in polygons
    ]
    return float(mask_util.area(mask_util.merge(mask_util.frPyObjects(inside, height, width))))


def _area_of_usable(polygon: Sequence[float]) -> float:
    """Return the area of a polygon, 0 if it is useless."""
    if len(polygon) % 2 or len(polygon) < MIN_POLYGON_NUMBERS:
        return 0.0
    area = polygon_area(polygon)
    return area if area >= MIN_POLYGON_AREA else 0.0


def _measure_rle(segmentation: dict[str, Any]) -> Outline | None:
    # pycocotools reads beyond its memory when a count is wrong, so it only gets sound ones.
    if rle_fault(segmentation) is not None:
        return None
    compressed = compress_rle(segmentation)
    area = float(mask_util.area(compressed))
    if area == 0:
        return None
    left, top, width, height = mask_util.toBbox(compressed).tolist()
    return Outline((left, top, left + width, top + height), area)
