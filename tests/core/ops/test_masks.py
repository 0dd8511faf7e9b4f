"""Choosing a mask's class, and pasting masks against sampling the whole image."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from d2seg.core.ops.masks import _paste_whole, mask_probabilities, paste_masks
from tests.reference.functions import recorded_functions


def test_the_mask_of_the_class_is_chosen() -> None:
    logits = torch.randn(3, 4, 5, 6)
    classes = torch.tensor([2, 0, 3])
    probabilities = mask_probabilities(logits, classes)
    assert probabilities.shape == (3, 1, 5, 6)
    for i, label in enumerate(classes.tolist()):
        torch.testing.assert_close(probabilities[i, 0], logits[i, label].sigmoid())


def test_class_agnostic_masks_serve_every_class() -> None:
    logits = torch.randn(2, 1, 5, 6)
    torch.testing.assert_close(mask_probabilities(logits, torch.tensor([7, 3])), logits.sigmoid())


def test_soft_masks_are_detectron2s() -> None:
    record = recorded_functions()
    masks = torch.tensor(record["paste_probabilities"])
    boxes = torch.tensor(record["boxes_jittered"])
    soft = paste_masks(masks, boxes, (record["height"], record["width"]), threshold=-1.0)
    sums = soft.flatten(1).sum(dim=1)
    want = torch.tensor(record["paste_soft_sums"])
    # Rounding down to whole grey values turns float noise into single steps.
    assert bool(((sums - want).abs() <= 1e-4 * want).all())


def paste_by_whole_image(mask: Tensor, box: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Sample the mask at every pixel centre of the image: no window, nothing saved."""
    height, width = size_hw
    x = (torch.arange(width) + 0.5 - box[0]) / (box[2] - box[0]) * 2 - 1
    y = (torch.arange(height) + 0.5 - box[1]) / (box[3] - box[1]) * 2 - 1
    grid = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)], dim=2)
    return F.grid_sample(mask[None, None], grid[None], align_corners=False)[0, 0]


def test_windows_miss_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    size_hw = (40, 70)
    boxes = torch.tensor(
        [[3.3, 5.1, 60.7, 33.9], [-9, -4, 20.5, 11], [50, 30, 90, 55], [1.2, 1.2, 1.9, 39]]
    )
    masks = torch.rand(4, 28, 28, generator=generator)
    hard, soft = paste_masks(masks, boxes, size_hw), paste_masks(masks, boxes, size_hw, -1.0)
    assert hard.dtype == torch.bool
    assert soft.dtype == torch.uint8
    for i in range(4):
        whole = paste_by_whole_image(masks[i], boxes[i], size_hw)
        assert torch.equal(hard[i], whole >= 0.5)
        assert torch.equal(soft[i], (whole * 255).to(torch.uint8))


@pytest.mark.parametrize("box", [[5.0, 5, 5, 9], [200, 200, 300, 300], [-50, -50, -20, -20]])
def test_a_box_that_is_empty_or_outside_gives_no_pixels(box: list[float]) -> None:
    assert not paste_masks(torch.ones(1, 4, 4), torch.tensor([box]), (30, 40)).any()


def test_no_masks() -> None:
    assert paste_masks(torch.zeros(0, 28, 28), torch.zeros(0, 4), (30, 40)).shape == (0, 30, 40)


def test_it_scripts() -> None:
    masks, boxes = torch.rand(2, 9, 9), torch.tensor([[1.0, 2, 20, 30], [0, 0, 9, 9]])
    scripted = torch.jit.script(paste_masks)
    assert torch.equal(scripted(masks, boxes, (40, 25)), paste_masks(masks, boxes, (40, 25)))


def test_other_devices_paste_whole_images() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = torch.tensor([[3.3, 5.1, 60.7, 33.9], [-9, -4, 20.5, 11], [9, 9, 9, 20], [30, 9, 8, 2]])
    masks = torch.rand(4, 28, 28, generator=generator)
    expected = paste_masks(masks, boxes, (40, 70))
    for at_once in (1, 40 * 70 * 3, 2**27):
        assert torch.equal(_paste_whole(masks, boxes, 40, 70, 0.5, at_once), expected)
    assert _paste_whole(masks[:0], boxes[:0], 40, 70, 0.5).shape == (0, 40, 70)


def test_bands_of_rows_change_nothing() -> None:
    masks, boxes = torch.rand(1, 28, 28), torch.tensor([[3.3, 5.1, 60.7, 33.9]])
    whole = paste_masks(masks, boxes, (40, 70), -1.0)
    # Products of other sizes round differently: single pixels, by one step.
    banded = paste_masks(masks, boxes, (40, 70), -1.0, pixels_at_once=150)
    assert whole.any()
    assert int((whole != banded).sum()) <= 2


def test_masks_beyond_all_memory_are_named() -> None:
    with pytest.raises(MemoryError, match="^1 masks of 8388608x8388608 pixels need 70368.7 GB"):
        paste_masks(torch.ones(1, 4, 4), torch.tensor([[0.0, 0, 9, 9]]), (2**23, 2**23))
