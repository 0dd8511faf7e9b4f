"""Proposals and detections against the same steps written as plain loops."""

import torch
from torch import Tensor
from torchvision.ops import nms

from d2seg.core.ops.detections import select_detections
from d2seg.core.ops.proposals import flatten_deltas, flatten_logits, select_proposals

SIZE_HW = (60, 100)


def random_regions(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([100.0, 60.0])
    return torch.cat([corner, corner + 5 + 30 * torch.rand(count, 2, generator=generator)], dim=1)


def detections_by_loops(
    boxes: Tensor, probs: Tensor, score_thresh: float, nms_thresh: float, topk: int
) -> list[tuple[float, int, int]]:
    found = []
    for label in range(probs.shape[1] - 1):
        rows = [row for row in range(len(probs)) if probs[row, label] > score_thresh]
        mine = boxes[rows].view(len(rows), -1, 4)[:, label if boxes.shape[1] > 4 else 0].clone()
        mine[:, 0::2] = mine[:, 0::2].clamp(0, SIZE_HW[1])
        mine[:, 1::2] = mine[:, 1::2].clamp(0, SIZE_HW[0])
        for kept in nms(mine, probs[rows, label], nms_thresh).tolist():
            found.append((probs[rows[kept], label].item(), label, rows[kept]))
    return sorted(found, reverse=True)[:topk]


def test_detections_equal_plain_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    for columns in (1, 3):
        boxes = torch.cat([random_regions(40, seed) for seed in range(columns)], dim=1)
        probs = torch.rand(40, 4, generator=generator).softmax(dim=1)
        for aten_only in (False, True):
            got, scores, classes, rows = select_detections(
                boxes, probs, SIZE_HW, 0.2, 0.4, 15, aten_only
            )
            found = list(zip(scores.tolist(), classes.tolist(), rows.tolist(), strict=True))
            assert found == detections_by_loops(boxes, probs, 0.2, 0.4, 15)
            assert len(found) == 15
            assert got[:, 0::2].max() <= SIZE_HW[1]
            assert got[:, 1::2].max() <= SIZE_HW[0]


def test_a_region_with_nan_is_left_out_and_rows_still_name_regions() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [float("nan"), 0, 9, 9], [50.0, 20, 70, 40]])
    probs = torch.tensor([[0.9, 0.1], [0.99, 0.01], [0.8, 0.2]])
    _, scores, _, rows = select_detections(boxes, probs, SIZE_HW, 0.5, 0.5, -1)
    assert rows.tolist() == [0, 2]
    torch.testing.assert_close(scores, torch.tensor([0.9, 0.8]))


def test_nothing_above_the_threshold() -> None:
    boxes, scores, classes, rows = select_detections(
        random_regions(5, 0), torch.full((5, 2), 0.5), SIZE_HW, 0.5, 0.5, 10
    )
    assert [tuple(x.shape) for x in (boxes, scores, classes, rows)] == [(0, 4), (0,), (0,), (0,)]
    assert classes.dtype == torch.int64


def select(logits: list[Tensor], anchors: list[Tensor], **changes: float) -> tuple[Tensor, Tensor]:
    settings = {"nms_thresh": 0.7, "pre_nms_topk": 100, "post_nms_topk": 100, "min_box_size": 0.0}
    settings.update(changes)
    deltas = [torch.zeros_like(level) for level in anchors]
    return select_proposals(
        logits, deltas, anchors, SIZE_HW, [1.0] * 4, 4.0,
        settings["nms_thresh"], int(settings["pre_nms_topk"]), int(settings["post_nms_topk"]),
        settings["min_box_size"],
    )  # fmt: skip


def test_levels_do_not_suppress_one_another() -> None:
    box = torch.tensor([[10.0, 10, 30, 30]])
    boxes, logits = select([torch.tensor([1.0]), torch.tensor([2.0])], [box, box])
    assert boxes.tolist() == [box[0].tolist()] * 2
    assert logits.tolist() == [2.0, 1.0]


def test_proposals_are_the_best_of_each_level_and_then_of_all() -> None:
    logits = [torch.tensor([3.0, 1.0, 2.0]), torch.tensor([9.0, 8.0])]
    anchors = [
        torch.tensor([[0.0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]]),
        torch.tensor([[0.0, 30, 9, 39], [20, 30, 29, 39]]),
    ]
    assert select(logits, anchors, pre_nms_topk=2)[1].tolist() == [9.0, 8.0, 3.0, 2.0]
    assert select(logits, anchors, post_nms_topk=3)[1].tolist() == [9.0, 8.0, 3.0]


def test_boxes_too_small_outside_or_not_finite_are_no_proposals() -> None:
    anchors = torch.tensor(
        [[0.0, 0, 3, 30], [200, 0, 220, 20], [5, 5, 25, 25], [5, 5, float("inf"), 25]]
    )
    boxes, logits = select([torch.arange(4.0)], [anchors], min_box_size=4.0)
    assert boxes.tolist() == [[5.0, 5.0, 25.0, 25.0]]
    assert logits.tolist() == [2.0]


def test_predictions_come_in_the_order_of_anchors() -> None:
    # Two anchors on a 2x3 map; every value says (anchor, y, x[, coordinate]).
    logits = torch.tensor(
        [[[[a * 100 + y * 10 + x for x in range(3)] for y in range(2)] for a in range(2)]]
    )
    order = [0, 100, 1, 101, 2, 102, 10, 110, 11, 111, 12, 112]
    assert flatten_logits(logits)[0].tolist() == order
    deltas = torch.stack([logits * 10 + c for c in range(4)], dim=2).flatten(1, 2)
    assert flatten_deltas(deltas)[0].tolist() == [[v * 10 + c for c in range(4)] for v in order]
