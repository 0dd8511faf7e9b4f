"""Both forms of NMS against each other and against greedy NMS written as a loop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2seg.core.ops.nms import batched_nms, nms


def random_boxes(count: int, seed: int, snap: int = 1) -> tuple[Tensor, Tensor]:
    """Boxes in a 480x640 image; a coarse ``snap`` makes equal boxes, scores and exact IoU ties."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([640.0, 480.0])
    size = torch.rand(count, 2, generator=generator) * 120
    boxes = torch.cat([corner, corner + size], dim=1)
    scores = torch.rand(count, generator=generator)
    if snap > 1:
        return (boxes / snap).round() * snap, (scores * 10).round() / 10
    return boxes, scores


def greedy_nms(boxes: np.ndarray, scores: np.ndarray, iou_threshold: float) -> list[int]:
    """The textbook loop, in float32."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        for j in kept:
            size = np.minimum(boxes[i, 2:], boxes[j, 2:]) - np.maximum(boxes[i, :2], boxes[j, :2])
            overlap = np.prod(size.clip(min=0))
            if overlap > 0 and float(overlap / (area[i] + area[j] - overlap)) > iou_threshold:
                break
        else:
            kept.append(int(i))
    return kept


@pytest.mark.parametrize("aten_only", [False, True])
@pytest.mark.parametrize("snap", [1, 20])
def test_keeps_what_the_greedy_loop_keeps(aten_only: bool, snap: int) -> None:
    boxes, scores = random_boxes(120, seed=3, snap=snap)
    for iou_threshold in (0.0, 0.25, 0.5, 0.7):
        expected = greedy_nms(boxes.numpy(), scores.numpy(), iou_threshold)
        assert nms(boxes, scores, iou_threshold, aten_only).tolist() == expected


@settings(deadline=None, max_examples=60)
@given(
    count=st.integers(0, 700),
    seed=st.integers(0, 1000),
    snap=st.sampled_from([1, 10, 40]),
    iou_threshold=st.sampled_from([0.1, 0.25, 1 / 3, 0.5, 0.6, 0.7]),
)
def test_aten_form_equals_torchvision(
    count: int, seed: int, snap: int, iou_threshold: float
) -> None:
    boxes, scores = random_boxes(count, seed, snap)
    expected = nms(boxes, scores, iou_threshold, aten_only=False)
    assert torch.equal(nms(boxes, scores, iou_threshold, aten_only=True), expected)


def test_threshold_is_compared_in_double_precision() -> None:
    # IoU 0.6 is 0.60000002 in float32: above 0.6, though not above 0.6 rounded to float32.
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 6.0]])
    scores = torch.tensor([0.9, 0.8])
    assert nms(boxes, scores, 0.6, aten_only=False).tolist() == [0]
    assert nms(boxes, scores, 0.6, aten_only=True).tolist() == [0]


def test_long_chain_of_suppression_alternates() -> None:
    # Each box overlaps only its neighbours, so the fixed point needs one step for each of them.
    left = torch.arange(600.0)[:, None] * 6
    boxes = torch.cat([left, left * 0, left + 10, left * 0 + 10], dim=1)
    scores = torch.linspace(1, 0, 600)
    assert nms(boxes, scores, 0.2, aten_only=True).tolist() == list(range(0, 600, 2))


@pytest.mark.parametrize("aten_only", [False, True])
def test_groups_do_not_suppress_each_other(aten_only: bool) -> None:
    boxes = torch.tensor([[0.0, 0.0, 20.0, 10.0]]).repeat(4, 1)
    scores = torch.tensor([0.1, 0.4, 0.3, 0.2])
    groups = torch.tensor([7, 0, 7, 0])
    assert batched_nms(boxes, scores, groups, 0.5, aten_only).tolist() == [1, 2]


@settings(deadline=None, max_examples=30)
@given(count=st.integers(0, 300), seed=st.integers(0, 1000))
def test_batched_equals_group_by_group(count: int, seed: int) -> None:
    boxes, scores = random_boxes(count, seed)
    groups = torch.arange(count) % 3
    kept = batched_nms(boxes, scores, groups, 0.4, aten_only=True)
    singles = [
        members[nms(boxes[members], scores[members], 0.4)]
        for members in (torch.nonzero(groups == group).squeeze(1) for group in range(3))
    ]
    assert sorted(kept.tolist()) == sorted(torch.cat(singles).tolist())
    assert torch.equal(scores[kept], scores[kept].sort(descending=True).values)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
@pytest.mark.parametrize("aten_only", [False, True])
def test_scripted_equals_eager_also_when_empty(aten_only: bool) -> None:
    scripted, scripted_batched = torch.jit.script(nms), torch.jit.script(batched_nms)
    for count in (0, 1, 2, 400):
        boxes, scores = random_boxes(count, seed=count)
        groups = torch.arange(count) % 2
        kept = nms(boxes, scores, 0.5, aten_only)
        assert kept.dtype == torch.int64
        assert torch.equal(scripted(boxes, scores, 0.5, aten_only), kept)
        kept = batched_nms(boxes, scores, groups, 0.5, aten_only)
        assert torch.equal(scripted_batched(boxes, scores, groups, 0.5, aten_only), kept)
