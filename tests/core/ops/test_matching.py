"""Matching and sampling on cases small enough to read."""

import pytest
import torch

from d2seg.core.ops.matching import match_boxes, match_in_parts, sample_labels

IOU = torch.tensor([[0.9, 0.2, 0.5, 0.0], [0.1, 0.25, 0.3, 0.0]])


def test_intervals_are_closed_below() -> None:
    matches, labels = match_boxes(IOU, [0.3, 0.5], [0, -1, 1], False)
    assert matches.tolist() == [0, 1, 0, 0]
    assert labels.tolist() == [1, 0, 1, 0]
    assert match_boxes(IOU[1:], [0.3, 0.5], [0, -1, 1], False)[1].tolist() == [0, 0, -1, 0]


def test_low_quality_matches_give_every_object_its_best_predictions() -> None:
    _, labels = match_boxes(IOU[1:], [0.5, 0.7], [0, -1, 1], True)
    assert labels.tolist() == [0, 0, 1, 0]


def test_ties_are_all_low_quality_matches() -> None:
    _, labels = match_boxes(torch.tensor([[0.2, 0.2, 0.1]]), [0.5, 0.7], [0, -1, 1], True)
    assert labels.tolist() == [1, 1, 0]


def test_without_ground_truth_all_are_background() -> None:
    matches, labels = match_boxes(torch.zeros(0, 3), [0.3, 0.7], [0, -1, 1], True)
    assert matches.tolist() == [0, 0, 0]
    assert labels.tolist() == [0, 0, 0]


def test_samples_are_distinct_and_bounded() -> None:
    labels = torch.tensor([1] * 10 + [0] * 30 + [-1] * 5)
    positive, negative = sample_labels(labels, 16, 0.25, 0)
    assert len(positive) == 4
    assert len(negative) == 12
    assert len(set(positive.tolist() + negative.tolist())) == 16
    assert labels[positive].tolist() == [1] * 4
    assert labels[negative].tolist() == [0] * 12


def test_negatives_fill_what_positives_leave() -> None:
    positive, negative = sample_labels(torch.tensor([3, 80, 80, 80, 80]), 4, 0.5, 80)
    assert positive.tolist() == [0]
    assert len(negative) == 3


@pytest.mark.parametrize("at_once", [1, 30, 64, 10_000])
@pytest.mark.parametrize("allow_low_quality", [False, True])
@pytest.mark.parametrize("num_ground_truth", [0, 1, 6])
def test_in_parts_is_all_at_once(
    at_once: int, allow_low_quality: bool, num_ground_truth: int
) -> None:
    # Coarse values tie often, and a row of zeros is best nowhere in particular.
    iou = torch.randint(0, 6, (num_ground_truth, 50)) / 10.0
    iou[2:3] = 0.0
    asked: list[int] = []

    def iou_of(start: int, stop: int) -> torch.Tensor:
        asked.append(stop - start)
        return iou[:, start:stop]

    options = ([0.3, 0.5], [0, -1, 1], allow_low_quality)
    found = match_in_parts(iou_of, num_ground_truth, 50, *options, at_once)
    expected = match_boxes(iou, *options)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])
    assert found[1].dtype == torch.int8
    assert max(asked) <= max(1, at_once // max(1, num_ground_truth))
