"""Suppression by matrix steps against torchvision's."""

import pytest
import torch
from torch import Tensor
from torchvision.ops import batched_nms, nms

from d2seg.core.ops.static_nms import keep_by_steps, steps_to_settle, suppression_matrix


def ranked_boxes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([90.0, 40.0])
    size = 5 + 30 * torch.rand(count, 2, generator=generator)
    scores = torch.rand(count, generator=generator).sort(descending=True).values
    return torch.cat([corner, corner + size], dim=1), scores


def chain(links: int) -> Tensor:
    """Boxes that each overlap only their neighbours, with IoU 1/3."""
    left = torch.arange(links) * 5.0
    return torch.stack([left, left * 0, left + 10, left * 0 + 7], dim=1)


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.7])
def test_keeps_what_torchvision_keeps(threshold: float) -> None:
    for seed in range(5):
        boxes, scores = ranked_boxes(150, seed)
        groups = torch.arange(150) % 3
        for group, kept in (
            (None, nms(boxes, scores, threshold)),
            (groups, batched_nms(boxes, scores, groups, threshold)),
        ):
            matrix = suppression_matrix(boxes, threshold, group)
            keep = keep_by_steps(matrix, torch.ones(150), 24)
            assert keep.nonzero()[:, 0].tolist() == sorted(kept.tolist())
            assert 0 < len(kept) < 150


def test_several_lists_at_once_do_not_mix() -> None:
    lists = [ranked_boxes(60, seed)[0] for seed in range(3)]
    usable = (torch.rand(3, 60, generator=torch.Generator().manual_seed(0)) > 0.2).float()
    matrices = suppression_matrix(torch.stack(lists), 0.4)
    keep = keep_by_steps(matrices, usable, 24)
    steps = []
    for boxes, counts, kept in zip(lists, usable, keep, strict=True):
        matrix = suppression_matrix(boxes, 0.4)
        assert torch.equal(keep_by_steps(matrix, counts, 24), kept)
        steps.append(steps_to_settle(matrix, counts))
    assert steps_to_settle(matrices, usable) == max(steps) > 0


def test_unusable_boxes_neither_stay_nor_suppress() -> None:
    boxes, scores = ranked_boxes(100, 7)
    usable = (torch.arange(100) % 4 > 0).float()
    keep = keep_by_steps(suppression_matrix(boxes, 0.3), usable, 24)
    rows = usable.nonzero()[:, 0]
    assert keep.nonzero()[:, 0].tolist() == sorted(
        rows[nms(boxes[rows], scores[rows], 0.3)].tolist()
    )


def test_a_chain_needs_as_many_steps_as_it_has_links() -> None:
    matrix = suppression_matrix(chain(9), 0.3)
    assert keep_by_steps(matrix, torch.ones(9), 8).tolist() == [1, 0, 1, 0, 1, 0, 1, 0, 1]
    assert keep_by_steps(matrix, torch.ones(9), 7).tolist() != [1, 0, 1, 0, 1, 0, 1, 0, 1]
    assert steps_to_settle(matrix, torch.ones(9)) == 8
    assert steps_to_settle(suppression_matrix(chain(9), 0.4), torch.ones(9)) == 0


def test_an_overlap_at_the_threshold_does_not_suppress() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 7], [0.0, 0, 10, 10]])  # IoU 0.7 as float32 is below 0.7
    for threshold in (0.7, 0.69):
        kept = nms(boxes, torch.tensor([2.0, 1]), threshold)
        keep = keep_by_steps(suppression_matrix(boxes, threshold), torch.ones(2), 2)
        assert keep.nonzero()[:, 0].tolist() == kept.tolist()
    third = torch.tensor([[0.0, 0, 10, 7], [5.0, 0, 15, 7]])
    exactly = float(torch.tensor(1.0) / torch.tensor(3.0))
    assert suppression_matrix(third, exactly).sum() == 0
    assert suppression_matrix(third, exactly - 1e-9).sum() == 1


def test_no_boxes() -> None:
    matrix = suppression_matrix(torch.zeros(0, 4), 0.5)
    assert keep_by_steps(matrix, torch.zeros(0), 3).shape == (0,)
