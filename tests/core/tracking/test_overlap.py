"""Objects keep their names while they overlap."""

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from d2seg.core.tracking.overlap import OverlapTracker

SIZE_HW = (20, 60)


def boxes(*lefts: float) -> np.ndarray:
    """Boxes 10 wide and 6 high."""
    return np.array([[left, 4, left + 10, 10] for left in lefts], np.float32).reshape(-1, 4)


def masks(*lefts: int) -> list[dict[str, Any]]:
    pixels = np.zeros((*SIZE_HW, len(lefts)), np.uint8, order="F")
    for row, left in enumerate(lefts):
        pixels[4:10, left : left + 10, row] = 1
    return coco_mask.encode(pixels) if lefts else []


@pytest.mark.parametrize("regions", [boxes, masks])
def test_moving_objects_keep_their_names(regions: Any) -> None:
    tracker = OverlapTracker()
    assert tracker.update([0, 0], regions(0, 30)) == [0, 1]
    # The IoU after a move by 3 of 10 is 7 / 13, and the order does not matter.
    assert tracker.update([0, 0], regions(33, 3)) == [1, 0]
    assert tracker.update([0, 0, 0], regions(36, 15, 6)) == [1, 2, 0]
    # By 4 it is 6 / 16: too little.
    assert tracker.update([0, 0, 0], regions(40, 15, 6)) == [3, 2, 0]


def test_another_class_is_another_object() -> None:
    tracker = OverlapTracker()
    assert tracker.update([0], boxes(5)) == [0]
    assert tracker.update([1], boxes(5)) == [1]
    assert tracker.update([1, 0], boxes(5, 5)) == [1, 0]


def test_the_best_pair_comes_first() -> None:
    tracker = OverlapTracker(min_box_iou=0.1)
    tracker.update([0, 0], boxes(0, 8))
    assert tracker.update([0, 0], boxes(6, 7)) == [0, 1]  # 7 is nearer to 8 than 6 is


@pytest.mark.parametrize(("empty_frames", "name"), [(2, 0), (3, 1)])
def test_lost_objects_are_remembered_for_a_while(empty_frames: int, name: int) -> None:
    tracker = OverlapTracker(max_age=3)
    tracker.update([0], masks(5))
    for _ in range(empty_frames):
        assert tracker.update([], []) == []
    assert tracker.update([0], masks(5)) == [name]


def test_masks_and_boxes_are_not_compared() -> None:
    tracker = OverlapTracker()
    assert tracker.update([0], masks(5)) == [0]
    assert tracker.update([0], boxes(5)) == [1]
    assert tracker.update([0], masks(5)) == [0]
