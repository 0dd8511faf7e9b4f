import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from d2seg.core.ops.points import assign_points, centerness

ANY = torch.tensor([[0.0, math.inf]])


def test_the_smallest_object_around_a_point_wins() -> None:
    boxes = torch.tensor([[0.0, 0, 40, 20], [10, 4, 30, 16], [32, 0, 36, 20]])
    points = torch.tensor([[20.0, 10], [5, 10], [34, 5], [50, 10], [40, 10]])
    rows = assign_points(points, torch.full((5,), 8.0), ANY.expand(5, 2), boxes, radius=0)
    # The last two are outside, and on the border.
    assert rows.tolist() == [1, 0, 2, -1, -1]


def test_only_points_near_the_middle_stand_for_an_object() -> None:
    boxes = torch.tensor([[0.0, 0, 60, 30]])  # its middle is (30, 15)
    points = torch.tensor([[41.0, 15], [42, 15], [42, 15], [30, 26]])
    strides = torch.tensor([8.0, 8, 16, 8])
    rows = assign_points(points, strides, ANY.expand(4, 2), boxes, radius=1.5)
    assert rows.tolist() == [0, -1, 0, 0]


def test_the_farthest_side_decides_the_level() -> None:
    boxes = torch.tensor([[0.0, 0, 100, 20]])  # of the point (30, 10) the right side, 70 away
    points = torch.tensor([[30.0, 10]]).expand(5, 2)
    ranges = torch.tensor([[0.0, 64], [64, 128], [70, 128], [32, 70], [69, math.inf]])
    rows = assign_points(points, torch.ones(5), ranges, boxes, radius=0)
    assert rows.tolist() == [-1, 0, -1, -1, 0]


def test_without_objects_all_is_background() -> None:
    rows = assign_points(torch.rand(3, 2), torch.ones(3), ANY.expand(3, 2), torch.zeros(0, 4), 1.5)
    assert (rows.tolist(), rows.dtype) == ([-1, -1, -1], torch.int64)
    nothing = assign_points(torch.zeros(0, 2), torch.ones(0), ANY[:0], torch.rand(2, 4), 1.5)
    assert nothing.shape == (0,)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_assignment_equals_a_plain_search(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    corners = torch.rand(6, 2, generator=random) * 80
    boxes = torch.cat([corners, corners + torch.rand(6, 2, generator=random) * 60], dim=1)
    points = torch.rand(40, 2, generator=random) * 120
    strides = torch.tensor([4.0, 16.0]).repeat(20)
    ranges = torch.tensor([[0.0, 32.0], [16.0, 64.0]]).repeat(20, 1)
    expected = []
    for (x, y), stride, (low, high) in zip(
        points.tolist(), strides.tolist(), ranges.tolist(), strict=True
    ):
        found = []
        for row, (left, top, right, bottom) in enumerate(boxes.tolist()):
            sides = (x - left, y - top, right - x, bottom - y)
            near = max(abs(x - (left + right) / 2), abs(y - (top + bottom) / 2)) < 1.5 * stride
            if min(sides) > 0 and low < max(sides) < high and near:
                found.append(((right - left) * (bottom - top), row))
        expected.append(min(found)[1] if found else -1)
    assert assign_points(points, strides, ranges, boxes, 1.5).tolist() == expected


def test_centerness_falls_from_the_middle_to_the_border() -> None:
    points = torch.tensor([[20.0, 10], [10, 10], [10, 5], [0, 10]])
    boxes = torch.tensor([[0.0, 0, 40, 20]]).expand(4, 4)
    expected = [1.0, math.sqrt(10 / 30), math.sqrt(10 / 30 * 5 / 15), 0.0]
    assert centerness(points, boxes).tolist() == pytest.approx(expected)
    assert centerness(points[:0], boxes[:0]).shape == (0,)
