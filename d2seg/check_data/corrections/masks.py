"""Masks corrected: useless polygons dropped, others clipped to the image."""

from typing import Any

import numpy as np

from d2seg.check_data import geometry
from d2seg.check_data.corrections.changes import DroppedError
from d2seg.check_data.fields import is_real, read_segmentation
from d2seg.check_data.outlines import measure_outline, usable_polygons
from d2seg.core.runtime.untrusted.run_lengths import rle_fault


def correct_segmentation(value: Any, size_hw: tuple[int, int]) -> tuple[Any, list[str]]:
    """Correct a segmentation.

    Args:
        value: As the file has it, not empty; not modified.
        size_hw: Height and width of the image.

    Returns:
        The segmentation to write, and what was done to it.

    Raises:
        DroppedError: Nothing of it can be used.
    """
    done = []
    if isinstance(value, list) and all(map(is_real, value)):
        value = [value]
        done.append("polygons put into a list")
    segmentation = read_segmentation(value, lambda kind, what: None)
    if segmentation is None:
        raise DroppedError("mask of the wrong form, or with NaN or infinity")
    if isinstance(segmentation, dict):
        _require_sound_rle(segmentation, size_hw)
        return segmentation, done
    polygons = usable_polygons(segmentation)
    if len(polygons) != len(segmentation):
        done.append("polygons without area dropped")
    outline = measure_outline(polygons)
    if outline is not None and geometry.excess(outline.extent_xyxy, size_hw) > geometry.EDGE_PIXELS:
        polygons = usable_polygons([clip_polygon(polygon, size_hw) for polygon in polygons])
        done.append("masks clipped to the image")
    if not polygons:
        raise DroppedError("no polygon with an area in the image")
    return polygons, done


def clip_polygon(polygon: list[float], size_hw: tuple[int, int]) -> list[float]:
    """Return the part of a polygon inside the image; empty if there is none.

    One side of the image after the other cuts off what is beyond it (Sutherland and Hodgman 1974).
    Where that leaves several parts, edges along the side of the image join them.
    """
    height, width = size_hw
    points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    for axis, limit in ((0, width), (1, height)):
        points = _cut(points, points[:, axis])
        points = _cut(points, limit - points[:, axis])
    clipped: list[float] = points.ravel().tolist()
    return clipped


def _cut(points: np.ndarray, inward: np.ndarray) -> np.ndarray:
    """Cut off the points whose distance (N,) from a line is negative."""
    beyond = inward < 0
    is_crossing = beyond != np.roll(beyond, -1)
    change = np.where(is_crossing, inward - np.roll(inward, -1), 1.0)
    crossings = points + (inward / change)[:, None] * (np.roll(points, -1, axis=0) - points)
    keep = np.stack([~beyond, is_crossing], axis=1)
    return np.stack([points, crossings], axis=1)[keep]


def _require_sound_rle(segmentation: dict[str, Any], size_hw: tuple[int, int]) -> None:
    if rle_fault(segmentation) or measure_outline(segmentation) is None:
        raise DroppedError("broken or empty RLE mask")
    if tuple(segmentation["size"]) != size_hw:
        raise DroppedError("RLE mask of another size than the image")
