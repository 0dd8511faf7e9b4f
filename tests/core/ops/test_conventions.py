"""The other ways of computing that operators offer, each against a slow plain form or by hand."""

import pytest
import torch
import torch.nn.functional as F

from d2seg.core.ops.anchors import cell_anchors, grid_anchors, level_strides
from d2seg.core.ops.boxes import at_least
from d2seg.core.ops.detections import select_detections
from d2seg.core.ops.masks import paste_masks_whole_pixels
from d2seg.core.ops.pooling import assign_levels
from d2seg.core.ops.proposals import select_proposals
from d2seg.core.ops.resize import resize_by_interpolation, shortest_edge_size_below


def test_anchors_in_whole_pixels() -> None:
    rounded = cell_anchors([32.0], [0.5, 1.0], whole_pixels=True)
    assert rounded.tolist() == [[-23.0, -11.0, 23.0, 11.0], [-16.0, -16.0, 16.0, 16.0]]
    assert not torch.equal(rounded, cell_anchors([32.0], [0.5, 1.0]))


def test_measured_strides_share_the_image_out() -> None:
    # 96 x 160 pixels: the last level halves 3 x 5 cells to 2 x 3.
    grids = [(24, 40), (3, 5), (2, 3)]
    assert level_strides([4, 32, 64], grids, measured=True) == [(4, 4), (32, 32), (48, 53)]
    assert level_strides([4, 32, 64], grids, measured=False) == [(4, 4), (32, 32), (64, 64)]


def test_strides_of_the_two_axes() -> None:
    cell = torch.tensor([[-1.0, -2.0, 1.0, 2.0]])
    ours = grid_anchors(cell, (2, 2), (48, 53), 0.0)
    assert ours[:, 0].tolist() == [-1.0, 52.0, -1.0, 52.0]
    assert ours[:, 1].tolist() == [-2.0, -2.0, 46.0, 46.0]


def test_at_least_counts_the_limit_itself() -> None:
    boxes = torch.tensor([[0.0, 0.0, 1.0, 9.0], [0.0, 0.0, 9.0, 0.5], [5.0, 5.0, 5.0, 5.0]])
    assert at_least(boxes, 1.0).tolist() == [True, False, False]
    assert at_least(boxes, 0.0).tolist() == [True, True, True]


def test_a_margin_lifts_a_box_over_the_border_of_levels() -> None:
    side = 224.0 * (1 - 2e-7)
    boxes = torch.tensor([[0.0, 0.0, side, side], [0.0, 0.0, 223.0, 223.0]])
    assert assign_levels(boxes, 4, 2, 224.0, 4).tolist() == [1, 1]
    assert assign_levels(boxes, 4, 2, 224.0, 4, margin=1e-6).tolist() == [2, 1]


def test_thin_boxes_do_not_suppress_others() -> None:
    boxes = torch.tensor([[3.0, 0.0, 3.0, 20.0], [0.0, 0.0, 8.0, 20.0]])
    probs = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
    every = select_detections(boxes, probs, (30, 40), 0.05, 0.5, 100)
    assert every[3].tolist() == [0, 1]
    large = select_detections(boxes, probs, (30, 40), 0.05, 0.5, 100, min_side=0.01)
    assert large[3].tolist() == [1]


def test_ranking_by_probability_lets_levels_tie() -> None:
    """The level that comes first wins the last place, though its logit is the smaller one."""
    logits = [torch.tensor([40.0]), torch.tensor([60.0])]
    anchors = [torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([[20.0, 0, 29, 9]])]
    kept = [
        select_proposals(
            logits,
            [torch.zeros(1, 4)] * 2,
            anchors,
            (64, 64),
            [1.0] * 4,
            4.0,
            0.7,
            10,
            1,
            0.0,
            by_probability=by_probability,
        )[1].item()
        for by_probability in (False, True)
    ]
    assert kept == [60.0, 40.0]


def test_masks_in_whole_pixels_against_a_plain_form() -> None:
    mask = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0))
    box = torch.tensor([[2.3, 3.6, 10.9, 8.2]])
    # The ring makes it 6 cells wide: half sizes 4.3 and 2.3 become 6.45 and 3.45.
    left, top, right, bottom = 0, 2, 13, 9  # cut off: 0.15, 2.45, 13.05, 9.35
    ringed = F.pad(mask[None], (1, 1, 1, 1))
    plain = F.interpolate(ringed, (bottom - top + 1, right - left + 1), mode="bilinear")[0, 0]
    ours = paste_masks_whole_pixels(mask, box, (9, 12))[0]
    wanted = torch.zeros(9, 12, dtype=torch.bool)
    wanted[2:9, 0:12] = plain[:7, :12] >= 0.5
    assert torch.equal(ours, wanted) and ours.any()


@pytest.mark.parametrize("threshold, dtype", [(0.5, torch.bool), (-1.0, torch.uint8)])
def test_masks_outside_the_image_and_no_masks(threshold: float, dtype: torch.dtype) -> None:
    ones = torch.ones(2, 4, 4)
    boxes = torch.tensor([[-30.0, -30.0, -20.0, -20.0], [2.0, 2.0, 6.0, 5.0]])
    pasted = paste_masks_whole_pixels(ones, boxes, (9, 12), threshold)
    assert pasted.shape == (2, 9, 12) and pasted.dtype == dtype
    assert not pasted[0].any() and pasted[1].any()
    assert paste_masks_whole_pixels(ones[:0], boxes[:0], (9, 12), threshold).shape == (0, 9, 12)


def test_sizes_rounded_down() -> None:
    assert shortest_edge_size_below(480, 640, 800, 1333) == (800, 1066)  # 1066.7
    assert shortest_edge_size_below(100, 400, 800, 1333) == (333, 1333)
    assert shortest_edge_size_below(1, 4000, 800, 1333) == (1, 1333)


def test_interpolation_is_torchs_without_smoothing() -> None:
    image = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(1)) * 255
    wanted = F.interpolate(image[None], (7, 45), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(resize_by_interpolation(image, (7, 45)), wanted, atol=0, rtol=0)
