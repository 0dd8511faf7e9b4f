"""Keypoints from a window of the heat map against keypoints from all of it."""

import pytest
import torch
from torch import Tensor

from d2seg.core.ops.keypoints import decode_heatmaps
from d2seg.core.ops.static_keypoints import decode_fixed_heatmaps, window_size

LONGEST_HW = (500, 800)


def maps_of(low: Tensor) -> Tensor:
    """Enlarge as the last step of a keypoint head does."""
    return torch.nn.functional.interpolate(low, scale_factor=2.0, mode="bilinear")


def boxes_of(count: int, longest_wh: tuple[float, float], generator: torch.Generator) -> Tensor:
    size = torch.rand(count, 2, generator=generator) * torch.tensor(longest_wh)
    corner = torch.rand(count, 2, generator=generator) * 90
    return torch.cat([corner, corner + size], dim=1)


def one_peak(generator: torch.Generator) -> Tensor:
    """Maps (20, 17, 56, 56) as of a trained head: a blunt peak somewhere, and a little noise."""
    cells = torch.arange(28.0)
    row, column = (28 * torch.rand(2, 20, 17, 1, 1, generator=generator)).unbind()
    distance = (cells[:, None] - row) ** 2 + (cells - column) ** 2
    noise = 0.1 * torch.randn(20, 17, 28, 28, generator=generator)
    return maps_of(8 * torch.exp(-distance / 4) + noise)


def agreement(maps: Tensor, boxes: Tensor, longest_hw: tuple[int, int]) -> tuple[float, float]:
    """Return the share of points in the same place, and the largest difference of a score."""
    want, found = decode_heatmaps(maps, boxes), decode_fixed_heatmaps(maps, boxes, longest_hw)
    assert found.shape == (*maps.shape[:2], 3)
    same = (want[..., :2] - found[..., :2]).abs().amax(dim=2) < 1e-2
    return float(same.float().mean()), float((want[..., 3] - found[..., 2]).abs().max())


def test_boxes_that_the_window_holds_are_exact() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = maps_of(torch.randn(20, 17, 28, 28, generator=generator))
    assert window_size(20 * 17, 56, LONGEST_HW) == (157, 157)
    boxes = boxes_of(20, (157.0, 140.0), generator)
    boxes[3] = 0.0  # as a place that no detection takes
    share, score = agreement(maps, boxes, LONGEST_HW)
    assert share > 0.995  # two places may be equally high
    assert score < 1e-6


@pytest.mark.parametrize("longest_wh", [(250.0, 300.0), (400.0, 200.0), (800.0, 500.0)])
def test_the_peak_of_a_larger_box_is_found(longest_wh: tuple[float, float]) -> None:
    generator = torch.Generator().manual_seed(1)
    maps, boxes = one_peak(generator), boxes_of(20, longest_wh, generator)
    share, score = agreement(maps, boxes, LONGEST_HW)
    assert share > 0.995
    assert score < 1e-4


def test_maps_of_noise_have_several_peaks_and_a_few_are_confused() -> None:
    generator = torch.Generator().manual_seed(2)
    maps = maps_of(torch.randn(20, 17, 28, 28, generator=generator))
    share, score = agreement(maps, boxes_of(20, (800.0, 500.0), generator), LONGEST_HW)
    assert share > 0.9
    assert score < 2e-3


def test_rows_and_columns_are_not_swapped() -> None:
    maps = torch.zeros(1, 1, 56, 56)
    maps[0, 0, 10, 40] = 9.0
    found = decode_fixed_heatmaps(maps, torch.tensor([[5.0, 7, 117, 63]]), LONGEST_HW)
    x, y = found[0, 0, :2].tolist()
    assert x == pytest.approx(5 + 40.5 * 2, abs=1.0)
    assert y == pytest.approx(7 + 10.5, abs=1.0)


def test_the_window_covers_cells_around_the_peak_of_the_largest_box() -> None:
    assert window_size(100 * 17, 56, (800, 1333)) == (70, 73)
    assert window_size(100 * 17, 56, (64, 96)) == (64, 70)
    assert window_size(10**9, 56, (64, 1000)) == (7, 55)


def test_no_boxes() -> None:
    found = decode_fixed_heatmaps(torch.zeros(0, 17, 56, 56), torch.zeros(0, 4), LONGEST_HW)
    assert found.shape == (0, 17, 3)


def test_the_score_may_be_the_logit_at_the_peak() -> None:
    generator = torch.Generator().manual_seed(2)
    maps, boxes = one_peak(generator), boxes_of(20, (120.0, 140.0), generator)
    want = decode_heatmaps(maps, boxes)
    found = decode_fixed_heatmaps(maps, boxes, LONGEST_HW, score_is_logit=True)
    torch.testing.assert_close(found[..., 2], want[..., 2], atol=1e-4, rtol=0)
