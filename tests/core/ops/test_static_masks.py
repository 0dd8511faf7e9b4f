"""Pasting by products, against pasting one mask after the other."""

import torch

from d2seg.core.ops.masks import paste_masks
from d2seg.core.ops.static_masks import paste_by_products


def test_pixels_are_those_of_pasting_one_by_one() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(30, 14, 28, generator=generator)
    corner = torch.rand(30, 2, generator=generator) * torch.tensor([90.0, 40.0]) - 5
    boxes = torch.cat([corner, corner + 0.5 + torch.rand(30, 2, generator=generator) * 50], dim=1)
    expected = paste_masks(masks, boxes, (50, 100))
    assert torch.equal(paste_by_products(masks, boxes, (50, 100)), expected)
    assert expected.any(dim=(1, 2)).sum() > 20


def test_nothing_and_empty_boxes() -> None:
    none = paste_by_products(torch.zeros(0, 4, 4), torch.zeros(0, 4), (5, 7))
    assert (none.shape, none.dtype) == ((0, 5, 7), torch.bool)
    assert not paste_by_products(torch.ones(1, 4, 4), torch.zeros(1, 4), (5, 7)).any()
