"""Cityscapes' rules for single detections, and its average precision by hand."""

import math

import numpy as np
import pytest

from d2seg.core.evaluation.cityscapes_instances import average_precision, compare_instances

CAR = 26


def box(left: int, right: int) -> np.ndarray:
    mask = np.zeros((20, 60), bool)
    mask[:, left:right] = True
    return mask


def test_the_best_of_several_detections_is_right() -> None:
    ids = np.where(box(0, 20), 26_001, 7)
    masks = np.array([box(0, 18), box(0, 20), box(0, 5)])
    outcomes = compare_instances(ids, CAR, masks, [0.9, 0.8, 0.7])
    assert outcomes.num_objects == 1
    assert sorted(outcomes.verdicts[0.5]) == [(0.7, False), (0.8, False), (0.9, True)]
    # 18 of 20 columns do not overlap by more than 0.9.
    assert sorted(outcomes.verdicts[0.95]) == [(0.7, False), (0.8, True), (0.9, False)]


@pytest.mark.parametrize("ignored_id", [26, 26_001, 3])
def test_groups_small_objects_and_void_are_neither_right_nor_wrong(ignored_id: int) -> None:
    ids = np.full((20, 60), 7)
    ids[:4, :24] = ignored_id  # 96 pixels
    mask = np.zeros((1, 20, 60), bool)
    mask[0, :4, :28] = True  # of which 96 of 112, 0.857, lie on what is ignored
    outcomes = compare_instances(ids, CAR, mask, [0.9])
    assert outcomes.num_objects == 0
    assert outcomes.verdicts[0.5] == outcomes.verdicts[0.85] == []
    # As a group or a small object it is matched up to 0.857, and wrong above; so is void.
    assert outcomes.verdicts[0.9] == [(0.9, False)]


def test_average_precision_by_the_trapezoidal_rule() -> None:
    verdicts = [(0.9, True), (0.8, False), (0.7, True)]
    # Precision 1 at recall 0 and 1/4, 1/2 at recall 1/4, 2/3 at recall 1/2.
    expected = 0.25 * 1 + 0.25 * (1 / 2 + 2 / 3) / 2
    assert average_precision(verdicts, 4) == pytest.approx(expected)


def test_equal_scores_are_taken_together() -> None:
    verdicts = [(0.5, True), (0.5, False)]
    assert average_precision(verdicts, 1) == average_precision(verdicts[::-1], 1)
    assert average_precision(verdicts, 1) == pytest.approx((1 + 1 / 2) / 2)


def test_nothing_to_find_and_nothing_found() -> None:
    assert math.isnan(average_precision([(0.9, False)], 0))
    assert average_precision([], 3) == 0.0
