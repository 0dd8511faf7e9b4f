"""Matching and sampling on cases small enough to read."""

import torch

from d2seg.core.ops.matching import match_boxes, sample_labels

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
