"""Selection with fixed lengths against selection with free ones."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from d2seg.core.ops.dense import select_dense_detections
from d2seg.core.ops.detections import select_detections
from d2seg.core.ops.proposals import select_proposals
from d2seg.core.ops.static_nms import keep_by_steps, suppression_matrix
from d2seg.core.ops.static_selection import (
    clip_to_limits,
    select_fixed_dense,
    select_fixed_detections,
    select_fixed_proposals,
)

SIZE_HW = (60, 100)
LIMITS = torch.tensor([100.0, 60.0, 100.0, 60.0])


def suppress_above(threshold: float) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    def suppress(boxes: Tensor, usable: Tensor, groups: Tensor | None) -> Tensor:
        return keep_by_steps(suppression_matrix(boxes, threshold, groups), usable, 24)

    return suppress


def random_boxes(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([110.0, 70.0]) - 5
    return torch.cat([corner, corner + 5 + 30 * torch.rand(count, 2, generator=generator)], dim=1)


def dense_predictions() -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    generator = torch.Generator().manual_seed(3)
    counts = (90, 40, 5)
    logits = [torch.randn(count, generator=generator) for count in counts]
    deltas = [torch.randn(count, 4, generator=generator) * 0.3 for count in counts]
    logits[0][3] = float("inf")
    deltas[0][4] = float("nan")
    return logits, deltas, [random_boxes(count, 10 + count) for count in counts]


@pytest.mark.parametrize(("pre", "post"), [(50, 20), (1000, 1000)])
def test_proposals_are_those_of_free_length(pre: int, post: int) -> None:
    logits, deltas, anchors = dense_predictions()
    weights = [1.0, 1.0, 1.0, 1.0]
    boxes, _ = select_proposals(logits, deltas, anchors, SIZE_HW, weights, 4.0, 0.5, pre, post, 6.0)
    fixed, counted = select_fixed_proposals(
        logits, deltas, anchors, LIMITS, weights, 4.0, suppress_above(0.5), pre, post, 6.0
    )
    assert len(fixed) == (20 if post == 20 else 135)
    assert int(counted.sum()) == len(boxes)
    assert torch.equal(fixed[: len(boxes)], boxes)  # which also says that those that count lead
    assert torch.isfinite(fixed).all()


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize(("thresh", "topk"), [(0.2, 15), (0.2, 500), (0.99, 10)])
def test_detections_are_those_of_free_length(columns: int, thresh: float, topk: int) -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = torch.cat([random_boxes(40, seed) for seed in range(columns)], dim=1)
    probs = torch.rand(40, 4, generator=generator).softmax(dim=1)
    boxes[2, 1], probs[3, 0] = float("nan"), float("nan")
    regions = torch.arange(40) < 35
    want = select_detections(boxes[regions], probs[regions], SIZE_HW, thresh, 0.4, topk)
    fixed_boxes, scores, classes, counted = select_fixed_detections(
        boxes, probs, regions, LIMITS, thresh, suppress_above(0.4), topk, 1000
    )
    length = len(want[0])
    assert len(fixed_boxes) == min(topk, 120)
    assert counted.tolist() == [index < length for index in range(len(counted))]
    assert torch.equal(fixed_boxes[:length], want[0])
    assert torch.equal(scores[:length], want[1])
    assert torch.equal(classes[:length], want[2])
    for values in (fixed_boxes, scores, classes):
        assert not values[length:].any()


def test_few_candidates_suffice_while_enough_survive() -> None:
    boxes, probs = (
        random_boxes(80, 1),
        torch.rand(80, 4, generator=torch.Generator().manual_seed(1)),
    )
    want = select_detections(boxes, probs, SIZE_HW, 0.1, 0.4, 10)
    fixed = select_fixed_detections(
        boxes, probs, torch.ones(80).bool(), LIMITS, 0.1, suppress_above(0.4), 10, 60
    )
    assert torch.equal(fixed[0], want[0])


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize(("pre", "topk"), [(50, 15), (1000, 500)])
def test_dense_detections_are_those_of_free_length(classes: int, pre: int, topk: int) -> None:
    _, deltas, anchors = dense_predictions()
    deltas[0][4] = 0.0
    generator = torch.Generator().manual_seed(5)
    logits = [torch.randn(len(one), classes, generator=generator) for one in deltas]
    weights = [1.0, 1.0, 1.0, 1.0]
    want = select_dense_detections(
        [one.sigmoid() for one in logits], deltas, anchors, weights, 4.0, 0.4, pre, 0.5, topk
    )
    boxes, scores, found, counted = select_fixed_dense(
        logits, deltas, anchors, LIMITS, weights, 4.0, 0.4, suppress_above(0.5), pre, topk, 1000
    )
    length = len(want[0])
    assert 10 < length <= topk
    assert counted.tolist() == [index < length for index in range(len(counted))]
    torch.testing.assert_close(boxes[:length], clip_to_limits(want[0], LIMITS))
    torch.testing.assert_close(scores[:length], want[1])
    assert torch.equal(found[:length], want[2])
    for values in (boxes, scores, found):
        assert not values[length:].any()
