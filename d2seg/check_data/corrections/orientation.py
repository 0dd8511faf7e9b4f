"""Annotations turned as the EXIF orientation turns their image.

Only the four orientations that exchange width and height come here; where the others turn an image,
its size does not tell whether the annotations were turned with it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pycocotools.mask as mask_util

from d2seg.check_data.corrections.changes import Entry
from d2seg.core.runtime.untrusted.run_lengths import decode_rle

Turn = Callable[[np.ndarray], np.ndarray]


def turn_annotation(entry: Entry, orientation: int, stored_hw: tuple[int, int]) -> Entry:
    """Return an annotation of the stored pixels as one of the upright image.

    Args:
        entry: A ``bbox`` of four finite numbers, a sound ``segmentation`` and ``keypoints`` in
            threes are turned where there are such; not modified.
        orientation: 5 to 8.
        stored_hw: Height and width of the stored pixels.
    """

    def turn(points_xy: np.ndarray) -> np.ndarray:
        return turn_points(points_xy, orientation, stored_hw)

    turned = dict(entry)
    if "bbox" in entry:
        turned["bbox"] = _turn_box(entry["bbox"], turn)
    if isinstance(entry.get("segmentation"), list):
        turned["segmentation"] = [
            turn(np.array(polygon, dtype=np.float64).reshape(-1, 2)).ravel().tolist()
            for polygon in entry["segmentation"]
        ]
    elif entry.get("segmentation"):
        turned["segmentation"] = _turn_rle(entry["segmentation"], orientation)
    if entry.get("keypoints"):
        turned["keypoints"] = _turn_keypoints(entry["keypoints"], turn)
    return turned


def turn_points(points_xy: np.ndarray, orientation: int, stored_hw: tuple[int, int]) -> np.ndarray:
    """Turn points.

    Args:
        points_xy: (N, 2) float, in the stored pixels.
        orientation: 5 (exchange x and y), 6 (a quarter clockwise), 7 (both), 8 (a quarter back).
        stored_hw: Height and width of the stored pixels.

    Returns:
        (N, 2) float, in the upright image.
    """
    height, width = stored_hw
    x, y = points_xy.T
    right_to_left = orientation in (6, 7)
    bottom_to_top = orientation in (7, 8)
    return np.stack([height - y if right_to_left else y, width - x if bottom_to_top else x], axis=1)


def _turn_box(bbox: list[float], turn: Turn) -> list[float]:
    left, top, width, height = bbox
    points = turn(np.array([[left, top], [left + width, top + height]], dtype=np.float64))
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return [left, top, right - left, bottom - top]


def _turn_rle(segmentation: dict[str, Any], orientation: int) -> dict[str, Any]:
    mask = decode_rle(segmentation).T
    mask = mask[:, ::-1] if orientation in (6, 7) else mask
    mask = mask[::-1] if orientation in (7, 8) else mask
    encoded = mask_util.encode(np.asfortranarray(mask))
    return {"size": encoded["size"], "counts": encoded["counts"].decode("ascii")}


def _turn_keypoints(keypoints: list[float], turn: Turn) -> list[float]:
    """Turn keypoints, which count pixels: the first is 0, and its middle 0.5."""
    values = np.array(keypoints, dtype=np.float64).reshape(-1, 3)
    turned = np.where(values[:, 2:] != 0, turn(values[:, :2] + 0.5) - 0.5, values[:, :2])
    return np.concatenate([turned, values[:, 2:]], axis=1).ravel().tolist()
