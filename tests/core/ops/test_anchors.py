"""Anchors against what detectron2 recorded."""

import torch

from d2seg.core.ops.anchors import cell_anchors, grid_anchors
from tests.reference.functions import recorded_functions


def test_anchors_are_detectron2s() -> None:
    levels = recorded_functions()["anchors"]
    ratios = [0.5, 1.0, 2.0]
    for want, sizes, grid_hw, stride in (
        (levels[0], [32.0, 48.0], (2, 3), 8),
        (levels[1], [64.0, 100.0], (1, 2), 16),
    ):
        ours = grid_anchors(cell_anchors(sizes, ratios), grid_hw, (stride, stride), 0.0)
        torch.testing.assert_close(ours, torch.tensor(want), atol=1e-4, rtol=0)


def test_anchors_with_an_offset_are_detectron2s() -> None:
    want = torch.tensor(recorded_functions()["anchors_offset_half"])
    ours = grid_anchors(cell_anchors([32.0], [1.0, 3.0]), (2, 2), (16, 16), 0.5)
    torch.testing.assert_close(ours, want, atol=1e-4, rtol=0)


def test_x_varies_faster_than_y() -> None:
    cell = torch.tensor([[-1.0, -2.0, 1.0, 2.0]])
    ours = grid_anchors(cell, (2, 3), (10, 10), 0.0)
    assert ours[:, 0].tolist() == [-1.0, 9.0, 19.0, -1.0, 9.0, 19.0]
    assert ours[:, 1].tolist() == [-2.0, -2.0, -2.0, 8.0, 8.0, 8.0]
