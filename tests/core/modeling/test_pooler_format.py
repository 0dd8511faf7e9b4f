"""Boxes as poolers take them, by hand."""

import pytest
import torch

from d2seg.core.modeling.poolers import assign_boxes_to_levels, convert_boxes_to_pooler_format
from d2seg.core.structures import Boxes, RotatedBoxes


def test_boxes_get_the_level_of_their_size() -> None:
    sides = torch.tensor([1.0, 111.9, 112.0, 223.9, 224.0, 447.9, 448.0, 5000.0])
    boxes = torch.stack([torch.zeros(8), torch.zeros(8), sides * 2, sides / 2], dim=1)
    levels = assign_boxes_to_levels([Boxes(boxes[:5]), Boxes(boxes[5:])], 2, 5, 224, 4)
    assert levels.dtype == torch.int64
    assert levels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_rotated_boxes_get_the_level_of_their_area() -> None:
    boxes = RotatedBoxes([[9.0, 9, 448, 112, 30], [9.0, 9, 448, 110, 30]])
    assert assign_boxes_to_levels([boxes], 2, 5, 224, 4).tolist() == [2, 1]


@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        (Boxes, [[1.0, 2, 3, 4], [5.0, 6, 7, 8]]),
        (RotatedBoxes, [[1.0, 2, 3, 4, 90], [5.0, 6, 7, 8, -9]]),
    ],
)
def test_rows_begin_with_the_image(kind: type, rows: list[list[float]]) -> None:
    none = kind(torch.zeros(0, len(rows[0])))
    found = convert_boxes_to_pooler_format([kind(rows[:1]), none, kind(rows)])
    assert found.tolist() == [[0, *rows[0]], [2, *rows[0]], [2, *rows[1]]]
