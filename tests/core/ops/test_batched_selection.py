"""Choices for several images at once, against those for one image after the other."""

import math

import pytest
import torch
from torch import Tensor

from d2seg.core.ops.batched_selection import (
    select_batched_dense,
    select_batched_detections,
    select_batched_proposals,
    take_rows,
    top_padded,
)
from d2seg.core.ops.dense import select_dense_detections
from d2seg.core.ops.detections import select_detections
from d2seg.core.ops.nms import keep_best, nms
from d2seg.core.ops.proposals import select_proposals
from d2seg.core.ops.static_selection import UNUSABLE

SIZES_HW = [(60, 90), (80, 40)]
LIMITS = torch.tensor([[w, h, w, h] for h, w in SIZES_HW], dtype=torch.float32)
WEIGHTS = [1.0, 1.0, 1.0, 1.0]
CLAMP = math.log(1000 / 16)


def random_boxes(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(*shape, 2, generator=generator) * 70
    return torch.cat([corner, corner + 2 + torch.rand(*shape, 2, generator=generator) * 30], -1)


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_keep_best_is_nms_of_each_list() -> None:
    boxes, scores = random_boxes(2, 30), noise(2, 3, 30)
    kept = keep_best(boxes, scores, 0.3, 0.1)
    for group in range(2):
        for column in range(3):
            rows = torch.nonzero(scores[group, column] > 0.1)[:, 0]
            expected = rows[nms(boxes[group, rows], scores[group, column, rows], 0.3)]
            assert torch.nonzero(kept[group, column])[:, 0].tolist() == sorted(expected.tolist())
    assert 0 < kept.sum() < (scores > 0.1).sum()


@pytest.mark.parametrize("post", [12, 200])
def test_proposals_are_those_of_each_image(post: int) -> None:
    anchors = [random_boxes(50, seed=2), random_boxes(7, seed=3)]
    logits = [noise(2, 50), noise(2, 7, seed=4)]
    deltas = [noise(2, 50, 4, seed=5) * 0.3, noise(2, 7, 4, seed=6) * 0.3]
    logits[0][0, 3] = math.nan
    deltas[0][1, 5] = math.inf
    numbers = (WEIGHTS, CLAMP)
    boxes, counted = select_batched_proposals(
        logits, deltas, anchors, LIMITS, *numbers, keep_best, 0.5, 20, post, 3.0
    )
    assert boxes.shape == (2, post, 4)
    for image, size_hw in enumerate(SIZES_HW):
        one = [[values[image] for values in levels] for levels in (logits, deltas)]
        expected, _ = select_proposals(*one, anchors, size_hw, *numbers, 0.5, 20, post, 3.0)
        assert torch.equal(boxes[image, counted[image]], expected)
        assert 0 < len(expected) <= post
        assert not boxes[image, ~counted[image]].any()


@pytest.mark.parametrize("per_class", [3, 1])
@pytest.mark.parametrize("topk", [6, 100])
def test_detections_are_those_of_each_image(per_class: int, topk: int) -> None:
    boxes = random_boxes(2, 25, per_class).flatten(2)
    probs = noise(2, 25, 4).softmax(dim=2)
    probs[0, 4, 1] = math.nan
    counted = torch.rand(2, 25, generator=torch.Generator().manual_seed(0)) > 0.2
    found, scores, classes = select_batched_detections(
        boxes, probs, counted, LIMITS, 0.2, keep_best, 0.4, topk
    )
    for image, size_hw in enumerate(SIZES_HW):
        rows = counted[image]
        expected = select_detections(
            boxes[image, rows], probs[image, rows], size_hw, 0.2, 0.4, topk
        )
        count = len(expected[0])
        assert 0 < count <= topk
        assert torch.equal(found[image, :count], expected[0])
        assert torch.equal(scores[image, :count], expected[1])
        assert torch.equal(classes[image, :count], expected[2])
        assert (scores[image, count:] == UNUSABLE).all()
        assert not found[image, count:].any()


def test_dense_detections_are_those_of_each_image() -> None:
    anchors = [random_boxes(40, seed=2), random_boxes(5, seed=3)]
    scores = [noise(2, 40, 3).sigmoid(), noise(2, 5, 3, seed=4).sigmoid()]
    deltas = [noise(2, 40, 4, seed=5) * 0.2, noise(2, 5, 4, seed=6) * 0.2]
    numbers = (WEIGHTS, CLAMP, 0.5)
    found, best, classes = select_batched_dense(
        scores, deltas, anchors, *numbers, 30, keep_best, 0.4, 40
    )
    for image in range(2):
        one = [[values[image] for values in levels] for levels in (scores, deltas)]
        expected = select_dense_detections(*one, anchors, *numbers, 30, 0.4, 40)
        count = len(expected[0])
        assert 5 < count < 40
        for batched, single in zip((found, best, classes), expected, strict=True):
            assert torch.equal(batched[image, :count], single)
        assert (best[image, count:] == UNUSABLE).all()


def test_top_padded_says_what_exists() -> None:
    values, index, exists = top_padded(torch.tensor([[1.0, 3.0, 2.0]]), 5)
    assert values[0, :3].tolist() == [3, 2, 1]
    assert (values[0, 3:] == UNUSABLE).all()
    assert index.tolist() == [[1, 2, 0, 2, 2]]
    assert exists.tolist() == [[True, True, True, False, False]]


def test_take_rows_blanks_what_does_not_count() -> None:
    values = torch.arange(12.0).reshape(1, 6, 2)
    chosen = take_rows(values, torch.tensor([[4, 1]]), torch.tensor([[True, False]]))
    assert chosen.tolist() == [[[8, 9], [0, 0]]]
