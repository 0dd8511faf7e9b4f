"""Detections from dense predictions."""

import torch

from d2seg.core.ops.box_coding import encode_boxes
from d2seg.core.ops.dense import flatten_levels, select_dense_detections

WEIGHTS = [1.0, 1.0, 1.0, 1.0]
ANCHORS = torch.tensor([[0.0, 0, 10, 10], [20.0, 0, 30, 20], [20.0, 1, 30, 21]])


def select(
    scores: list[torch.Tensor], anchors: list[torch.Tensor], candidates: int = 10, topk: int = 5
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    deltas = [torch.zeros(len(level), 4) for level in anchors]
    return select_dense_detections(
        scores, deltas, anchors, WEIGHTS, 4.0, 0.05, candidates, 0.5, topk
    )


def test_a_map_is_read_cell_by_cell_and_anchor_by_anchor() -> None:
    maps = torch.arange(2 * 3 * 2 * 4).view(1, 2 * 3, 2, 4)  # two anchors of three values, 2x4
    rows = flatten_levels(maps, 3)
    assert rows.shape == (1, 16, 3)
    assert rows[0, 0].tolist() == [0, 8, 16]  # first cell, first anchor
    assert rows[0, 1].tolist() == [24, 32, 40]  # first cell, second anchor
    assert rows[0, 2].tolist() == [1, 9, 17]  # second cell of the first row


def test_suppression_is_within_a_class_and_over_all_levels() -> None:
    scores = [torch.tensor([[0.9, 0.01], [0.8, 0.3]]), torch.tensor([[0.7, 0.6]])]
    boxes, best, classes = select(scores, [ANCHORS[:2], ANCHORS[2:]])
    assert classes.tolist() == [0, 0, 1]
    torch.testing.assert_close(best, torch.tensor([0.9, 0.8, 0.6]))
    torch.testing.assert_close(boxes, ANCHORS)


def test_limits_hold_for_each_level_and_for_all() -> None:
    scores = [torch.tensor([[0.9], [0.8]]), torch.tensor([[0.7]])]
    levels = [ANCHORS[[0, 1]], ANCHORS[[0]] + 50]
    assert select(scores, levels, candidates=1)[1].tolist() == [scores[0][0, 0], scores[1][0, 0]]
    assert len(select(scores, levels, topk=2)[0]) == 2


def test_boxes_are_decoded_from_their_anchors() -> None:
    target = torch.tensor([[2.0, 3.0, 40.0, 25.0]])
    deltas = encode_boxes(ANCHORS[1:2], target, WEIGHTS)
    boxes, _, _ = select_dense_detections(
        [torch.tensor([[0.5]])], [deltas], [ANCHORS[1:2]], WEIGHTS, 4.0, 0.05, 10, 0.5, 5
    )
    torch.testing.assert_close(boxes, target)


def test_nothing_above_the_threshold_gives_nothing() -> None:
    boxes, scores, classes = select([torch.full((3, 2), 0.05)], [ANCHORS])
    assert boxes.shape == (0, 4)
    assert scores.shape == classes.shape == (0,)


def test_compiles_with_torchscript() -> None:
    scripted = torch.jit.script(select_dense_detections)
    scores = [torch.rand(3, 4)]
    arguments = (scores, [torch.zeros(3, 4)], [ANCHORS], WEIGHTS, 4.0, 0.05, 10, 0.5, 5, True)
    for ours, theirs in zip(scripted(*arguments), select(scores, [ANCHORS]), strict=True):
        torch.testing.assert_close(ours, theirs)
