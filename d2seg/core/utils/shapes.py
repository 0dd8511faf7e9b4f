"""What is drawn, in forms that can be drawn: labels, corners, borders, points."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2seg.core.structures import Boxes, BoxMode


def text_labels(
    classes: list[int] | None,
    scores: list[float] | None,
    names: list[str] | None,
    is_crowd: list[bool] | None = None,
) -> list[str] | None:
    """Write a label for each object: the name of its class, its score in percent, and "crowd"."""
    labels = None
    if classes is not None:
        labels = [names[index] if names else str(index) for index in classes]
    if scores is not None:
        percent = [f"{score * 100:.0f}%" for score in scores]
        labels = (
            percent
            if labels is None
            else [f"{a} {b}" for a, b in zip(labels, percent, strict=True)]
        )
    if labels is not None and is_crowd is not None:
        labels = [
            f"{one}|crowd" if crowd else one for one, crowd in zip(labels, is_crowd, strict=True)
        ]
    return labels


def rotated_corners(box: np.ndarray) -> np.ndarray:
    """Return the corners (4, 2) of a rotated box (cx, cy, w, h, degrees), upper left first.

    The angle is counter-clockwise as seen on the screen, where y points down.
    """
    cx, cy, width, height, degrees = box.tolist()
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    offsets = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, height / 2]
    return offsets @ np.array([[cos, -sin], [sin, cos]]) + [cx, cy]


def border(mask: np.ndarray) -> np.ndarray:
    """Return the pixels of a mask (H, W) that touch its outside."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner & 1


def inner_point(mask: np.ndarray) -> tuple[float, float]:
    """Return the x and y of a pixel in the middle of a mask: the median of its rows and columns."""
    rows, columns = np.nonzero(mask)
    row = int(np.median(rows))
    in_row = columns[rows == row] if (rows == row).any() else columns
    return float(np.median(in_row)), float(row)


def middle(
    visible: dict[str, tuple[float, float]], left: str, right: str
) -> tuple[float, float] | None:
    """Return the point between two named ones, if both are visible."""
    if left not in visible or right not in visible:
        return None
    (x0, y0), (x1, y1) = visible[left], visible[right]
    return (x0 + x1) / 2, (y0 + y1) / 2


def upright_box(annotation: dict[str, Any]) -> list[float]:
    """Return the box of an annotation as XYXY, or as it is where it is rotated."""
    mode = annotation.get("bbox_mode", BoxMode.XYXY_ABS)
    box = [float(value) for value in annotation["bbox"]]
    return box if len(box) == 5 else BoxMode.convert(box, mode, BoxMode.XYXY_ABS)


def of_each(annotations: list[dict[str, Any]], key: str) -> list[Any] | None:
    """Return one entry of every annotation; None where they do not have it."""
    return [one[key] for one in annotations] if key in annotations[0] else None


def keypoints_of(annotations: list[dict[str, Any]]) -> np.ndarray | None:
    """Return the keypoints of every annotation, (N, K, 3)."""
    flat = of_each(annotations, "keypoints")
    if flat is None:
        return None
    return np.asarray(flat, dtype=np.float64).reshape(len(annotations), -1, 3)


def from_bytes(color: Sequence[float]) -> tuple[float, float, float]:
    """Return a colour of values in 0..255 in [0, 1]."""
    red, green, blue = (float(value) / 255 for value in color[:3])
    return red, green, blue


def to_numpy(values: Any) -> np.ndarray:
    """Return tensors, boxes, lists of them and arrays as an array."""
    if isinstance(values, Tensor):
        return values.detach().cpu().numpy()
    if isinstance(values, Boxes):
        return values.tensor.detach().cpu().numpy()
    if isinstance(values, list) and values and isinstance(values[0], Tensor):
        return torch.stack(values).detach().cpu().numpy()
    return np.asarray(values)


def as_list(values: Any) -> list[Any] | None:
    """Return the values as Python numbers; None stays None."""
    return None if values is None else to_numpy(values).tolist()
