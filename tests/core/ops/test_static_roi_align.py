"""Pooling by matrix products against the form with free sizes, which calls torchvision."""

from typing import Any

import pytest
import torch
from torch import Tensor

from d2seg.core.ops import static_roi_align
from d2seg.core.ops.pooling import assign_levels, pool_multilevel
from d2seg.core.ops.static_roi_align import Pooling, level_members, pool_by_products

SCALES = [1 / 4, 1 / 8, 1 / 16]


def pooling(**changes: Any) -> Pooling:
    return Pooling((5, 3), SCALES, 0, True, 96.0, 3)._replace(**changes)


def features() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, 3, 48 // 2**i, 64 // 2**i, generator=generator) for i in range(3)]


def regions() -> Tensor:
    """Boxes of all sizes in the 192x256 image, some of them at its borders."""
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(60, 2, generator=generator) * torch.tensor([200.0, 150.0])
    largest = torch.tensor([6.0, 60.0, 300.0]).repeat_interleave(20)[:, None]
    boxes = torch.cat([corner, corner + largest * torch.rand(60, 2, generator=generator)], dim=1)
    boxes = boxes.minimum(torch.tensor([256.0, 192.0, 256.0, 192.0]))
    odd = [[10.0, 10, 10, 10], [0, 0, 256, 192], [8, 3, 8, 180], [0, 60, 256, 64], [0, 0, 0, 0]]
    return torch.cat([boxes, torch.tensor(odd)])


def pool_freely(boxes: Tensor, how: Pooling, maps: list[Tensor]) -> Tensor:
    return pool_multilevel(
        maps,
        boxes,
        torch.zeros(len(boxes)),
        how.output_hw,
        how.scales,
        how.sampling_ratio,
        how.aligned,
        how.canonical_size,
        how.canonical_level,
    )


@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("aligned", [True, False])
def test_pools_what_torchvision_pools(
    ratio: int, aligned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = pooling(sampling_ratio=ratio, aligned=aligned, max_samples=30)
    want = pool_freely(regions(), how, features())
    torch.testing.assert_close(
        pool_by_products(features(), regions(), how), want, atol=1e-5, rtol=0
    )
    monkeypatch.setattr(static_roi_align, "CHUNK_VALUES", 7 * 5 * 64 * 3)  # seven at a time
    torch.testing.assert_close(
        pool_by_products(features(), regions(), how), want, atol=1e-5, rtol=0
    )


def test_one_level() -> None:
    how = pooling(scales=[1 / 16], max_samples=30)
    want = pool_freely(regions(), how, features()[2:])
    torch.testing.assert_close(
        pool_by_products(features()[2:], regions(), how), want, atol=1e-5, rtol=0
    )


def test_only_cells_longer_than_the_limit_are_sampled_less() -> None:
    how = pooling(max_samples=4)
    boxes = regions()
    levels = assign_levels(boxes, 3, 2, 96.0, 3)
    cell = (boxes[:, 2:] - boxes[:, :2]) / (4 * 2**levels)[:, None] / torch.tensor([3.0, 5.0])
    short = (cell <= 4).all(dim=1)
    difference = pool_by_products(features(), boxes, how) - pool_freely(boxes, how, features())
    worst = difference.abs().flatten(1).amax(dim=1)
    assert worst[short].max() < 1e-5
    assert worst[~short].max() > 1e-2
    assert 30 < short.sum() < 60


def test_levels_are_those_of_the_logarithm() -> None:
    sides = [0.0, 47.9, 48.0, 48.1, 95.9, 96.0, 96.1, 191.9, 192.1, 5000.0]
    boxes = torch.tensor([[0.0, 0.0, side * 2, side / 2] for side in sides])
    members = level_members(boxes, pooling())
    assert members.sum(dim=1).tolist() == [1.0] * len(sides)
    assert members.argmax(dim=1).tolist() == assign_levels(boxes, 3, 2, 96.0, 3).tolist()
