"""Pasting by where columns cross the threshold, against the value of every pixel."""

import pytest
import torch
from torch import Tensor

from d2seg.core.ops import crossings
from d2seg.core.ops import masks as mask_ops
from d2seg.core.ops.masks import axis_weights, paste_masks

SIZE_HW = (90, 120)


def soft_masks(masks: Tensor, boxes: Tensor) -> Tensor:
    """Return the probability of every pixel, in double precision."""
    rows = axis_weights(boxes[:, 1::2].double(), 0, SIZE_HW[0], masks.shape[1])
    columns = axis_weights(boxes[:, 0::2].double(), 0, SIZE_HW[1], masks.shape[2])
    return rows @ masks.double() @ columns.transpose(1, 2)


@pytest.mark.parametrize("few_pixels", [0, 2**17])
@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_pixels_are_those_at_or_above_the_threshold(
    few_pixels: int, threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossings, "_FEW_PIXELS", few_pixels)
    begin = torch.rand(200, 2) * 130 - 20
    boxes = torch.cat([begin, begin + torch.rand(200, 2) ** 2 * 120], dim=1)
    masks = torch.rand(200, 14, 9)
    soft = soft_masks(masks, boxes)
    clear = (soft - threshold).abs() > 1e-5  # rounding decides of the others
    assert clear.float().mean() > 0.99
    pasted = paste_masks(masks, boxes, SIZE_HW, threshold)
    assert torch.equal(pasted[clear], (soft >= threshold)[clear])


@pytest.mark.parametrize("few_pixels", [0, 2**17])
def test_exactly_at_the_threshold_counts(few_pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossings, "_FEW_PIXELS", few_pixels)
    # A pixel for each cell, so that pixels are the cells: rising to it, on it, falling from it.
    column = torch.tensor([0, 0.25, 0.5, 0.75, 0.5, 0.25, 0.5, 0.5, 0, 1, 0.5, 0])
    boxes = torch.tensor([[8.0, 16, 12, 28]])
    pasted = paste_masks(column[None, :, None].expand(1, -1, 4), boxes, SIZE_HW)
    assert torch.equal(pasted[0, 16:28, 8:12], (column >= 0.5)[:, None].expand(-1, 4))
    assert int(pasted.sum()) == 4 * int((column >= 0.5).sum())


@pytest.mark.parametrize("value", [float("nan"), 0.0])
def test_nothing_is_pasted_of_masks_without_objects(value: float) -> None:
    assert not paste_masks(
        torch.full((1, 4, 4), value), torch.tensor([[2.0, 3, 40, 50]]), SIZE_HW
    ).any()


@pytest.mark.parametrize(
    "box",
    [[5.0, 5, 5, 9], [9, 9, 5, 20], [5, 5, torch.nan, 9], [5, 5, torch.inf, 9], [5, 5, 9, 5]],
)
def test_boxes_without_extent_give_no_pixels(box: list[float]) -> None:
    assert not paste_masks(torch.ones(1, 4, 4), torch.tensor([box]), SIZE_HW).any()


def test_a_box_far_larger_than_the_image_covers_it() -> None:
    assert paste_masks(torch.ones(1, 4, 4), torch.tensor([[-1e7, -1e7, 1e7, 1e7]]), SIZE_HW).all()


@pytest.mark.parametrize("own_pages", [1, 2**40])
def test_threads_and_pages_change_nothing(own_pages: int, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = torch.rand(30, 2) * 60
    boxes, masks = torch.cat([begin, begin + 50], dim=1), torch.rand(30, 28, 28)
    expected = paste_masks(masks, boxes, SIZE_HW)
    monkeypatch.setattr(crossings, "_WORTH_THREADS", 0)
    monkeypatch.setattr(mask_ops, "_OWN_PAGES", own_pages)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(paste_masks(masks, boxes, SIZE_HW), expected)
    assert paste_masks(masks[:0], boxes[:0], SIZE_HW).shape == (0, *SIZE_HW)


def test_half_precision_and_gradients_are_taken() -> None:
    masks, boxes = torch.rand(3, 7, 7), torch.rand(3, 2) * 40
    boxes = torch.cat([boxes, boxes + 30], dim=1)
    half = masks.bfloat16()
    expected = paste_masks(half.float(), boxes, SIZE_HW)
    assert expected.any()
    assert torch.equal(
        paste_masks(half.requires_grad_(), boxes.requires_grad_(), SIZE_HW), expected
    )
