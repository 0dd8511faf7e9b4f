"""Names for the objects of a video, by how much they overlap from frame to frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pycocotools.mask as mask_util

Regions = Sequence[dict[str, Any]] | np.ndarray
"""Masks as COCO's run lengths, or boxes (N, 4) XYXY."""


@dataclass
class _Known:
    """An object of earlier frames: its name, what it was, where, and how long ago."""

    name: int
    label: int
    region: Any
    age: int = 0


class OverlapTracker:
    """Gives an object the name of the one of its class that it overlaps best in earlier frames.

    Pairs are taken greedily by falling IoU, as VideoVisualizer of detectron2 does. An object that
    overlaps none gets a new name.

    Args:
        max_age: An object that was not seen for so many frames is forgotten.
        min_mask_iou: Least IoU of masks that are one object.
        min_box_iou: Likewise of boxes.
    """

    def __init__(
        self, max_age: int = 10, min_mask_iou: float = 0.5, min_box_iou: float = 0.5
    ) -> None:
        self._max_age = max_age
        self._min_iou = {True: min_mask_iou, False: min_box_iou}
        self._known: list[_Known] = []
        self._count = 0

    def update(self, labels: Sequence[int], regions: Regions) -> list[int]:
        """Take the objects of the next frame.

        Args:
            labels: The class of each; another class is another object.
            regions: Where they are. Masks are compared with masks only, and boxes with boxes.

        Returns:
            A name for each: a number that no object had that is not the same.
        """
        are_masks = not isinstance(regions, np.ndarray)
        old = [one for one in self._known if isinstance(one.region, dict) == are_masks]
        new = [_Known(-1, label, region) for label, region in zip(labels, regions, strict=True)]
        matched = _match(_overlaps(new, old), self._min_iou[are_masks])
        for row, one in enumerate(new):
            one.name = old[matched[row]].name if row in matched else self._new_name()
        seen = {id(old[column]) for column in matched.values()}
        self._known = [*new, *self._still_known([k for k in self._known if id(k) not in seen])]
        return [one.name for one in new]

    def _new_name(self) -> int:
        self._count += 1
        return self._count - 1

    def _still_known(self, lost: list[_Known]) -> list[_Known]:
        for one in lost:
            one.age += 1
        return [one for one in lost if one.age < self._max_age]


def _match(overlap: np.ndarray, least: float) -> dict[int, int]:
    """Pair rows with columns, each at most once, by falling overlap."""
    order = np.dstack(np.unravel_index(np.argsort(-overlap, axis=None), overlap.shape))[0]
    matched: dict[int, int] = {}
    taken: set[int] = set()
    for row, column in order.tolist():
        if overlap[row, column] < least:
            break
        if row not in matched and column not in taken:
            matched[row] = column
            taken.add(column)
    return matched


def _overlaps(new: list[_Known], old: list[_Known]) -> np.ndarray:
    """Return the IoU of each pair (N, M); 0 for objects of different classes."""
    if not new or not old:
        return np.zeros((len(new), len(old)))
    first, second = _as_coco(new), _as_coco(old)
    iou = np.asarray(mask_util.iou(first, second, [False] * len(second)))
    same = np.array([one.label for one in new])[:, None] == [one.label for one in old]
    return iou * same


def _as_coco(objects: list[_Known]) -> Any:
    """Return run lengths as they are, boxes as XYWH."""
    regions = [one.region for one in objects]
    if isinstance(regions[0], dict):
        return regions
    boxes = np.stack(regions).astype(np.float64)
    return np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
