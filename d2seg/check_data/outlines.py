"""Segmentations measured: polygons, and run-length encoded masks (RLE) in both of COCO's forms.

Coordinates are pixels, x before y. An RLE counts pixels column by column, first those outside the
object, then those inside, and so on.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pycocotools.mask as mask_util

from d2seg.check_data.findings import counted

MIN_POLYGON_NUMBERS = 6
"""Three points."""
MIN_POLYGON_AREA = 1e-3
"""In pixels; what is below has no inside."""
_MOST_PIXELS = 2**32 - 1
"""What pycocotools can count."""
_LONGEST_NUMBER = 12
"""Characters of one compressed count; 60 bits."""


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


def rle_fault(segmentation: dict[str, Any]) -> str | None:
    """Say what is wrong with an RLE, in half a sentence; None if nothing is."""
    height, width = segmentation["size"]
    if min(height, width) < 0 or height * width > _MOST_PIXELS:
        return f"has the size {height} x {width}"
    try:
        counts = decode_counts(segmentation["counts"])
    except ValueError as error:
        return str(error)
    if len(counts) and counts.min() < 0:
        return f"has a negative count, {counts.min()}"
    # As floats, which are exact far beyond any image, the sum of damaged counts cannot overflow.
    covered = counts.sum(dtype=np.float64)
    if covered != height * width:
        return f"counts {covered:.0f} pixels, but its size {height} x {width} has {height * width}"
    return None


def decode_counts(counts: str | Sequence[int]) -> np.ndarray:
    """Return the run lengths of an RLE.

    The compressed form writes each number in characters of 5 bits, the lowest first, added to
    '0' (48): bit 32 says that more follow, bit 16 of the last is the sign. From the fourth number
    on they are differences to the last but one.

    Args:
        counts: Text, or the run lengths themselves.

    Returns:
        (N,) int64; negative where the text is damaged.

    Raises:
        ValueError: The text is not of this form.
    """
    if not isinstance(counts, str):
        if max(map(abs, counts), default=0) > _MOST_PIXELS:
            raise ValueError("has a count that is larger than any image")
        return np.asarray(counts, dtype=np.int64)
    codes = np.frombuffer(counts.encode("utf-8"), dtype=np.uint8).astype(np.int64) - 48
    if len(codes) == 0:
        return codes
    if codes.min() < 0 or codes.max() > 63:
        raise ValueError("has characters that no compressed RLE has")
    is_last = codes & 32 == 0
    starts = np.flatnonzero(np.concatenate([[True], is_last[:-1]]))
    lengths = np.diff(np.append(starts, len(codes)))
    if not is_last[-1] or lengths.max() > _LONGEST_NUMBER:
        raise ValueError("breaks off in the middle of a number")
    place = np.arange(len(codes)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((codes & 31) << (5 * place), starts)
    is_negative = codes[starts + lengths - 1] & 16 != 0
    numbers -= np.where(is_negative, 1 << (5 * lengths), 0)
    numbers[1::2] = numbers[1::2].cumsum()
    numbers[2::2] = numbers[2::2].cumsum()
    return numbers


def compress_rle(segmentation: dict[str, Any]) -> dict[str, Any]:
    """Return a sound RLE in compressed form, as pycocotools' functions want it."""
    if isinstance(segmentation["counts"], str):
        return segmentation
    compressed: dict[str, Any] = mask_util.frPyObjects(segmentation, *segmentation["size"])
    return compressed


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
